"""Opening and closing a store, cancelled somewhere: what is left of it, and what the next one finds."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

from tests.reliability.cancelling.instrumented_loop import LIMIT, InstrumentedLoop, Outcome, Point
from tests.reliability.cancelling.store_operations import SLICED, named
from tests.store.making import event, run_started
from workflow_server.errors import StoreClosed
from workflow_server.store import HandlerQuery, SqliteWorkflowStore
from workflow_server.store.internal_records import PurgeMarked

KINDS = ("new", "clean", "unclean", "in a purge")
"""The states of a file that is opened."""


async def no_threads() -> None:
    """Return when no connection has a thread any more: one that was told to end needs a moment for it."""
    async with asyncio.timeout(LIMIT):
        while any("_connection_worker_thread" in thread.name for thread in threading.enumerate()):  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def make_files(folder: Path) -> None:
    """A file of each kind but a new one, as a server leaves them behind: after its stop, and after its death."""
    (folder / "new").mkdir()
    (folder / "clean").mkdir()
    store = SqliteWorkflowStore(folder / "clean" / "runs.sqlite3")
    await store.open()
    await store.commit(run_started("kept"), run_started("gone"), *(event("gone", n) for n in range(SLICED)))
    await store.close()
    shutil.copytree(folder / "clean", folder / "dying")
    store = SqliteWorkflowStore(folder / "dying" / "runs.sqlite3")
    await store.open()
    shutil.copytree(folder / "dying", folder / "unclean")
    assert store._writer is not None
    await store._writer.append((PurgeMarked('["gone"]'),))
    shutil.copytree(folder / "dying", folder / "in a purge")
    await store.close()


def copy_of(kind: str, folder: Path, name: str) -> Path:
    """A file of this kind to open."""
    return Path(shutil.copytree(folder / kind, folder / name)) / "runs.sqlite3"


async def cancel_opening(folder: Path, kind: str, numbers: Iterator[int], point: Point) -> Outcome:
    """A cancelled ``open`` leaves no lock, no thread and a file as it was; the next one, of anybody, succeeds."""
    path = copy_of(kind, folder, f"file{next(numbers)}")
    store = SqliteWorkflowStore(path)
    with InstrumentedLoop() as loop:
        outcome = await loop.cancel(store.open(), point)
    assert outcome.error is None
    if not outcome.cancelled:
        await store.close()
        return outcome
    await no_threads()
    other = SqliteWorkflowStore(path)
    await other.open()
    assert other.stopped_cleanly == (kind in ("new", "clean"))
    found = {handler.handler_id for handler in await other.query(HandlerQuery())}
    assert found == {"new": set(), "in a purge": {"kept"}}.get(kind, {"kept", "gone"})
    await other.close()
    await store.open()
    assert store.stopped_cleanly
    await store.close()
    await no_threads()
    return outcome


async def cancel_closing(folder: Path, numbers: Iterator[int], point: Point) -> Outcome:
    """A cancelled ``close`` goes on: whoever calls it again returns when all is stored and given back."""
    path = folder / f"runs{next(numbers)}.sqlite3"
    store = SqliteWorkflowStore(path)
    await store.open()
    before = asyncio.all_tasks()
    names = ("gone", "gone too")
    with InstrumentedLoop() as loop:
        await store.commit(*(run_started(name) for name in names), *(event("gone", n) for n in range(SLICED)))
        deletes = [asyncio.create_task(store.delete(named(name)), name=f"deletes {name}") for name in names]
        while _purges() < len(names) and not any(task.done() for task in deletes):  # noqa: ASYNC110
            await asyncio.sleep(0)
        store.append(run_started("kept"))
        commits = asyncio.create_task(store.commit(run_started("committed")), name="commits")
        reads = asyncio.create_task(store.load_run("kept"), name="reads")
        await asyncio.sleep(0)
        outcome = await loop.cancel(store.close(), point)
        assert outcome.error is None
        await asyncio.wait_for(store.close(), LIMIT)
        beside = {*deletes, commits, reads}
        left = asyncio.all_tasks() - before - beside
        assert not left, left
        _, waiting = await asyncio.wait(beside, timeout=LIMIT)
        assert not waiting, waiting
    for error in (task.exception() for task in beside if not task.cancelled()):
        assert error is None or isinstance(error, StoreClosed), error
    await _closed(path, {"kept"} if commits.exception() else {"kept", "committed"})
    return outcome


def _purges() -> int:
    return sum(task.get_name() == "store-purge" for task in asyncio.all_tasks())


async def _closed(path: Path, expected: set[str]) -> None:
    """The lock and the threads are given back, and the file says that it was closed cleanly."""
    await no_threads()
    other = SqliteWorkflowStore(path)
    await other.open()
    assert other.stopped_cleanly
    assert {run.handler_id for run in await other.running_runs()} >= expected
    await other.close()
    await no_threads()
