"""Cancellation at every point: nothing is half done, nothing is left behind, and nobody else is forgotten.

A cancelled start, event, cancel or purge is wholly there and goes on, or wholly absent; with its idempotency key, asked
again, it was done once. And the same for clients that leave in the middle of what they asked for.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
import random
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest

from tests.reliability.cancelling import (
    leaving_clients,
    leaving_readers,
    server_lives,
    store_lives,
    store_operations,
)
from tests.reliability.cancelling.instrumented_loop import Moment, at_every_point, ended_tasks
from tests.reliability.cancelling.leaving_clients import listening
from tests.reliability.cancelling.looking_operations import LOOKING
from tests.reliability.cancelling.manager_operations import CHANGING, RunAgain, Send, Start
from tests.reliability.cancelling.operation import cancel_operation, managed, nothing_is_held, steps
from tests.reliability.reporting import Extent, Survived
from tests.store.fault_injection import COMMIT_MOMENTS
from workflow_server.runs.change_feed import ChangeReader
from workflow_server.runs.events import EventReader, QueueReader
from workflow_server.runs.manager import RuntimeManager
from workflow_server.server import WorkflowServer
from workflow_server.store import AbstractWorkflowStore, SqliteWorkflowStore
from workflow_server.store.sqlite import purge

pytestmark = [pytest.mark.slow(10), pytest.mark.timeout(600)]

T = TypeVar("T")

OPERATIONS = (*CHANGING, *LOOKING)


def coroutines(*kinds: type) -> set[str]:
    """All public coroutines of these classes, with ``append``, which returns what is awaited."""
    return {
        f"{kind.__name__}.{name}"
        for kind in kinds
        for name, member in inspect.getmembers(kind)
        if not name.startswith("_") and (inspect.iscoroutinefunction(member) or name == "append")
    }


def test_every_coroutine_of_store_and_manager_has_its_attack() -> None:
    store = {f"SqliteWorkflowStore.{name}" for name in (*store_operations.OPERATIONS, "open", "close")}
    assert coroutines(SqliteWorkflowStore) == store
    assert {name.partition(".")[2] for name in coroutines(AbstractWorkflowStore)} <= {
        name.partition(".")[2] for name in store
    }
    covered = {name for kind in OPERATIONS for name in kind.covers}
    covered |= {name.partition(",")[0] for name in server_lives.LIVES}
    lives = {"WorkflowServer.start", "WorkflowServer.stop"}
    assert coroutines(RuntimeManager, EventReader, QueueReader, ChangeReader) | lives == covered
    # To serve is to start, to wait and to stop; for misfits, it asks its manager; a reload changes nothing durable.
    others = {"WorkflowServer.serve", "WorkflowServer.misfits", "WorkflowServer.reload"}
    assert coroutines(WorkflowServer) == lives | others


async def test_the_store_is_cancelled_at_every_point(
    tmp_path: Path, extent: Extent, survived: Survived, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purge, "QUIET", 0.0)
    chance = random.Random(extent.seed)
    names = itertools.count()
    cancelled = 0
    for kind, operation in _times(extent.of(short=1, long=5), store_operations.OPERATIONS.items()):
        store = SqliteWorkflowStore(tmp_path / f"{kind}{next(names)}.sqlite3")
        await store.open()
        once = partial(store_operations.cancel_call, store, operation, names)
        cancelled += await at_every_point(once, chance, stride=_stride(extent))
        await store.close()
    survived(
        "each call of the store cancelled at each of its awaits and at each turn of the loop, others waiting beside",
        "P1 P2 P9",
        times=cancelled,
        unit="cancellations",
        figures=f"{len(store_operations.OPERATIONS)} calls; nothing was held after any of {next(names):,}",
    )


async def test_opening_a_store_is_cancelled_at_every_point(tmp_path: Path, extent: Extent, survived: Survived) -> None:
    chance = random.Random(extent.seed)
    await store_lives.make_files(tmp_path)
    numbers = itertools.count()
    cancelled = 0
    for kind in store_lives.KINDS:
        once = partial(store_lives.cancel_opening, tmp_path, kind, numbers)
        cancelled += await at_every_point(once, chance, rounds=extent.of(short=1, long=2), stride=_stride(extent))
    survived(
        "opening a database cancelled at each point",
        "P9",
        times=cancelled,
        unit="cancellations",
        figures=f"files: {', '.join(store_lives.KINDS)}; each opened again at once, by another and by the same",
    )


async def test_closing_a_store_is_cancelled_at_every_point(tmp_path: Path, extent: Extent, survived: Survived) -> None:
    chance = random.Random(extent.seed)
    once = partial(store_lives.cancel_closing, tmp_path, itertools.count())
    cancelled = await at_every_point(once, chance, rounds=extent.of(short=1, long=5), stride=_stride(extent))
    survived(
        "closing a database cancelled at each point, in the middle of commits and of two deletions",
        "P1 P2 P9",
        times=cancelled,
        unit="cancellations",
        figures="each finished by the next call: what was handed over is stored, the lock and the threads are gone",
    )


async def test_the_manager_is_cancelled_at_every_point(tmp_path: Path, extent: Extent, survived: Survived) -> None:
    chance = random.Random(extent.seed)
    numbers = itertools.count()
    cancelled = 0
    steps.clear()
    for kind in OPERATIONS:
        async with managed(tmp_path / f"{kind.__name__}.sqlite3") as manager:
            once = partial(cancel_operation, manager, kind, numbers)
            cancelled += await at_every_point(once, chance, rounds=extent.of(short=1, long=2), stride=_stride(extent))
    survived(
        "starts, continuations, events, cancels, purges, looks and readers cancelled at each point",
        "P1 P2 P5",
        times=cancelled,
        unit="cancellations",
        figures=f"{len(OPERATIONS)} operations; {sum(steps.values()):,} steps, none of them twice",
    )


async def test_starting_and_stopping_are_cancelled_at_every_point(
    tmp_path: Path, extent: Extent, survived: Survived
) -> None:
    chance = random.Random(extent.seed)
    handlers = await server_lives.make_runs(tmp_path)
    cancelled = 0
    for life in server_lives.LIVES:
        once = partial(server_lives.cancel_life, life, tmp_path, handlers)
        moments = chance.sample(list(Moment), extent.of(short=2, long=4))
        cancelled += await at_every_point(once, chance, stride=extent.of(short=12, long=1), moments=moments)
    survived(
        "the start, the resumption and the stop of a server cancelled at each point, and its death there",
        "P7 P8",
        times=cancelled,
        unit="cancellations",
        figures=f"{len(handlers)} runs on the file (waiting, released, queued, in a step); all went on each time",
    )


@pytest.mark.parametrize("handler_cancellation", [False, True], ids=["served", "mounted where handlers are cancelled"])
async def test_clients_leave_in_the_middle(
    tmp_path: Path, extent: Extent, survived: Survived, handler_cancellation: bool
) -> None:
    chance = random.Random(extent.seed)
    numbers = itertools.count()
    steps.clear()
    # A run that has ended already commits nothing.
    held = [kind for kind in CHANGING if kind is not RunAgain]
    async with listening(tmp_path / "runs.sqlite3", handler_cancellation=handler_cancellation) as server:
        before = asyncio.all_tasks()

        async def settled() -> None:
            await nothing_is_held(server.manager)
            await server.nothing_is_open()
            await ended_tasks(before)

        for kind, point in _times(extent.of(short=1, long=15), itertools.product(held, COMMIT_MOMENTS)):
            operation = kind(server.manager, f"t{next(numbers)}")
            await leaving_clients.leave_while_held(server, operation, point, politely=chance.random() < 0.5)
            await settled()
        for kind in (Start, Send):
            for where in range(extent.of(short=8, long=250)):
                operation = kind(server.manager, f"t{next(numbers)}")
                await leaving_clients.leave_in_the_body(server, operation, where, chance)
                await settled()
        for _ in range(extent.of(short=2, long=40)):
            await leaving_clients.leave_a_run(server, politely=chance.random() < 0.5)
            await settled()
            next(numbers)
    survived(
        "clients that leave during a commit, in the middle of a body, and while they wait for a run"
        + (", their handlers cancelled" if handler_cancellation else ""),
        "P1 P2",
        times=next(numbers),
        unit="departures",
        figures=f"{sum(steps.values())} steps, none of them twice",
    )


async def test_readers_leave_in_the_middle(tmp_path: Path, extent: Extent, survived: Survived) -> None:
    chance = random.Random(extent.seed)
    left = 0
    async with listening(tmp_path / "runs.sqlite3", handler_cancellation=False) as server:
        before = asyncio.all_tasks()
        for sse in _times(extent.of(short=1, long=20), (True, False)):
            left += await leaving_readers.read_with_a_cursor(server, chance, sse=sse)
            left += await leaving_readers.read_the_queue(server, chance, sse=sse, turns=extent.of(short=5, long=15))
            await server.nothing_is_open()
            await nothing_is_held(server.manager)
            await ended_tasks(before)
    survived(
        "readers that leave streams (SSE, NDJSON; with a cursor, holding the shared queue, waiting for it)",
        "P4 P5",
        times=left,
        unit="departures",
        figures="what was received is the log, each event once",
    )


def _stride(extent: Extent) -> int:
    return extent.of(short=4, long=1)


def _times(times: int, items: Iterable[T]) -> list[T]:
    return list(items) * times
