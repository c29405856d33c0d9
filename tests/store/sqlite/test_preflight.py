"""The place of a database and its header: everything that is checked before SQLite opens it."""

# Nothing else runs on the loop of these tests.
# ruff: noqa: ASYNC221, ASYNC240
from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from workflow_server.store import SqliteWorkflowStore
from workflow_server.store.sqlite import preflight as location
from workflow_server.store.sqlite.exceptions import (
    DatabaseDamaged,
    DatabaseForeign,
    DatabaseNewer,
    DatabaseReadOnly,
    FolderMissing,
    NetworkFilesystem,
)
from workflow_server.store.sqlite.preflight import check_filesystem, filesystem_of

from .files import edit, made, refusal


async def test_a_file_left_half_made_is_a_new_database(path: Path) -> None:
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


async def test_a_file_with_a_journal_of_something_else_is_refused(path: Path) -> None:
    path.write_bytes(b"notes" * 100)
    for journal in (b"", b"notes" * 10, bytes.fromhex("d9d505f920a163d7") + bytes(4) + b"\1" * 20):
        path.with_name("server.db-journal").write_bytes(journal)
        assert isinstance(await refusal(path), DatabaseForeign)


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


async def test_the_owner_of_a_file_that_cannot_be_used_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a backup that root has restored for another user's server."""
    await made(path)
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    monkeypatch.setattr(os, "access", lambda of, _: of != path)
    with pytest.raises(DatabaseReadOnly, match=f"the file belongs to the user '{path.owner()}'. Change"):
        await SqliteWorkflowStore(path).open()
    monkeypatch.setattr(os, "access", lambda of, _: of == path)
    with pytest.raises(DatabaseReadOnly, match=f"its folder belongs to the user '{path.owner()}'. Change"):
        await SqliteWorkflowStore(path).open()


async def test_a_header_with_an_unknown_format_is_damage(path: Path) -> None:
    await made(path)
    content = bytearray(path.read_bytes())
    content[18] ^= 4
    path.write_bytes(content)
    assert isinstance(await refusal(path), DatabaseDamaged)


async def test_a_name_that_the_file_system_refuses_is_refused_in_words(path: Path) -> None:
    with pytest.raises(DatabaseReadOnly, match="File name too long"):
        await SqliteWorkflowStore(path.with_name("d" * 300)).open()


MOUNTS = """\
/dev/vda / ext4 rw,relatime 0 0
server:/export /mnt/share nfs4 rw 0 0
/dev/vdb /mnt/share/local xfs rw 0 0
//host/c /mnt/my\\040disk cifs rw 0 0
tmpfs /cover tmpfs rw 0 0
me@host: /cover fuse.sshfs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/srv/a.db", "ext4"),
        ("/mnt/share/a.db", "nfs4"),
        ("/mnt/share/local/a.db", "xfs"),
        ("/mnt/shared/a.db", "ext4"),
        ("/mnt/my disk/a.db", "cifs"),
        ("/cover/deep/a.db", "fuse.sshfs"),
    ],
)
def test_the_innermost_and_latest_mount_counts(path: str, kind: str) -> None:
    assert filesystem_of(Path(path), MOUNTS) == kind


async def test_a_network_file_system_is_refused_unless_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/vda / ext4 rw 0 0\nserver:/export {tmp_path} nfs rw 0 0\n")
    with pytest.raises(NetworkFilesystem, match="nfs"):
        check_filesystem(tmp_path / "a.db", mounts)
    monkeypatch.setattr(location, "MOUNTS", mounts)
    with pytest.raises(NetworkFilesystem):
        await SqliteWorkflowStore(tmp_path / "a.db").open()
    assert list(tmp_path.iterdir()) == [mounts]
    allowed = SqliteWorkflowStore(tmp_path / "a.db", allow_network_filesystem=True)
    await allowed.open()
    await allowed.close()


def test_where_nothing_is_known_of_mounts_nothing_is_refused(tmp_path: Path) -> None:
    check_filesystem(tmp_path / "a.db", tmp_path / "no mounts")
