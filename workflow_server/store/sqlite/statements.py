"""The SQL of the store: static text in ``sql/*.sql``, found by name."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from importlib.resources import files

_MARK = "-- name:"

Statements = dict[str, tuple[str, ...]]


def load(name: str) -> Statements:
    """Return the statements of ``sql/<name>.sql``, in order, by the ``-- name: xyz`` that they stand under."""
    text = files("workflow_server.store.sqlite").joinpath("sql", f"{name}.sql").read_text(encoding="utf-8")
    statements: Statements = {}
    for block in text.split(_MARK)[1:]:
        title, _, body = block.partition("\n")
        if title.strip() in statements:
            raise ValueError(f"sql/{name}.sql names '{title.strip()}' twice")
        statements[title.strip()] = tuple(split(body))
    return statements


def statements_of(record: type, statements: Statements) -> tuple[str, ...]:
    """Return the statements of a kind of record, among those of ``sql/records.sql``.

    Raises:
        LookupError: it has none.
    """
    name = record.__name__
    if name not in statements:
        place = f"workflow_server/store/sqlite/sql/records.sql, under '{_MARK} {name}'"
        raise LookupError(f"The record {name} has no SQL: add its statements to {place}.")
    return statements[name]


def load_single(name: str) -> dict[str, str]:
    """Return the statements of a file in which each name is one statement; see ``load``."""
    single: dict[str, str] = {}
    for title, statements in load(name).items():
        (single[title],) = statements
    return single


def split(script: str) -> Iterator[str]:
    """Yield the statements of a script, without comment lines."""
    statement = ""
    for line in script.splitlines():
        if not line.lstrip().startswith("--"):
            statement += line + "\n"
        if sqlite3.complete_statement(statement):
            yield statement.strip()
            statement = ""
    if statement.strip():
        raise ValueError(f"this SQL is not complete: {statement.strip()}")
