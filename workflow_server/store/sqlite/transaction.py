"""One transaction of the writer: what runs on the connection's thread, and what its failures mean."""

from __future__ import annotations

import enum
import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, groupby
from typing import NamedTuple, get_args

from workflow_server.records import Record
from workflow_server.store.sqlite.maintenance import MAINTENANCE, Entry, Lifecycle
from workflow_server.store.sqlite.statements import load

Entries = tuple[Entry, ...]

Fault = Callable[[str, Sequence[Entries]], None]
"""A test's way to fail or kill at a commit: called on the writer's thread with ``before commit``, ``inside commit``
or ``after commit`` and the units of the transaction, and with ``before checkpoint`` or ``after checkpoint`` and none.
The transactions of opening and closing are among them, and have one ``Lifecycle`` entry each."""

Refusals = dict[int, Exception]
"""Errors of the units that cannot be stored, by their place in the batch."""

_BY_NAME = load("records")

STATEMENTS: dict[type[Entry], tuple[str, ...]] = {
    kind: _BY_NAME[kind.__name__] for kind in (*get_args(Record), *MAINTENANCE)
}


class _Bound(NamedTuple):
    """A statement whose parameters are the first ``width`` fields of its record, by place: no dictionary is made."""

    sql: str
    width: int
    is_whole: bool
    """They are all of its fields."""

    @classmethod
    def of(cls, kind: type[Entry], statement: str) -> _Bound:
        fields = kind._fields
        used = [fields.index(name) + 1 for name in _PARAMETER.findall(statement)]
        sql = _PARAMETER.sub(lambda match: f"?{fields.index(match[1]) + 1}", statement)
        width = max(used, default=0)
        return cls(sql, width, width == len(fields))


_PARAMETER = re.compile(r":([a-z_0-9]+)")

_BOUND: dict[type[Entry], tuple[_Bound, ...]] = {
    kind: tuple(_Bound.of(kind, statement) for statement in statements) for kind, statements in STATEMENTS.items()
}


class Verdict(enum.Enum):
    """The consequence of a failed transaction for its units."""

    FULL = "nothing was stored, for want of room"
    UNAVAILABLE = "nothing was stored, and a later try may succeed"
    REFUSED = "nothing was stored, because of a value that can never be stored"
    BROKEN = "nothing was stored, and nothing can be any more"
    UNKNOWN = "whether it was stored is not known"


class TransactionError(Exception):
    """A transaction failed: ``verdict`` says what that means, the cause is its ``__cause__``."""

    def __init__(self, verdict: Verdict, reason: str) -> None:
        super().__init__(reason)
        self.verdict = verdict
        self.reason = reason


_RETRIED = frozenset((
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_PERM, sqlite3.SQLITE_SCHEMA, sqlite3.SQLITE_IOERR,
))  # fmt: skip
_BROKEN = frozenset((sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_INTERNAL, sqlite3.SQLITE_MISUSE))
_UNSYNCED = frozenset((sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC))
_KNOWN_AT_COMMIT = frozenset((sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL))


def commit_units(connection: sqlite3.Connection, units: Sequence[Entries], fault: Fault | None) -> Refusals:
    """Store all units in one transaction, but for those that can never be stored.

    Raises:
        TransactionError: with any verdict but REFUSED.
    """
    try:
        return _transact(connection, units, _write_all, fault)
    except TransactionError as failure:
        if failure.verdict is not Verdict.REFUSED:
            raise
    return _transact(connection, units, _write_each, fault)


def _transact(
    connection: sqlite3.Connection,
    units: Sequence[Entries],
    write: Callable[[sqlite3.Connection, Sequence[Entries]], Refusals],
    fault: Fault | None,
) -> Refusals:
    committing = False
    try:
        if fault:
            fault("before commit", units)
        connection.execute("BEGIN IMMEDIATE")
        refusals = write(connection, units)
        committing = True
        if fault:
            fault("inside commit", units)
        connection.execute("COMMIT")
        if fault:
            fault("after commit", units)
    except Exception as error:
        verdict = judge(error, committing=committing)
        if not _rolled_back(connection):
            verdict = Verdict.UNKNOWN
        raise TransactionError(verdict, describe(error)) from error
    return refusals


@contextmanager
def lone_transaction(connection: sqlite3.Connection, entry: Lifecycle, fault: Fault | None) -> Iterator[None]:
    """Commit what is written inside as a transaction of its own, or roll it back where the block raises."""
    units = ((entry,),)
    if fault:
        fault("before commit", units)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        if fault:
            fault("inside commit", units)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    if fault:
        fault("after commit", units)


def _write_all(connection: sqlite3.Connection, units: Sequence[Entries]) -> Refusals:
    for kind, entries in groupby(chain.from_iterable(units), type):
        statements = _BOUND[kind]
        if len(statements) == 1:
            # A step that publishes many events: one call for all of them.
            sql, width, is_whole = statements[0]
            connection.executemany(sql, entries if is_whole else [entry[:width] for entry in entries])
            continue
        for entry in entries:
            for sql, width, _ in statements:
                connection.execute(sql, entry[:width])
    return {}


def _write_each(connection: sqlite3.Connection, units: Sequence[Entries]) -> Refusals:
    refusals: Refusals = {}
    for place, entries in enumerate(units):
        connection.execute("SAVEPOINT unit")
        try:
            _write_all(connection, (entries,))
        except Exception as error:
            if judge(error, committing=False) is not Verdict.REFUSED or not connection.in_transaction:
                raise
            connection.execute("ROLLBACK TO unit")
            refusals[place] = error
        connection.execute("RELEASE unit")
    return refusals


def _rolled_back(connection: sqlite3.Connection) -> bool:
    try:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    except sqlite3.Error:
        return False
    return True


def judge(error: Exception, *, committing: bool) -> Verdict:
    """Return what a failure means: up to COMMIT nothing is stored; from there on only few errors say that it was not.
    After an fsync that failed nothing is known at any time: what it was to sync may never reach the disk, and a large
    transaction begins the log anew, with an fsync of its header, before its COMMIT.

    Codes: https://www.sqlite.org/rescode.html
    """
    code = getattr(error, "sqlite_errorcode", None)
    primary = None if code is None else code & 0xFF
    if code in _UNSYNCED or (committing and primary not in _KNOWN_AT_COMMIT):
        return Verdict.UNKNOWN
    if is_full(error):
        return Verdict.FULL
    if primary in _BROKEN:
        return Verdict.BROKEN
    if primary in _RETRIED or isinstance(error, (MemoryError, OSError)):
        return Verdict.UNAVAILABLE
    return Verdict.REFUSED


def is_full(error: BaseException) -> bool:
    """Return whether the disk was full. SQLite has a code of its own for it, but where its shared memory cannot
    grow."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and (code & 0xFF == sqlite3.SQLITE_FULL or code == sqlite3.SQLITE_IOERR_SHMSIZE)


def describe(error: BaseException) -> str:
    """An error in a few words, with SQLite's own name for it where it has one."""
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    return f"{name}: {error}"
