"""Free space: a new file gives it back while it is in use, an older one after a vacuum, and a copy as its original."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.harness.runs import until
from tests.store.fault_injection import HookedStore
from tests.store.making import event, run_ended, run_started
from tests.store.sqlite.files import edit
from workflow_server.store import HandlerQuery, SqliteWorkflowStore
from workflow_server.store.sqlite import purge, reads, space
from workflow_server.store.sqlite.backup import back_up, restore
from workflow_server.store.sqlite.maintenance import Selection, check, vacuum
from workflow_server.store.sqlite.maintenance import purge as purge_file
from workflow_server.store.sqlite.stats import statistics

LARGE = 2 << 20


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(purge, "QUIET", 0.01)
    monkeypatch.setattr(space, "KEPT", 16)


def unseen(*_: int) -> None:
    """Take no notice of the progress."""


def size_of(path: Path) -> int:
    return path.stat().st_size


async def fill(store: SqliteWorkflowStore) -> None:
    """Store two handlers of 3 MB, of which the one that will go lies before the other."""
    for name in ("gone", "kept"):
        await store.append(run_started(name), *(event(name, n, data="x" * 30_000) for n in range(100)))
        await store.append(run_ended(name))


def test_as_many_pages_are_given_back_as_are_asked_for(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        space.make_incremental(connection)
        connection.execute("CREATE TABLE rows (value TEXT)")
        connection.executemany("INSERT INTO rows VALUES (?)", [("x" * 5_000,)] * 100)
        connection.execute("DELETE FROM rows")
        mode, free = reads.space(connection)
        assert (mode, free > 90) == (reads.INCREMENTAL, True)
        space.give_space_back(connection, 70)
        assert reads.space(connection) == (reads.INCREMENTAL, free - 70)


@pytest.mark.parametrize("gently", [False, True])
async def test_a_file_becomes_smaller_while_it_is_in_use(store: HookedStore, path: Path, *, gently: bool) -> None:
    await fill(store)
    await store.close()
    await store.open()
    size = size_of(path)
    if gently:
        await store.begin_deletion(["gone"])
    else:
        await store.delete(HandlerQuery(handler_id_in=["gone"]))
    await until(lambda: size_of(path) < size - LARGE)
    assert len(await store.read_events("kept", -1, 1_000)) == 100
    await store.append(run_started("new"), event("new", 0))
    await store.close()
    assert (check(path).gives_space_back, statistics(path).gives_space_back) == (True, True)


async def test_a_start_gives_back_what_the_server_before_did_not(
    store: HookedStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purge, "QUIET", 60.0)
    await fill(store)
    await store.delete(HandlerQuery(handler_id_in=["gone"]))
    await store.close()
    size = size_of(path)
    monkeypatch.setattr(purge, "QUIET", 0.01)
    await store.open()
    await until(lambda: size_of(path) < size - LARGE)


async def test_an_older_file_keeps_its_size_until_a_vacuum(path: Path) -> None:
    store = SqliteWorkflowStore(path)
    await store.open()
    await fill(store)
    await store.close()
    edit(path, "PRAGMA journal_mode = DELETE", "PRAGMA auto_vacuum = NONE", "VACUUM")
    assert not check(path).gives_space_back
    size = size_of(path)
    await store.open()
    await store.delete(HandlerQuery(handler_id_in=["gone"]))
    await store.close()
    assert size_of(path) >= size
    assert not statistics(path).gives_space_back
    vacuum(path)
    assert check(path).gives_space_back
    await store.open()
    size = size_of(path)
    await store.delete(HandlerQuery(handler_id_in=["kept"]))
    await until(lambda: size_of(path) < size - LARGE)
    await store.close()


@pytest.mark.parametrize("gives_back", [True, False])
async def test_a_copy_gives_space_back_as_its_original_does(path: Path, *, gives_back: bool) -> None:
    store = SqliteWorkflowStore(path)
    await store.open()
    await fill(store)
    await store.close()
    if not gives_back:
        edit(path, "PRAGMA journal_mode = DELETE", "PRAGMA auto_vacuum = NONE", "VACUUM")
    copy, restored = path.with_name("copy"), path.with_name("restored")
    assert back_up(path, copy, progress=unseen).gives_space_back is gives_back
    assert restore(copy, restored, progress=unseen).gives_space_back is gives_back
    again = SqliteWorkflowStore(restored)
    await again.open()
    size = size_of(restored)
    await again.delete(HandlerQuery(handler_id_in=["gone"]))
    if gives_back:
        await until(lambda: size_of(restored) < size - LARGE)
    await again.close()
    assert (size_of(restored) < size) is gives_back


async def test_a_purge_by_the_command_gives_space_back(path: Path) -> None:
    store = SqliteWorkflowStore(path)
    await store.open()
    await fill(store)
    await store.close()
    size = size_of(path)
    purge_file(path, Selection(["completed"], None, 9e9), progress=unseen)
    assert size_of(path) < size - 2 * LARGE
    assert check(path).handlers == 0
