"""Opening: who gets in, what is refused, and that what is refused stays as it is."""

# Nothing else runs on the loop of these tests.
# ruff: noqa: ASYNC221, ASYNC240
from __future__ import annotations

import asyncio
import errno
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.waiting import until
from workflow_server.errors import (
    DatabaseAltered,
    DatabaseDamaged,
    DatabaseError,
    DatabaseForeign,
    DatabaseFull,
    DatabaseLinked,
    DatabaseLocked,
    DatabaseNewer,
    DatabaseReadOnly,
    DiskFailed,
    FileBesideLinked,
    FolderMissing,
    MigrationEdited,
    MigrationMissing,
)
from workflow_server.store import HandlerQuery, MemoryWorkflowStore, SqliteWorkflowStore
from workflow_server.store.sqlite import connection as connection_module
from workflow_server.store.sqlite import integrity as examination
from workflow_server.store.sqlite import open as opening
from workflow_server.store.sqlite.ballast import Reserve
from workflow_server.store.sqlite.connection import connect, run_on
from workflow_server.store.sqlite.migrations import APPLICATION_ID, known_migrations

from .making import event, run_started


async def refusal(path: Path) -> DatabaseError:
    """How the file is refused; it and its folder are checked to be as before."""
    before = {file.name: file.read_bytes() for file in path.parent.iterdir() if file.is_file()}
    with pytest.raises(DatabaseError) as refused:
        await SqliteWorkflowStore(path).open()
    assert {file.name: file.read_bytes() for file in path.parent.iterdir() if file.is_file()} == before
    assert str(path if not isinstance(refused.value, FolderMissing) else path.parent) in str(refused.value)
    return refused.value


async def made(path: Path) -> None:
    """A database of ours, closed cleanly, with no lock file beside it."""
    store = SqliteWorkflowStore(path)
    await store.open()
    await store.append(run_started("a"), *(event("a", n, data="x" * 500) for n in range(200)))
    await store.close()
    path.with_name(path.name + ".lock").unlink()


def edit(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        connection.execute(statement).fetchall()
    connection.close()


# -- A new database ------------------------------------------------------------------------------


async def test_a_new_database_is_private_durable_and_says_whose_it_is(store: SqliteWorkflowStore, path: Path) -> None:
    for file in (path, path.with_name("server.db-wal"), path.with_name("server.db.lock")):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    header = path.read_bytes()[:100]
    assert int.from_bytes(header[68:72], "big") == APPLICATION_ID
    assert int.from_bytes(header[60:64], "big") == len(known_migrations(str(path)))
    assert store._opened is not None

    def settings(connection: sqlite3.Connection) -> list[object]:
        names = ("journal_mode", "synchronous", "foreign_keys")
        return [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names]

    assert await run_on(store._opened.connection, settings) == ["wal", 2, 1]


async def test_readers_cannot_write(store: SqliteWorkflowStore) -> None:
    assert store._readers is not None
    with pytest.raises(Exception, match="readonly"):
        await store._readers.read(lambda sqlite: sqlite.execute("DELETE FROM handlers"))


async def test_an_empty_file_is_a_new_database(path: Path) -> None:
    path.touch()
    await made(path)
    assert path.stat().st_size > 0


async def test_a_file_that_a_power_cut_left_half_made_is_a_new_database(path: Path) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA cache_size = 1")
    connection.execute("BEGIN")
    connection.execute("CREATE TABLE t (x)")
    # More than the cache holds: SQLite syncs its journal and writes to the file before the commit.
    connection.executemany("INSERT INTO t VALUES (?)", [("x" * 4000,)] * 50)
    left, journal = path.read_bytes(), path.with_name("server.db-journal").read_bytes()
    connection.close()
    path.write_bytes(bytes(512) + left[512:])
    path.with_name("server.db-journal").write_bytes(journal)
    assert len(left) > 4096
    await made(path)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


async def test_a_file_with_a_journal_that_does_not_say_that_it_was_empty_is_refused(path: Path) -> None:
    path.write_bytes(b"notes" * 100)
    for journal in (b"", b"notes" * 10, bytes.fromhex("d9d505f920a163d7") + bytes(4) + b"\1" * 20):
        path.with_name("server.db-journal").write_bytes(journal)
        assert isinstance(await refusal(path), DatabaseForeign)


async def test_a_path_of_any_characters_is_a_path(tmp_path: Path) -> None:
    await made(tmp_path / "what? 100% #1 é&mode=memory.db")
    assert [file.name for file in tmp_path.iterdir()] == ["what? 100% #1 é&mode=memory.db"]


async def test_memory_stores_share_nothing_and_leave_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    one, other = MemoryWorkflowStore(), SqliteWorkflowStore(":memory:")
    await asyncio.gather(one.open(), other.open())
    await one.append(run_started("a"))
    assert (len(await one.running_runs()), len(await other.running_runs())) == (1, 0)
    assert one.location == ":memory:"
    await asyncio.gather(one.close(), other.close())
    assert list(tmp_path.iterdir()) == []


# -- What is refused -------------------------------------------------------------------------------


async def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FolderMissing):
        await SqliteWorkflowStore(tmp_path / "none" / "server.db").open()
    assert list(tmp_path.iterdir()) == []


async def test_a_folder_in_the_place_of_the_file_is_refused(path: Path) -> None:
    path.mkdir()
    assert isinstance(await refusal(path), DatabaseForeign)


@pytest.mark.parametrize("content", [b"a text of somebody else\n" * 50, b"SQLite format 3\0", b"x"])
async def test_a_file_that_is_no_database_is_refused_untouched(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert isinstance(await refusal(path), DatabaseForeign)


@pytest.mark.parametrize("mode", ["DELETE", "WAL"])
@pytest.mark.parametrize("application", [0, 4711])
async def test_a_database_of_another_program_is_refused_untouched(path: Path, mode: str, application: int) -> None:
    edit(path, f"PRAGMA journal_mode = {mode}", f"PRAGMA application_id = {application}", "CREATE TABLE t (x)")
    assert isinstance(await refusal(path), DatabaseForeign)


async def test_a_newer_database_is_refused_untouched(path: Path) -> None:
    await made(path)
    edit(path, "PRAGMA journal_mode = DELETE", "PRAGMA user_version = 9999")
    newer = await refusal(path)
    assert isinstance(newer, DatabaseNewer)
    assert newer.found == 9999


async def test_migrations_that_are_not_those_of_this_installation_are_refused(path: Path) -> None:
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


@pytest.fixture
def immutable(path: Path) -> Iterator[Path]:
    """A database that even root cannot write."""
    asyncio.run(made(path))
    made_immutable = subprocess.run(["chattr", "+i", str(path)], check=False, capture_output=True)
    if made_immutable.returncode != 0:
        pytest.skip("this file system or user cannot make a file immutable")
    yield path
    subprocess.run(["chattr", "-i", str(path)], check=True)


async def test_a_read_only_file_is_refused_untouched(immutable: Path) -> None:
    assert isinstance(await refusal(immutable), DatabaseReadOnly)


async def test_a_read_only_folder_is_refused(path: Path) -> None:
    path.parent.chmod(0o500)
    try:
        if os.access(path.parent, os.W_OK):
            made_immutable = subprocess.run(["chattr", "+i", str(path.parent)], check=False, capture_output=True)
            if made_immutable.returncode != 0:
                pytest.skip("this user can write everywhere")
        assert isinstance(await refusal(path), DatabaseReadOnly)
    finally:
        subprocess.run(["chattr", "-i", str(path.parent)], check=False, capture_output=True)
        path.parent.chmod(0o700)


# -- One server a database --------------------------------------------------------------------------


async def test_a_second_server_is_kept_out_and_told_who_holds_it(store: SqliteWorkflowStore, path: Path) -> None:
    script = (
        "import asyncio, sys\nfrom workflow_server.store import SqliteWorkflowStore\n"
        "try:\n    asyncio.run(SqliteWorkflowStore(sys.argv[1]).open())\n"
        "except Exception as error:\n    print(type(error).__name__, error)"
    )
    other = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, str(path), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await other.communicate()
    assert output.decode().startswith(f"DatabaseLocked Another server (process {os.getpid()}) holds '{path}'")
    with pytest.raises(DatabaseLocked):
        await SqliteWorkflowStore(path).open()
    await store.append(run_started("a"))


async def test_the_lock_goes_with_its_store(path: Path) -> None:
    first, second = SqliteWorkflowStore(path), SqliteWorkflowStore(path)
    await first.open()
    with pytest.raises(DatabaseLocked):
        await second.open()
    await first.close()
    await second.open()
    assert second.problem is None
    await second.close()


# -- After an unclean stop ---------------------------------------------------------------------------


def damage(path: Path) -> None:
    """Overwrite the middle of the file, past the schema."""
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"\xa5" * 8192)


@pytest.mark.parametrize("clean_stop", [0, 1])
async def test_a_damaged_file_is_refused_untouched(path: Path, clean_stop: int) -> None:
    await made(path)
    edit(path, f"UPDATE server SET clean_stop = {clean_stop}")
    damage(path)
    before = path.read_bytes()
    with pytest.raises(DatabaseDamaged):
        await SqliteWorkflowStore(path).open()
    assert path.read_bytes() == before


async def test_a_damaged_file_with_a_log_is_refused_untouched(store: SqliteWorkflowStore, path: Path) -> None:
    await store.append(run_started("a"), *(event("a", n, data="x" * 500) for n in range(200)))
    copy = path.with_name("killed.db")
    for suffix in ("", "-wal"):
        shutil.copyfile(f"{path}{suffix}", f"{copy}{suffix}")
    log = Path(f"{copy}-wal").read_bytes()
    copy.write_bytes(copy.read_bytes()[:-8192])
    before = copy.read_bytes()
    with pytest.raises(DatabaseDamaged):
        await SqliteWorkflowStore(copy).open()
    assert (copy.read_bytes(), Path(f"{copy}-wal").read_bytes()) == (before, log)


@pytest.mark.parametrize(
    "statement", ["DROP INDEX inbox_by_run", "ALTER TABLE handlers RENAME COLUMN probations TO qrobations"]
)
async def test_a_schema_that_is_not_as_it_was_made_is_refused(path: Path, statement: str) -> None:
    await made(path)
    edit(path, statement)
    with pytest.raises(DatabaseDamaged, match="is not as it was made"):
        await SqliteWorkflowStore(path).open()


async def test_a_schema_that_is_no_text_is_damage(path: Path) -> None:
    await made(path)
    content = bytearray(path.read_bytes())
    content[content.find(b"CREATE TABLE handlers") + 3] = 0xD4
    path.write_bytes(content)
    with pytest.raises(DatabaseDamaged, match="schema"):
        await SqliteWorkflowStore(path).open()
    assert path.read_bytes() == content


async def test_what_others_added_to_the_schema_is_theirs(path: Path) -> None:
    await made(path)
    edit(path, "CREATE INDEX theirs ON events (run_id)", "CREATE TABLE reports (day TEXT)")
    store = SqliteWorkflowStore(path)
    await store.open()
    await store.close()


async def test_a_header_with_an_unknown_format_is_damage(path: Path) -> None:
    await made(path)
    content = bytearray(path.read_bytes())
    content[18] ^= 4
    path.write_bytes(content)
    assert isinstance(await refusal(path), DatabaseDamaged)


async def test_a_log_that_was_lost_is_said(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    await made(path)
    edit(path, "UPDATE server SET clean_stop = 0")
    store = SqliteWorkflowStore(path)
    await store.open()
    await store.close()
    assert "has no write-ahead log (-wal) beside it" in caplog.text


async def test_a_stop_that_was_not_clean_is_said(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    await made(path)
    await made(path.with_name("other.db"))
    store = SqliteWorkflowStore(path)
    await store.open()
    await store.close()
    assert "was not closed cleanly" not in caplog.text
    edit(path, "UPDATE server SET clean_stop = 0")
    await store.open()
    await store.close()
    assert "was not closed cleanly" in caplog.text


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


async def test_after_an_unclean_stop_the_database_itself_holds_all_before_anything_is_added(path: Path) -> None:
    left = await killed(path)
    store = SqliteWorkflowStore(left)
    await store.open()
    alone = sqlite3.connect(f"{left.as_uri()}?immutable=1", uri=True)
    assert alone.execute("SELECT handler_id FROM handlers").fetchall() == [("a",)], "it is in the log alone"
    alone.close()
    await store.close()


async def test_after_an_unclean_stop_a_program_that_reads_the_log_keeps_no_server_out(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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


async def test_a_log_that_is_read_and_that_the_disk_does_not_take_anew_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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


async def test_a_start_that_takes_long_says_what_it_does(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await made(path)
    for large, lines in ((1 << 30, 0), (1, 1)):
        monkeypatch.setattr(examination, "LARGE", large)
        with caplog.at_level("INFO"):
            store = SqliteWorkflowStore(path)
            await store.open()
            await store.close()
        assert caplog.text.count("Reading all of") == lines


async def test_a_disk_that_fails_while_the_log_is_looked_at_is_named(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    await made(path)
    monkeypatch.setattr(examination, "lost_commits", fail)
    with pytest.raises(DiskFailed):
        await SqliteWorkflowStore(path).open()


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


@pytest.mark.parametrize(
    ("number", "kind"),
    [(errno.ENOSPC, DatabaseFull), (errno.EIO, DiskFailed), (errno.EROFS, DatabaseReadOnly)],
)
async def test_what_the_system_says_of_the_folder_is_told_by_name(
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


# -- What was tampered with ----------------------------------------------------------------------


async def test_a_database_without_the_row_of_its_server_is_damaged(path: Path) -> None:
    await made(path)
    edit(path, "DELETE FROM server")
    with pytest.raises(DatabaseDamaged, match="'server'"):
        await SqliteWorkflowStore(path).open()


async def test_a_database_with_a_second_name_is_refused_under_both_also_while_it_is_in_use(
    store: SqliteWorkflowStore, path: Path
) -> None:
    second = path.with_name("second.db")
    second.hardlink_to(path)
    with pytest.raises(DatabaseLinked, match="2 hard links"):
        await SqliteWorkflowStore(second).open()
    await store.close()
    with pytest.raises(DatabaseLinked):
        await SqliteWorkflowStore(path).open()
    second.unlink()
    await store.open()


async def test_a_name_that_the_file_system_does_not_take_is_refused_in_words(path: Path) -> None:
    with pytest.raises(DatabaseReadOnly, match="File name too long"):
        await SqliteWorkflowStore(path.with_name("d" * 300)).open()


async def test_a_cancelled_open_gives_back_its_lock_and_threads_and_leaves_a_clean_file_clean(path: Path) -> None:
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


async def test_a_cancelled_connection_ends_its_thread(path: Path) -> None:
    await made(path)
    threads = threading.active_count()
    for turns in range(4):
        connecting = asyncio.create_task(connect(path), name="connect")
        for _ in range(turns):
            await asyncio.sleep(0)
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
    await until(lambda: threading.active_count() <= threads)


async def test_a_close_returns_when_all_is_closed_also_beside_another_that_was_cancelled(path: Path) -> None:
    store = SqliteWorkflowStore(path)
    await store.open()
    assert store._opened is not None
    connection = store._opened.connection
    reading, writing = Held(), Held()
    busy = [asyncio.create_task(store._read(reading), name="busy reader")]
    await until(reading.began.is_set)
    first = asyncio.create_task(store.close(), name="close")
    # It waits for the reader; then for the writer, who is the last to be closed.
    await until(lambda: store._readers is not None and store._readers._closed)
    busy.append(asyncio.create_task(run_on(connection, writing), name="busy writer"))
    reading.go_on.set()
    await until(writing.began.is_set)
    await until(lambda: store._opened is None)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    second = asyncio.create_task(store.close(), name="close again")
    await asyncio.sleep(0.05)
    assert not second.done()
    with pytest.raises(DatabaseLocked):
        await SqliteWorkflowStore(path).open()
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


# -- What stands beside the file, and in it -------------------------------------------------------


@pytest.mark.parametrize("end", [".lock", "-reserve", "-wal", "-shm", "-journal", "-wal.left"])
@pytest.mark.parametrize("link", ["symbolic", "dangling", "hard"])
async def test_a_link_beside_the_database_is_refused_by_name_and_its_target_untouched(
    path: Path, end: str, link: str
) -> None:
    await made(path)
    target, file = path.with_name("somebody's"), path.with_name(path.name + end)
    if link != "dangling":
        target.write_text("precious")
    if link == "hard":
        file.hardlink_to(target)
    else:
        file.symlink_to(target)
    error = await refusal(path)
    assert isinstance(error, FileBesideLinked)
    assert str(file) in str(error)
    assert target.exists() == (link != "dangling")


def test_a_link_that_comes_in_the_place_of_the_reserve_is_not_followed(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    target, file = path.with_name("somebody's"), path.with_name(path.name + "-reserve")
    target.write_text("precious")
    reserve = Reserve(path)
    reserve.fill()
    file.unlink()
    file.symlink_to(target)
    reserve.give()
    reserve.fill()
    assert target.read_text() == "precious"
    assert "symbolic link" in caplog.text


async def test_a_pipe_in_the_place_of_the_lock_is_refused_at_once(path: Path) -> None:
    os.mkfifo(path.with_name(path.name + ".lock"))
    with pytest.raises(FileBesideLinked, match="not a regular file"):
        await SqliteWorkflowStore(path).open()


@pytest.mark.parametrize("mode", [0o644, 0o660, 0o604, 0o700])
async def test_a_mode_that_lets_others_in_is_narrowed_and_said(
    store: SqliteWorkflowStore, path: Path, caplog: pytest.LogCaptureFixture, mode: int
) -> None:
    await store.append(run_started("a"), event("a", 0))
    copy = path.with_name("killed.db")
    files = [Path(f"{copy}{end}") for end in ("", "-wal", ".lock", "-wal.left")]
    for file, end in zip(files[:2], ("", "-wal"), strict=True):
        shutil.copyfile(f"{path}{end}", file)
    for file in files:
        file.touch()
        file.chmod(mode)
    other = SqliteWorkflowStore(copy)
    await other.open()
    for file in (*files, Path(f"{copy}-shm"), Path(f"{copy}-reserve")):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    await other.close()
    for file in files:
        assert f"{file} (mode {mode:03o})" in caplog.text


async def test_a_mode_that_cannot_be_narrowed_is_said(
    path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    await made(path)
    path.chmod(0o644)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    # Only another owner of the file would make the system refuse it, and these tests may run as one who is not asked.
    monkeypatch.setattr(Path, "chmod", refuse)
    store = SqliteWorkflowStore(path)
    await store.open()
    await store.close()
    assert f"{path} (mode 644), and that cannot be changed (Operation not permitted)" in caplog.text


CANARY = "INSERT INTO canary VALUES ('ran')"


@pytest.mark.parametrize(
    ("statements", "named"),
    [
        pytest.param(
            (f"CREATE TRIGGER theirs AFTER UPDATE ON server BEGIN {CANARY}; END",),
            "trigger 'theirs' on 'server'",
            id="trigger on ours",
        ),
        pytest.param(
            (
                "CREATE TABLE notes (handler_id REFERENCES handlers (handler_id) ON DELETE CASCADE)",
                f"CREATE TRIGGER theirs AFTER DELETE ON notes BEGIN {CANARY}; END",
            ),
            "trigger 'theirs' on 'notes'",
            id="trigger that a cascade runs",
        ),
        pytest.param(
            (
                "CREATE VIEW shown AS SELECT * FROM handlers",
                f"CREATE TRIGGER theirs INSTEAD OF INSERT ON shown BEGIN {CANARY}; END",
            ),
            "trigger 'theirs' on 'shown'",
            id="trigger on a view",
        ),
        pytest.param(
            ("CREATE UNIQUE INDEX theirs ON handlers (workflow_name)",),
            "unique index 'theirs' on 'handlers'",
            id="unique index",
        ),
        pytest.param(
            ("CREATE TABLE notes (handler_id REFERENCES Handlers (handler_id))",),
            "foreign key of 'notes' on 'Handlers'",
            id="foreign key",
        ),
    ],
)
async def test_what_would_run_with_our_writes_is_refused_by_name_before_the_first(
    path: Path, statements: tuple[str, ...], named: str
) -> None:
    await made(path)
    edit(path, "CREATE TABLE canary (word TEXT)", *statements)
    before = path.read_bytes()
    with pytest.raises(DatabaseAltered, match=named):
        await SqliteWorkflowStore(path).open()
    assert path.read_bytes() == before
    assert {file.name for file in path.parent.iterdir()} == {path.name, path.name + ".lock"}


async def test_a_trigger_in_a_file_that_only_calls_itself_ours_is_refused(path: Path) -> None:
    edit(
        path,
        f"PRAGMA application_id = {APPLICATION_ID}",
        "CREATE TABLE canary (word TEXT)",
        f"CREATE TRIGGER theirs AFTER INSERT ON canary BEGIN {CANARY}; END",
    )
    before = path.read_bytes()
    with pytest.raises(DatabaseAltered, match="trigger 'theirs' on 'canary'"):
        await SqliteWorkflowStore(path).open()
    assert path.read_bytes() == before


async def test_tables_indexes_and_keys_that_refuse_nothing_are_theirs(path: Path) -> None:
    await made(path)
    edit(
        path,
        "CREATE TABLE notes (handler_id REFERENCES handlers (handler_id) ON DELETE CASCADE, day TEXT UNIQUE)",
        "CREATE UNIQUE INDEX notes_by_day ON notes (day)",
        "CREATE VIEW shown AS SELECT * FROM handlers",
    )
    store = SqliteWorkflowStore(path)
    await store.open()
    assert await store.delete(HandlerQuery()) == 1
    await store.close()


def test_the_path_has_two_names_and_is_given_once(path: Path) -> None:
    for store in (SqliteWorkflowStore(path), SqliteWorkflowStore(db_path=path), SqliteWorkflowStore(path=path)):
        assert store.location == str(path)
    with pytest.raises(TypeError, match="once"):
        SqliteWorkflowStore()
    with pytest.raises(TypeError, match="once"):
        SqliteWorkflowStore(path, path=path)
