"""The contents of a server's database, to be compared as a whole and searched for what was promised."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Sequence
from typing import Any

from tests.harness.tables import OWNERS
from workflow_server.records import HistoryPlace

_ROWS = {
    # Whether the server was stopped cleanly, and when a migration ran, is the business of opening and closing. What is
    # being deleted is not there any more, however much of it is left.
    "server": "SELECT id, alive_at FROM server",
    "migrations": "SELECT number, name, sha256 FROM migrations",
    **{
        table: f"SELECT * FROM {table} WHERE {column} NOT IN (SELECT {column} FROM handlers WHERE purging = 1)"
        for table, column in OWNERS.items()
    },
}

Contents = dict[str, list[tuple[Any, ...]]]
"""The rows of each table, in the order of its B-tree."""


def read_contents(connection: sqlite3.Connection) -> Contents:
    """All that is committed, in one view."""
    connection.execute("BEGIN")
    try:
        return {table: connection.execute(statement).fetchall() for table, statement in _ROWS.items()}
    finally:
        connection.execute("ROLLBACK")


def digest(contents: Contents) -> str:
    """Equal for equal contents only."""
    return hashlib.blake2b(repr(contents).encode(), digest_size=16).hexdigest()


def event_fact(handler_id: str, sequence: int, kind: str, value: object) -> str:
    """An event as a reader gets it, in one line."""
    return f"event {handler_id} {sequence} {kind} {json.dumps(value, sort_keys=True)}"


def entry_fact(handler_id: str, cursor: str, kind: str) -> str:
    """An entry of a history as a reader gets it, in one line."""
    return f"event {handler_id} history {cursor} {kind}"


def missing(contents: Contents, facts: Sequence[str]) -> list[str]:
    """Return those of these events, or texts of any column, that are nowhere in the contents."""
    events = {
        event_fact(handler_id, sequence, (envelope := json.loads(data))["type"], envelope["value"])
        for handler_id, sequence, _, _, data, *_ in contents["all_events"]
    }
    events |= {
        entry_fact(handler_id, HistoryPlace(after, place).to_text(), kind)
        for handler_id, after, place, _, _, kind, *_ in contents["all_history"]
    }
    text = repr(contents)
    return [fact for fact in facts if fact not in events and (fact.startswith("event ") or fact not in text)]
