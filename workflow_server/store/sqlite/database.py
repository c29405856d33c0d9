"""An open database: its lock, its connections and its files, opened together and given back together."""

from __future__ import annotations

import logging
import os
import sqlite3
from pathlib import Path

from workflow_server.errors import CommitUnknown, StorageError, StoreClosed, StoreGone
from workflow_server.forking import WithheldFiles
from workflow_server.store.backend import FailureKind, TransactionError
from workflow_server.store.base import Sizes
from workflow_server.store.sqlite import reads
from workflow_server.store.sqlite.backend import SqliteBackend
from workflow_server.store.sqlite.ballast import Ballast
from workflow_server.store.sqlite.checkpoint import Checkpointer
from workflow_server.store.sqlite.connection import ConnectionFactory
from workflow_server.store.sqlite.file_guard import FileGuard
from workflow_server.store.sqlite.lock import ServerLock
from workflow_server.store.sqlite.open import Opened, explain, lock_database, open_database
from workflow_server.store.sqlite.readers import ReaderPool
from workflow_server.store.sqlite.sidecar import sidecar
from workflow_server.store.sqlite.space import is_worth_it

logger = logging.getLogger(__name__)

MEMORY = ":memory:"


class Database:
    """The database at ``path``; None is one in memory. It may be opened again after it was closed."""

    def __init__(
        self, path: Path | None, *, connection_factory: ConnectionFactory, allow_network_filesystem: bool
    ) -> None:
        self.location = MEMORY if path is None else str(path)
        self.opened: Opened | None = None
        self.readers: ReaderPool | None = None
        self.backend: SqliteBackend | None = None
        self.purge_left = False
        """True if handlers are marked whose deletion was interrupted."""
        self.space_left = False
        """True if there is free space to be given back."""
        self._path = path
        self._factory = connection_factory
        self._allow_network_filesystem = allow_network_filesystem
        self._lock: ServerLock | None = None
        self._withheld = WithheldFiles()
        self._checkpointer = Checkpointer(path)
        self._ballast = Ballast(path)
        self._guard: FileGuard | None = None

    async def open(self) -> None:
        """Lock, check, migrate and connect.

        Raises:
            DatabaseError: why the database cannot be used; all of it was given back.
        """
        if self._path is not None:
            self._lock = lock_database(self._path, allow_network_filesystem=self._allow_network_filesystem)
        try:
            await self._connect()
        except BaseException as error:
            await self.close()
            if isinstance(error, (sqlite3.Error, OSError)):
                raise explain(error, self.location) from error
            raise

    async def _connect(self) -> None:
        path = self._path
        self._withhold()
        self.opened = await open_database(path, self._factory)
        connection = self.opened.connection
        self.readers = ReaderPool.sharing(connection) if path is None else await ReaderPool.open(path)
        self._withhold()
        self.purge_left = await self.readers.read(reads.purge_left)
        self.space_left = await self.readers.read(is_worth_it)
        self._guard = None if path is None else FileGuard(path)
        self._ballast.fill()
        self.backend = SqliteBackend(connection, self._checkpointer, self._guard, self._ballast)

    def _withhold(self) -> None:
        # A forked child that ends normally closes its descriptors: SQLite would take the log for one that nobody uses.
        if self._path is not None:
            self._withheld.add(self._path, sidecar(self._path, "-wal"), sidecar(self._path, "-shm"))

    async def note_clean_stop(self) -> StorageError | None:
        """Fold the log in, and note that the database was closed; return why it can no longer be trusted, if so."""
        if self.backend is None:
            return StoreClosed()
        try:
            await self.backend.stop_cleanly()
        except StoreGone as gone:
            return gone
        except TransactionError as failure:
            if failure.kind is not FailureKind.FULL:
                error = CommitUnknown(reason=failure.reason)
                error.__cause__ = failure
                return error
            logger.warning("the disk is full: the clean stop of %s is not noted, but all is stored", self.location)
        return None

    def sizes(self) -> Sizes | None:
        """Return the sizes of the database and its log; None in memory, or where there is no database."""
        if self._path is None:
            return None
        try:
            return Sizes(self._path.stat().st_size, sidecar(self._path, "-wal").stat().st_size)
        except OSError:
            return None

    def free_space(self) -> int | None:
        """Return the bytes that are free where the database is; None in memory, or where there is no database."""
        if self._path is None:
            return None
        try:
            found = os.statvfs(self._path)
        except OSError:
            return None
        return found.f_bavail * found.f_frsize

    async def close(self) -> None:
        """Close all connections, remove the ballast and give the lock back; may be called twice."""
        readers, opened, lock = self.readers, self.opened, self._lock
        if readers is not None:
            await readers.close()
        if opened is not None:
            self.opened = None
            await opened.connection.close()
            self._ballast.remove()
            if self._guard is not None:
                self._guard.set_log_aside()
        self._withheld.give_up()
        if lock is not None:
            self._lock = None
            lock.release()
