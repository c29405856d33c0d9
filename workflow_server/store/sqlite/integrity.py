"""Checks of a whole database before anything is written to it: its schema and its integrity.

The whole file is read at each start: files are damaged at rest and when they are moved, too, and at a start somebody is
there to mend it. ``integrity_check`` took 1.2 s for a file of 465 MB with 1.5 million events; ``quick_check``, which
finds neither rows in the wrong order nor missing entries of an index, took as long (2 busy cores).
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from workflow_server.store.sqlite.connection import Access, connect, run_on
from workflow_server.store.sqlite.exceptions import DatabaseAltered, DatabaseDamaged, LogDamaged
from workflow_server.store.sqlite.migrations import Migration, migrate, pending_migrations
from workflow_server.store.sqlite.statements import load_single
from workflow_server.store.sqlite.wal import first_page, has_log, lost_commits

logger = logging.getLogger(__name__)

_READS = load_single("reads")

LARGE = 1 << 30
"""Bytes of a database from which on its reading is logged, since it takes long."""


async def examine_database(path: Path, known: Sequence[Migration]) -> None:
    """Check the database at ``path``, which is locked, and write nothing to it.

    Raises:
        DatabaseError: the database is damaged, altered or newer.
        sqlite3.Error: SQLite cannot read it.
    """
    connection = await connect(path, _access(path))
    try:
        page_size = await run_on(connection, lambda sqlite: _examine(sqlite, known, path))
    finally:
        await connection.close()
    check_files(path, page_size)


def check_files(path: Path, page_size: int) -> None:
    """Check what SQLite does not: commits that are lost in the log, and the count of free pages.

    Only to be called as ``lost_commits``, and while nobody writes.

    Raises:
        DatabaseError: the log or the header is damaged.
    """
    lost = lost_commits(path, page_size)
    if lost:
        raise LogDamaged(path=str(path), commits=lost)
    _check_free_pages(path, page_size)


def _access(path: Path) -> Access:
    if path.with_name(path.name + "-journal").exists():
        # A crash interrupted the transaction that makes the file, before it gets a log: SQLite has to roll that back.
        return "mode=rw"
    # A connection that can write would fold the log into the file when it is closed, also into one that is refused;
    # one that only reads leaves an empty log where there was none.
    return "mode=ro" if has_log(path) else "immutable=1"


def _examine(connection: sqlite3.Connection, known: Sequence[Migration], path: Path) -> int:
    pending = pending_migrations(connection, known, str(path))
    if len(pending) == len(known) and _has_any_of(connection, known):
        raise DatabaseDamaged(path=str(path), problem="its record of migrations is missing")
    check_schema(connection, known[: len(known) - len(pending)], str(path))
    if len(pending) < len(known):
        stopped_cleanly = server_row(connection, str(path))[1] != 0
        if not stopped_cleanly:
            _note_unclean_stop(path)
        if path.stat().st_size >= LARGE:
            logger.info("Reading all of %s (%.1f GB) before it is used", path, path.stat().st_size / 1e9)
        check_integrity(connection, str(path))
    page_size: int = connection.execute("PRAGMA page_size").fetchone()[0]
    return page_size


def _has_any_of(connection: sqlite3.Connection, migrations: Sequence[Migration]) -> bool:
    """Return True where anything is in the schema exactly as these migrations make it."""
    model = sqlite3.connect(":memory:", isolation_level=None)
    try:
        migrate(model, migrations)
        made = set(model.execute(_READS["schema"]))
    finally:
        model.close()
    return not made.isdisjoint(connection.execute(_READS["schema"]))


def check_schema(connection: sqlite3.Connection, applied: Sequence[Migration], name: str) -> None:
    """Check that the schema has all that the migrations made, as they made it.

    Others may add tables, views and indexes, but nothing that runs with our writes or can refuse them.

    Raises:
        DatabaseAltered: such a thing was added.
        DatabaseDamaged: something of ours is missing, or was changed.
    """
    model = sqlite3.connect(":memory:", isolation_level=None)
    try:
        migrate(model, applied)
        expected, rules = set(model.execute(_READS["schema"])), set(model.execute(_READS["rules"]))
    finally:
        model.close()
    missing = sorted(f"{kind} '{title}'" for kind, title, _ in expected - set(connection.execute(_READS["schema"])))
    if missing:
        raise DatabaseDamaged(path=name, problem=f"its {', '.join(missing)} is not as it was made")
    ours = {title for kind, title, _ in expected if kind == "table"}
    foreign = sorted(
        f"{kind} '{title}' on '{table}'"
        for kind, title, table, _ in set(connection.execute(_READS["rules"])) - rules
        # A trigger on another table may run, too, through a foreign key.
        if kind == "trigger" or table.lower() in ours
    )
    if foreign:
        raise DatabaseAltered(path=name, what=", ".join(foreign))


def server_row(connection: sqlite3.Connection, name: str) -> tuple[float | None, int]:
    """Return the time of the server's last sign of life, and 1 where it stopped cleanly, 0 where not.

    Raises:
        DatabaseDamaged: the row is missing.
    """
    row: tuple[float | None, int] | None = connection.execute(_READS["server"]).fetchone()
    if row is None:
        raise DatabaseDamaged(path=name, problem="the row of its table 'server' is missing")
    return row


def _note_unclean_stop(path: Path) -> None:
    logger.warning("%s was not closed cleanly: its runs resume from their last commit", path)
    if not has_log(path):
        logger.warning(
            "%s has no write-ahead log (-wal) beside it. That is right for a backup; where the log was lost, the "
            "last commits were lost with it.",
            path,
        )


def _check_free_pages(path: Path, page_size: int) -> None:
    """Check that the header counts no free pages where it names none: SQLite's check does not look, and its next
    transaction that needs a page fails.

    Raises:
        DatabaseDamaged: it does. Offsets: https://www.sqlite.org/fileformat2.html#the_database_header
    """
    header = first_page(path, page_size)
    if header[36:40] != bytes(4) and header[32:36] == bytes(4):
        raise DatabaseDamaged(path=str(path), problem="its header counts free pages, but does not say where they are")


def check_integrity(connection: sqlite3.Connection, name: str) -> None:
    """Read the whole database.

    Raises:
        DatabaseDamaged: its pages, rows and indexes do not fit together.
    """
    # Problems of pages come in one row, with a line for each, behind the name of the database.
    lines = [line for row in connection.execute("PRAGMA integrity_check(3)") for line in row[0].splitlines()]
    if lines != ["ok"]:
        raise DatabaseDamaged(path=name, problem="; ".join(line for line in lines if not line.startswith("***")))
