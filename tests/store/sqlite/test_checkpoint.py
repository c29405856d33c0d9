"""The write-ahead log stays short, and a checkpoint that fails is not passed over."""

# Nothing else runs on the loop of these tests.
# ruff: noqa: ASYNC240
from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from tests.store.making import event, run_started
from workflow_server.store import SqliteWorkflowStore
from workflow_server.store.backend import FailureKind, TransactionError
from workflow_server.store.sqlite import checkpoint
from workflow_server.store.sqlite.checkpoint import Checkpointer
from workflow_server.store.sqlite.connection import JOURNAL_SIZE_LIMIT


async def test_the_log_stays_bounded_while_the_database_grows(store: SqliteWorkflowStore, path: Path) -> None:
    await store.append(run_started("a"))
    log = path.with_name(path.name + "-wal")
    largest = 0
    for n in range(400):
        await store.append(event("a", n, data="x" * 100_000))
        await store.read_events("a", n - 5, 5)
        largest = max(largest, log.stat().st_size)
    assert path.stat().st_size > 30_000_000
    assert largest < 3 * JOURNAL_SIZE_LIMIT


async def test_many_small_commits_are_checkpointed_too(
    store: SqliteWorkflowStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "COMMITS", 10)
    await store.append(run_started("a"))
    before = path.stat().st_size
    for n in range(30):
        await store.append(event("a", n, data="x" * 4000))
    await store.flush()
    assert path.stat().st_size > before


async def test_closing_leaves_one_file_and_an_empty_log(store: SqliteWorkflowStore, path: Path) -> None:
    await store.append(run_started("a"))
    await store.close()
    assert sorted(file.name for file in path.parent.iterdir()) == ["server.db", "server.db.lock"]


class FailingConnection(sqlite3.Connection):
    """A real connection whose checkpoints end with ``code``, as they do when the disk fails under them."""

    code = 0

    def execute(self, sql: str, *args: object) -> sqlite3.Cursor:
        if "wal_checkpoint" in sql:
            error = sqlite3.OperationalError("made by a test")
            error.sqlite_errorcode = self.code
            raise error
        return super().execute(sql)


@pytest.mark.parametrize(("code", "fatal"), [(sqlite3.SQLITE_IOERR_FSYNC, True), (sqlite3.SQLITE_FULL, False)])
def test_a_failed_fsync_of_a_checkpoint_is_an_unknown_outcome(path: Path, code: int, fatal: bool) -> None:
    connection = sqlite3.connect(path, factory=FailingConnection)
    connection.code = code
    if fatal:
        with pytest.raises(TransactionError) as failure:
            Checkpointer(path).run(connection)
        assert failure.value.kind is FailureKind.UNKNOWN
    else:
        Checkpointer(path).run(connection)
    connection.close()
