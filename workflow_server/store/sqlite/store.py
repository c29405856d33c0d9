"""The contract on SQLite: one file, one writer, a few readers."""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar, cast, get_args

from workflow_server.concurrency import map_cooperatively, run_to_completion
from workflow_server.errors import StorageError, StoreClosed
from workflow_server.records import (
    FINISHED,
    EndedHandler,
    EventRange,
    HandlerCount,
    HandlersPage,
    HistoryPage,
    HistoryPlace,
    InboxLoad,
    ListCursor,
    ListFilter,
    Period,
    Record,
    RunningRun,
    ServerAlive,
    Status,
    StoredAnswer,
    StoredEvent,
    StoredRun,
    StoredState,
    UntakenEvent,
    VersionCount,
    WorkflowPeriod,
)
from workflow_server.store.base import AbstractWorkflowStore, Commit, Committed, HandlerQuery, PersistentHandler, Sizes
from workflow_server.store.group_commit import GroupCommit
from workflow_server.store.internal_records import ClocksShifted, Entries, InternalRecord, PurgeMarked
from workflow_server.store.listeners import CommitListener, CommitListeners
from workflow_server.store.sqlite import reads
from workflow_server.store.sqlite.connection import ConnectionFactory
from workflow_server.store.sqlite.database import MEMORY, Database
from workflow_server.store.sqlite.figures import count_versions, read_period
from workflow_server.store.sqlite.history import read_history
from workflow_server.store.sqlite.listing import PAGE, count_handlers, read_page
from workflow_server.store.sqlite.open import Opened
from workflow_server.store.sqlite.purge import Purge
from workflow_server.store.sqlite.rows import entries_from_handler, find_handlers, handler_from_row

logger = logging.getLogger(__name__)

T = TypeVar("T")


class SqliteWorkflowStore(AbstractWorkflowStore):
    """Durable storage in the SQLite file at ``db_path``; ``:memory:`` keeps everything in memory, for tests and trials.

    ``path`` is another name for ``db_path``. ``persistence_backoff`` are the seconds to wait before each new try of a
    commit that failed. ``connection_factory`` makes the connection that writes, as the ``factory`` of
    ``sqlite3.connect`` does: one that traces statements, say.

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
        connection_factory: ConnectionFactory = sqlite3.Connection,
    ) -> None:
        given = [name for name in (db_path, path) if name is not None]
        if len(given) != 1:
            raise TypeError("give the path of the database once: SqliteWorkflowStore(db_path='runs.sqlite3')")
        self._database = Database(
            None if str(given[0]) == MEMORY else Path(given[0]).resolve(),
            connection_factory=connection_factory,
            allow_network_filesystem=allow_network_filesystem,
        )
        self._backoff = persistence_backoff
        self._listeners = CommitListeners()
        self._writer: GroupCommit | None = None
        self._purge: Purge | None = None
        self._closing: asyncio.Task[None] | None = None
        self._deleting = asyncio.Lock()

    # -- Life ----------------------------------------------------------------------------------

    async def open(self) -> None:
        if self._database.opened is not None:
            raise RuntimeError("this store is open")
        try:
            # Run to its end: while the thread works the lock must be held, and then somebody has to release it.
            await run_to_completion(self._open(), "store-open")
        except asyncio.CancelledError:
            await run_to_completion(self._abandon(), "store-abandon")
            raise

    async def _open(self) -> None:
        database = self._database
        await database.open()
        backend, readers = self._is_open(database.backend), self._is_open(database.readers)
        self._writer = GroupCommit(
            backend,
            backoff=self._backoff,
            listeners=self._listeners,
            on_refused=self._refused,
            on_failure=self._failed,
        )
        self._purge = Purge(self._writer, readers)
        if database.purge_left:
            self._purge.start()
        elif database.space_left:
            self._purge.tidy()

    async def _abandon(self) -> None:
        """Close what nobody will use, and leave the file as clean or unclean as it was found."""
        if self._database.opened is not None:
            await self._close(cleanly=self._database.opened.stopped_cleanly)

    async def close(self) -> None:
        # A task that all callers share and none owns: it goes on where a caller is cancelled.
        if self._closing is None or self._closing.done():
            self._closing = asyncio.create_task(self._close(cleanly=True), name="store-close")
        await asyncio.shield(self._closing)

    async def _close(self, *, cleanly: bool) -> None:
        if self._writer is not None and self._database.opened is not None:
            if self._purge is not None:
                await self._purge.stop()
            await self._writer.close()
            if cleanly and self._writer.problem is None:
                error = await self._database.note_clean_stop()
                if error is not None:
                    logger.critical("the store has failed: %s", error, exc_info=error.__cause__)
                    self._failed(error)
        await self._database.close()

    @property
    def location(self) -> str:
        return self._database.location

    @property
    def problem(self) -> str | None:
        if self._writer is None or self._database.opened is None:
            return str(StoreClosed())
        return self._writer.problem

    @property
    def backlog(self) -> int:
        return 0 if self._writer is None else self._writer.backlog

    @property
    def committed(self) -> Committed:
        return Committed() if self._writer is None else self._writer.committed

    def sizes(self) -> Sizes | None:
        return self._database.sizes()

    def free_space(self) -> int | None:
        return self._database.free_space()

    @property
    def last_alive(self) -> ServerAlive | None:
        return self._opened.last_alive

    @property
    def stopped_cleanly(self) -> bool:
        return self._opened.stopped_cleanly

    @property
    def next_inbox_id(self) -> int:
        return self._opened.next_inbox_id

    @property
    def _opened(self) -> Opened:
        return self._is_open(self._database.opened)

    # -- Writing -------------------------------------------------------------------------------

    def subscribe(self, listener: CommitListener) -> Callable[[], None]:
        return self._listeners.subscribe(listener)

    def append(self, *records: Record) -> Commit:
        if self._writer is None:
            raise StoreClosed
        # A closed writer answers, too: whoever awaits a late unit is told that the store is closed.
        return self._writer.append(records)

    def commit_soon(self) -> None:
        if self._writer is not None:
            self._writer.commit_soon()

    async def commit(self, *records: Record) -> None:
        await self._is_open(self._writer).commit(records)

    async def flush(self) -> None:
        await self._is_open(self._writer).flush()

    def _refused(self, entries: Entries, error: StorageError) -> None:
        kinds = ", ".join(sorted({type(entry).__name__ for entry in entries}))
        logger.error("a unit of %s was refused: %s", kinds, error)
        if self.on_refused is not None:
            records = [entry for entry in entries if not isinstance(entry, get_args(InternalRecord))]
            self.on_refused(cast("list[Record]", records), error)

    def _failed(self, error: StorageError) -> None:
        if self.on_failure is not None:
            self.on_failure(error)

    # -- Reading -------------------------------------------------------------------------------

    async def load_run(self, handler_id: str) -> StoredRun | None:
        return await self._read(lambda sqlite: reads.load_run(sqlite, handler_id))

    async def load_runs(self, handler_ids: Sequence[str], characters: int) -> list[StoredRun | None]:
        return await self._read(lambda sqlite: reads.load_runs(sqlite, handler_ids, characters))

    async def load_state(self, handler_id: str, most: int) -> StoredState | None:
        return await self._read(lambda sqlite: reads.load_state(sqlite, handler_id, most))

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

    async def read_history(
        self,
        handler_id: str,
        after: HistoryPlace | None,
        limit: int,
        *,
        newest_first: bool = False,
        with_values: bool = False,
    ) -> HistoryPage | None:
        how = {"newest_first": newest_first, "with_values": with_values}
        return await self._read(lambda sqlite: read_history(sqlite, handler_id, after, limit, **how))

    async def event_range(self, handler_id: str) -> EventRange | None:
        return await self._read(lambda sqlite: reads.event_range(sqlite, handler_id))

    async def read_standing(self, handler_id: str, run_id: str) -> str | None:
        return await self._read(lambda sqlite: reads.read_standing(sqlite, handler_id, run_id))

    async def is_being_deleted(self, handler_id: str) -> bool:
        return await self._read(lambda sqlite: reads.is_being_deleted(sqlite, handler_id))

    async def find_answer(self, scope: str, key: str) -> StoredAnswer | None:
        return await self._read(lambda sqlite: reads.find_answer(sqlite, scope, key))

    async def _read(self, function: Callable[[sqlite3.Connection], T]) -> T:
        return await self._is_open(self._database.readers).read(function)

    # -- Handlers ------------------------------------------------------------------------------

    async def query(self, query: HandlerQuery) -> list[PersistentHandler]:
        rows = await self._read(lambda sqlite: find_handlers(sqlite, query))
        return await map_cooperatively(handler_from_row, rows)

    async def list_page(
        self,
        wanted: ListFilter,
        cursor: ListCursor | None,
        limit: int | None = None,
        *,
        with_results: bool = True,
        with_now: bool = False,
    ) -> HandlersPage:
        most = PAGE if limit is None else min(limit, PAGE)
        how = {"with_results": with_results, "with_now": with_now}
        return await self._read(lambda sqlite: read_page(sqlite, wanted, cursor, most, **how))

    async def count_handlers(self) -> list[HandlerCount]:
        return await self._read(count_handlers)

    async def count_versions(self) -> list[VersionCount]:
        return await self._read(count_versions)

    async def read_period(self, workflow_name: str, period: Period) -> WorkflowPeriod:
        return await self._read(lambda sqlite: read_period(sqlite, workflow_name, period))

    async def count_ended(self, status: Status, after: float) -> int:
        return await self._read(lambda sqlite: reads.count_ended(sqlite, status, after))

    async def ended_handlers(
        self, status: Status, after: EndedHandler, until: EndedHandler, limit: int
    ) -> list[EndedHandler]:
        return await self._read(lambda sqlite: reads.ended_handlers(sqlite, status, after, until, limit))

    async def last_beyond(self, kept: int) -> EndedHandler | None:
        # To count all by a narrow index is faster than to look for the newest ones by that of the ends.
        more = sum(count.number for count in await self.count_handlers() if count.status in FINISHED) - kept
        return None if more <= 0 else await self._read(lambda sqlite: reads.ended_after(sqlite, more - 1))

    async def update(self, handler: PersistentHandler) -> None:
        await self._is_open(self._writer).commit(entries_from_handler(handler), internal=True)

    async def delete(self, query: HandlerQuery) -> int:
        writer = self._is_open(self._writer)
        # One at a time, so that two callers who delete the same handlers do not both count them.
        async with self._deleting:
            if query.handler_id_in is None:
                # The query is about what was handed over before, too: the ends of runs, say.
                await writer.flush()
            rows = await self._read(lambda sqlite: find_handlers(sqlite, query))
            if not rows:
                return 0
            marked = PurgeMarked(json.dumps([row[0] for row in rows]))
            purge = self._is_open(self._purge).start(writer.append((marked,), internal=True))
        # Shielded: a cancelled caller does not stop the purge.
        await asyncio.shield(purge)
        return len(rows)

    async def begin_deletion(self, handler_ids: Sequence[str]) -> None:
        marked = PurgeMarked(json.dumps(list(handler_ids)))
        marking = self._is_open(self._writer).append((marked,), internal=True)
        self._is_open(self._purge).start(marking, gently=True)
        await marking

    async def deletions_ended(self) -> None:
        await self._is_open(self._purge).finished()

    async def shift_clocks(self, seconds: float) -> None:
        # Refused for want of room rather than waiting: a start that waits serves nobody.
        await self._is_open(self._writer).commit((ClocksShifted(seconds),), internal=True)

    def _is_open(self, part: T | None) -> T:
        if part is None or self._database.opened is None:
            raise StoreClosed
        return part


class MemoryWorkflowStore(SqliteWorkflowStore):
    """A store that lives as long as its process."""

    def __init__(self) -> None:
        super().__init__(MEMORY)
