"""The store on SQLite: one file, one writer, a few readers."""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar, cast

from workflow_server.concurrency import map_cooperatively, run_to_completion
from workflow_server.errors import CommitUnknown, StorageError, StoreClosed, StoreGone
from workflow_server.forking import WithheldFiles
from workflow_server.records import (
    HandlersPage,
    InboxLoad,
    ListCursor,
    Record,
    RunningRun,
    ServerAlive,
    Status,
    StoredAnswer,
    StoredEvent,
    StoredRun,
    UntakenEvent,
)
from workflow_server.store.base import AbstractWorkflowStore, Commit, HandlerQuery, PersistentHandler
from workflow_server.store.sqlite import reads
from workflow_server.store.sqlite.ballast import Reserve
from workflow_server.store.sqlite.beside import beside
from workflow_server.store.sqlite.checkpoint import Checkpointer
from workflow_server.store.sqlite.connection import run_on
from workflow_server.store.sqlite.file_guard import Presence
from workflow_server.store.sqlite.listing import read_page
from workflow_server.store.sqlite.lock import ServerLock
from workflow_server.store.sqlite.maintenance import MAINTENANCE, ClocksShifted, Entry, PurgeMarked, ServerStopped
from workflow_server.store.sqlite.open import Opened, explain, lock_database, open_database
from workflow_server.store.sqlite.purge import Purge
from workflow_server.store.sqlite.readers import ReaderPool
from workflow_server.store.sqlite.rows import entries_from_handler, find_handlers, handler_from_row
from workflow_server.store.sqlite.statements import load_single
from workflow_server.store.sqlite.transaction import (
    Entries,
    Fault,
    TransactionError,
    Verdict,
    describe,
    judge,
    lone_transaction,
)
from workflow_server.store.sqlite.writer import GroupCommitWriter

logger = logging.getLogger(__name__)

T = TypeVar("T")

MEMORY = ":memory:"

_SERVER_STOPPED = load_single("server")["server_stopped"]


class SqliteWorkflowStore(AbstractWorkflowStore):
    """Durable storage in the SQLite file at ``db_path``; ``:memory:`` keeps everything in memory, for tests and trials.

    ``path`` is another name for ``db_path``. ``persistence_backoff`` are the seconds to wait before each new try of a
    commit that failed.

    Raises:
        TypeError: none of the two is given, or both are.
    """

    def __init__(
        self,
        db_path: str | Path | None = None,
        *,
        path: str | Path | None = None,
        persistence_backoff: Sequence[float] = (0.5, 3.0),
        allow_network_filesystem: bool = False,
    ) -> None:
        given = [name for name in (db_path, path) if name is not None]
        if len(given) != 1:
            raise TypeError("give the path of the database once: SqliteWorkflowStore(db_path='runs.sqlite3')")
        self._path = None if str(given[0]) == MEMORY else Path(given[0]).resolve()
        self._backoff = persistence_backoff
        self._allow_network_filesystem = allow_network_filesystem
        self._lock: ServerLock | None = None
        self._withheld = WithheldFiles()
        self._opened: Opened | None = None
        self._writer: GroupCommitWriter | None = None
        self._checkpointer = Checkpointer(self._path)
        self._readers: ReaderPool | None = None
        self._presence: Presence | None = None
        self._reserve = Reserve(self._path)
        self._purge: Purge | None = None
        self._closing: asyncio.Task[None] | None = None
        self._deleting = asyncio.Lock()
        self._fault: Fault | None = None

    # -- Life ----------------------------------------------------------------------------------

    async def open(self) -> None:
        if self._opened is not None:
            raise RuntimeError("this store is open")
        try:
            # As a whole: while its thread is at work the lock must stay, and afterwards nobody would give it back.
            await run_to_completion(self._open(), "store-open")
        except asyncio.CancelledError:
            await run_to_completion(self._abandon(), "store-abandon")
            raise

    async def _open(self) -> None:
        path = self._path
        if path is not None:
            self._lock = lock_database(path, allow_network_filesystem=self._allow_network_filesystem)
        try:
            self._withhold()
            self._opened = await open_database(path, self._fault)
            connection = self._opened.connection
            self._readers = ReaderPool.sharing(connection) if path is None else await ReaderPool.open(path)
            self._withhold()
            purge_left = await self._readers.read(reads.purge_left)
            self._presence = None if path is None else Presence(path)
            self._reserve.fill()
            self._writer = GroupCommitWriter(
                connection,
                self._checkpointer,
                self._presence,
                self._reserve,
                backoff=self._backoff,
                on_commit=self._committed,
                on_refused=self._refused,
                on_failure=self._failed,
            )
            self._writer.fault = self._fault
            self._purge = Purge(self._writer, self._readers)
            if purge_left:
                self._purge.start()
        except BaseException as error:
            await self._shut()
            if isinstance(error, (sqlite3.Error, OSError)):
                raise explain(error, self.location) from error
            raise

    async def _abandon(self) -> None:
        """Close what nobody will use, and leave the file as clean or unclean as it was found."""
        if self._opened is not None:
            await self._close(cleanly=self._opened.stopped_cleanly)

    async def close(self) -> None:
        # One for all who call it, and nobody's: it goes on when they go away.
        if self._closing is None or self._closing.done():
            self._closing = asyncio.create_task(self._close(cleanly=True), name="store-close")
        await asyncio.shield(self._closing)

    async def _close(self, *, cleanly: bool) -> None:
        if self._writer is not None and self._opened is not None:
            if self._purge is not None:
                await self._purge.stop()
            await self._writer.close()
            if cleanly and self._writer.problem is None:
                await self._stop_cleanly(self._opened)
        await self._shut()

    async def _stop_cleanly(self, opened: Opened) -> None:
        """Fold the log in, and let the file say that it was closed; what fails then is the next start's to mend."""
        try:
            await run_on(opened.connection, self._note_clean_stop)
        except TransactionError as failure:
            if failure.verdict is Verdict.FULL:
                logger.warning("the disk is full: the next start checks %s, which holds all", self.location)
            else:
                self._failed_at_close(CommitUnknown(reason=failure.reason), failure)
        except StoreGone as gone:
            self._failed_at_close(gone, None)

    def _failed_at_close(self, error: StorageError, cause: Exception | None) -> None:
        logger.critical("the store has failed: %s", error, exc_info=cause)
        self._failed(error)

    async def _shut(self) -> None:
        readers, opened, lock = self._readers, self._opened, self._lock
        if readers is not None:
            await readers.close()
        if opened is not None:
            self._opened = None
            await opened.connection.close()
            self._reserve.remove()
            if self._presence is not None:
                self._presence.set_log_aside()
        self._withheld.give_up()
        if lock is not None:
            self._lock = None
            lock.release()

    def _withhold(self) -> None:
        # A child that ends as a program does closes what it has: SQLite would take its log for one that nobody uses.
        if self._path is not None:
            self._withheld.add(self._path, beside(self._path, "-wal"), beside(self._path, "-shm"))

    @property
    def location(self) -> str:
        return MEMORY if self._path is None else str(self._path)

    @property
    def problem(self) -> str | None:
        if self._writer is None or self._opened is None:
            return str(StoreClosed())
        return self._writer.problem

    @property
    def backlog(self) -> int:
        return 0 if self._writer is None else self._writer.backlog

    @property
    def transactions(self) -> int:
        """Return how many transactions have been committed since ``open``."""
        return 0 if self._writer is None else self._writer.transactions

    @property
    def last_alive(self) -> ServerAlive | None:
        return self._is_open(self._opened).last_alive

    @property
    def stopped_cleanly(self) -> bool:
        return self._is_open(self._opened).stopped_cleanly

    @property
    def next_inbox_id(self) -> int:
        return self._is_open(self._opened).next_inbox_id

    @property
    def fault(self) -> Fault | None:
        """See ``transaction.Fault``; for tests. Set before ``open``, it is called while opening, too."""
        return self._fault

    @fault.setter
    def fault(self, fault: Fault | None) -> None:
        self._fault = self._checkpointer.fault = fault
        if self._writer is not None:
            self._writer.fault = fault

    # -- Writing -------------------------------------------------------------------------------

    def append(self, *records: Record) -> Commit:
        if self._writer is None:
            raise StoreClosed
        # A closed writer answers too: what comes late is told so where it waits.
        return self._writer.append(records)

    async def commit(self, *records: Record) -> None:
        await self._is_open(self._writer).commit(records)

    async def flush(self) -> None:
        await self._is_open(self._writer).flush()

    def _committed(self, entries: list[Entry]) -> None:
        if self.on_commit is not None:
            records = [entry for entry in entries if type(entry) not in MAINTENANCE]
            self.on_commit(cast("list[Record]", records))

    def _refused(self, entries: Entries, error: StorageError) -> None:
        kinds = ", ".join(sorted({type(entry).__name__ for entry in entries}))
        logger.error("a unit of %s was refused: %s", kinds, error)
        if self.on_refused is not None:
            records = [entry for entry in entries if type(entry) not in MAINTENANCE]
            self.on_refused(cast("list[Record]", records), error)

    def _failed(self, error: BaseException) -> None:
        if self.on_failure is not None:
            self.on_failure(error)

    # -- Reading -------------------------------------------------------------------------------

    async def load_run(self, handler_id: str) -> StoredRun | None:
        return await self._read(lambda sqlite: reads.load_run(sqlite, handler_id))

    async def running_runs(self) -> list[RunningRun]:
        return await self._read(reads.running_runs)

    async def inbox_load(self, run_id: str) -> InboxLoad:
        return await self._read(lambda sqlite: reads.inbox_load(sqlite, run_id))

    async def untaken_events(self, run_id: str) -> list[UntakenEvent]:
        return await self._read(lambda sqlite: reads.untaken_events(sqlite, run_id))

    async def read_events(
        self, handler_id: str, after: int, limit: int, characters: int | None = None
    ) -> list[StoredEvent]:
        return await self._read(lambda sqlite: reads.read_events(sqlite, handler_id, after, limit, characters))

    async def event_range(self, handler_id: str) -> tuple[int, int, int] | None:
        return await self._read(lambda sqlite: reads.event_range(sqlite, handler_id))

    async def is_being_deleted(self, handler_id: str) -> bool:
        return await self._read(lambda sqlite: reads.is_being_deleted(sqlite, handler_id))

    async def find_answer(self, scope: str, key: str) -> StoredAnswer | None:
        return await self._read(lambda sqlite: reads.find_answer(sqlite, scope, key))

    async def _read(self, function: Callable[[sqlite3.Connection], T]) -> T:
        return await self._is_open(self._readers).read(function)

    # -- Handlers ------------------------------------------------------------------------------

    async def query(self, query: HandlerQuery) -> list[PersistentHandler]:
        rows = await self._read(lambda sqlite: find_handlers(sqlite, query))
        return await map_cooperatively(handler_from_row, rows)

    async def list_page(
        self, statuses: Sequence[Status], workflow_names: Sequence[str] | None, cursor: ListCursor | None
    ) -> HandlersPage:
        return await self._read(lambda sqlite: read_page(sqlite, statuses, workflow_names, cursor))

    async def update(self, handler: PersistentHandler) -> None:
        await self._is_open(self._writer).commit(entries_from_handler(handler))

    async def delete(self, query: HandlerQuery) -> int:
        writer = self._is_open(self._writer)
        # One at a time, so that two who ask for the same handlers do not both count them.
        async with self._deleting:
            if query.handler_id_in is None:
                # Which handlers have ended, say, is known when what was handed over is stored.
                await writer.flush()
            rows = await self._read(lambda sqlite: find_handlers(sqlite, query))
            if not rows:
                return 0
            marked = PurgeMarked(json.dumps([row[0] for row in rows]))
            purge = self._is_open(self._purge).start(writer.append((marked,)))
        # Shielded: who goes away does not stop the purge.
        await asyncio.shield(purge)
        return len(rows)

    async def shift_clocks(self, seconds: float) -> None:
        # Refused for want of room, where it would wait: a start that waits serves nobody.
        await self._is_open(self._writer).commit((ClocksShifted(seconds),))

    def _note_clean_stop(self, connection: sqlite3.Connection) -> None:
        if self._presence is not None:
            self._presence.check()
        # In this order: the file says that it was closed cleanly only when all that it holds has been synced.
        self._checkpointer.run(connection, "TRUNCATE")
        try:
            with lone_transaction(connection, ServerStopped(), self._fault):
                connection.execute(_SERVER_STOPPED)
        except sqlite3.Error as error:
            raise TransactionError(judge(error, committing=True), describe(error)) from error
        self._checkpointer.run(connection, "TRUNCATE")

    def _is_open(self, part: T | None) -> T:
        if part is None or self._opened is None:
            raise StoreClosed
        return part


class MemoryWorkflowStore(SqliteWorkflowStore):
    """A store that lives as long as its process."""

    def __init__(self) -> None:
        super().__init__(MEMORY)
