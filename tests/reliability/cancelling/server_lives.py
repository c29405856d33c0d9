"""Starting and stopping what serves runs, cancelled somewhere: what the next one finds.

The file that is started on holds a run that waits in memory, one that has left it, one that has its turn behind another
and one that is in a step; all of them must go on, whatever became of the start or the stop before.
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import time
from collections.abc import Callable, Coroutine
from contextlib import closing
from pathlib import Path
from typing import Any

from workflows import Workflow, step
from workflows.events import StartEvent, StopEvent

from tests.harness.runs import asked, released, until
from tests.reliability.cancelling.instrumented_loop import LIMIT, InstrumentedLoop, Outcome, Point
from tests.reliability.cancelling.operation import Listen, last_event, request, told
from tests.reliability.cancelling.store_lives import no_threads
from workflow_server.runs.manager import RuntimeManager
from workflow_server.server import WorkflowServer
from workflow_server.settings import Settings
from workflow_server.store import SqliteWorkflowStore


class Slow(Workflow):
    """Is in its step until ``Slow.gate`` is opened."""

    gate = asyncio.Event()
    begun = asyncio.Event()

    @step
    async def only(self, ev: StartEvent) -> StopEvent:
        Slow.begun.set()
        await Slow.gate.wait()
        return StopEvent(result="done")


ALIVE, DOWNTIME = 10.0, 1_000.0
"""Seconds for which the runs had been alive when their server died, and since when no server was."""
GRACE = 0.02
Live = tuple[SqliteWorkflowStore, RuntimeManager]


def workflows() -> dict[str, Workflow]:
    return {
        "listen": Listen(timeout=None),
        "one-by-one": Listen(timeout=None, num_concurrent_runs=1),
        "slow": Slow(timeout=1_000),
    }


def made(path: Path, *, idle: float | None = None) -> Live:
    """A manager on a store; neither is open."""
    store = SqliteWorkflowStore(path)
    manager = RuntimeManager(store, idle_timeout=idle)
    for name, workflow in workflows().items():
        manager.add_workflow(name, workflow)
    manager.listen()
    return store, manager


async def make_runs(folder: Path) -> dict[str, str]:
    """Runs in ``folder`` as a server that died left them; their handlers by name."""
    Slow.gate, Slow.begun = asyncio.Event(), asyncio.Event()
    store, manager = made(folder / "living" / "runs.sqlite3", idle=0.05)
    (folder / "living").mkdir()
    await store.open()
    await manager.resume()
    handlers = {"released": (await manager.start("listen", request("released", key=False))).handler_id}
    await released(manager, handlers["released"])
    for name, workflow in {
        "in memory": "listen",
        "first": "one-by-one",
        "second": "one-by-one",
        "slow": "slow",
    }.items():
        handlers[name] = (await manager.start(workflow, request(name, key=False))).handler_id
    for name in ("in memory", "first"):
        await asked(manager, handlers[name])
    await until(Slow.begun.is_set)
    await store.flush()
    shutil.copytree(folder / "living", folder / "left")
    await manager.stop(0.0)
    await store.close()
    return handlers


async def all_go_on(path: Path, handlers: dict[str, str]) -> None:
    """A new manager takes up every run and leads it to its end; their clocks stood still for the downtime, once."""
    store, manager = made(path)
    await store.open()
    await manager.resume()
    slow = await store.load_run(handlers["slow"])
    assert slow is not None
    assert slow.alive_since is not None
    assert ALIVE - 1 <= time.time() - slow.alive_since <= ALIVE + LIMIT
    Slow.gate.set()
    for name in ("released", "in memory", "first", "second"):
        await manager.send(handlers[name], told("last"), None, None)
    for handler_id in handlers.values():
        assert '"type":"StopEvent"' in await last_event(manager, handler_id)
    await manager.stop(1.0)
    await store.close()
    await no_threads()


def server(path: Path) -> WorkflowServer:
    """A server on the file."""
    made = WorkflowServer(
        workflow_store=SqliteWorkflowStore(path), idle_timeout=None, settings=Settings(grace_period=GRACE)
    )
    for name, workflow in workflows().items():
        made.add_workflow(name, workflow)
    return made


async def cancel_server_start(path: Path, point: Point) -> Outcome:
    """A cancelled start has given everything back when it raises."""
    one = server(path)
    with InstrumentedLoop() as loop:
        outcome = await loop.cancel(one.start(), point)
    if outcome.cancelled:
        await no_threads()
    await one.stop()
    return outcome


async def cancel_server_stop(path: Path, point: Point) -> Outcome:
    """A cancelled stop goes on: who calls it again returns when it is done."""
    one = await server(path).start()
    with InstrumentedLoop() as loop:
        outcome = await loop.cancel(one.stop(), point)
        await asyncio.wait_for(one.stop(), LIMIT)
    return outcome


async def cancel_resume(path: Path, point: Point) -> Outcome:
    """A manager whose resume was cancelled can be stopped."""
    store, manager = made(path)
    await store.open()
    with InstrumentedLoop() as loop:
        outcome = await loop.cancel(manager.resume(), point)
        await asyncio.wait_for(manager.stop(GRACE), LIMIT)
    await store.close()
    return outcome


async def die_in_resume(path: Path, point: Point) -> Outcome:
    """The process dies where resume was cancelled: what it had stored by then stays in ``path``."""
    living = Path(shutil.copytree(path.parent, path.parent.with_name("resuming"))) / path.name
    store, manager = made(living)
    await store.open()
    with InstrumentedLoop() as loop:
        outcome = await loop.cancel(manager.resume(), point)
        await store.flush()
        shutil.copytree(living.parent, path.parent, dirs_exist_ok=True)
        await manager.stop(0.0)
    await store.close()
    shutil.rmtree(living.parent)
    return outcome


async def cancel_stop(path: Path, point: Point) -> Outcome:
    """A manager whose stop was cancelled can be stopped."""
    store, manager = made(path)
    await store.open()
    await manager.resume()
    with InstrumentedLoop() as loop:
        outcome = await loop.cancel(manager.stop(GRACE), point)
        await asyncio.wait_for(manager.stop(GRACE), LIMIT)
    await store.close()
    return outcome


LIVES: dict[str, Callable[[Path, Point], Coroutine[Any, Any, Outcome]]] = {
    "WorkflowServer.start": cancel_server_start,
    "WorkflowServer.stop": cancel_server_stop,
    "RuntimeManager.resume": cancel_resume,
    "RuntimeManager.resume, and death": die_in_resume,
    "RuntimeManager.stop": cancel_stop,
}


async def cancel_life(name: str, folder: Path, handlers: dict[str, str], point: Point) -> Outcome:
    """Cancel this on a copy of the runs, and see that they go on."""
    Slow.gate = asyncio.Event()
    copied = Path(shutil.copytree(folder / "left", folder / "copy"))
    _back_date(copied / "runs.sqlite3")
    before = asyncio.all_tasks()
    outcome = await LIVES[name](copied / "runs.sqlite3", point)
    assert outcome.error is None, outcome
    await no_threads()
    left = asyncio.all_tasks() - before
    assert not left, left
    await all_go_on(copied / "runs.sqlite3", handlers)
    shutil.rmtree(copied)
    return outcome


def _back_date(path: Path) -> None:
    """The server was last alive ``DOWNTIME`` seconds ago, and its runs had been alive for ``ALIVE``."""
    died_at = time.time() - DOWNTIME
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE server SET alive_at = ?", (died_at,))
        connection.execute("UPDATE handlers SET alive_since = ? WHERE alive_since IS NOT NULL", (died_at - ALIVE,))
