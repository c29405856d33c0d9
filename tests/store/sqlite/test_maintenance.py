"""Checks of a database beside its server, and what needs it alone: a vacuum and a purge."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.harness.tables import BY_HANDLER, BY_RUN, OWNERS
from tests.store.making import event, run_ended, run_started, tick
from tests.store.sqlite.files import edit, made
from tests.store.sqlite.test_integrity import damage
from tests.store.sqlite.test_wal import COMMITS, commits_at, killed
from workflow_server.errors import DatabaseError
from workflow_server.records import HandlerCount, KeyAnswered, Status
from workflow_server.store import HandlerQuery, SqliteWorkflowStore
from workflow_server.store.sqlite.exceptions import (
    DatabaseDamaged,
    DatabaseLocked,
    DatabaseMissing,
    DatabaseNotFound,
    DatabaseOlder,
    LogDamaged,
    LogLeftBehind,
    WorkUnfinished,
)
from workflow_server.store.sqlite.inspection import MAINTENANCE
from workflow_server.store.sqlite.lock import ServerLock
from workflow_server.store.sqlite.maintenance import Selection, check, count_selected, is_served, purge, vacuum
from workflow_server.store.sqlite.migrations import known_migrations, migrate
from workflow_server.store.sqlite.stats import TableSize, statistics
from workflow_server.store.sqlite.wal import log_of

__all__ = ["killed"]

ENDED: tuple[Status, ...] = ("completed", "failed", "cancelled")


def unseen(done: int, total: int) -> None:
    """Take no notice of the progress."""


@pytest.fixture
async def database(path: Path) -> Path:
    """A database that nobody has open."""
    await made(path)
    return path


class Row(NamedTuple):
    """A handler in the database of ``mixed``."""

    name: str
    workflow: str
    status: Status
    at: float


ROWS = [
    Row(f"{workflow}-{status}-{at}", workflow, status, float(at))
    for workflow in ("flow", "other")
    for status in (*ENDED, "running")
    for at in (1_000, 2_000, 3_000)
]


@pytest.fixture
async def mixed(path: Path) -> Path:
    """A database with handlers of each status, of two workflows and three times; nobody has it open."""
    store = SqliteWorkflowStore(path)
    await store.open()
    for name, workflow, status, at in ROWS:
        start = at if status == "running" else 10.0
        await store.append(
            run_started(name, workflow=workflow, at=start),
            *(event(name, number, data='"' + "x" * 2_000 + '"') for number in range(3)),
            tick(name, 0),
            KeyAnswered("run", name, name, f"{name}-1", "hash", "{}", 1.0),
        )
        if status != "running":
            await store.append(run_ended(name, status=status, at=at))
    await store.close()
    return path


def selection(*statuses: Status, before: float = 1e12, workflows: tuple[str, ...] | None = None) -> Selection:
    return Selection(statuses, workflows, before)


def left(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as connection:
        return {row[0] for row in connection.execute("SELECT handler_id FROM handlers")}


def owners(path: Path) -> set[str]:
    """The handlers and runs to which any row of any table belongs."""
    with closing(sqlite3.connect(path)) as connection:
        return {
            str(row[0]).removesuffix("-1")
            for table in {*BY_HANDLER, *BY_RUN}
            for row in connection.execute(f"SELECT {OWNERS[table]} FROM {table}")
            if row[0] is not None
        }


# -- Checks ----------------------------------------------------------------------------------------


async def test_a_database_is_checked_while_its_store_commits(store: SqliteWorkflowStore, path: Path) -> None:
    await store.append(run_started("a"), run_ended("a"), run_started("b"))
    going = True

    async def commit() -> None:
        number = 0
        while going:
            await store.append(event("b", number))
            number += 1

    committing = asyncio.create_task(commit())
    for _ in range(20):
        content = await asyncio.to_thread(check, path)
        assert (content.handlers, content.unfinished, content.schema) == (2, 1, len(known_migrations("")))
    going = False
    await committing
    assert is_served(path)


def test_a_check_changes_no_byte(database: Path) -> None:
    before = database.read_bytes()
    check(database)
    assert [file.name for file in database.parent.iterdir() if file.is_file()] == [database.name]
    assert database.read_bytes() == before
    assert not is_served(database)


def test_damage_is_found(database: Path) -> None:
    damage(database)
    with pytest.raises(DatabaseDamaged, match=str(database)):
        check(database)


def test_what_only_a_start_would_find_is_found(database: Path) -> None:
    edit(database, "CREATE TABLE other (x)", "INSERT INTO other VALUES (zeroblob(9000))", "DROP TABLE other")
    with database.open("r+b") as file:
        file.seek(32)
        file.write(bytes(4))
    with pytest.raises(DatabaseDamaged, match="counts free pages"):
        check(database)


def test_commits_that_are_lost_in_the_log_are_found(killed: Path) -> None:
    assert check(killed).handlers == 1
    log = bytearray(log_of(killed).read_bytes())
    log[commits_at(bytes(log))[-3] + 100] ^= 1
    log_of(killed).write_bytes(log)
    killed.with_name(killed.name + "-shm").unlink()
    with pytest.raises(LogDamaged, match="2 or more commits"):
        check(killed)


def test_the_files_of_a_server_are_not_judged_by_their_bytes(killed: Path) -> None:
    # The same as a server that writes to its log while that is read.
    log = bytearray(log_of(killed).read_bytes())
    log[commits_at(bytes(log))[-3] + 100] ^= 1
    log_of(killed).write_bytes(log)
    lock = ServerLock(killed)
    lock.acquire()
    assert check(killed).handlers == 1
    lock.release()
    with pytest.raises(LogDamaged):
        check(killed)


def test_a_missing_log_and_a_missing_database_are_named(database: Path) -> None:
    database.with_name(database.name + "-wal.left").touch()
    with pytest.raises(LogLeftBehind):
        check(database)
    missing = database.with_name("none.db")
    with pytest.raises(DatabaseNotFound):
        check(missing)
    log_of(missing).write_text("commits")
    with pytest.raises(DatabaseMissing):
        check(missing)


def test_an_older_database_is_sound_and_not_purged(path: Path) -> None:
    older = known_migrations("")[:-1]
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        migrate(connection, older)
        connection.execute("INSERT INTO handlers (handler_id, workflow_name, status) VALUES ('a', 'flow', 'completed')")
    assert (check(path).schema, check(path).handlers) == (len(older), 1)
    with pytest.raises(DatabaseOlder):
        purge(path, selection(*ENDED), progress=unseen)
    assert left(path) == {"a"}
    vacuum(path)
    assert (check(path).schema, left(path)) == (len(older), {"a"})


# -- Statistics ------------------------------------------------------------------------------------


def test_rows_bytes_and_handlers_are_counted(mixed: Path) -> None:
    edit(mixed, "UPDATE handlers SET purging = 1 WHERE handler_id = 'flow-failed-1000'")
    found = statistics(mixed)
    assert (found.file, found.free, found.being_deleted) == (mixed.stat().st_size, 0, 1)
    rows = {table.table: table.rows for table in found.tables}
    assert (rows["handlers"], rows["event_log"], rows["events"], rows["answers"]) == (24, 72, 0, 24)
    sizes = [table.bytes for table in found.tables]
    if None not in sizes:
        # The rest is the schema's.
        assert found.file * 0.5 < sum(size for size in sizes if size) < found.file
    assert HandlerCount("flow", "failed", 2) in found.handlers
    assert HandlerCount("other", "running", 3) in found.handlers
    assert len(found.handlers) == 8


def test_an_sqlite_without_dbstat_counts_rows_alone(mixed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MAINTENANCE, "table_bytes", "SELECT * FROM no_such_table")
    assert TableSize("handlers", 24, None) in statistics(mixed).tables


# -- Vacuum ----------------------------------------------------------------------------------------


def test_a_vacuum_gives_the_room_of_what_is_gone_back(mixed: Path) -> None:
    purge(mixed, selection(*ENDED), progress=unseen)
    size = mixed.stat().st_size
    assert statistics(mixed).free > 0
    assert vacuum(mixed) == (size, mixed.stat().st_size)
    assert mixed.stat().st_size < size
    assert (statistics(mixed).free, left(mixed)) == (0, {row.name for row in ROWS if row.status == "running"})
    check(mixed)


async def test_what_was_vacuumed_is_served(mixed: Path) -> None:
    vacuum(mixed)
    store = SqliteWorkflowStore(mixed)
    await store.open()
    assert len(await store.query(HandlerQuery())) == len(ROWS)
    await store.close()


Work = Callable[[Path], object]
ALONE: dict[str, Work] = {
    "vacuum": vacuum,
    "purge": lambda path: purge(path, selection(*ENDED), progress=unseen),
}


@pytest.mark.parametrize("work", ALONE)
async def test_a_start_still_learns_of_the_crash_before(killed: Path, work: str) -> None:
    for stopped_cleanly in (False, True):
        ALONE[work](killed)
        store = SqliteWorkflowStore(killed)
        await store.open()
        assert store.stopped_cleanly is stopped_cleanly
        assert len(await store.read_events("a", -1, 100)) == COMMITS
        await store.close()


@pytest.mark.parametrize("work", ALONE)
async def test_a_server_keeps_the_database_to_itself(store: SqliteWorkflowStore, path: Path, work: str) -> None:
    await store.append(run_started("a"), run_ended("a"))
    with pytest.raises(DatabaseLocked, match=f"process {os.getpid()}"):
        ALONE[work](path)
    assert await store.event_range("a") is not None


@pytest.mark.parametrize("work", ALONE)
def test_no_server_starts_meanwhile(mixed: Path, work: str, monkeypatch: pytest.MonkeyPatch) -> None:
    refused: list[BaseException] = []
    statvfs = os.statvfs

    def start(*_: object) -> os.statvfs_result:
        with pytest.raises(DatabaseLocked) as error:
            asyncio.run(SqliteWorkflowStore(mixed).open())
        refused.append(error.value)
        return statvfs(mixed)

    monkeypatch.setattr(os, "statvfs", start)
    if work == "vacuum":
        vacuum(mixed)
    else:
        purge(mixed, selection(*ENDED), progress=start)  # type: ignore[arg-type]
    assert refused
    assert not is_served(mixed)


@pytest.mark.parametrize("work", ALONE)
def test_a_log_that_a_start_would_refuse_is_left_as_it_is(killed: Path, work: str) -> None:
    log = bytearray(log_of(killed).read_bytes())
    log[commits_at(bytes(log))[-3] + 100] ^= 1
    log_of(killed).write_bytes(log)
    before = killed.read_bytes()
    with pytest.raises(LogDamaged):
        ALONE[work](killed)
    assert (killed.read_bytes(), log_of(killed).read_bytes()) == (before, bytes(log))


@pytest.mark.parametrize("work", ALONE)
def test_a_damaged_database_is_left_as_it_is(database: Path, work: str) -> None:
    damage(database)
    before = database.read_bytes()
    with pytest.raises(DatabaseError):
        ALONE[work](database)
    assert database.read_bytes() == before
    with pytest.raises(DatabaseNotFound):
        ALONE[work](database.with_name("none.db"))
    assert not database.with_name("none.db").exists()


@pytest.mark.slow(12)
def test_a_reader_of_the_log_keeps_the_file_from_becoming_smaller(mixed: Path) -> None:
    purge(mixed, selection(*ENDED), progress=unseen)
    with closing(sqlite3.connect(mixed, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM handlers").fetchall()
        with pytest.raises(WorkUnfinished, match="another program reads it"):
            vacuum(mixed)
    assert check(mixed).handlers == 6


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a file system")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_a_vacuum_without_room_leaves_all_as_it_was(
    mixed: Path, disk: Path, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = disk / "runs.db"
    shutil.copyfile(mixed, path)
    (disk / "filler").write_bytes(bytes((1 << 20) - path.stat().st_size - 120_000))
    if when == "meanwhile":
        roomy = os.statvfs(mixed)
        monkeypatch.setattr(os, "statvfs", lambda _: roomy)
    with pytest.raises(WorkUnfinished, match="room for" if when == "before" else "the disk is full"):
        vacuum(path)
    assert check(path).handlers == len(ROWS)
    assert not log_of(path).exists() or log_of(path).stat().st_size == 0


# -- Purge -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chosen", "gone"),
    [
        (selection("completed"), lambda row: row.status == "completed"),
        (selection(*ENDED), lambda row: row.status != "running"),
        (selection("failed", before=2_000.0), lambda row: row.status == "failed" and row.at < 2_000),
        (selection("failed", before=2_000.5), lambda row: row.status == "failed" and row.at < 2_500),
        (
            selection("completed", "cancelled", workflows=("other",), before=2_500.0),
            lambda row: row.status in ("completed", "cancelled") and row.workflow == "other" and row.at < 2_500,
        ),
        (selection("running", before=2_500.0), lambda row: row.status == "running" and row.at < 2_500),
        (selection("completed", before=0.0), lambda row: False),
        (selection("completed", workflows=("none",)), lambda row: False),
    ],
)
def test_exactly_what_is_selected_is_deleted(mixed: Path, chosen: Selection, gone: Callable[[Row], bool]) -> None:
    expected = {row.name for row in ROWS if gone(row)}
    counts = count_selected(mixed, chosen)
    assert sum(count.number for count in counts) == len(expected)
    assert left(mixed) == {row.name for row in ROWS}, "counting deletes nothing"
    assert purge(mixed, chosen, progress=unseen) == counts
    assert left(mixed) == {row.name for row in ROWS} - expected
    assert owners(mixed) == left(mixed)
    assert check(mixed).handlers == len(ROWS) - len(expected)


async def test_no_byte_of_what_was_purged_is_left(path: Path) -> None:
    store = SqliteWorkflowStore(path)
    await store.open()
    for name, at in (("a", 3.0), ("b", 1.0)):
        large = f'"{f"a secret of {name}" * 5_000}"'
        await store.append(run_started(name, at=0.5), event(name, 0, data=large), run_ended(name, at=at))
    await store.close()
    purge(path, selection("completed", before=2.0), progress=unseen)
    content = b"".join(file.read_bytes() for file in sorted(path.parent.iterdir()) if file.is_file())
    assert (b"secret of a" in content, b"secret of b" in content) == (True, False)


def test_a_purge_of_nothing_finishes_an_earlier_deletion(mixed: Path) -> None:
    edit(mixed, "UPDATE handlers SET purging = 1 WHERE status = 'failed'")
    assert purge(mixed, selection("failed"), progress=unseen) == []
    assert owners(mixed) == {row.name for row in ROWS if row.status != "failed"}


class Ended(Exception):
    """Stands for a signal in the middle."""


def test_a_purge_that_is_ended_is_finished_by_the_next(mixed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workflow_server.store.sqlite.maintenance.MARKED", 2)
    reported: list[tuple[int, int]] = []

    def end(done: int, total: int) -> None:
        reported.append((done, total))
        if done == 4:
            raise Ended

    with pytest.raises(Ended):
        purge(mixed, selection("completed"), progress=end)
    assert reported == [(0, 6), (2, 6), (4, 6)]
    assert len(left(mixed)) == len(ROWS) - 4
    edit(mixed, "UPDATE handlers SET purging = 1 WHERE status = 'failed'")
    assert sum(count.number for count in purge(mixed, selection("completed"), progress=unseen)) == 2
    assert {row.split("-")[1] for row in left(mixed)} == {"cancelled", "running"}
