"""A store whose connection lets a test act at each transaction: look, wait, fail or kill.

The connection sees what SQLite is told to do, and recognizes each record by its statement. So production code has no
place for tests, and no statement can be written that they do not see.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

from workflow_server.records import RunStarted
from workflow_server.store import SqliteWorkflowStore
from workflow_server.store.internal_records import Entry
from workflow_server.store.sqlite.connection import run_on
from workflow_server.store.sqlite.statements import load_single
from workflow_server.store.sqlite.transaction import BOUND_STATEMENTS, HANDLER_STARTED

T = TypeVar("T")

BEGIN = "begin"
BEFORE, INSIDE, AFTER = COMMIT_MOMENTS = ("before commit", "inside commit", "after commit")
BEFORE_CHECKPOINT, AFTER_CHECKPOINT = "before checkpoint", "after checkpoint"


class MigrationApplied(NamedTuple):
    """The transaction of a migration."""


class ServerStarted(NamedTuple):
    """The transaction that ends the opening of a database."""


class ServerStopped(NamedTuple):
    """The transaction of a clean stop."""


Lifecycle = MigrationApplied | ServerStarted | ServerStopped
"""Everything that is written while a database is opened and closed."""

Written = Entry | Lifecycle

Hook = Callable[[str, Sequence[Written]], None]
"""Called on the connection's thread with a moment and records:

- ``begin``: a transaction is about to begin; none are known yet.
- ``before commit``: these are about to be written in it; there may be several such calls.
- ``inside commit``: all of it is written, and about to be committed.
- ``after commit``: it is durable, and nobody has been told.
- ``before checkpoint``, ``after checkpoint``: none. The checkpoint of an opening is not among them.
"""

_SERVER = load_single("server")
_LIFECYCLE: dict[str, Lifecycle] = {
    _SERVER["migration_applied"]: MigrationApplied(),
    _SERVER["server_started"]: ServerStarted(),
    _SERVER["server_stopped"]: ServerStopped(),
}
_KINDS = {bound[0].sql: kind for kind, bound in BOUND_STATEMENTS.items()} | {HANDLER_STARTED[0].sql: RunStarted}
"""The kind of record that begins with a statement."""
assert len(_KINDS) == len(BOUND_STATEMENTS) + 1, "two kinds of record begin with the same statement"


class HookedConnection(sqlite3.Connection):
    """A connection that calls the hook of ``injection``."""

    injection: Injection
    _written: list[Written]
    _serves = False

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        if sql in ("BEGIN IMMEDIATE", "BEGIN DEFERRED"):
            self._written = []
            self._call(BEGIN)
        elif sql == "COMMIT":
            return self._commit()
        elif self._serves and sql.startswith("PRAGMA wal_checkpoint"):
            self._call(BEFORE_CHECKPOINT)
            cursor = super().execute(sql)
            self._call(AFTER_CHECKPOINT)
            return cursor
        elif sql in _LIFECYCLE:
            self._note([_LIFECYCLE[sql]])
        return super().execute(sql, parameters)

    def executemany(self, sql: str, parameters: Any, /) -> sqlite3.Cursor:
        given = list(parameters)
        if sql in _KINDS:
            self._note(_records(sql, given))
        return super().executemany(sql, given)

    def _commit(self) -> sqlite3.Cursor:
        written = self._written
        self._call(INSIDE, written)
        cursor = super().execute("COMMIT")
        self._serves = self._serves or ServerStarted() in written
        self._call(AFTER, written)
        return cursor

    def _note(self, records: list[Written]) -> None:
        self._written += records
        self._call(BEFORE, records)

    def _call(self, moment: str, records: Sequence[Written] = ()) -> None:
        hook = self.injection.hook
        if hook is not None:
            hook(moment, records)


def _records(sql: str, rows: Iterable[Sequence[Any]]) -> list[Written]:
    """The records that the statement writes. Fields that it does not take are None."""
    kind = _KINDS[sql]
    missing = [None] * len(kind._fields)
    return [kind._make([*row, *missing[len(row) :]]) for row in rows]


class Injection:
    """A factory of hooked connections; the hook may be set and removed at any time."""

    def __init__(self, hook: Hook | None = None) -> None:
        self.hook = hook

    def connection(self, *args: Any, **options: Any) -> HookedConnection:
        """Make a connection, as the ``factory`` of ``sqlite3.connect`` does."""
        connection = HookedConnection(*args, **options)
        connection.injection = self
        return connection


class HookedStore(SqliteWorkflowStore):
    """A store with a ``hook``: set before ``open``, it is called while opening, too."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._injection = Injection()
        super().__init__(*args, connection_factory=self._injection.connection, **options)

    @property
    def hook(self) -> Hook | None:
        return self._injection.hook

    @hook.setter
    def hook(self, hook: Hook | None) -> None:
        self._injection.hook = hook


async def on_write_connection(store: SqliteWorkflowStore, function: Callable[[sqlite3.Connection], T]) -> T:
    """Run a function on the connection that writes, between its transactions."""
    opened = store._database.opened
    assert opened is not None
    return await run_on(opened.connection, function)
