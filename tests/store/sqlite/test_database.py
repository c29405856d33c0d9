"""The end of a database: its last checkpoint, and the note of a clean stop."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.store.making import run_started
from workflow_server.errors import CommitUnknown
from workflow_server.store import SqliteWorkflowStore
from workflow_server.store.backend import FailureKind, TransactionError
from workflow_server.store.sqlite.checkpoint import Checkpointer


async def test_a_failed_last_checkpoint_is_told_to_the_owner(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: object) -> None:
        raise TransactionError(FailureKind.UNKNOWN, "SQLITE_IOERR_FSYNC: made by a test")

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
