"""A large database: handlers that the server itself made, copied over and over with ids and times of their own."""

from __future__ import annotations

import random
import sqlite3
import string
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

DAY = 86_400.0
OLD = 40 * DAY
"""The age of the handlers that are to be deleted; the others ended within the last day."""
_ALPHABET = string.ascii_letters + string.digits
_TIMES = frozenset(("started_at", "updated_at", "completed_at", "requested_at", "answered_at", "time"))
_IDS = {"handler_id": "new_id", "run_id": "new_run", "number": "new_number"}


def copy_handlers(db: Path, total: int, old: int, gone: Path) -> None:
    """Copy the handlers of a database that no server has open until there are ``total`` more.

    The first ``old`` of them ended long ago; their ids are written into the new database ``gone``.
    """
    with closing(sqlite3.connect(db, isolation_level=None)) as connection:
        # A file that is lost with the machine is made anew.
        for pragma in (
            "journal_mode = DELETE",
            "journal_mode = OFF",
            "synchronous = OFF",
            "cache_size = -4000000",
            "temp_store = MEMORY",
        ):
            connection.execute(f"PRAGMA {pragma}").fetchall()
        connection.execute("BEGIN")
        _plan(connection, total, old)
        for table in _tables(connection):
            _copy(connection, table)
        connection.execute("COMMIT")
        connection.execute("ATTACH ? AS gone", (str(gone),))
        connection.execute(
            "CREATE TABLE gone.ids AS SELECT new_id, new_run, new_number FROM copies ORDER BY new_number LIMIT ?",
            (old,),
        )
        for column in _IDS.values():
            connection.execute(f"CREATE INDEX gone.by_{column} ON ids ({column})")


def rows_left(db: Path, gone: Path) -> dict[str, int]:
    """Return how many rows of these handlers there are in each table of a database that no server has open."""
    with closing(sqlite3.connect(db, isolation_level=None)) as connection:
        connection.execute("ATTACH ? AS gone", (str(gone),))
        found = {}
        for table, columns in _tables(connection).items():
            conditions = [f"{own} IN (SELECT {new} FROM gone.ids)" for own, new in _IDS.items() if own in columns]
            query = f"SELECT count(*) FROM {table} WHERE {' OR '.join(conditions)}"
            found[table] = connection.execute(query).fetchone()[0]
        return found


def _tables(connection: sqlite3.Connection) -> dict[str, list[str]]:
    """Return the columns of each table that has rows of handlers; the handlers come first."""
    names = [row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY rowid")]
    columns = {
        name: [row[0] for row in connection.execute("SELECT name FROM pragma_table_info(?)", (name,))] for name in names
    }
    return {
        name: found for name, found in columns.items() if not _IDS.keys().isdisjoint(found) and name != "migrations"
    }


def _plan(connection: sqlite3.Connection, total: int, old: int) -> None:
    """Say of each copy which handler it is made of, and what it has of its own."""
    models = connection.execute(
        "SELECT handler_id, run_id, number, completed_at FROM handlers WHERE status <> 'running' ORDER BY number"
    ).fetchall()
    first: int = connection.execute("SELECT coalesce(max(number), 0) + 1 FROM handlers").fetchone()[0]
    chance, now = random.Random(1), time.time()

    def copies() -> Iterator[tuple[object, ...]]:
        for place in range(total):
            age = OLD - place / old if place < old else DAY * (1 - place / total)
            *ids, completed_at = models[place % len(models)]
            yield (
                *ids,
                "".join(chance.choices(_ALPHABET, k=10)),
                f"{place:018}",
                first + place,
                now - age - completed_at,
            )

    connection.execute(
        "CREATE TEMP TABLE copies (old_id, old_run, old_number, new_id, new_run, new_number INTEGER PRIMARY KEY, later)"
    )
    connection.executemany("INSERT INTO copies VALUES (?, ?, ?, ?, ?, ?, ?)", copies())


def _copy(connection: sqlite3.Connection, table: str) -> None:
    columns = _tables(connection)[table]
    own = next(name for name in _IDS if name in columns)
    values = [_value(table, name) for name in columns]
    old = _IDS[own].replace("new", "old")
    # Read from a table of its own: SQLite would first put all that it reads of the one that it writes to into a file.
    connection.execute(f"CREATE TEMP TABLE models AS SELECT * FROM {table}")
    connection.execute(f"CREATE INDEX temp.models_by_owner ON models ({own})")
    connection.execute(
        f"INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(values)} "
        f"FROM copies AS c CROSS JOIN models AS t ON t.{own} = c.{old} ORDER BY c.new_number"
    )
    connection.execute("DROP TABLE models")


def _value(table: str, column: str) -> str:
    if column in _IDS:
        return f"c.{_IDS[column]}"
    if column in _TIMES:
        return f"t.{column} + c.later"
    return "c.new_id" if (table, column) == ("answers", "key") else f"t.{column}"
