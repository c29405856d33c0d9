"""Backups: copies of a database, made while a server writes to it, that get their name when they are whole.

The copy is made of one read transaction. The server's commits neither wait for it nor show in it; its log grows
meanwhile, because a log is only emptied when nobody reads it.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from workflow_server.store.sqlite.exceptions import CopyFailed, DatabaseDamaged, DestinationRefused
from workflow_server.store.sqlite.inspection import (
    MAINTENANCE,
    Content,
    connect_to_read,
    explained,
    opened_to_read,
    verify,
)
from workflow_server.store.sqlite.lock import ServerLock
from workflow_server.store.sqlite.preflight import check_filesystem, check_folder, sync_folder
from workflow_server.store.sqlite.sidecar import check_sidecars, sidecar
from workflow_server.store.sqlite.transaction import describe, is_damage, is_full

PAGES = 1_024
"""Pages that are copied between two reports of the progress: 4 MiB."""

_LOGS = ("-wal", "-journal", "-wal.left")
"""Suffixes of files that SQLite or a start would apply to a database that gets their name."""

_NO_LINKS = frozenset((errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK))

Progress = Callable[[int, int], None]
"""Called with the number of pages that are copied, and of all pages."""


def back_up(path: Path, destination: Path, *, progress: Progress, allow_network_filesystem: bool = False) -> Content:
    """Copy the database at ``path``, which a server may have open, to a new file, readable for its owner only.

    The copy has all that was committed before the call. It is checked as a start checks a database, synced, and only
    then gets its name; until then it has a hidden name in the same folder, which a killed process leaves behind.

    Raises:
        DatabaseError: the database cannot be read, or the destination is not new; nothing was written.
        CopyFailed: the copy could not be written, or is not sound; nothing is left of it.
    """
    _check_destination(destination)
    with opened_to_read(path, allow_network_filesystem=allow_network_filesystem) as source:
        return _copy(source, destination, progress)


def restore(backup: Path, path: Path, *, progress: Progress, allow_network_filesystem: bool = False) -> Content:
    """Copy a backup to ``path``, where no database is, as ``back_up`` does; no server can start there meanwhile.

    Raises:
        DatabaseError: the backup cannot be read, a database or a log is there already, or a server holds its place;
            nothing was written.
        CopyFailed: the copy could not be written, or the backup is damaged; nothing is left of it.
    """
    _check_destination(path)
    check_folder(path)
    check_sidecars(path)
    if not allow_network_filesystem:
        check_filesystem(path)
    with opened_to_read(backup, may_be_served=False, allow_network_filesystem=allow_network_filesystem) as source:
        lock = ServerLock(path)
        lock.acquire()
        try:
            lock.sign()
            return _copy(source, path, progress)
        finally:
            lock.release()


def _check_destination(destination: Path) -> None:
    if os.path.lexists(destination):
        raise DestinationRefused(path=str(destination), reason="it exists, and is not replaced")
    if not destination.parent.is_dir():
        raise DestinationRefused(path=str(destination), reason=f"the folder '{destination.parent}' does not exist")
    for suffix in _LOGS:
        file = sidecar(destination, suffix)
        # A reader of a database that nobody has open leaves an empty log, which means nothing.
        if file.exists() and file.stat().st_size > 0:
            reason = f"'{file.name}' is there, the log of another database: move it away"
            raise DestinationRefused(path=str(destination), reason=reason)


def _copy(source: sqlite3.Connection, destination: Path, progress: Progress) -> Content:
    partial: Path | None = None
    try:
        _check_room(source, destination)
        # For its owner only from the start.
        descriptor, name = tempfile.mkstemp(prefix=f".{destination.name}.", suffix=".partial", dir=destination.parent)
        os.close(descriptor)
        partial = Path(name)
        _copy_pages(source, partial, progress)
        content = _verified(partial, destination)
        _publish(partial, destination)
    except sqlite3.Error as error:
        raise CopyFailed(path=str(destination), reason=_reason(error)) from error
    except OSError as error:
        raise CopyFailed(path=str(destination), reason=error.strerror or str(error)) from error
    finally:
        if partial is not None:
            partial.unlink(missing_ok=True)
    return content


def _check_room(source: sqlite3.Connection, destination: Path) -> None:
    """Begin to read, and refuse what would fill the disk: it may be that of the server."""
    # From the first read on, this transaction sees what is committed now and nothing later.
    source.execute("BEGIN")
    needed: int = source.execute(MAINTENANCE["size"]).fetchone()[0]
    disk = os.statvfs(destination.parent)
    room = disk.f_bavail * disk.f_frsize
    if needed > room:
        reason = f"its disk has room for {room:,} bytes, and it needs {needed:,}"
        raise CopyFailed(path=str(destination), reason=reason)


def _copy_pages(source: sqlite3.Connection, partial: Path, progress: Progress) -> None:
    with closing(sqlite3.connect(partial, isolation_level=None)) as copy:
        # A copy that is not whole is thrown away: it needs no journal, and is synced once.
        copy.execute("PRAGMA journal_mode = OFF")
        copy.execute("PRAGMA synchronous = OFF")
        source.backup(
            copy, pages=PAGES, progress=lambda _, remaining, total: progress(total - remaining, total), sleep=0
        )
    source.execute("ROLLBACK")
    descriptor = os.open(partial, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _verified(partial: Path, destination: Path) -> Content:
    try:
        with explained(destination), closing(connect_to_read(partial, "immutable=1")) as copy:
            return verify(copy, destination)
    except DatabaseDamaged as error:
        reason = f"the copy is not sound ({error.problem}): what was copied is damaged, or the disk of the copy is"
        raise CopyFailed(path=str(destination), reason=reason) from error


def _publish(partial: Path, destination: Path) -> None:
    """Give the copy its name, unless there is something under it by now."""
    try:
        os.link(partial, destination)
    except FileExistsError as error:
        raise DestinationRefused(path=str(destination), reason="it exists, and is not replaced") from error
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        reason = "its file system has no hard links, without which it might replace another file"
        raise CopyFailed(path=str(destination), reason=reason) from error
    try:
        sync_folder(destination.parent)
    except OSError:
        destination.unlink()
        raise


def _reason(error: sqlite3.Error) -> str:
    if is_full(error):
        return "the disk is full"
    if is_damage(error):
        return f"what was copied is not sound ({describe(error)})"
    return describe(error)
