"""The meaning of SQLite's errors at a commit."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from tests.store.failing import failing
from tests.store.fault_injection import HookedStore
from tests.store.making import run_started
from workflow_server.errors import CommitUnknown, StorageFull


async def test_a_commit_waits_out_a_lock_that_another_process_holds(store: HookedStore, path: Path) -> None:
    holder = await asyncio.create_subprocess_exec(
        "python3",
        "-c",
        "import sqlite3, sys\n"
        "c = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "c.execute('BEGIN IMMEDIATE'); print('held', flush=True); sys.stdin.read(); c.execute('ROLLBACK'); c.close()",
        str(path),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    assert await holder.stdout.readline() == b"held\n"
    waiting = asyncio.ensure_future(store.commit(run_started("a")))
    assert await store.running_runs() == [], "reads go on, and so does the event loop"
    assert not waiting.done()
    holder.stdin.close()
    await waiting
    await holder.wait()
    assert store.problem is None


async def test_after_a_failed_fsync_nothing_is_tried_again(
    failing_store: tuple[HookedStore, list[BaseException]],
) -> None:
    """A large transaction syncs the header of a log that begins anew: a second fsync would prove nothing."""
    store, failures = failing_store
    store.hook = failing(sqlite3.SQLITE_IOERR_FSYNC, times=1)
    with pytest.raises(CommitUnknown):
        await store.commit(run_started("a"))
    assert [type(failure) for failure in failures] == [CommitUnknown]


async def test_shared_memory_that_cannot_grow_is_a_full_disk(store: HookedStore) -> None:
    store.hook = failing(sqlite3.SQLITE_IOERR_SHMSIZE, times=1)
    with pytest.raises(StorageFull):
        await store.commit(run_started("a"))


async def test_after_an_io_error_before_the_commit_nothing_is_stored(store: HookedStore) -> None:
    store.hook = failing(sqlite3.SQLITE_IOERR_READ, times=1)
    await store.commit(run_started("a"))
    assert store.problem is None


async def test_after_an_unknown_outcome_the_file_is_not_clean(
    failing_store: tuple[HookedStore, list[BaseException]], path: Path
) -> None:
    store, _ = failing_store
    store.hook = failing(sqlite3.SQLITE_IOERR_FSYNC, at="inside commit")
    with pytest.raises(CommitUnknown):
        await store.append(run_started("a"))
    await store.close()
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT clean_stop FROM server").fetchone() == (0,)
    connection.close()
