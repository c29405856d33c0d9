"""Every statement finds its rows by an index."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from typing import NamedTuple, get_args

import pytest

from workflow_server.records import Record
from workflow_server.store.sqlite.migrations import known_migrations, migrate
from workflow_server.store.sqlite.statements import load, load_single, split, statements_of
from workflow_server.store.sqlite.transaction import STATEMENTS

ALL = [
    pytest.param(statement, id=f"{file}-{name}-{place}")
    for file in ("records", "reads", "server")
    for name, statements in load(file).items()
    for place, statement in enumerate(statements)
]

SERVED = re.compile(
    r"json_each"  # a list of parameters
    r"|SCAN (migrations|sqlite_schema)\b"  # a handful of rows, read once at start
    r"|USING (COVERING )?INDEX handlers_purging"  # holds only the handlers that are being purged
    r"|SCAN handlers USING COVERING INDEX handlers_by_workflow"  # counts them
    r"|SCAN (\(subquery-\d+\)|newest|ended)"  # what another SELECT of the statement has found
    r"|SCAN CONSTANT ROW"
    r"|SCAN (indexes|keys) VIRTUAL TABLE"  # what the schema says of one table
    r"|SCAN pragma_\w+ VIRTUAL TABLE"  # one row
)


@pytest.fixture
def schema() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection, known_migrations(":memory:"))
    yield connection
    connection.close()


@pytest.mark.parametrize("statement", ALL)
def test_no_statement_scans_a_table_that_has_an_index(statement: str, schema: sqlite3.Connection) -> None:
    parameters = dict.fromkeys(re.findall(r":([a-z_0-9]+)", statement), None)
    plan = [row[3] for row in schema.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)]
    assert [step for step in plan if step.startswith("SCAN") and not SERVED.search(step)] == []


def test_each_kind_of_record_has_statements_with_its_fields() -> None:
    assert set(get_args(Record)) <= set(STATEMENTS)
    for kind, statements in STATEMENTS.items():
        used = {name for statement in statements for name in re.findall(r":([a-z_0-9]+)", statement)}
        assert used == set(kind._fields), kind


def test_a_record_without_its_sql_is_named_with_the_place_for_it() -> None:
    class NoteKept(NamedTuple):
        note: str

    with pytest.raises(LookupError, match=r"record NoteKept has no SQL: .*sql/records.sql, under '-- name: NoteKept'"):
        statements_of(NoteKept, load("records"))


def test_a_repeated_name_and_an_unfinished_statement_are_errors() -> None:
    assert list(split("-- a comment\nSELECT 1;\nSELECT ';';")) == ["SELECT 1;", "SELECT ';';"]
    with pytest.raises(ValueError, match="not complete"):
        list(split("SELECT 1"))
    with pytest.raises(ValueError, match="too many values"):
        load_single("records")
