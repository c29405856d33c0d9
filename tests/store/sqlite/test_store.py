"""The store on SQLite: its path, its memory variant and its close."""

# Nothing else runs on the loop of these tests.
# ruff: noqa: ASYNC240
from __future__ import annotations

import asyncio
import sqlite3
import threading
from pathlib import Path

import pytest

from tests.harness.runs import until
from tests.store.making import run_started
from workflow_server.store import MemoryWorkflowStore, SqliteWorkflowStore
from workflow_server.store.sqlite.connection import run_on
from workflow_server.store.sqlite.exceptions import DatabaseLocked


async def test_memory_stores_share_nothing_and_leave_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    one, other = MemoryWorkflowStore(), SqliteWorkflowStore(":memory:")
    await asyncio.gather(one.open(), other.open())
    await one.append(run_started("a"))
    assert (len(await one.running_runs()), len(await other.running_runs())) == (1, 0)
    assert one.location == ":memory:"
    await asyncio.gather(one.close(), other.close())
    assert list(tmp_path.iterdir()) == []


async def test_the_sizes_are_those_of_the_database_and_its_log(path: Path) -> None:
    memory, store = MemoryWorkflowStore(), SqliteWorkflowStore(path)
    await asyncio.gather(memory.open(), store.open())
    await store.append(run_started("a"))
    assert memory.sizes() is None
    assert store.sizes() == (path.stat().st_size, Path(f"{path}-wal").stat().st_size)
    assert min(store.sizes() or ()) > 0
    await asyncio.gather(memory.close(), store.close())
    path.unlink()
    assert store.sizes() is None


async def test_close_returns_when_all_is_closed_beside_a_cancelled_one(path: Path) -> None:
    store = SqliteWorkflowStore(path)
    await store.open()
    assert store._database.opened is not None
    connection = store._database.opened.connection
    reading, writing = Held(), Held()
    busy = [asyncio.create_task(store._read(reading), name="busy reader")]
    await until(reading.began.is_set)
    first = asyncio.create_task(store.close(), name="close")
    # It waits for the reader; then for the writer, who is the last to be closed.
    await until(lambda: store._database.readers is not None and store._database.readers._closed)
    busy.append(asyncio.create_task(run_on(connection, writing), name="busy writer"))
    reading.go_on.set()
    await until(writing.began.is_set)
    await until(lambda: store._database.opened is None)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    second = asyncio.create_task(store.close(), name="close again")
    with pytest.raises(DatabaseLocked):
        await SqliteWorkflowStore(path).open()
    assert not second.done()
    writing.go_on.set()
    await asyncio.gather(second, *busy)
    await store.open()
    assert store.stopped_cleanly
    await store.close()


class Held:
    """Keeps a connection's thread busy until it may go on."""

    def __init__(self) -> None:
        self.began, self.go_on = threading.Event(), threading.Event()

    def __call__(self, _: sqlite3.Connection) -> None:
        self.began.set()
        assert self.go_on.wait(30)


def test_the_path_has_two_names_and_is_given_once(path: Path) -> None:
    for store in (SqliteWorkflowStore(path), SqliteWorkflowStore(db_path=path), SqliteWorkflowStore(path=path)):
        assert store.location == str(path)
    with pytest.raises(TypeError, match="once"):
        SqliteWorkflowStore()
    with pytest.raises(TypeError, match="once"):
        SqliteWorkflowStore(path, path=path)
