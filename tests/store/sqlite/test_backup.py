"""Backups: whole and of one moment, made while the store commits; a place that is taken; nothing half made."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.store.making import event, run_ended, run_started
from tests.store.sqlite.files import edit, made
from workflow_server.errors import DatabaseError, MaintenanceError
from workflow_server.store import HandlerQuery, SqliteWorkflowStore
from workflow_server.store.sqlite import backup as backups
from workflow_server.store.sqlite.backup import back_up, restore
from workflow_server.store.sqlite.exceptions import CopyFailed, DatabaseLocked, DestinationRefused


def unseen(done: int, total: int) -> None:
    """Take no notice of the progress."""


@pytest.fixture
async def database(path: Path) -> Path:
    """A database that nobody has open."""
    await made(path)
    return path


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    folder = tmp_path / "copies"
    folder.mkdir()
    return folder / "copy.db"


def whole(copy: Path) -> int:
    """The bytes of a copy, which is private and alone in its folder."""
    assert [file.name for file in copy.parent.iterdir()] == ["copy.db"]
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    return copy.stat().st_size


async def ids(path: Path) -> list[str]:
    """The handlers in a database, which is opened as a server does."""
    store = SqliteWorkflowStore(path)
    await store.open()
    try:
        return sorted(handler.handler_id for handler in await store.query(HandlerQuery()))
    finally:
        await store.close()


async def test_a_copy_has_what_was_committed_before_it_and_nothing_later(
    store: SqliteWorkflowStore, path: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backups, "PAGES", 1)
    await store.append(run_started("a"), run_ended("a"), run_started("b"))
    loop = asyncio.get_running_loop()
    seen: list[tuple[int, int]] = []

    async def commit(number: int) -> None:
        await store.append(run_started(f"later-{number}"))

    def meanwhile(done: int, total: int) -> None:
        seen.append((done, total))
        asyncio.run_coroutine_threadsafe(commit(len(seen)), loop).result(30)

    content = await asyncio.to_thread(back_up, path, copy, progress=meanwhile)
    assert (content.handlers, content.unfinished) == (2, 1)
    total = len(seen)
    assert seen == [(done + 1, total) for done in range(total)], "each page is reported, of a total that stays"
    assert whole(copy) == content.bytes
    assert await ids(copy) == ["a", "b"]
    assert len(await store.query(HandlerQuery())) == 2 + total


async def test_a_file_that_no_server_has_open_is_copied_with_its_log(path: Path, copy: Path) -> None:
    store = SqliteWorkflowStore(path)
    await store.open()
    await store.append(run_started("a"))
    killed = path.with_name("killed.db")
    for suffix in ("", "-wal"):
        killed.with_name(killed.name + suffix).write_bytes(path.with_name(path.name + suffix).read_bytes())
    await store.close()
    back_up(killed, copy, progress=unseen)
    assert await ids(copy) == ["a"]


TAKEN: dict[str, Callable[[Path], object]] = {
    "a file": lambda copy: copy.write_text("kept"),
    "an empty file": lambda copy: copy.touch(),
    "a folder": lambda copy: copy.mkdir(),
    "a link to nothing": lambda copy: copy.symlink_to("nowhere"),
    "a log": lambda copy: copy.with_name("copy.db-wal").write_text("of another"),
    "a log that was left": lambda copy: copy.with_name("copy.db-wal.left").write_text("of another"),
    "a journal": lambda copy: copy.with_name("copy.db-journal").write_text("of another"),
}


@pytest.mark.parametrize("taken", TAKEN)
def test_nothing_is_replaced_by_a_copy(database: Path, copy: Path, taken: str) -> None:
    TAKEN[taken](copy)
    before = {file.name: file.lstat() for file in copy.parent.iterdir()}
    for make in (back_up, restore):
        with pytest.raises(DestinationRefused, match=str(copy)):
            make(database, copy, progress=unseen)
    assert {file.name: file.lstat() for file in copy.parent.iterdir()} == before


def test_a_folder_that_is_missing_is_refused(database: Path, copy: Path) -> None:
    with pytest.raises(DestinationRefused, match="copies/none' does not exist"):
        back_up(database, copy.with_name("none") / "copy.db", progress=unseen)


def test_a_file_that_comes_meanwhile_is_not_replaced(database: Path, copy: Path) -> None:
    with pytest.raises(DestinationRefused):
        back_up(database, copy, progress=lambda *_: copy.write_text("another's"))  # type: ignore[arg-type]
    assert {file.name: file.read_text() for file in copy.parent.iterdir()} == {"copy.db": "another's"}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_nothing_is_left_of_a_copy_that_fails(database: Path, copy: Path, number: int) -> None:
    def fail(done: int, total: int) -> None:
        raise OSError(number, os.strerror(number))

    with pytest.raises(CopyFailed, match=os.strerror(number)):
        back_up(database, copy, progress=fail)
    assert list(copy.parent.iterdir()) == []


def test_a_file_system_without_hard_links_is_named(database: Path, copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(CopyFailed, match="no hard links"):
        back_up(database, copy, progress=unseen)
    assert list(copy.parent.iterdir()) == []


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a file system")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_a_full_disk_is_told_and_keeps_nothing(
    database: Path, disk: Path, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backups, "PAGES", 8)
    assert database.stat().st_size > 100_000
    filler = disk / "filler"

    def fill(*_: int) -> None:
        with suppress(OSError):
            filler.write_bytes(bytes(200_000))

    if when == "before":
        fill()
    with pytest.raises(CopyFailed, match="room for" if when == "before" else "the disk is full"):
        back_up(database, disk / "copy.db", progress=fill)
    assert [file.name for file in disk.iterdir()] == ["filler"]


def damaged(path: Path) -> None:
    """Overwrite a page in the middle."""
    data = bytearray(path.read_bytes())
    middle = len(data) // 2 // 4096 * 4096
    data[middle : middle + 4096] = b"\xa5" * 4096
    path.write_bytes(data)


def test_a_copy_that_is_damaged_is_thrown_away(database: Path, copy: Path) -> None:
    damaged(database)
    for make in (back_up, restore):
        with pytest.raises(CopyFailed, match="not sound"):
            make(database, copy, progress=unseen)
        assert [file.name for file in copy.parent.iterdir() if file.suffix != ".lock"] == []


def test_rows_that_belong_to_nothing_are_found_in_a_copy(database: Path, copy: Path) -> None:
    edit(database, "PRAGMA foreign_keys = OFF", "DELETE FROM handlers")
    with pytest.raises(CopyFailed, match="belongs to no row of 'handlers'"):
        back_up(database, copy, progress=unseen)


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("PRAGMA application_id = 0", "another program"),
        ("PRAGMA user_version = 9999", "newer"),
        ("INSERT INTO migrations VALUES (9999, 'x', 'x', 0)", "newer|Migration"),
        ("DROP TABLE migrations", "migrations is missing"),
        ("DROP TABLE inbox", "'inbox.*is not as it was made"),
    ],
)
def test_a_database_that_is_not_ours_is_not_copied(database: Path, copy: Path, statement: str, said: str) -> None:
    edit(database, "PRAGMA foreign_keys = OFF", statement)
    for make in (back_up, restore):
        with pytest.raises((DatabaseError, MaintenanceError), match=said):
            make(database, copy, progress=unseen)
        assert [file.name for file in copy.parent.iterdir() if file.suffix != ".lock"] == []


@pytest.mark.parametrize("content", [b"", b"notes", None])
def test_a_file_that_is_no_database_is_not_copied(path: Path, copy: Path, content: bytes | None) -> None:
    if content is not None:
        path.write_bytes(content)
    for make in (back_up, restore):
        with pytest.raises(DatabaseError, match=str(path)):
            make(path, copy, progress=unseen)
    assert list(copy.parent.iterdir()) == []


async def test_a_backup_comes_back_whole_and_nothing_is_put_beside_it(path: Path, copy: Path) -> None:
    await made(path)
    back_up(path, copy, progress=unseen)
    restored = path.with_name("restored.db")
    content = restore(copy, restored, progress=unseen)
    assert (content.handlers, content.unfinished) == (1, 1)
    assert whole(copy) == os.stat(restored).st_size
    assert stat.S_IMODE(os.stat(restored).st_mode) == 0o600
    assert await ids(restored) == ["a"]
    store = SqliteWorkflowStore(restored)
    await store.open()
    assert len(await store.read_events("a", -1, 1000)) == 200
    await store.append(event("a", 200))
    await store.close()


def test_nothing_is_restored_where_a_server_is(store: SqliteWorkflowStore, path: Path, copy: Path) -> None:
    back_up(path, copy, progress=unseen)
    path.rename(path.with_name("moved.db"))
    path.with_name(path.name + "-wal").rename(path.with_name("moved.db-wal"))
    with pytest.raises(DatabaseLocked):
        restore(copy, path, progress=unseen)
    assert not path.exists()
    path.with_name("moved.db-wal").rename(path.with_name(path.name + "-wal"))
    path.with_name("moved.db").rename(path)


async def test_no_server_starts_where_a_backup_is_being_restored(path: Path, copy: Path) -> None:
    await made(path)
    back_up(path, copy, progress=unseen)
    restored = path.with_name("restored.db")
    refused: list[BaseException] = []

    def start(*_: int) -> None:
        try:
            asyncio.run(SqliteWorkflowStore(restored).open())
        except DatabaseError as error:
            refused.append(error)

    await asyncio.to_thread(restore, copy, restored, progress=start)
    assert [type(error) for error in refused] == [DatabaseLocked]
    assert await ids(restored) == ["a"]
