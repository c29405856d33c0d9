"""Cancellation at every point: nothing is half done, nothing is left behind, and nobody else is forgotten."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.reliability import manager_operations, server_lives, store_lives, store_operations
from tests.reliability.instrumented_loop import LIMIT, InstrumentedLoop, Outcome, Point, at_every_point, ended_tasks
from tests.reliability.reporting import Extent, Survived
from tests.reliability.store_operations import StoreOperation
from workflow_server.runtime.manager import RuntimeManager
from workflow_server.store import AbstractWorkflowStore, SqliteWorkflowStore


def public_coroutines(*kinds: type) -> set[str]:
    """The names of all public coroutines of these classes, and of what returns something to await."""
    return {
        name
        for kind in kinds
        for name, member in inspect.getmembers(kind)
        if not name.startswith("_") and (inspect.iscoroutinefunction(member) or name == "append")
    }


def test_every_coroutine_of_the_store_is_cancelled() -> None:
    assert public_coroutines(AbstractWorkflowStore, SqliteWorkflowStore) == {*store_operations.OPERATIONS, "open", "close"}


async def test_store_calls(tmp_path: Path, extent: Extent, survived: Survived) -> None:
    chance = random.Random(extent.seed)
    store = SqliteWorkflowStore(tmp_path / "runs.sqlite3")
    await store.open()
    before = asyncio.all_tasks()
    names = itertools.count()
    cancelled = 0
    for operation in store_operations.OPERATIONS.values():

        async def once(point: Point, operation: StoreOperation = operation) -> Outcome:
            name = f"h{next(names)}"
            await operation.prepare(store, name)
            with InstrumentedLoop() as loop:
                beside = store_operations.bystanders(store, name)
                outcome = await loop.cancel(operation.work(store, name), point)
                await asyncio.wait_for(asyncio.gather(*beside), LIMIT)
            await operation.check(store, name, outcome)
            await store_operations.nothing_is_left(store)
            await ended_tasks(before)
            return outcome

        cancelled += await at_every_point(once, chance, rounds=extent.of(short=1, long=10), stride=extent.of(short=3, long=1))
    await store.close()
    print(cancelled)


async def test_opening(tmp_path: Path, extent: Extent, survived: Survived) -> None:
    chance = random.Random(extent.seed)
    await store_lives.make_files(tmp_path)
    numbers = itertools.count()
    cancelled = 0
    for kind in store_lives.KINDS:
        async def once(point: Point, kind: str = kind) -> Outcome:
            path = store_lives.copy_of(kind, tmp_path, f"file{next(numbers)}")
            return await store_lives.cancel_opening(path, kind, point)
        cancelled += await at_every_point(once, chance, rounds=extent.of(short=1, long=10), stride=extent.of(short=3, long=1))
    print("open", cancelled)


async def test_closing(tmp_path: Path, extent: Extent, survived: Survived) -> None:
    chance = random.Random(extent.seed)
    numbers = itertools.count()
    async def once(point: Point) -> Outcome:
        return await store_lives.cancel_closing(tmp_path / f"runs{next(numbers)}.sqlite3", point)
    cancelled = await at_every_point(once, chance, rounds=extent.of(short=1, long=10), stride=extent.of(short=3, long=1))
    print("close", cancelled)


@pytest.mark.parametrize("kind", manager_operations.OPERATIONS)
async def test_manager(tmp_path: Path, extent: Extent, survived: Survived, kind: type[manager_operations.Operation]) -> None:
    chance = random.Random(extent.seed)
    numbers = itertools.count()
    store = SqliteWorkflowStore(tmp_path / "runs.sqlite3")
    manager = RuntimeManager(store, idle_timeout=manager_operations.IDLE)
    for name, workflow in manager_operations.workflows().items():
        manager.add_workflow(name, workflow)
    manager.listen()
    await store.open()
    await manager.resume()
    before = asyncio.all_tasks()

    async def once(point: Point) -> Outcome:
        operation = kind(manager, f"{kind.__name__} {next(numbers)}")
        await operation.prepare()
        with InstrumentedLoop() as loop:
            beside = [asyncio.create_task(work, name="beside") for work in operation.beside()]
            outcome = await loop.cancel(operation.work(), point)
            assert outcome.error is None, outcome
            await asyncio.wait_for(asyncio.gather(*beside), LIMIT)
        await operation.check(outcome)
        await manager_operations.nothing_is_held(manager)
        await ended_tasks(before)
        return outcome

    cancelled = await at_every_point(once, chance, rounds=extent.of(short=1, long=10), stride=extent.of(short=3, long=1))
    await manager.stop(1.0)
    await store.close()
    print("manager", kind.__name__, cancelled)


@pytest.mark.parametrize("name", server_lives.LIVES)
async def test_lives(tmp_path: Path, extent: Extent, survived: Survived, name: str) -> None:
    chance = random.Random(extent.seed)
    handlers = await server_lives.make_runs(tmp_path)

    async def once(point: Point) -> Outcome:
        return await server_lives.cancel_life(name, tmp_path, handlers, point)

    print(name, await at_every_point(once, chance, rounds=extent.of(short=1, long=10), stride=extent.of(short=3, long=1)))
