"""Ways in which commits fail."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from workflow_server.store import SqliteWorkflowStore

from .fault_injection import Hook, Written, on_write_connection


def failing(code: int, *, at: str = "before commit", times: int = 1 << 30) -> Hook:
    """A hook that raises what SQLite would, with its error code."""
    left = times

    def hook(moment: str, records: Sequence[Written]) -> None:
        nonlocal left
        if moment == at and left > 0:
            left -= 1
            error = sqlite3.OperationalError("made by a test")
            error.sqlite_errorcode = code
            raise error

    return hook


async def fill_up(store: SqliteWorkflowStore) -> None:
    """Let the database grow no more; how SQLite reports it is how it reports a full disk."""
    await on_write_connection(store, lambda sqlite: sqlite.execute("PRAGMA max_page_count = 1").fetchall())


async def make_room(store: SqliteWorkflowStore) -> None:
    await on_write_connection(store, lambda sqlite: sqlite.execute("PRAGMA max_page_count = 1000000").fetchall())
