"""Group commit's backend on SQLite: one connection that writes, with its log, its file guard and its ballast."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import aiosqlite

from workflow_server.store.backend import Backend, FailureKind, Refusals, TransactionError
from workflow_server.store.internal_records import Entries
from workflow_server.store.sqlite.ballast import Ballast
from workflow_server.store.sqlite.checkpoint import Checkpointer
from workflow_server.store.sqlite.connection import run_on
from workflow_server.store.sqlite.file_guard import FileGuard
from workflow_server.store.sqlite.space import PAGES_AT_ONCE, give_space_back
from workflow_server.store.sqlite.statements import load_single
from workflow_server.store.sqlite.transaction import commit_units, describe, failure_kind, lone_transaction

_SERVER_STOPPED = load_single("server")["server_stopped"]


class SqliteBackend(Backend):
    """Writes through ``connection``, whose thread runs one function at a time. A database in memory has no guard."""

    def __init__(
        self, connection: aiosqlite.Connection, checkpointer: Checkpointer, guard: FileGuard | None, ballast: Ballast
    ) -> None:
        self._connection = connection
        self._checkpointer = checkpointer
        self._guard = guard
        self._ballast = ballast
        self._has_failed = False
        """The last transaction failed: the room of the ballast may have been used up, or may be there again."""

    async def commit(self, units: Sequence[Entries]) -> Refusals:
        return await run_on(self._connection, lambda sqlite: self._commit(sqlite, units))

    async def commit_urgent(self, units: Sequence[Entries]) -> Refusals:
        return await run_on(self._connection, lambda sqlite: self._commit_urgent(sqlite, units))

    async def maintain(self) -> None:
        if self._checkpointer.is_due():
            await run_on(self._connection, self._checkpoint)

    async def erase_deleted(self) -> bool:
        return await run_on(self._connection, self._checkpointer.empty)

    async def give_space_back(self) -> bool:
        return await run_on(self._connection, self._give_space_back)

    async def stop_cleanly(self) -> None:
        """Fold the log in and note in the database that it was closed. Called when group commit has ended.

        Raises:
            TransactionError, StoreGone: the database does not say that it was closed cleanly.
        """
        await run_on(self._connection, self._stop_cleanly)

    # -- On the connection's thread ------------------------------------------------------------

    def _commit(self, sqlite: sqlite3.Connection, units: Sequence[Entries]) -> Refusals:
        try:
            refusals = commit_units(sqlite, units)
        except TransactionError:
            self._has_failed = True
            raise
        self._checkpointer.count_commit()
        if self._guard is not None:
            # Before anybody is told of the commit: it must be where the next start looks for it.
            self._guard.check()
        if self._has_failed:
            self._has_failed = False
            self._ballast.fill()
        return refusals

    def _commit_urgent(self, sqlite: sqlite3.Connection, units: Sequence[Entries]) -> Refusals:
        # After a checkpoint the log begins anew, in the room that it takes up already. The ballast is given back only
        # then: the checkpoint, which writes the commits before this one, would use its room up.
        self._checkpointer.run(sqlite)
        self._ballast.give()
        # Overwriting deleted content would need room: it is left to what is written in its place later.
        sqlite.execute("PRAGMA secure_delete = FAST")
        try:
            return self._commit(sqlite, units)
        finally:
            sqlite.execute("PRAGMA secure_delete = ON")
            self._ballast.fill()

    def _give_space_back(self, sqlite: sqlite3.Connection) -> bool:
        try:
            give_space_back(sqlite, PAGES_AT_ONCE)
        except sqlite3.Error as error:
            kind = failure_kind(error, committing=True)
            if kind is FailureKind.UNKNOWN:
                raise TransactionError(kind, describe(error)) from error
            return False
        self._checkpointer.count_commit()
        if self._guard is not None:
            self._guard.check()
        return True

    def _checkpoint(self, sqlite: sqlite3.Connection) -> None:
        self._checkpointer.run(sqlite)
        self._ballast.fill()

    def _stop_cleanly(self, sqlite: sqlite3.Connection) -> None:
        if self._guard is not None:
            self._guard.check()
        # In this order: the file says that it was closed cleanly only when all that it holds has been synced.
        self._checkpointer.run(sqlite, "TRUNCATE")
        try:
            with lone_transaction(sqlite):
                sqlite.execute(_SERVER_STOPPED)
        except sqlite3.Error as error:
            raise TransactionError(failure_kind(error, committing=True), describe(error)) from error
        self._checkpointer.run(sqlite, "TRUNCATE")
