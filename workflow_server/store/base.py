"""The seam between the runtime and its storage.

Everything above speaks to this class and to nothing below it, so that another database can stand here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, field_validator

from workflow_server.errors import StorageError
from workflow_server.protocol.events import EventEnvelope
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
from workflow_server.store.listeners import CommitListener


class HandlerQuery(BaseModel):
    """A choice of handlers: all given conditions must hold. None is no condition, an empty list matches nothing."""

    model_config = ConfigDict(frozen=True)

    handler_id_in: list[str] | None = None
    workflow_name_in: list[str] | None = None
    status_in: list[Status] | None = None


class PersistentHandler(BaseModel):
    """The durable record of one started workflow, as a client may see it; times are timezone-aware UTC.

    ``result`` is the envelope of the terminal event; an ``Event`` is taken, too. ``ctx`` is a serialized
    ``Context``: given to ``update``, a later run that continues the handler finds its state; ``query`` leaves it empty.
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
    ctx: dict[str, Any] = {}

    @field_validator("result", mode="before")
    @classmethod
    def _take_events(cls, result: Any) -> Any:
        # Whatever else it is, pydantic says what would be right.
        is_event = isinstance(result, BaseModel) and not isinstance(result, EventEnvelope)
        return EventEnvelope.from_event(result) if is_event else result


Commit = Awaitable[None]
"""Awaited, it returns once all of its unit is durable; awaiting also wakes the writer. A cancelled wait cancels
nothing but the wait."""


class AbstractWorkflowStore(ABC):
    """Durable storage of handlers, runs, events and state for one server.

    Records become durable in the order in which they were handed over. Reads see only what is committed.
    """

    on_failure: Callable[[BaseException], None] | None = None
    """Called once when the store can no longer be trusted (see ``CommitUnknown``); set by the owner before ``open``."""

    on_refused: Callable[[Sequence[Record], StorageError], None] | None = None
    """Called with each unit that can never be stored, whether anybody waits for it or not; set by the owner before
    ``open``."""

    # -- Life ----------------------------------------------------------------------------------

    @abstractmethod
    async def open(self) -> None:
        """Lock, open, check and migrate. Cancelled, it returns when all is closed and unlocked again.

        Raises:
            DatabaseError: what is wrong with the database, and what to do; it was left as it was.
        """

    @abstractmethod
    async def close(self) -> None:
        """Commit what was handed over, checkpoint, close, unlock. May be called twice; cancelled, it goes on, and
        the next call returns when it is done."""

    @property
    @abstractmethod
    def location(self) -> str:
        """Return what to call this store to a user: the path of its file, or ``:memory:``."""

    @property
    @abstractmethod
    def problem(self) -> str | None:
        """Return why the store cannot commit at present, or None where it can."""

    @property
    @abstractmethod
    def backlog(self) -> int:
        """Return how many records wait for their commit."""

    @property
    @abstractmethod
    def last_alive(self) -> ServerAlive | None:
        """The last note of the server before this one; None in a new database."""

    @property
    @abstractmethod
    def stopped_cleanly(self) -> bool:
        """Return whether the server before this one closed the store; also where there was none."""

    @property
    @abstractmethod
    def next_inbox_id(self) -> int:
        """The first inbox id that is free, as of ``open``."""

    # -- Writing -------------------------------------------------------------------------------

    @abstractmethod
    def subscribe(self, listener: CommitListener) -> Callable[[], None]:
        """Let ``listener`` hear of each transaction from now on; return a function that ends that.

        Listeners are called one after the other, in the order in which they subscribed. One that raises keeps neither
        the others from hearing nor those who wait from learning that their unit is stored; but as it may no longer know
        what is stored, the store then fails (``ListenerFailed``), and commits nothing more.
        """

    @abstractmethod
    def append(self, *records: Record) -> Commit:
        """Hand over one unit of records. Never suspends and never refuses for want of room: when the disk is full
        the unit waits until there is room.

        The returned commit need not be awaited. Awaiting it raises:
            UnitRefused: this unit, and no other, can never be stored (a value too large, say).
            StorageError: the store has failed or was closed.
        """

    @abstractmethod
    async def commit(self, *records: Record) -> None:
        """Store one unit for somebody who can be refused: returns when it is durable. Where it raises StorageFull
        or StoreUnavailable, nothing of it was or will be stored.

        Cancelling the caller does not take the unit back.
        """

    @abstractmethod
    async def flush(self) -> None:
        """Return when all that was handed over before is durable."""

    # -- Reading -------------------------------------------------------------------------------

    @abstractmethod
    async def load_run(self, handler_id: str) -> StoredRun | None:
        """All of a handler's current run in one consistent view, or None where there is no such handler."""

    @abstractmethod
    async def running_runs(self) -> list[RunningRun]:
        """Every run that is running, oldest first."""

    @abstractmethod
    async def inbox_load(self, run_id: str) -> InboxLoad:
        """Return how much is posted to this run that it has not taken."""

    @abstractmethod
    async def untaken_events(self, run_id: str) -> list[UntakenEvent]:
        """Return what is posted to this run that it has not taken, in order."""

    @abstractmethod
    async def read_events(
        self, handler_id: str, after: int, limit: int, characters: int | None = None
    ) -> list[StoredEvent]:
        """Up to ``limit`` events with a sequence greater than ``after``, in order, and no further one once they have so
        many ``characters``; at least one where there is one."""

    @abstractmethod
    async def event_range(self, handler_id: str) -> tuple[int, int, int] | None:
        """The first sequence of the current run, the last sequence of the log (first - 1 where it is empty), and
        the next one of the shared queue; None where there is no such handler."""

    @abstractmethod
    async def is_being_deleted(self, handler_id: str) -> bool:
        """Return whether there are still rows of a handler that is not seen any more: its id is not free yet."""

    @abstractmethod
    async def find_answer(self, scope: str, key: str) -> StoredAnswer | None:
        """Return what this idempotency key was answered with."""

    # -- Handlers ------------------------------------------------------------------------------

    @abstractmethod
    async def query(self, query: HandlerQuery) -> list[PersistentHandler]:
        """The handlers that match, oldest first."""

    @abstractmethod
    async def list_page(
        self, statuses: Sequence[Status], workflow_names: Sequence[str] | None, cursor: ListCursor | None
    ) -> HandlersPage:
        """The next handlers of these statuses and workflows (None: of all), oldest first; a cursor of None begins.

        A page is bounded in number and size, but for its last handler. What is started or continued while the list is
        read is left out where it was not reached yet, so that a list has an end and no handler is in it twice.
        """

    @abstractmethod
    async def update(self, handler: PersistentHandler) -> None:
        """Insert or replace a handler's record."""

    @abstractmethod
    async def delete(self, query: HandlerQuery) -> int:
        """Delete the handlers that match, with all that belongs to them; returns how many there were.

        A deletion that was interrupted is finished at the next ``open``; its handlers are not seen again.
        """

    @abstractmethod
    async def shift_clocks(self, seconds: float) -> None:
        """Add ``seconds``, for which the server was down, to ``alive_since`` of every running run."""


def from_timestamp(timestamp: float | None) -> datetime | None:
    """The time in UTC; None where there is none, or no calendar has it."""
    if timestamp is None:
        return None
    try:
        return datetime.fromtimestamp(timestamp, UTC)
    except (OverflowError, ValueError, OSError):
        # A damaged row.
        return None
