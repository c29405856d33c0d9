"""Databases that are opened to be read only, whether a server has them open or not."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from workflow_server.store.sqlite.connection import Access, set_up
from workflow_server.store.sqlite.exceptions import (
    DatabaseDamaged,
    DatabaseForeign,
    DatabaseLocked,
    DatabaseNotFound,
    DatabaseUnreadable,
)
from workflow_server.store.sqlite.integrity import check_integrity, check_schema
from workflow_server.store.sqlite.migrations import APPLICATION_ID, known_migrations, pending_migrations
from workflow_server.store.sqlite.preflight import check_filesystem, check_header
from workflow_server.store.sqlite.reads import INCREMENTAL
from workflow_server.store.sqlite.sidecar import sidecar
from workflow_server.store.sqlite.statements import load_single
from workflow_server.store.sqlite.transaction import describe

MAINTENANCE = load_single("maintenance")


class Content(NamedTuple):
    """The content of a database in numbers."""

    bytes: int
    schema: int
    """The number of its last migration."""
    handlers: int
    unfinished: int
    """Handlers whose run is running."""
    gives_space_back: bool
    """Its free pages are given back while a server runs."""


@contextmanager
def opened_to_read(
    path: Path, *, may_be_served: bool = True, allow_network_filesystem: bool = False
) -> Iterator[sqlite3.Connection]:
    """Connect to the database at ``path``, an absolute path, for the block; nothing can be written through it.

    SQLite leaves an empty log beside a file that nobody has open. That is avoided where a file is said not to be served
    and has neither a log nor the lock file of a server: a backup, say.

    Raises:
        DatabaseError: there is no database, it is not one of this program, it is newer, or it cannot be read; also
            where that happens in the block.
    """
    with explained(path):
        check_readable(path, allow_network_filesystem=allow_network_filesystem)
        beside = any(sidecar(path, suffix).exists() for suffix in ("-wal", ".lock"))
        connection = connect_to_read(path, "mode=ro" if may_be_served or beside else "immutable=1")
        try:
            yield connection
        finally:
            connection.close()


def check_readable(path: Path, *, allow_network_filesystem: bool) -> None:
    """Check all that can be checked without SQLite.

    Raises:
        DatabaseError: see ``opened_to_read``.
    """
    if path.exists() and not path.is_file():
        raise DatabaseForeign(path=str(path), found="it is a folder" if path.is_dir() else "it is not a regular file")
    if not allow_network_filesystem:
        check_filesystem(path)
    # Also of a file that is missing: its log may be there.
    check_header(path, len(known_migrations(str(path))))
    if not path.exists():
        raise DatabaseNotFound(path=str(path))
    if path.stat().st_size == 0:
        raise DatabaseForeign(path=str(path), found="it is empty")


def connect_to_read(path: Path, access: Access) -> sqlite3.Connection:
    """Return a connection through which nothing can be written."""
    connection = sqlite3.connect(f"{path.as_uri()}?{access}", uri=True, isolation_level=None)
    try:
        set_up(connection)
        connection.execute("PRAGMA query_only = ON")
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn errors of SQLite and of the system in the block into those for users.

    Raises:
        DatabaseError: the database at ``path`` cannot be read.
    """
    try:
        yield
    except OSError as error:
        raise DatabaseUnreadable(path=str(path), reason=error.strerror or str(error)) from error
    except UnicodeDecodeError as error:
        # SQLite's message quotes a schema that is not text, which Python cannot decode.
        raise DatabaseDamaged(path=str(path), problem="its schema is not text") from error
    except sqlite3.Error as error:
        primary = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise DatabaseLocked(path=str(path), holder="another program") from error
        if primary == sqlite3.SQLITE_NOTADB:
            raise DatabaseForeign(path=str(path), found=str(error)) from error
        if primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR):
            raise DatabaseDamaged(path=str(path), problem=str(error)) from error
        raise DatabaseUnreadable(path=str(path), reason=describe(error)) from error


def verify(connection: sqlite3.Connection, path: Path) -> Content:
    """Read the whole database and check it as a start does, and its foreign keys; return its content in numbers.

    Raises:
        DatabaseError: it is damaged, altered, newer or not one of this program; ``path`` names it.
        sqlite3.Error: SQLite cannot read it.
    """
    name = str(path)
    schema = migrated_to(connection, path)
    check_schema(connection, known_migrations(name)[:schema], name)
    check_integrity(connection, name)
    orphan = connection.execute("PRAGMA foreign_key_check").fetchone()
    if orphan is not None:
        raise DatabaseDamaged(path=name, problem=f"a row of its table '{orphan[0]}' belongs to no row of '{orphan[2]}'")
    return _content_of(connection, schema)


def migrated_to(connection: sqlite3.Connection, path: Path) -> int:
    """Return the number of the last migration of a database.

    Raises:
        DatabaseError: it is not one of this program, or was migrated with others.
    """
    name = str(path)
    if connection.execute(MAINTENANCE["application_id"]).fetchone()[0] != APPLICATION_ID:
        raise DatabaseForeign(path=name, found="a SQLite database of another program")
    known = known_migrations(name)
    pending = pending_migrations(connection, known, name)
    if len(pending) == len(known):
        raise DatabaseDamaged(path=name, problem="its record of migrations is missing")
    return len(known) - len(pending)


def _content_of(connection: sqlite3.Connection, schema: int) -> Content:
    statuses: dict[str, int] = dict(connection.execute(MAINTENANCE["statuses"]))
    size: int = connection.execute(MAINTENANCE["size"]).fetchone()[0]
    running = statuses.get("running", 0)
    return Content(size, schema, sum(statuses.values()), running, gives_space_back(connection))


def gives_space_back(connection: sqlite3.Connection) -> bool:
    """Return whether the file can be made smaller while it is in use."""
    mode: int = connection.execute(MAINTENANCE["auto_vacuum"]).fetchone()[0]
    return mode == INCREMENTAL
