"""One transaction: the statements of its records, and the meaning of SQLite's errors."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, groupby
from operator import itemgetter
from typing import Literal, NamedTuple, get_args

from workflow_server.records import Record, RunStarted
from workflow_server.store.backend import FailureKind, TransactionError
from workflow_server.store.internal_records import Entries, Entry, InternalRecord
from workflow_server.store.sqlite.grouping import grouped, is_continuation
from workflow_server.store.sqlite.statements import load, statements_of

_BY_NAME = load("records")

STATEMENTS: dict[type[Entry], tuple[str, ...]] = {
    kind: statements_of(kind, _BY_NAME) for kind in (*get_args(Record), *get_args(InternalRecord))
}
"""The statements of each kind of record, in order."""


class BoundStatement(NamedTuple):
    """A statement whose parameters are the first fields of its record, by place: no dictionary is made."""

    sql: str
    parameters: Callable[[Entry], tuple[object, ...]]
    """Returns them as a tuple: of a subclass of it, sqlite3 fetches each through ``__getitem__``."""

    @classmethod
    def of(cls, kind: type[Entry], statement: str) -> BoundStatement:
        fields = kind._fields
        used = [fields.index(name) + 1 for name in _PARAMETER.findall(statement)]
        sql = _PARAMETER.sub(lambda match: f"?{fields.index(match[1]) + 1}", statement)
        return cls(sql, itemgetter(slice(max(used, default=0))))


_PARAMETER = re.compile(r":([a-z_0-9]+)")

BOUND_STATEMENTS: dict[type[Entry], tuple[BoundStatement, ...]] = {
    kind: tuple(BoundStatement.of(kind, statement) for statement in statements)
    for kind, statements in STATEMENTS.items()
}
"""The statements as they are executed."""

HANDLER_STARTED: tuple[BoundStatement, ...] = tuple(
    BoundStatement.of(RunStarted, statement) for statement in _BY_NAME["HandlerStarted"]
)
"""Those of the first run of a handler: there is nothing to remove, and they are refused where the handler is there."""

_RETRIED = frozenset((
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_PERM, sqlite3.SQLITE_SCHEMA, sqlite3.SQLITE_IOERR,
))  # fmt: skip
_BROKEN = frozenset((sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_INTERNAL, sqlite3.SQLITE_MISUSE))
_UNSYNCED = frozenset((sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC))
_KNOWN_AT_COMMIT = frozenset((sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL))


def commit_units(connection: sqlite3.Connection, units: Sequence[Entries]) -> dict[int, str]:
    """Store all units in one transaction, but for those that can never be stored.

    Returns:
        The reasons of the latter, by their place among the units.

    Raises:
        TransactionError: with any kind but REFUSED.
    """
    try:
        return _transact(connection, units, _write_all)
    except TransactionError as failure:
        if failure.kind is not FailureKind.REFUSED:
            raise
    return _transact(connection, units, _write_each)


def _transact(
    connection: sqlite3.Connection,
    units: Sequence[Entries],
    write: Callable[[sqlite3.Connection, Sequence[Entries]], dict[int, str]],
) -> dict[int, str]:
    committing = False
    try:
        connection.execute("BEGIN IMMEDIATE")
        refusals = write(connection, units)
        committing = True
        connection.execute("COMMIT")
    except Exception as error:
        kind = failure_kind(error, committing=committing)
        if not _rolled_back(connection):
            kind = FailureKind.UNKNOWN
        raise TransactionError(kind, describe(error)) from error
    return refusals


@contextmanager
def lone_transaction(
    connection: sqlite3.Connection, begin: Literal["IMMEDIATE", "DEFERRED"] = "IMMEDIATE"
) -> Iterator[None]:
    """Commit what is written inside as a transaction of its own, or roll it back where the block raises."""
    connection.execute(f"BEGIN {begin}")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _write_all(connection: sqlite3.Connection, units: Sequence[Entries]) -> dict[int, str]:
    for kind, entries in grouped(chain.from_iterable(units)):
        is_first = kind is RunStarted and not is_continuation(entries[0])
        _write(connection, HANDLER_STARTED if is_first else BOUND_STATEMENTS[kind], entries)
    return {}


def _write_in_order(connection: sqlite3.Connection, entries: Entries) -> None:
    for kind, same in groupby(entries, type):
        statements = BOUND_STATEMENTS[kind]
        if len(statements) == 1:
            _write(connection, statements, list(same))
            continue
        for entry in same:
            _write(connection, statements, [entry])


def _write(connection: sqlite3.Connection, statements: Iterable[BoundStatement], entries: Sequence[Entry]) -> None:
    # One INSERT for all rows, by json_each or with a list of values, takes more than twice as long.
    for sql, parameters in statements:
        connection.executemany(sql, map(parameters, entries))


def _write_each(connection: sqlite3.Connection, units: Sequence[Entries]) -> dict[int, str]:
    refusals: dict[int, str] = {}
    for place, entries in enumerate(units):
        connection.execute("SAVEPOINT unit")
        try:
            _write_in_order(connection, entries)
        except Exception as error:
            if failure_kind(error, committing=False) is not FailureKind.REFUSED or not connection.in_transaction:
                raise
            connection.execute("ROLLBACK TO unit")
            refusals[place] = describe(error)
        connection.execute("RELEASE unit")
    return refusals


def _rolled_back(connection: sqlite3.Connection) -> bool:
    try:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    except sqlite3.Error:
        return False
    return True


def failure_kind(error: Exception, *, committing: bool) -> FailureKind:
    """Return the meaning of an error: up to COMMIT nothing is stored; from there on only few errors say so.

    After an fsync that failed nothing is known at any time: what it was to sync may never reach the disk, and a large
    transaction begins the log anew, with an fsync of its header, before its COMMIT.

    Codes: https://www.sqlite.org/rescode.html
    """
    code = getattr(error, "sqlite_errorcode", None)
    primary = None if code is None else code & 0xFF
    if code in _UNSYNCED or (committing and primary not in _KNOWN_AT_COMMIT):
        return FailureKind.UNKNOWN
    if is_full(error):
        return FailureKind.FULL
    if primary in _BROKEN:
        return FailureKind.BROKEN
    if primary in _RETRIED or isinstance(error, (MemoryError, OSError)):
        return FailureKind.UNAVAILABLE
    return FailureKind.REFUSED


def is_full(error: BaseException) -> bool:
    """Return whether the disk was full: SQLite has two codes for that, one of them for its shared memory."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and (code & 0xFF == sqlite3.SQLITE_FULL or code == sqlite3.SQLITE_IOERR_SHMSIZE)


def is_damage(error: BaseException) -> bool:
    """Return whether SQLite found that a file is not a database, or not a whole one."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def describe(error: BaseException) -> str:
    """Return an error in a few words, with SQLite's own name for it where it has one."""
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    return f"{name}: {error}"
