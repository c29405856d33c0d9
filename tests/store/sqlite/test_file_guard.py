"""A database that is not where it was: nothing more is acknowledged, and what it holds is not written elsewhere."""

# Nothing else runs on the loop of these tests.
# ruff: noqa: ASYNC240
from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.store.making import run_started
from workflow_server.errors import StoreGone
from workflow_server.store import SqliteWorkflowStore
from workflow_server.store.sqlite import file_guard as presence
from workflow_server.store.sqlite.checkpoint import COMMITS_OVER_SIZE, Checkpointer
from workflow_server.store.sqlite.exceptions import DatabaseMissing, LogLeftBehind
from workflow_server.store.sqlite.file_guard import FileGuard


def replace(path: Path) -> None:
    other = path.with_name("other")
    other.touch()
    os.replace(other, path)


GONE: dict[str, Callable[[Path], None]] = {
    "deleted": lambda path: path.unlink(),
    "replaced": replace,
    "its log deleted": lambda path: path.with_name(path.name + "-wal").unlink(),
}


@pytest.mark.parametrize("remove", GONE.values(), ids=GONE)
async def test_a_commit_to_a_file_that_is_gone_is_not_acknowledged(path: Path, remove: Callable[[Path], None]) -> None:
    store = SqliteWorkflowStore(path)
    failures: list[BaseException] = []
    store.on_failure = failures.append
    committed: list[object] = []
    await store.open()
    store.subscribe(committed.extend)
    remove(path)
    with pytest.raises(StoreGone):
        await store.commit(run_started("a"))
    with pytest.raises(StoreGone):
        await store.append(run_started("b"))
    assert [type(failure) for failure in failures] == [StoreGone]
    assert committed == []
    await store.close()


def test_a_log_that_is_gone_needs_no_checkpoint(path: Path) -> None:
    checkpointer = Checkpointer(path)
    for _ in range(COMMITS_OVER_SIZE):
        checkpointer.count_commit()
    assert not checkpointer.is_due()


async def test_a_store_that_is_closed_after_its_file_is_gone_says_so(path: Path) -> None:
    store = SqliteWorkflowStore(path)
    failures: list[BaseException] = []
    store.on_failure = failures.append
    await store.open()
    await store.commit(run_started("a"))
    path.unlink()
    await store.close()
    assert [type(failure) for failure in failures] == [StoreGone]


async def test_the_log_of_a_missing_database_can_be_put_back(path: Path) -> None:
    store = SqliteWorkflowStore(path)
    store.on_failure = lambda error: None
    await store.open()
    await store.commit(run_started("a"))
    kept, log = path.with_name("kept"), path.with_name(path.name + "-wal")
    os.rename(path, kept)
    await store.close()
    left = log.with_name(log.name + ".left")
    assert left.exists()
    assert not log.exists(), "SQLite would delete it, or write it into what stands there next"
    os.rename(kept, path)
    os.rename(left, log)
    again = SqliteWorkflowStore(path)
    await again.open()
    assert [run.handler_id for run in await again.running_runs()] == ["a"]
    await again.close()


async def test_a_start_forgets_no_log_that_was_set_aside(path: Path) -> None:
    store = SqliteWorkflowStore(path)
    store.on_failure = lambda error: None
    await store.open()
    await store.commit(run_started("a"))
    kept, left = path.with_name("kept"), path.with_name(path.name + "-wal.left")
    os.rename(path, kept)
    await store.close()
    with pytest.raises(DatabaseMissing, match=r"missing or empty, but .*-wal\.left. is there"):
        await SqliteWorkflowStore(path).open()
    assert not path.exists(), "a new database hides what is missing"
    os.rename(kept, path)
    before = path.read_bytes()
    with pytest.raises(LogLeftBehind, match=r"rename '.*-wal\.left' to '.*-wal'; if this is a backup, move '.*' away"):
        await SqliteWorkflowStore(path).open()
    assert path.read_bytes() == before
    left.unlink()
    again = SqliteWorkflowStore(path)
    await again.open()
    await again.close()


async def test_a_file_out_of_reach_is_not_taken_for_a_missing_one(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SqliteWorkflowStore(path)
    failures: list[BaseException] = []
    store.on_failure = failures.append
    await store.open()
    await store.commit(run_started("a"))
    stat = os.stat

    def unreadable(name: str, **how: Any) -> os.stat_result:
        if name == str(path):
            raise PermissionError(errno.EACCES, "Permission denied", name)
        return stat(name, **how)

    monkeypatch.setattr(presence, "os", SimpleNamespace(stat=unreadable, replace=os.replace))
    with pytest.raises(StoreGone, match=r"out of reach \(Permission denied\)"):
        await store.commit(run_started("b"))
    await store.close()
    assert [type(failure) for failure in failures] == [StoreGone]
    assert not path.with_name(path.name + "-wal.left").exists(), "its log was set aside"
    monkeypatch.undo()
    await store.open()
    await store.close()


def test_looking_costs_little_beside_a_commit(path: Path) -> None:
    path.touch()
    presence = FileGuard(path)
    began = time.process_time()
    for _ in range(1000):
        presence.check()
    assert time.process_time() - began < 0.1, "a commit takes 600 µs"
