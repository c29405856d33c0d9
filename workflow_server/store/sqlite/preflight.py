"""The place of a database, and whether it can be used there: everything that is known before SQLite opens the file."""

from __future__ import annotations

import os
import re
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
    """Refuse a missing folder, a folder in the file's place, and what cannot be written."""
    if not path.parent.is_dir():
        raise FolderMissing(folder=str(path.parent))
    if path.exists() and not path.is_file():
        raise DatabaseForeign(path=str(path), found="it is a folder" if path.is_dir() else "it is not a regular file")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise DatabaseReadOnly(path=str(path), reason="its folder is read-only")
    if path.exists() and not os.access(path, os.R_OK | os.W_OK):
        raise DatabaseReadOnly(path=str(path), reason="the file is read-only")


def check_filesystem(path: Path, mounts: Path | None = None) -> None:
    """Refuse a network file system; where nothing is known of mounts, nothing is refused."""
    mounts = mounts or MOUNTS
    if not mounts.exists():
        return
    kind = filesystem_of(path, mounts.read_text(encoding="utf-8", errors="surrogateescape"))
    if kind in NETWORK_KINDS:
        raise NetworkFilesystem(path=str(path), kind=kind)


def filesystem_of(path: Path, mounts: str) -> str:
    """The kind of the file system that ``path`` lies on, from the text of /proc/mounts; later mounts cover earlier."""
    best, kind = -1, ""
    for line in mounts.splitlines():
        fields = line.split()
        # The kernel writes blanks in a mount point as three octal digits.
        point = Path(re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), fields[1]))
        if path.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), fields[2]
    return kind


def check_header(path: Path, known: int) -> None:
    """Refuse a file that is not ours or newer than migration ``known``, from its first bytes; and none with a log.

    A file that a power cut left half made is as good as an empty one.

    Only to be called while SQLite has not opened the file in this process: closing it would drop SQLite's locks.
    """
    if not path.exists() or path.stat().st_size == 0:
        # SQLite would take the log for that of another database and delete it; a new one has none until it is ours.
        if has_log(path):
            raise DatabaseMissing(path=str(path), log=log_of(path).name)
        # A supervisor starts the server again when its database was moved away: what was served until then would be
        # forgotten without a word.
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
        # SQLite takes another number for a format of its future, and the file for one that it may not write.
        raise DatabaseDamaged(path=str(path), problem="its header names a format that SQLite does not have")
    if has_left_log(path) and not has_log(path):
        # The file alone may look as if it was closed cleanly: that it was in use may stand in its log only.
        raise LogLeftBehind(path=str(path), left=left_log_of(path).name, log=log_of(path).name)


def _is_half_made(path: Path) -> bool:
    """Return whether the transaction that was to fill the file was interrupted: its journal says that the file was
    empty.

    SQLite takes such a transaction back when it opens the file. Until then any part of its pages may be there, and the
    first bytes of the file need not be.
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
    """Make an empty file that only its owner may read, and make its name durable; an existing one stays."""
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
