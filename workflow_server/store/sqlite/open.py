"""Opening a database: all checks before the first write, then the migrations."""

from __future__ import annotations

import errno
import logging
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import aiosqlite

from workflow_server.errors import DatabaseError
from workflow_server.records import ServerAlive
from workflow_server.store.sqlite.connection import JOURNAL_SIZE_LIMIT, ConnectionFactory, connect, run_on
from workflow_server.store.sqlite.exceptions import (
    DatabaseDamaged,
    DatabaseForeign,
    DatabaseFull,
    DatabaseLinked,
    DatabaseLocked,
    DatabaseReadOnly,
    DiskFailed,
)
from workflow_server.store.sqlite.integrity import examine_database, server_row
from workflow_server.store.sqlite.lock import ServerLock
from workflow_server.store.sqlite.migrations import Migration, known_migrations, migrate, pending_migrations
from workflow_server.store.sqlite.preflight import (
    check_filesystem,
    check_folder,
    check_header,
    create_file,
    sync_folder,
)
from workflow_server.store.sqlite.sidecar import check_sidecars, restrict_modes
from workflow_server.store.sqlite.space import make_incremental
from workflow_server.store.sqlite.statements import load_single
from workflow_server.store.sqlite.transaction import describe, is_full, lone_transaction
from workflow_server.store.sqlite.wal import write_anew

logger = logging.getLogger(__name__)

_READS = load_single("reads")
_WRITES = load_single("server")

_TOO_SHORT = frozenset((sqlite3.SQLITE_IOERR_SHORT_READ, sqlite3.SQLITE_IOERR_CORRUPTFS))
"""Codes of damaged files that SQLite counts as I/O errors."""

FIXED_SQLITE = {(3, 44): 6, (3, 50): 7, (3, 51): 3}
"""The first release of each line without the WAL reset bug: https://www.sqlite.org/wal.html"""


class Opened(NamedTuple):
    """The result of opening a database."""

    connection: aiosqlite.Connection
    stopped_cleanly: bool
    last_alive: ServerAlive | None
    next_inbox_id: int


def is_fixed(version: tuple[int, ...]) -> bool:
    """Return True where this SQLite has no WAL reset bug, which two connections can meet when they reset a WAL."""
    line, patch = version[:2], version[2]
    return line > (3, 51) or patch >= FIXED_SQLITE.get((line[0], line[1]), 1 << 30)


def lock_database(path: Path, *, allow_network_filesystem: bool) -> ServerLock:
    """Check all that can be checked without SQLite, lock, and create the file where there is none.

    Raises:
        DatabaseError: the file cannot be used; it was left byte for byte, and nothing was put beside it.
    """
    try:
        return _locked(path, len(known_migrations(str(path))), allow_network_filesystem=allow_network_filesystem)
    except OSError as error:
        raise explain(error, str(path)) from error


def _locked(path: Path, known: int, *, allow_network_filesystem: bool) -> ServerLock:
    check_folder(path)
    if not allow_network_filesystem:
        check_filesystem(path)
    check_sidecars(path)
    lock = ServerLock(path)
    if not lock.file.exists():
        # No server holds it, so it may be read. A foreign file must not get a lock file beside it.
        check_header(path, known)
    lock.acquire()
    try:
        _check_links(path)
        check_header(path, known)
        lock.sign()
        create_file(path)
    except BaseException:
        lock.release()
        raise
    return lock


def _check_links(path: Path) -> None:
    # The lock and the WAL go by the file's name: under a second name, another server would find neither.
    names = path.stat().st_nlink if path.exists() else 1
    if names > 1:
        raise DatabaseLinked(path=str(path), names=names)


async def open_database(path: Path | None, factory: ConnectionFactory = sqlite3.Connection) -> Opened:
    """Open, check and migrate the database at ``path``, which is locked; None is one in memory.

    ``factory`` makes the connection that is returned, the only one that writes.
    """
    name = ":memory:" if path is None else str(path)
    if path is not None and not is_fixed(sqlite3.sqlite_version_info):
        logger.warning(
            "SQLite %s has a bug that can damage a database when several connections write to it; only this server "
            "should. SQLite 3.51.3, 3.50.7 and 3.44.6 have the fix.",
            sqlite3.sqlite_version,
        )
    known = known_migrations(name)
    try:
        if path is not None:
            await examine_database(path, known)
            restrict_modes(path)
        connection = await connect(path, factory=factory)
        try:
            stopped_cleanly, last_alive, inbox_id = await run_on(
                connection, lambda sqlite: _prepare(sqlite, known, name)
            )
            if path is not None:
                sync_folder(path.parent)
        except BaseException:
            await connection.close()
            raise
    except (sqlite3.Error, OSError, UnicodeDecodeError) as error:
        raise explain(error, name) from error
    return Opened(connection, stopped_cleanly, last_alive, inbox_id)


def explain(error: sqlite3.Error | OSError | UnicodeDecodeError, path: str) -> DatabaseError:
    """Return the error for users that stands for one of SQLite or of the operating system while opening."""
    if isinstance(error, OSError):
        return _explain_system(error, path)
    if isinstance(error, UnicodeDecodeError):
        # SQLite's message quotes a schema that is not text, which Python cannot decode.
        return DatabaseDamaged(path=path, problem="its schema is not text")
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    primary = code & 0xFF
    if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return DatabaseLocked(path=path, holder="another program")
    if is_full(error):
        return DatabaseFull(path=path)
    if primary in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return DatabaseReadOnly(path=path, reason=str(error))
    if primary == sqlite3.SQLITE_IOERR and code not in _TOO_SHORT:
        return DiskFailed(path=path, reason=describe(error))
    if primary == sqlite3.SQLITE_NOTADB:
        return DatabaseForeign(path=path, found=str(error))
    return DatabaseDamaged(path=path, problem=str(error))


def _explain_system(error: OSError, path: str) -> DatabaseError:
    reason = error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DatabaseFull(path=path)
    if error.errno == errno.EIO:
        return DiskFailed(path=path, reason=reason)
    # It may be a file beside the database, such as its lock, that cannot be used.
    at = error.filename if isinstance(error.filename, str) else path
    return DatabaseReadOnly(path=at, reason=reason)


def _prepare(
    connection: sqlite3.Connection, known: Sequence[Migration], name: str
) -> tuple[bool, ServerAlive | None, int]:
    pending = pending_migrations(connection, known, name)
    fresh = len(pending) == len(known)
    stopped_cleanly = fresh or server_row(connection, name)[1] != 0
    set_durability(connection, name, wal=not fresh)
    if not fresh and name != ":memory:":
        fold_in_log(connection, Path(name))
    # In the transaction that makes the file: it writes the first page, which has to say whose the file is.
    migrate(connection, pending, make=make_incremental if fresh else None)
    # A new file is migrated before it gets a WAL: so its own header says whose it is, whatever happens to the WAL.
    set_durability(connection, name, wal=True)
    last_alive = ServerAlive(*connection.execute(_READS["last_alive"]).fetchone())
    with lone_transaction(connection):
        connection.execute(_WRITES["server_started"])
    inbox_id: int = connection.execute(_READS["last_inbox_id"]).fetchone()[0]
    return stopped_cleanly, None if last_alive.at is None else last_alive, inbox_id + 1


def fold_in_log(connection: sqlite3.Connection, path: Path) -> None:
    """Write the log's content into the database, synced, before anything is served or added.

    After a failed fsync the system may show pages of the log that the disk never got and that no later fsync writes:
    what is appended behind them would be lost with them. Writing them anew helps:
    https://www.usenix.org/conference/atc20/presentation/rebello
    """
    busy, frames, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if busy and frames:
        # A program such as a backup reads the log. A start must neither fail for that nor wait for its end.
        logger.info("another program reads %s: its log is rewritten in place", path)
        connection.execute("BEGIN IMMEDIATE")
        try:
            write_anew(path)
        finally:
            connection.execute("ROLLBACK")


def set_durability(connection: sqlite3.Connection, name: str, *, wal: bool) -> None:
    """Set what a connection needs that writes; with ``wal``, the database gets a write-ahead log.

    Raises:
        DatabaseReadOnly: SQLite does not take it.
    """
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    # Deleted content is overwritten: it holds secrets of clients.
    connection.execute("PRAGMA secure_delete = ON")
    # The writer checkpoints itself: SQLite drops the errors of its automatic checkpoints, a failed fsync among them.
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute(f"PRAGMA journal_size_limit = {JOURNAL_SIZE_LIMIT:d}")
    if connection.execute("PRAGMA synchronous").fetchone()[0] != 2:
        raise DatabaseReadOnly(path=name, reason="SQLite does not take synchronous=FULL")
    if wal and name != ":memory:":
        mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            raise DatabaseReadOnly(path=name, reason=f"it does not take a write-ahead log (journal mode {mode})")
