"""Opening: a new database, one after an unclean stop, and errors told by name."""

# Nothing else runs on the loop of these tests.
# ruff: noqa: ASYNC240
from __future__ import annotations

import asyncio
import errno
import os
import shutil
import sqlite3
import stat
import threading
from pathlib import Path

import pytest

from tests.harness.runs import until
from tests.store.fault_injection import on_write_connection
from tests.store.making import run_started
from workflow_server.errors import DatabaseError
from workflow_server.store import HandlerQuery, SqliteWorkflowStore
from workflow_server.store.sqlite import connection as connection_module
from workflow_server.store.sqlite import open as opening
from workflow_server.store.sqlite.exceptions import (
    DatabaseDamaged,
    DatabaseFull,
    DatabaseLinked,
    DatabaseNewer,
    DatabaseReadOnly,
    DiskFailed,
    MigrationEdited,
    MigrationMissing,
)
from workflow_server.store.sqlite.migrations import APPLICATION_ID, known_migrations

from .files import edit, made


async def test_a_new_database_is_private_durable_and_says_whose_it_is(store: SqliteWorkflowStore, path: Path) -> None:
    for file in (path, path.with_name("server.db-wal"), path.with_name("server.db.lock")):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    header = path.read_bytes()[:100]
    assert int.from_bytes(header[68:72], "big") == APPLICATION_ID
    assert int.from_bytes(header[60:64], "big") == len(known_migrations(str(path)))

    def settings(connection: sqlite3.Connection) -> list[object]:
        names = ("journal_mode", "synchronous", "foreign_keys")
        return [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names]

    assert await on_write_connection(store, settings) == ["wal", 2, 1]


async def test_an_empty_file_is_a_new_database(path: Path) -> None:
    path.touch()
    await made(path)
    assert path.stat().st_size > 0


async def test_a_path_of_any_characters_is_a_path(tmp_path: Path) -> None:
    await made(tmp_path / "what? 100% #1 é&mode=memory.db")
    assert [file.name for file in tmp_path.iterdir()] == ["what? 100% #1 é&mode=memory.db"]


async def test_migrations_of_another_installation_are_refused(path: Path) -> None:
    await made(path)
    edited = path.with_name("edited.db")
    newer = path.with_name("newer.db")
    gap = path.with_name("gap.db")
    for copy in (edited, newer, gap):
        shutil.copy(path, copy)
    edit(edited, "UPDATE migrations SET sha256 = 'another' WHERE number = 1")
    edit(newer, "INSERT INTO migrations VALUES (9998, '9998_later', 'x', 1.0)")
    edit(gap, "UPDATE migrations SET number = 0 WHERE number = 1")
    for file, kind in ((edited, MigrationEdited), (newer, DatabaseNewer), (gap, MigrationMissing)):
        before = file.read_bytes()
        with pytest.raises(kind):
            await SqliteWorkflowStore(file).open()
        assert file.read_bytes() == before


async def killed(path: Path) -> Path:
    """The files of a server that was killed, in another folder: what it has committed is in its log alone."""
    folder = path.with_name("killed")
    folder.mkdir()
    store = SqliteWorkflowStore(path)
    await store.open()
    await store.close()
    await store.open()
    await store.append(run_started("a"))
    for name in (path.name, f"{path.name}-wal"):
        shutil.copy(path.with_name(name), folder / name)
    await store.close()
    return folder / path.name


async def test_a_log_is_folded_in_before_anything_is_added(path: Path) -> None:
    left = await killed(path)
    store = SqliteWorkflowStore(left)
    await store.open()
    alone = sqlite3.connect(f"{left.as_uri()}?immutable=1", uri=True)
    assert alone.execute("SELECT handler_id FROM handlers").fetchall() == [("a",)], "it is in the log alone"
    alone.close()
    await store.close()


async def test_a_program_that_reads_the_log_keeps_no_server_out(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "BUSY_TIMEOUT", 50)
    left = await killed(path)
    log = left.with_name(f"{left.name}-wal")
    found = log.read_bytes()
    synced: list[str] = []
    reader = sqlite3.connect(left, isolation_level=None)
    reader.execute("BEGIN").connection.execute("SELECT count(*) FROM handlers").fetchone()
    sync = os.fsync

    def noting_sync(file: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{file}"))
        sync(file)

    monkeypatch.setattr(os, "fsync", noting_sync)
    store = SqliteWorkflowStore(left)
    await store.open()
    assert str(log) in synced, "what the disk may lack was not written anew"
    assert log.read_bytes().startswith(found), "the log was changed under its reader"
    await store.append(run_started("b"))
    await store.close()
    assert reader.execute("SELECT handler_id FROM handlers").fetchall() == [("a",)]
    reader.close()
    await store.open()
    assert [handler.handler_id for handler in await store.query(HandlerQuery())] == ["a", "b"]
    await store.close()


async def test_a_log_in_use_that_cannot_be_rewritten_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "BUSY_TIMEOUT", 50)
    left = await killed(path)
    reader = sqlite3.connect(left, isolation_level=None)
    reader.execute("BEGIN").connection.execute("SELECT count(*) FROM handlers").fetchone()

    def fail(path: Path) -> None:
        raise OSError(errno.EIO, "Input/output error", str(path))

    monkeypatch.setattr(opening, "write_anew", fail)
    with pytest.raises(DiskFailed):
        await SqliteWorkflowStore(left).open()
    reader.close()


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (sqlite3.SQLITE_FULL, DatabaseFull),
        (sqlite3.SQLITE_IOERR_SHMSIZE, DatabaseFull),
        (sqlite3.SQLITE_IOERR_FSYNC, DiskFailed),
        (sqlite3.SQLITE_IOERR_WRITE, DiskFailed),
        (sqlite3.SQLITE_IOERR_SHORT_READ, DatabaseDamaged),
        (sqlite3.SQLITE_CORRUPT, DatabaseDamaged),
        (sqlite3.SQLITE_READONLY, DatabaseReadOnly),
    ],
)
def test_a_disk_that_fails_or_is_full_is_no_damaged_file(code: int, kind: type[DatabaseError]) -> None:
    error = sqlite3.OperationalError("made by a test")
    error.sqlite_errorcode = code
    assert type(opening.explain(error, "runs.sqlite3")) is kind


def test_a_file_beside_the_database_that_cannot_be_used_is_named() -> None:
    error = PermissionError(errno.EACCES, "Permission denied", "runs.sqlite3.lock")
    assert str(opening.explain(error, "runs.sqlite3")).startswith("'runs.sqlite3.lock' cannot be written")


@pytest.mark.parametrize(
    ("number", "kind"),
    [(errno.ENOSPC, DatabaseFull), (errno.EIO, DiskFailed), (errno.EROFS, DatabaseReadOnly)],
)
async def test_an_error_of_the_folder_is_told_by_name(
    path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[DatabaseError]
) -> None:
    def failing(_: Path) -> None:
        raise OSError(number, os.strerror(number))

    await made(path)
    monkeypatch.setattr(opening, "sync_folder", failing)
    with pytest.raises(kind):
        await SqliteWorkflowStore(path).open()


@pytest.mark.parametrize(
    ("version", "fixed"),
    [
        ((3, 40, 1), False),
        ((3, 44, 5), False),
        ((3, 44, 6), True),
        ((3, 46, 1), False),
        ((3, 50, 6), False),
        ((3, 50, 7), True),
        ((3, 51, 2), False),
        ((3, 51, 3), True),
        ((3, 52, 0), True),
    ],
)
def test_the_versions_of_sqlite_with_the_fix_are_known(version: tuple[int, int, int], *, fixed: bool) -> None:
    assert opening.is_fixed(version) is fixed


async def test_a_sqlite_without_the_fix_is_warned_about(
    path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 40, 1))
    await made(path)
    assert "has a bug that can damage a database" in caplog.text
    caplog.clear()
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 51, 3))
    await made(path.with_name("other.db"))
    assert caplog.text == ""


async def test_a_database_with_a_second_name_is_refused_under_both(store: SqliteWorkflowStore, path: Path) -> None:
    second = path.with_name("second.db")
    second.hardlink_to(path)
    with pytest.raises(DatabaseLinked, match="2 hard links"):
        await SqliteWorkflowStore(second).open()
    await store.close()
    with pytest.raises(DatabaseLinked):
        await SqliteWorkflowStore(path).open()
    second.unlink()
    await store.open()


async def test_a_cancelled_open_gives_everything_back(path: Path) -> None:
    await made(path)
    threads = threading.active_count()
    for turns in range(12):
        store = SqliteWorkflowStore(path)
        opening_it = asyncio.create_task(store.open(), name="open")
        for _ in range(turns):
            await asyncio.sleep(0.001)
        opening_it.cancel()
        await asyncio.gather(opening_it, return_exceptions=True)
        if not opening_it.cancelled():
            await store.close()
        other = SqliteWorkflowStore(path)
        await other.open()
        assert other.stopped_cleanly
        await other.close()
    await until(lambda: threading.active_count() <= threads)
