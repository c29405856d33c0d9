"""Checkpoints, which fold the write-ahead log back into the database."""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path

from workflow_server.store.backend import FailureKind, TransactionError
from workflow_server.store.sqlite.connection import BUSY_TIMEOUT, JOURNAL_SIZE_LIMIT
from workflow_server.store.sqlite.transaction import describe
from workflow_server.store.sqlite.wal import log_of

logger = logging.getLogger(__name__)

COMMITS = 250
"""Commits between two checkpoints: a lone commit writes about four pages, so this is SQLite's usual 1,000 pages."""

EMPTYING_TIMEOUT = 250
"""Milliseconds to wait for readers before the log is emptied: nothing is committed meanwhile."""

COMMITS_OVER_SIZE = 8
"""The same while the log is over its size limit: a reader that keeps it there must not cost a checkpoint a commit."""

_HARMLESS = frozenset((sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL))


class Checkpointer:
    """Keeps the log of the database at ``path`` short. A database in memory has none."""

    def __init__(self, path: Path | None) -> None:
        self._log = None if path is None else log_of(path)
        self._commits = 0

    def count_commit(self) -> None:
        self._commits += 1

    def is_due(self) -> bool:
        if self._log is None or self._commits < COMMITS_OVER_SIZE:
            return False
        return self._commits >= COMMITS or _size(self._log) > JOURNAL_SIZE_LIMIT

    def empty(self, connection: sqlite3.Connection) -> bool:
        """Fold back the whole log and truncate it, so that no deleted content is left in it.

        Return False where a reader holds the log for longer than a moment, or where there is no room.

        Raises:
            TransactionError: see ``run``.
        """
        connection.execute(f"PRAGMA busy_timeout = {EMPTYING_TIMEOUT:d}")
        try:
            return self.run(connection, "TRUNCATE")
        finally:
            connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT:d}")

    def run(self, connection: sqlite3.Connection, mode: str = "PASSIVE") -> bool:
        """Fold back what no reader holds, on the write connection's thread; return True where that was all.

        Raises:
            TransactionError: the database could not be written or synced. Its content is no longer known, and a second
                fsync that succeeds would prove nothing: https://www.usenix.org/conference/atc20/presentation/rebello
        """
        if self._log is None:
            return True
        self._commits = 0
        try:
            busy, frames, folded = connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
        except sqlite3.Error as error:
            if error.sqlite_errorcode & 0xFF not in _HARMLESS:
                raise TransactionError(FailureKind.UNKNOWN, describe(error)) from error
            # Nothing is lost: the log keeps it for the next checkpoint.
            logger.warning("checkpoint postponed: %s", describe(error))
            return False
        return not busy and bool(frames == folded)


def _size(log: Path) -> int:
    try:
        return log.stat().st_size
    except OSError:
        # A missing log is found, and named, by the file guard at the next commit.
        return 0
