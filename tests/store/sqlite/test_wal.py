"""The write-ahead log as a file: a tail that a power cut tore is no damage, a torn middle is."""

# Nothing else runs on the loop of these tests.
# ruff: noqa: ASYNC240
from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.store.making import event, run_started
from workflow_server.store import SqliteWorkflowStore
from workflow_server.store.sqlite.exceptions import DatabaseMissing, LogDamaged
from workflow_server.store.sqlite.wal import log_of

FRAME = 24 + 4_096
COMMITS = 6


@pytest.fixture
async def killed(path: Path, tmp_path: Path) -> Path:
    """A database as a kill leaves it, with some commits in its log."""
    store = SqliteWorkflowStore(path)
    await store.open()
    await store.append(run_started("a"))
    for number in range(COMMITS):
        await store.append(event("a", number))
    copy = tmp_path / "killed.sqlite3"
    for source, target in ((path, copy), (log_of(path), log_of(copy))):
        shutil.copyfile(source, target)
    await store.close()
    return copy


def commits_at(log: bytes) -> list[int]:
    """The offsets of the frames that end a commit."""
    starts = range(32, len(log), FRAME)
    return [
        start
        for start in starts
        if log[start + 4 : start + 8] != bytes(4) and log[start + 8 : start + 16] == log[16:24]
    ]


async def test_a_log_that_is_whole_is_read_to_its_end(killed: Path) -> None:
    store = SqliteWorkflowStore(killed)
    await store.open()
    assert len(await store.read_events("a", -1, 100)) == COMMITS
    await store.close()


async def test_the_last_commit_may_be_torn_since_nobody_was_told_of_it(killed: Path) -> None:
    log = bytearray(log_of(killed).read_bytes())
    log[commits_at(bytes(log))[-1] + 100] ^= 1
    log_of(killed).write_bytes(log)
    store = SqliteWorkflowStore(killed)
    await store.open()
    assert len(await store.read_events("a", -1, 100)) == COMMITS - 1
    await store.close()


async def test_a_log_damaged_before_other_commits_is_refused(killed: Path) -> None:
    log = bytearray(log_of(killed).read_bytes())
    place = commits_at(bytes(log))[-3]
    log[place + 100] ^= 1
    log_of(killed).write_bytes(log)
    before = killed.read_bytes()
    with pytest.raises(LogDamaged, match="2 or more commits behind the damage"):
        await SqliteWorkflowStore(killed).open()
    assert (killed.read_bytes(), log_of(killed).read_bytes()) == (before, bytes(log))


@pytest.mark.parametrize("empty", [False, True])
async def test_a_log_without_its_database_is_not_thrown_away(killed: Path, *, empty: bool) -> None:
    log = log_of(killed).read_bytes()
    killed.unlink()
    if empty:
        killed.touch()
    with pytest.raises(DatabaseMissing, match="write-ahead log"):
        await SqliteWorkflowStore(killed).open()
    assert log_of(killed).read_bytes() == log
    assert killed.exists() == empty
