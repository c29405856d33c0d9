"""Checks before SQLite opens a database: its folder, its file system and its header."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from workflow_server.store.sqlite.exceptions import (
    DatabaseDamaged,
    DatabaseForeign,
    DatabaseMissing,
    DatabaseNewer,
    DatabaseReadOnly,
    FolderMissing,
    LogLeftBehind,
    NetworkFilesystem,
)
from workflow_server.store.sqlite.migrations import APPLICATION_ID
from workflow_server.store.sqlite.wal import has_left_log, has_log, left_log_of, log_of

MOUNTS = Path("/proc/self/mounts")

NETWORK_KINDS = frozenset((
    "9p", "afs", "ceph", "cifs", "coda", "fuse.ceph", "fuse.cephfs", "fuse.glusterfs", "fuse.rclone", "fuse.s3fs",
    "fuse.sshfs", "gfs2", "glusterfs", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2", "smb2", "smb3", "smbfs", "virtiofs",
))  # fmt: skip
"""File systems, as /proc/mounts names them, whose locks or shared memory SQLite's WAL cannot rely on."""

# https://www.sqlite.org/fileformat.html#the_database_header and #the_rollback_journal
_HEADER = 100
_MAGIC = b"SQLite format 3\0"
_JOURNAL_HEADER = 28
_JOURNAL_MAGIC = bytes.fromhex("d9d505f920a163d7")


def check_folder(path: Path) -> None:
    """Refuse a missing folder, a folder in the file's place, and a file or folder that cannot be written."""
    if not path.parent.is_dir():
        raise FolderMissing(folder=str(path.parent))
    if path.exists() and not path.is_file():
        raise DatabaseForeign(path=str(path), found="it is a folder" if path.is_dir() else "it is not a regular file")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise DatabaseReadOnly(path=str(path), reason=_why_not_writable("its folder", path.parent))
    if path.exists() and not os.access(path, os.R_OK | os.W_OK):
        raise DatabaseReadOnly(path=str(path), reason=_why_not_writable("the file", path))


def _why_not_writable(name: str, path: Path) -> str:
    owner = path.stat().st_uid
    if os.geteuid() in (0, owner):
        return f"{name} is read-only"
    with suppress(KeyError):
        return f"{name} belongs to the user '{path.owner()}'"
    return f"{name} belongs to the user {owner}"


def check_filesystem(path: Path, mounts: Path | None = None) -> None:
    """Refuse a network file system. Where the mounts are not known, nothing is refused."""
    mounts = mounts or MOUNTS
    if not mounts.exists():
        return
    kind = filesystem_of(path, mounts.read_text(encoding="utf-8", errors="surrogateescape"))
    if kind in NETWORK_KINDS:
        raise NetworkFilesystem(path=str(path), kind=kind)


def filesystem_of(path: Path, mounts: str) -> str:
    """Return the kind of the file system of ``path``, from the text of /proc/mounts; later mounts cover earlier
    ones."""
    best, kind = -1, ""
    for line in mounts.splitlines():
        fields = line.split()
        # The kernel writes blanks in a mount point as three octal digits.
        point = Path(re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), fields[1]))
        if path.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), fields[2]
    return kind


def check_header(path: Path, known: int) -> None:
    """Refuse, by its first bytes, a file of another program or newer than migration ``known``, and a log without its
    file.

    A file that a power cut left half made counts as empty.

    Only to be called while SQLite has not opened the file in this process: closing the file would drop SQLite's locks.
    """
    if not path.exists() or path.stat().st_size == 0:
        # SQLite would delete the log as that of another database. A new database has none.
        if has_log(path):
            raise DatabaseMissing(path=str(path), log=log_of(path).name)
        # A supervisor starts the server again when its database was moved away: a new database would hide that.
        if has_left_log(path):
            raise DatabaseMissing(path=str(path), log=left_log_of(path).name)
        return
    with path.open("rb") as file:
        header = file.read(_HEADER)
    if not header.startswith(_MAGIC) or len(header) < _HEADER:
        if _is_half_made(path):
            return
        raise DatabaseForeign(path=str(path), found="it is not a SQLite file")
    version, application = _integer(header, 60), _integer(header, 68)
    if application != APPLICATION_ID:
        raise DatabaseForeign(path=str(path), found="a SQLite database of another program")
    if version > known:
        raise DatabaseNewer(path=str(path), found=version, known=known)
    if not set(header[18:20]) <= {1, 2}:
        # SQLite takes another number for a future format, and the file for one that it may not write.
        raise DatabaseDamaged(path=str(path), problem="its header names a format that SQLite does not have")
    if has_left_log(path) and not has_log(path):
        # The file alone may look cleanly closed: the note that it was in use may be in its log only.
        raise LogLeftBehind(path=str(path), left=left_log_of(path).name, log=log_of(path).name)


def _is_half_made(path: Path) -> bool:
    """Return True where the transaction that makes the file was interrupted: its journal says that the file was empty.

    SQLite rolls such a transaction back when it opens the file. Until then any of its pages may be there, without the
    first bytes of the file.
    """
    journal = path.with_name(path.name + "-journal")
    if not journal.exists():
        return False
    with journal.open("rb") as file:
        header = file.read(_JOURNAL_HEADER)
    return len(header) == _JOURNAL_HEADER and header.startswith(_JOURNAL_MAGIC) and _integer(header, 16) == 0


def _integer(header: bytes, offset: int) -> int:
    return int.from_bytes(header[offset : offset + 4], "big")


def create_file(path: Path) -> None:
    """Create an empty, private file and make its name durable; leave an existing one alone."""
    if path.exists():
        return
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
