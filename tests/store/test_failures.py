"""The store's errors and actions when a commit fails, and when commits succeed again."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest

from workflow_server.errors import CommitUnknown, StorageError, StorageFull, StoreUnavailable, UnitRefused
from workflow_server.records import Record
from workflow_server.store import SqliteWorkflowStore
from workflow_server.store.sqlite import writer as writer_module
from workflow_server.store.sqlite.checkpoint import Checkpointer
from workflow_server.store.sqlite.connection import run_on
from workflow_server.store.sqlite.transaction import Entries, Fault, TransactionError, Verdict

from .making import event, run_started, tick


async def on_write_connection(store: SqliteWorkflowStore, statement: str) -> None:
    assert store._opened is not None
    await run_on(store._opened.connection, lambda sqlite: sqlite.execute(statement).fetchall())


def failing(code: int, *, at: str = "before commit", times: int = 1 << 30) -> Fault:
    """A fault that raises what SQLite would, with its error code."""
    left = times

    def fault(point: str, units: Sequence[Entries]) -> None:
        nonlocal left
        if point == at and left > 0:
            left -= 1
            error = sqlite3.OperationalError("made by a test")
            error.sqlite_errorcode = code
            raise error

    return fault


@pytest.fixture
async def failing_store(path: Path) -> AsyncIterator[tuple[SqliteWorkflowStore, list[BaseException]]]:
    """A store that is expected to fail for good, and what it reported."""
    store = SqliteWorkflowStore(path, persistence_backoff=(0.01, 0.02))
    failures: list[BaseException] = []
    store.on_failure = failures.append
    await store.open()
    yield store, failures
    await store.close()


# -- A value that can never be stored ------------------------------------------------------------

POISON: dict[str, Callable[[], Record]] = {
    "too large an integer": lambda: tick("a", 1 << 70),
    "a lone surrogate": lambda: tick("a", 9, data="\ud800"),
    "a type that is no column": lambda: tick("a", 9, data=object()),  # type: ignore[arg-type]
    "a sequence given twice": lambda: event("a", 0),
    "a handler that is not there": lambda: event("nobody", 0),
    "a run that is not there": lambda: tick("nobody", 0),
}


@pytest.mark.parametrize("poison", POISON.values(), ids=POISON)
async def test_a_unit_that_cannot_be_stored_is_refused_alone(
    store: SqliteWorkflowStore, poison: Callable[[], Record]
) -> None:
    refused: list[tuple[list[Record], StorageError]] = []
    committed: list[Record] = []
    store.on_refused = lambda records, error: refused.append((list(records), error))
    store.on_commit = lambda records: committed.extend(records)
    await store.append(run_started("a"), event("a", 0))
    committed.clear()
    bad = poison()
    before = store.append(tick("a", 0))
    culprit = store.append(event("a", 1), bad)
    after = store.append(tick("a", 1), event("a", 2))
    await before
    await after
    with pytest.raises(UnitRefused):
        await culprit
    assert [records for records, _ in refused] == [[event("a", 1), bad]]
    assert committed == [tick("a", 0), tick("a", 1), event("a", 2)]
    assert [stored.sequence for stored in await store.read_events("a", -1, 10)] == [0, 2], "a unit is never cut"
    assert (store.problem, store.backlog) == (None, 0)


async def test_a_refused_unit_is_reported_though_nobody_waits_for_it(store: SqliteWorkflowStore) -> None:
    reported: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    store.on_refused = lambda records, error: reported.set_result((list(records), type(error)))
    refused = event("nobody", 0)
    store.append(refused)
    assert await asyncio.wait_for(reported, 10) == ([refused], UnitRefused)


# -- No room -------------------------------------------------------------------------------------


async def fill_up(store: SqliteWorkflowStore) -> None:
    """Let the database grow no more; how SQLite reports it is how it reports a full disk."""
    await on_write_connection(store, "PRAGMA max_page_count = 1")


async def make_room(store: SqliteWorkflowStore) -> None:
    await on_write_connection(store, "PRAGMA max_page_count = 1000000")


async def test_a_full_disk_refuses_who_can_be_refused_and_keeps_the_rest_in_order_until_there_is_room(
    store: SqliteWorkflowStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "FULL_RETRY", 0.05)
    await store.append(run_started("a"))
    await fill_up(store)
    kept = [asyncio.ensure_future(store.append(event("a", n, data="x" * 20_000))) for n in range(3)]
    with pytest.raises(StorageFull):
        await store.commit(run_started("b"))
    assert store.problem is not None
    assert "full" in store.problem
    with pytest.raises(StorageFull):
        await store.commit(run_started("c"))
    late = asyncio.ensure_future(store.append(event("a", 3)))
    assert await store.load_run("a") is not None, "reads go on"
    assert not any(waiting.done() for waiting in kept)
    await make_room(store)
    await asyncio.gather(*kept, late)
    assert store.problem is None
    assert [stored.sequence for stored in await store.read_events("a", -1, 10)] == [0, 1, 2, 3]
    assert await store.load_run("b") is None, "what was refused is never stored"
    await store.commit(run_started("d"))


async def test_new_work_that_gathered_while_the_disk_was_found_full_is_refused_at_once(
    store: SqliteWorkflowStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "FULL_RETRY", 3600.0)
    await store.append(run_started("a"))
    loop, reached, go = asyncio.get_running_loop(), asyncio.Event(), threading.Event()
    full = failing(sqlite3.SQLITE_FULL, times=1)

    def fault(point: str, units: Sequence[Entries]) -> None:
        loop.call_soon_threadsafe(reached.set)
        go.wait(30)
        full(point, units)

    store.fault = fault
    kept = asyncio.ensure_future(store.append(event("a", 0)))
    await reached.wait()
    gathered = asyncio.ensure_future(store.commit(run_started("b")))
    await asyncio.sleep(0)
    go.set()
    with pytest.raises(StorageFull):
        await gathered
    assert not kept.done()
    await store.close()
    await kept


async def test_a_full_disk_with_only_new_work_recovers_with_the_next_work_that_fits(
    store: SqliteWorkflowStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "FULL_RETRY", 0.0)
    await fill_up(store)
    with pytest.raises(StorageFull):
        await store.commit(run_started("a"), event("a", 0, data="x" * 20_000))
    assert store.problem is not None
    await make_room(store)
    await store.commit(run_started("a"))
    assert store.problem is None


async def test_closing_with_a_full_disk_ends_and_says_what_was_not_stored(
    failing_store: tuple[SqliteWorkflowStore, list[BaseException]],
) -> None:
    store, failures = failing_store
    await store.append(run_started("a"))
    await fill_up(store)
    waiting = asyncio.ensure_future(store.append(event("a", 0, data="x" * 20_000)))
    with pytest.raises(StorageFull):
        await store.commit(run_started("b"))
    await store.close()
    with pytest.raises(StorageFull):
        await waiting
    assert len(failures) == 1


# -- A database that cannot be written for a while ------------------------------------------------


async def test_a_commit_waits_out_a_lock_that_another_process_holds(store: SqliteWorkflowStore, path: Path) -> None:
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


async def test_a_failed_commit_is_tried_again_and_the_problem_shown_meanwhile(store: SqliteWorkflowStore) -> None:
    problems: list[str | None] = []
    fault = failing(sqlite3.SQLITE_CANTOPEN, times=2)

    def noting(point: str, units: Sequence[Entries]) -> None:
        problems.append(store.problem)
        fault(point, units)

    store.fault = noting
    await store.commit(run_started("a"))
    assert problems[0] is None
    assert problems[1] is not None
    assert store.problem is None
    assert await store.load_run("a") is not None


async def test_when_tries_are_exhausted_new_work_is_refused_and_the_store_goes_on(store: SqliteWorkflowStore) -> None:
    store.fault = failing(sqlite3.SQLITE_BUSY, times=3)
    with pytest.raises(StoreUnavailable):
        await store.commit(run_started("a"))
    await store.commit(run_started("b"))
    assert [run.handler_id for run in await store.running_runs()] == ["b"]


async def test_when_tries_are_exhausted_for_what_cannot_be_refused_the_store_fails_once(
    failing_store: tuple[SqliteWorkflowStore, list[BaseException]],
) -> None:
    store, failures = failing_store
    store.fault = failing(sqlite3.SQLITE_BUSY)
    waiting = store.append(run_started("a"))
    with pytest.raises(StoreUnavailable):
        await store.commit(run_started("b"))
    with pytest.raises(StoreUnavailable):
        await waiting
    store.fault = None
    with pytest.raises(StoreUnavailable):
        await store.append(run_started("c"))
    assert len(failures) == 1


# -- A commit whose outcome is unknown -------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "at"),
    [
        (sqlite3.SQLITE_IOERR_FSYNC, "inside commit"),
        (sqlite3.SQLITE_IOERR_WRITE, "inside commit"),
        (sqlite3.SQLITE_CORRUPT, "inside commit"),
        (sqlite3.SQLITE_ERROR, "after commit"),
    ],
)
async def test_an_unknown_outcome_is_said_to_everybody_and_nothing_is_committed_again(
    failing_store: tuple[SqliteWorkflowStore, list[BaseException]], code: int, at: str
) -> None:
    store, failures = failing_store
    store.fault = failing(code, at=at)
    waiting = store.append(run_started("a"))
    refusable = asyncio.ensure_future(store.commit(run_started("b")))
    with pytest.raises(CommitUnknown):
        await waiting
    with pytest.raises(CommitUnknown):
        await refusable
    store.fault = None
    with pytest.raises(CommitUnknown):
        await store.commit(run_started("c"))
    assert [type(failure) for failure in failures] == [CommitUnknown]
    assert store.problem is not None


async def test_after_an_fsync_that_failed_before_the_commit_nothing_is_tried_again(
    failing_store: tuple[SqliteWorkflowStore, list[BaseException]],
) -> None:
    """A large transaction syncs the header of a log that begins anew: a second fsync would prove nothing."""
    store, failures = failing_store
    store.fault = failing(sqlite3.SQLITE_IOERR_FSYNC, times=1)
    with pytest.raises(CommitUnknown):
        await store.commit(run_started("a"))
    assert [type(failure) for failure in failures] == [CommitUnknown]


async def test_shared_memory_that_cannot_grow_is_a_full_disk(store: SqliteWorkflowStore) -> None:
    store.fault = failing(sqlite3.SQLITE_IOERR_SHMSIZE, times=1)
    with pytest.raises(StorageFull):
        await store.commit(run_started("a"))


async def test_a_last_checkpoint_that_fails_is_told_to_the_owner_and_not_raised(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*_: object) -> None:
        raise TransactionError(Verdict.UNKNOWN, "SQLITE_IOERR_FSYNC: made by a test")

    store = SqliteWorkflowStore(path)
    failures: list[BaseException] = []
    store.on_failure = failures.append
    await store.open()
    await store.commit(run_started("a"))
    monkeypatch.setattr(Checkpointer, "run", run)
    await store.close()
    assert [type(failure) for failure in failures] == [CommitUnknown]
    monkeypatch.undo()
    again = SqliteWorkflowStore(path)
    await again.open()
    assert not again.stopped_cleanly
    assert len(await again.running_runs()) == 1
    await again.close()


async def test_an_io_error_before_the_commit_is_known_to_have_stored_nothing(store: SqliteWorkflowStore) -> None:
    store.fault = failing(sqlite3.SQLITE_IOERR_READ, times=1)
    await store.commit(run_started("a"))
    assert store.problem is None


async def test_after_an_unknown_outcome_the_file_is_not_marked_as_closed_cleanly(
    failing_store: tuple[SqliteWorkflowStore, list[BaseException]], path: Path
) -> None:
    store, _ = failing_store
    store.fault = failing(sqlite3.SQLITE_IOERR_FSYNC, at="inside commit")
    with pytest.raises(CommitUnknown):
        await store.append(run_started("a"))
    await store.close()
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT clean_stop FROM server").fetchone() == (0,)
    connection.close()


async def test_a_listener_that_raises_is_never_passed_over_in_silence(
    failing_store: tuple[SqliteWorkflowStore, list[BaseException]],
) -> None:
    store, failures = failing_store

    def listener(records: Sequence[Record]) -> None:
        raise LookupError("a bug above the store")

    store.on_commit = listener
    with pytest.raises(CommitUnknown):
        await store.append(run_started("a"))
    assert len(failures) == 1
