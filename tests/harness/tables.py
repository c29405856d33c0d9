"""The tables that hold the rows of handlers, read from the migrations, so that no check forgets one."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from workflow_server.store.sqlite.migrations import known_migrations, migrate

EVENT_TABLES = ("event_log", "events", "history")
"""Tables of events and histories: by the numbers of handlers or, where older builds wrote events, by the ids."""
VIEWS = ("all_events", "all_history")
"""The views that name the handlers of their rows."""


def _columns() -> dict[str, set[str]]:
    """The names of the columns of each table, and of the views instead of the tables behind them."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection, known_migrations(":memory:"))
        tables = connection.execute(
            "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') ORDER BY rowid"
        ).fetchall()
        return {
            table: {row[0] for row in connection.execute("SELECT name FROM pragma_table_info(?)", (table,))}
            for (table,) in tables
            if table not in EVENT_TABLES
        }


_COLUMNS = _columns()

BY_HANDLER = tuple(table for table, columns in _COLUMNS.items() if "handler_id" in columns)
"""The tables whose rows name their handler."""
BY_RUN = tuple(table for table, columns in _COLUMNS.items() if "run_id" in columns)
"""The tables whose rows name their run."""
OWNERS = {
    table: "handler_id" if table in BY_HANDLER else "run_id" for table in _COLUMNS if table in (*BY_HANDLER, *BY_RUN)
}
"""The column of each table that says to which handler, or to which of its runs, a row belongs."""
