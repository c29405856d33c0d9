"""The size and the content of a database in numbers, table by table."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import NamedTuple

from workflow_server.records import HandlerCount
from workflow_server.store.sqlite.inspection import MAINTENANCE, gives_space_back, migrated_to, opened_to_read
from workflow_server.store.sqlite.wal import log_of


class TableSize(NamedTuple):
    """A table; its bytes are those of its pages and of its indexes, None where this SQLite cannot tell them."""

    table: str
    rows: int
    bytes: int | None


class Statistics(NamedTuple):
    """A database in numbers; sizes are bytes."""

    schema: int
    file: int
    log: int
    free: int
    """Pages of the file that hold nothing: later rows take them, or they are given back."""
    gives_space_back: bool
    """Free pages are given back while a server runs; otherwise only a vacuum does it, and lets the file do it then."""
    being_deleted: int
    """Handlers whose deletion was interrupted: the next start finishes it."""
    tables: list[TableSize]
    handlers: list[HandlerCount]


def statistics(path: Path, *, allow_network_filesystem: bool = False) -> Statistics:
    """Return the numbers of the database at ``path``, which a server may have open, as of one moment.

    All rows are counted, and all pages are read: about as long as a start.

    Raises:
        DatabaseError: it cannot be read.
    """
    with opened_to_read(path, may_be_served=False, allow_network_filesystem=allow_network_filesystem) as connection:
        connection.execute("BEGIN")
        page_size, pages, free = connection.execute(MAINTENANCE["space"]).fetchone()
        log = log_of(path)
        return Statistics(
            schema=migrated_to(connection, path),
            file=page_size * pages,
            log=log.stat().st_size if log.exists() else 0,
            free=page_size * free,
            gives_space_back=gives_space_back(connection),
            being_deleted=connection.execute(MAINTENANCE["being_deleted"]).fetchone()[0],
            tables=_tables(connection),
            handlers=[HandlerCount(*row) for row in connection.execute(MAINTENANCE["handlers"])],
        )


def _tables(connection: sqlite3.Connection) -> list[TableSize]:
    try:
        sizes = dict(connection.execute(MAINTENANCE["table_bytes"]))
    except sqlite3.OperationalError:
        # An SQLite that was built without dbstat.
        sizes = {}
    names = [name for (name,) in connection.execute(MAINTENANCE["tables"])]
    return [TableSize(name, _rows(connection, name), sizes.get(name)) for name in names]


def _rows(connection: sqlite3.Connection, table: str) -> int:
    quoted = table.replace('"', '""')
    count: int = connection.execute(f'SELECT count(*) FROM "{quoted}"').fetchone()[0]  # noqa: S608 a name of the schema
    return count
