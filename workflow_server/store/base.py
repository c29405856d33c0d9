"""The contract of the store. The layers above use nothing below it, so that another database can stand here.

``tests/store/conformance`` holds it as tests that every store passes; ``records`` says what each record does, and
``group_commit`` has for any database what is promised here of order, retries, full disks and waiting.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, field_validator

from workflow_server.errors import StorageError
from workflow_server.protocol.events import EventEnvelope
from workflow_server.records import (
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
from workflow_server.store.listeners import CommitListener


class HandlerQuery(BaseModel):
    """A selection of handlers: all given conditions must hold. None is no condition, an empty list matches nothing."""

    model_config = ConfigDict(frozen=True)

    handler_id_in: list[str] | None = None
    workflow_name_in: list[str] | None = None
    status_in: list[Status] | None = None


class PersistentHandler(BaseModel):
    """The durable record of one started workflow, as a client may see it; times are timezone-aware UTC.

    ``result`` is the envelope of the terminal event; an ``Event`` is taken, too. ``ctx`` is a serialized
    ``Context``: given to ``update``, a later run that continues the handler finds its state; ``query`` leaves it empty.
    ``tags`` and ``code_version`` are read only: ``update`` leaves those that there are.
    """

    model_config = ConfigDict(frozen=True)

    handler_id: str
    workflow_name: str
    status: Status
    run_id: str | None = None
    error: str | None = None
    result: EventEnvelope | None = None
    started_at: datetime | None = None
    updated_at: datetime | None = None
    completed_at: datetime | None = None
    code_version: str | None = None
    tags: list[str] = []
    ctx: dict[str, Any] = {}

    @field_validator("result", mode="before")
    @classmethod
    def _take_events(cls, result: Any) -> Any:
        # Of anything else, pydantic's own error says what would be right.
        is_event = isinstance(result, BaseModel) and not isinstance(result, EventEnvelope)
        return EventEnvelope.from_event(result) if is_event else result


COMMIT_LIMITS = (0.005, 0.025, 0.1, 1.0)
"""Seconds: a local SSD takes about 2 ms for a transaction, a slow disk 25 ms; a second is a disk that hangs."""


class Committed(NamedTuple):
    """The sums of what a store has committed since ``open``. They only grow: the difference of two looks is what was
    committed in between."""

    transactions: int = 0
    units: int = 0
    """Units that were stored; refused ones do not count."""
    seconds: float = 0.0
    """The time of these transactions, from handing each to the database to hearing that it is durable."""
    within: tuple[int, ...] = (0,) * (len(COMMIT_LIMITS) + 1)
    """The number of them that took up to each of ``COMMIT_LIMITS`` and more than the one before; the last is that of
    those that took longer than all."""

    records: int = 0
    """The records of these units."""

    def plus(self, units: int, seconds: float, records: int = 0) -> Committed:
        """Return the sums with one more transaction of so many units and records."""
        place = bisect_left(COMMIT_LIMITS, seconds)
        within = (*self.within[:place], self.within[place] + 1, *self.within[place + 1 :])
        return Committed(
            self.transactions + 1, self.units + units, self.seconds + seconds, within, self.records + records
        )


class Sizes(NamedTuple):
    """The sizes of a store's files, in bytes."""

    database: int
    log: int
    """Of the write-ahead log: what is not folded into the database yet, or the room for it."""


Commit = Awaitable[None]
"""Awaiting it returns once the whole unit is durable, and makes the store commit soon. It may be awaited by several
tasks, and again; cancelling a wait cancels nothing else."""


class AbstractWorkflowStore(ABC):
    """Durable storage of handlers, runs, events and state for one server.

    - **Order.** Units become durable in the order in which they were handed over; the records of a unit take effect in
      its order. Two units may share a transaction.
    - **Atomicity.** A unit becomes durable as a whole or not at all. One that can never be stored is refused alone; the
      units beside it in its transaction are stored.
    - **Durability.** What was acknowledged survives the death of the process and of the machine.
    - **Visibility.** Reads see only what is committed, each in one consistent view. When a transaction is committed,
      first the listeners hear of it, on the event loop and in order, and then its waiters go on.
    - **Failures.** A try whose outcome is known to be nothing may be repeated. Where the outcome is not known, the
      store fails: it commits nothing more, and all who wait are told (``CommitUnknown``). A start then finds what is
      stored.
    - **Isolation.** One server has the store open; another one is kept out, or told.

    All methods are called on one event loop, and none blocks it. A cancelled call leaves nothing half done.
    """

    on_failure: Callable[[BaseException], None] | None = None
    """Called once, on the event loop, when the store has failed; set by the owner before ``open``."""

    on_refused: Callable[[Sequence[Record], StorageError], None] | None = None
    """Called, on the event loop, with each unit that can never be stored, also where nobody waits for it; set by the
    owner before ``open``."""

    # -- Life ----------------------------------------------------------------------------------

    @abstractmethod
    async def open(self) -> None:
        """Lock, open, check and migrate, and begin to finish deletions that were interrupted.

        A closed store may be opened again.

        Cancelled, it returns when all is closed and unlocked again.

        Raises:
            DatabaseError: why the database cannot be used, and what to do; it was left as it was.
        """

    @abstractmethod
    async def close(self) -> None:
        """Commit what was handed over, note the clean stop, close and unlock. May be called twice.

        Cancelled, it goes on, and the next call returns when it is done.
        """

    @property
    @abstractmethod
    def location(self) -> str:
        """Return the name of this store for users: the path of its file, say, or ``:memory:``; no credentials."""

    @property
    @abstractmethod
    def problem(self) -> str | None:
        """Return the reason why the store cannot commit at present; None where it can."""

    @property
    @abstractmethod
    def backlog(self) -> int:
        """Return the number of records that wait for their commit."""

    @property
    @abstractmethod
    def committed(self) -> Committed:
        """Return what has been committed since ``open``, the store's own records among it."""

    def sizes(self) -> Sizes | None:
        """Return the sizes of its files; None where it has none, or cannot tell."""
        return None

    def free_space(self) -> int | None:
        """Return the bytes that are free where its files are; None where it has none, or cannot tell."""
        return None

    @property
    @abstractmethod
    def last_alive(self) -> ServerAlive | None:
        """The last sign of life of the server before this one; None in a new database."""

    @property
    @abstractmethod
    def stopped_cleanly(self) -> bool:
        """True if the server before this one closed the store, or if there was none."""

    @property
    @abstractmethod
    def next_inbox_id(self) -> int:
        """The first free inbox id, as of ``open``."""

    # -- Writing -------------------------------------------------------------------------------

    @abstractmethod
    def subscribe(self, listener: CommitListener) -> Callable[[], None]:
        """Let ``listener`` hear of each transaction from now on, but for the store's own records; return a function
        that ends that.

        Listeners are called one after the other, in the order in which they subscribed. One that raises keeps neither
        the others from hearing nor those who wait from learning that their unit is stored; but as it may no longer know
        what is stored, the store then fails (``ListenerFailed``), and commits nothing more.
        """

    @abstractmethod
    def commit_soon(self) -> None:
        """Gather no longer what was handed over: somebody waits to read it."""

    @abstractmethod
    def append(self, *records: Record) -> Commit:
        """Hand over one unit of records. Never suspends; on a full disk the unit waits until there is room, but for a
        cancellation or a deletion, which is stored first with what its handler wrote before.

        The returned commit need not be awaited. Awaiting it raises:
            UnitRefused: this unit, and no other, can never be stored (a value too large, say).
            StorageError: the store has failed or was closed.
        """

    @abstractmethod
    async def commit(self, *records: Record) -> None:
        """Store one unit for a caller that can be refused, and return when it is durable.

        Cancelling the caller does not take the unit back.

        Raises:
            StorageFull, StoreUnavailable: nothing of it was or will be stored.
            UnitRefused, StorageError: as for ``append``.
        """

    @abstractmethod
    async def flush(self) -> None:
        """Return when all that was handed over before is durable."""

    # -- Reading -------------------------------------------------------------------------------

    @abstractmethod
    async def load_run(self, handler_id: str) -> StoredRun | None:
        """Return all that is stored of a handler's current run, or None where there is no such handler."""

    @abstractmethod
    async def load_runs(self, handler_ids: Sequence[str], characters: int) -> list[StoredRun | None]:
        """Return what ``load_run`` does for each of these, read at once.

        It may be of the first ones only: where they have so many ``characters``, but of one at least.
        """

    @abstractmethod
    async def load_state(self, handler_id: str, most: int) -> StoredState | None:
        """Return what is stored of the ``ctx.store`` of a handler's current run, of at most so many bytes; None where
        there is no such handler."""

    @abstractmethod
    async def running_runs(self) -> list[RunningRun]:
        """Return all runs that are running, in the order in which they were requested."""

    @abstractmethod
    async def inbox_load(self, run_id: str) -> InboxLoad:
        """Return the load of the run's inbox: what was posted and not taken."""

    @abstractmethod
    async def untaken_events(self, run_id: str) -> list[UntakenEvent]:
        """Return the events in the run's inbox, in order."""

    @abstractmethod
    async def read_events(
        self, handler_id: str, after: int, limit: int, characters: int | None = None
    ) -> list[StoredEvent]:
        """Return up to ``limit`` events with a sequence greater than ``after``, in order.

        The page ends with the event by which it has so many ``characters``; it holds one event at least where there is
        one.
        """

    @abstractmethod
    async def read_history(
        self,
        handler_id: str,
        after: HistoryPlace | None,
        limit: int,
        *,
        newest_first: bool = False,
        with_values: bool = False,
    ) -> HistoryPage | None:
        """Return up to ``limit`` entries of a handler's history behind a place, None for its begin: the events of its
        log, the starts of its runs, and what was noted beside those; None where there is no such handler.

        A page is bounded in size, but for its last event, and so may be shorter. Of a long event only the end is read,
        which tells its type, unless it is ``with_values``.
        """

    @abstractmethod
    async def event_range(self, handler_id: str) -> EventRange | None:
        """Return the extent of the handler's event log; None where there is no such handler."""

    @abstractmethod
    async def read_standing(self, handler_id: str, run_id: str) -> str | None:
        """Return what was stored of a run when it was released; None where it is not, or where nothing was."""

    @abstractmethod
    async def is_being_deleted(self, handler_id: str) -> bool:
        """Return True while rows are left of a deleted handler: its id is not free yet."""

    @abstractmethod
    async def find_answer(self, scope: str, key: str) -> StoredAnswer | None:
        """Return the answer that this idempotency key was given; None where it was not used."""

    # -- Handlers ------------------------------------------------------------------------------

    @abstractmethod
    async def query(self, query: HandlerQuery) -> list[PersistentHandler]:
        """Return the handlers that match, oldest first."""

    @abstractmethod
    async def list_page(
        self,
        wanted: ListFilter,
        cursor: ListCursor | None,
        limit: int | None = None,
        *,
        with_results: bool = True,
        with_now: bool = False,
    ) -> HandlersPage:
        """Return the next page of a list: at most ``limit`` handlers, None for as many as the store reads at once.

        A list begins with a cursor of None, and ends with the page whose cursor is None; pages before that may be
        short, or empty. A page is bounded in number and size, but for its last handler, and so is the number of
        handlers that are looked at for it. A handler that is started or continued while the list is read is left out
        where it was not reached yet: so a list has an end, and no handler is in it twice. Without ``with_results`` the
        results are None. With ``with_now``, handlers have their ``standing`` and ``summary``, at a cost that does not
        depend on the sizes of their results.
        """

    @abstractmethod
    async def count_handlers(self) -> list[HandlerCount]:
        """Return how many handlers there are of each workflow and status, ordered by both; none of a number of 0."""

    @abstractmethod
    async def count_versions(self) -> list[VersionCount]:
        """Return how many runs have not ended of each workflow and version of its code, those with most of them first.
        The number of runs that are looked at is bounded."""

    @abstractmethod
    async def read_period(self, workflow_name: str, period: Period) -> WorkflowPeriod:
        """Return what the handlers of a workflow did in a period. The number of those that are looked at is bounded."""

    @abstractmethod
    async def count_ended(self, status: Status, after: float) -> int:
        """Return how many handlers of an ended status ended later than this."""

    @abstractmethod
    async def ended_handlers(
        self, status: Status, after: EndedHandler, until: EndedHandler, limit: int
    ) -> list[EndedHandler]:
        """Return the first handlers, at most ``limit``, of an ended status that ended behind ``after`` and not behind
        ``until``."""

    @abstractmethod
    async def last_beyond(self, kept: int) -> EndedHandler | None:
        """Return, of all ended handlers but for the ``kept`` ones that ended last, the one that ended last; None where
        there are no more than that."""

    @abstractmethod
    async def update(self, handler: PersistentHandler) -> None:
        """Insert or replace a handler's record; with a ``ctx``, also the state that a later run finds.

        Raises:
            StorageError: as ``commit``.
        """

    @abstractmethod
    async def delete(self, query: HandlerQuery) -> int:
        """Delete the handlers that match, with all that belongs to them; return their number.

        They are hidden from all reads by one commit, in order with the records handed over before, and then deleted in
        parts, so that nobody waits long beside it. A deletion that was interrupted is finished after the next ``open``.
        """

    @abstractmethod
    async def begin_deletion(self, handler_ids: Sequence[str]) -> None:
        """Delete these handlers as ``delete`` does, but beside all else, in parts so small and rare that nobody waits
        long for one; return when they are hidden.

        Raises:
            StorageError: as ``append``.
        """

    @abstractmethod
    async def deletions_ended(self) -> None:
        """Return when the rows of all handlers that were deleted before are gone, or when that was interrupted."""

    @abstractmethod
    async def shift_clocks(self, seconds: float) -> None:
        """Add ``seconds``, for which the server was down, to ``alive_since`` of all running runs and to the last sign
        of life, so that no later start adds them again.

        Raises:
            StorageError: as ``commit``.
        """


def from_timestamp(timestamp: float | None) -> datetime | None:
    """Return the time in UTC; None where there is none, or where it is out of the calendar's range."""
    if timestamp is None:
        return None
    try:
        return datetime.fromtimestamp(timestamp, UTC)
    except (OverflowError, ValueError, OSError):
        # A damaged row.
        return None
