"""Migrations: numbered, checked, each in one transaction with its record."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from workflow_server.records import EndedHandler
from workflow_server.store.sqlite import reads
from workflow_server.store.sqlite.exceptions import DatabaseNewer, MigrationEdited, MigrationMissing
from workflow_server.store.sqlite.migrations import known_migrations, migrate, pending_migrations

FIRST = "CREATE TABLE migrations (number INTEGER PRIMARY KEY, name TEXT, sha256 TEXT, applied_at REAL) STRICT;\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "migrations"
    folder.mkdir()
    (folder / "0001_initial.sql").write_text(FIRST)
    (folder / "0002_more.sql").write_text("CREATE TABLE more (x TEXT) STRICT;\nINSERT INTO more VALUES (';');\n")
    (folder / "notes.txt").write_text("no migration")
    return folder


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(tmp_path / "some.db", isolation_level=None)
    yield connection
    connection.close()


def test_each_runs_once_and_is_recorded_with_its_checksum(folder: Path, connection: sqlite3.Connection) -> None:
    known = known_migrations("some.db", folder)
    migrate(connection, pending_migrations(connection, known, "some.db"))
    assert pending_migrations(connection, known, "some.db") == []
    recorded = connection.execute("SELECT number, name, sha256 FROM migrations").fetchall()
    content = (folder / "0002_more.sql").read_bytes()
    assert recorded[1] == (2, "0002_more", hashlib.sha256(content).hexdigest())
    assert connection.execute("SELECT x FROM more").fetchall() == [(";",)]
    (folder / "0003_again.sql").write_text("INSERT INTO more VALUES ('third');\n")
    known = known_migrations("some.db", folder)
    migrate(connection, pending_migrations(connection, known, "some.db"))
    assert connection.execute("SELECT count(*) FROM more").fetchone() == (2,)
    assert connection.execute("PRAGMA user_version").fetchone() == (3,)


def test_one_that_fails_leaves_nothing_of_itself(folder: Path, connection: sqlite3.Connection) -> None:
    (folder / "0003_broken.sql").write_text("CREATE TABLE half (x TEXT) STRICT;\nINSERT INTO nowhere VALUES (1);\n")
    known = known_migrations("some.db", folder)
    with pytest.raises(sqlite3.OperationalError, match="nowhere"):
        migrate(connection, known)
    assert [migration.number for migration in pending_migrations(connection, known, "some.db")] == [3]
    assert connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'half'").fetchone() == (0,)
    assert connection.execute("PRAGMA user_version").fetchone() == (2,)


def test_a_gap_between_the_files_is_refused_by_its_number(folder: Path) -> None:
    (folder / "0004_later.sql").write_text("SELECT 1;\n")
    with pytest.raises(MigrationMissing) as missing:
        known_migrations("some.db", folder)
    assert missing.value.number == 3


def test_an_edited_file_is_refused_by_its_name(folder: Path, connection: sqlite3.Connection) -> None:
    migrate(connection, known_migrations("some.db", folder))
    (folder / "0002_more.sql").write_text("CREATE TABLE more (y TEXT) STRICT;\n")
    with pytest.raises(MigrationEdited) as edited:
        pending_migrations(connection, known_migrations("some.db", folder), "some.db")
    assert edited.value.name == "0002_more"


def test_a_newer_database_is_refused(folder: Path, connection: sqlite3.Connection) -> None:
    migrate(connection, known_migrations("some.db", folder))
    (folder / "0002_more.sql").unlink()
    with pytest.raises(DatabaseNewer) as newer:
        pending_migrations(connection, known_migrations("some.db", folder), "some.db")
    assert (newer.value.found, newer.value.known) == (2, 1)


def test_a_database_with_a_gap_is_refused(folder: Path, connection: sqlite3.Connection) -> None:
    migrate(connection, known_migrations("some.db", folder))
    connection.execute("DELETE FROM migrations WHERE number = 1")
    with pytest.raises(MigrationMissing):
        pending_migrations(connection, known_migrations("some.db", folder), "some.db")


def test_posted_events_of_the_first_version_are_kept_and_counted(tmp_path: Path) -> None:
    known = known_migrations("old.db")
    connection = sqlite3.connect(tmp_path / "old.db", isolation_level=None)
    connection.executescript(known[0].script)
    columns = "handler_id, workflow_name, run_id, status"
    connection.execute(f"INSERT INTO handlers ({columns}) VALUES ('a', 'flow', 'a-1', 'running')")
    sent = '{"__is_pydantic": true, "value": {"to": "für"}, "qualified_name": "flows.Reply"}'
    connection.execute("INSERT INTO inbox VALUES (1, 'a', 'a-1', ?, 'ask'), (2, 'a', 'a-1', 'no json', NULL)", (sent,))
    for migration in known[1:]:
        connection.executescript(migration.script)
    first, second = connection.execute("SELECT event_type, size, early, hold, held FROM inbox ORDER BY inbox_id")
    assert first == ("flows.Reply", len(sent.encode()), 0, 0, 0)
    assert second == ("", 7, 0, 0, 0)
    assert reads.inbox_load(connection, "a-1") == (2, 0, len(sent.encode()) + 7)
    connection.close()


def test_handlers_that_ended_before_are_found_by_their_ends(connection: sqlite3.Connection) -> None:
    known = known_migrations("old.db")
    place = next(place for place, migration in enumerate(known) if migration.name.endswith("ends_in_order"))
    migrate(connection, known[:place])
    columns = "handler_id, workflow_name, run_id, status, started_at, completed_at, purging"
    connection.executemany(
        f"INSERT INTO handlers ({columns}) VALUES (?, 'flow', ?, ?, 1.0, ?, ?)",
        [
            ("late", "late-1", "completed", 9.0, 0),
            ("early", "early-1", "completed", 5.0, 0),
            ("going", "going-1", "completed", 5.0, 1),
            ("running", "running-1", "running", None, 0),
        ],
    )
    migrate(connection, known[place:])
    first, last = EndedHandler(0.0, ""), EndedHandler(9.0, "~")
    found = [EndedHandler(5.0, "early", "early-1"), EndedHandler(9.0, "late", "late-1")]
    assert reads.ended_handlers(connection, "completed", first, last, 10) == found
