"""The runs of a database that have not ended, for a look at them beside the server that may have it open.

Nothing is written to the file. The runs of a database with an older schema are copied into a temporary one, which is
migrated.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from workflow_server.records import StoredRun
from workflow_server.store.sqlite.connection import set_up
from workflow_server.store.sqlite.inspection import MAINTENANCE, migrated_to, opened_to_read
from workflow_server.store.sqlite.migrations import known_migrations, migrate
from workflow_server.store.sqlite.reads import load_runs, running_runs

TABLES = ("handlers", "payloads", "ticks", "snapshots", "state_records", "state_patches", "inbox")
"""Tables that a run is read from; those that others refer to come first."""

AT_ONCE = 64
CHARACTERS = 16_000_000
"""Bounds of the runs that are in memory at once, whichever is reached first."""


class UnfinishedRuns:
    """The runs that have not ended, in the order in which a start gives them slots."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._ids = [run.handler_id for run in running_runs(connection)]

    def __len__(self) -> int:
        return len(self._ids)

    def __iter__(self) -> Iterator[StoredRun]:
        """Yield each run, unless it has ended since; a batch is read at a time, so that no read holds the log of a
        server for long."""
        read = 0
        while read < len(self._ids):
            batch = load_runs(self._connection, self._ids[read : read + AT_ONCE], CHARACTERS)
            read += len(batch)
            yield from (run for run in batch if run is not None and run.status == "running")


@contextmanager
def unfinished_runs(path: Path, *, allow_network_filesystem: bool = False) -> Iterator[UnfinishedRuns]:
    """Open the database at ``path``, an absolute path, to read its unfinished runs in the block.

    Raises:
        DatabaseError: it cannot be read; also where that happens in the block.
    """
    with opened_to_read(path, may_be_served=False, allow_network_filesystem=allow_network_filesystem) as connection:
        schema = migrated_to(connection, path)
        if schema == len(known_migrations(str(path))):
            yield UnfinishedRuns(connection)
            return
        with closing(_copied(connection, path, schema)) as copy:
            yield UnfinishedRuns(copy)


def _copied(connection: sqlite3.Connection, path: Path, schema: int) -> sqlite3.Connection:
    """Return a temporary database that holds the unfinished runs, with the schema of today.

    SQLite deletes it when it is closed, or with the process.
    """
    known = known_migrations(str(path))
    copy = sqlite3.connect("", isolation_level=None)
    try:
        set_up(copy)
        migrate(copy, known[:schema])
        connection.execute("BEGIN")
        copy.execute("BEGIN")
        for table in TABLES:
            rows = connection.execute(MAINTENANCE[f"unfinished_{table}"])
            marks = ", ".join("?" for _ in rows.description)
            copy.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)  # noqa: S608 a table of ours
        connection.execute("ROLLBACK")
        copy.execute("COMMIT")
        migrate(copy, known[schema:])
    except BaseException:
        copy.close()
        raise
    return copy
