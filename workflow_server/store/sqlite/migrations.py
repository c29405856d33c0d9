"""Numbered migrations: each runs once, in one transaction with the record of its number, name and checksum."""

from __future__ import annotations

import hashlib
import re
import sqlite3
import time
from collections.abc import Callable, Sequence
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import NamedTuple

from workflow_server.store.sqlite.exceptions import DatabaseNewer, MigrationEdited, MigrationMissing
from workflow_server.store.sqlite.statements import load_single, split
from workflow_server.store.sqlite.transaction import lone_transaction

APPLICATION_ID = 0x77665356
"""Marks a SQLite file as one of workflow_server: 'wfSV' in ASCII."""

_FILE_NAME = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
_READS = load_single("reads")
_WRITES = load_single("server")


class Migration(NamedTuple):
    """One step of the schema."""

    number: int
    name: str
    sha256: str
    script: str


def known_migrations(path: str, folder: Traversable | None = None) -> list[Migration]:
    """Return the migrations of this installation in order; ``path`` names the database in errors.

    Raises:
        MigrationMissing: a number is missing or there twice.
    """
    found: list[Migration] = []
    for file in (folder or files("workflow_server.migrations")).iterdir():
        match = _FILE_NAME.fullmatch(file.name)
        if match:
            content = file.read_bytes()
            name = file.name.removesuffix(".sql")
            found.append(Migration(int(match[1]), name, hashlib.sha256(content).hexdigest(), content.decode()))
    found.sort()
    for expected, migration in enumerate(found, 1):
        if migration.number != expected:
            raise MigrationMissing(path=path, number=expected)
    return found


def pending_migrations(connection: sqlite3.Connection, known: Sequence[Migration], path: str) -> list[Migration]:
    """Return the migrations that the database has not had yet; write nothing.

    Raises:
        DatabaseNewer, MigrationEdited, MigrationMissing: the database was migrated with others.
    """
    if not connection.execute(_READS["migrations_known"]).fetchone()[0]:
        return list(known)
    applied: list[tuple[int, str, str]] = connection.execute(_READS["migrations"]).fetchall()
    if applied and applied[-1][0] > len(known):
        raise DatabaseNewer(path=path, found=applied[-1][0], known=len(known))
    for expected, (number, name, sha256) in enumerate(applied, 1):
        if number != expected:
            raise MigrationMissing(path=path, number=expected)
        if sha256 != known[number - 1].sha256:
            raise MigrationEdited(path=path, name=name)
    return list(known[len(applied) :])


def migrate(
    connection: sqlite3.Connection,
    migrations: Sequence[Migration],
    *,
    make: Callable[[sqlite3.Connection], None] | None = None,
) -> None:
    """Apply ``migrations``, each in one transaction; the first failure leaves those before it in place.

    ``make`` is called at the beginning of the first one, before anything is in a new database.
    """
    for migration in migrations:
        number, name, sha256, _ = migration
        record = {"number": number, "name": name, "sha256": sha256, "applied_at": time.time()}
        makes = make is not None and migration is migrations[0]
        with lone_transaction(connection, "DEFERRED" if makes else "IMMEDIATE"):
            if make is not None and makes:
                make(connection)
            for statement in split(migration.script):
                connection.execute(statement)
            connection.execute(_WRITES["migration_applied"], record)
            # In the same transaction, so that the file is never ours without saying so; PRAGMA takes no parameters.
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID:d}")
            connection.execute(f"PRAGMA user_version = {number:d}")
