"""The seam between the life of runs and their execution: all that either side asks of the other about one run.

``runs/`` makes a ``RunSession`` and asks of it what ``Session`` lists. The session tells its ``RunOwner`` where it
stands, and reaches the handler's events through an ``EventSink``.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from workflow_server.errors import WorkflowServerError
from workflow_server.execution.clock import ServerClock
from workflow_server.execution.inbox_limits import InboxLimits
from workflow_server.history import Note
from workflow_server.records import EventAppended, HistoryNoted, InboxPosted, Record
from workflow_server.store.base import AbstractWorkflowStore, Commit
from workflow_server.tracing import TracedRun, Tracing

if TYPE_CHECKING:
    from workflow_server.execution.engine import Event, StopEvent
    from workflow_server.execution.inbox import Inbox
    from workflow_server.execution.standing import Doing, Standing
    from workflow_server.execution.workflow import ServedWorkflow


@dataclass(frozen=True)
class Surroundings:
    """All that the sessions of a server share."""

    store: AbstractWorkflowStore
    clock: ServerClock
    limits: InboxLimits
    idle_timeout: float | None
    """Seconds after which a run that only waits leaves memory; None for never."""
    tracing: Tracing | None = None


class RecordSink(Protocol):
    """The store, as far as a session writes to it."""

    @property
    def backlog(self) -> int:
        """Return the number of records that wait for their commit."""

    def append(self, *records: Record) -> Commit:
        """Hand over a unit; never suspends."""


class EventSink(Protocol):
    """The event log of a handler, to write to."""

    def append(self, run_id: str, data: str, *, internal: bool, took: float | None = None) -> EventAppended:
        """Give the event its place in the log; it is seen when the record is committed. ``took``: the seconds of the
        step that ends with it."""

    def note(self, run_id: str, note: Note, *, by: str | None = None) -> HistoryNoted:
        """Return an entry of the handler's history that stands behind the last event of the log."""


class RunOwner(Protocol):
    """The run that a session executes."""

    @property
    def handler_id(self) -> str:
        """Return the id of its handler."""

    @property
    def run_id(self) -> str:
        """Return its own id, the same before and after a crash."""

    @property
    def workflow(self) -> ServedWorkflow:
        """Return the workflow that it is a run of."""

    @property
    def traced(self) -> TracedRun | None:
        """Return itself for its spans; None where it belongs to no trace."""

    @property
    def failure(self) -> WorkflowServerError | None:
        """Return the reason for which it is failed from outside its task."""

    def abort(self, error: WorkflowServerError) -> None:
        """Fail it from outside its task."""

    def drain(self) -> None:
        """Let it leave memory, where it has no step that has begun; the server stops."""

    def end(self) -> None:
        """Note that its end is on its way to the store."""

    def release(self) -> None:
        """Note that it only waits: it is about to leave memory."""

    def send_late(self, event: Event, step: str | None) -> None:
        """Send it an event of a task that outlived its step, when it is released."""


class Written(Protocol):
    """All that a session writes, and what was posted to it."""

    @property
    def inbox(self) -> Inbox:
        """Return what was posted to the run that it has not taken."""

    @property
    def progressed(self) -> asyncio.Event:
        """Return what is set when a step's result is recorded, and when the session is over."""

    def note_progress(self) -> None:
        """Note that a step's result is recorded, or that the session is over."""

    @property
    def is_open(self) -> bool:
        """Return whether the run has neither ended nor been released."""

    def end(self, event: StopEvent) -> Commit:
        """End the run with this event; what its steps still publish or write is dropped."""

    def cancel(self, by: str | None = None) -> Commit:
        """End the run as cancelled, as a client asks; see ``end``. ``by``: the name of its token."""

    def fail(self, error: BaseException) -> None:
        """End the run as failed, unless it has ended already."""

    def end_again(self, error: WorkflowServerError) -> bool:
        """End the run as failed, since its end could not be stored. False where that was tried before."""

    async def settle(self) -> None:
        """Return when all that was written is durable, or when the store has failed."""


class Session(Protocol):
    """One run in memory."""

    @property
    def writer(self) -> Written:
        """Return what it writes."""

    @property
    def alive_since(self) -> float | None:
        """Return since when the run is alive, by the server's clock; None before it has begun for the first time."""

    @property
    def wake_at(self) -> float | None:
        """Return the deadline, by the server's clock, until which the run waits at most, once it was released."""

    @property
    def is_idle(self) -> bool:
        """Return whether no step runs or is about to: the run only waits."""

    def standing(self) -> Standing:
        """Return where the run stands."""

    @property
    def doing(self) -> Doing:
        """Return what the run does, in a word."""

    def is_answer(self, event: Event) -> bool:
        """Return whether the event answers a wait that is open."""

    def deliver(self, posted: InboxPosted, event: Event) -> None:
        """Hand a posted event, which is durable, to the run; once, however often it is called."""

    def begin(self) -> None:
        """Write that the run is alive: its task, which calls ``execute``, is about to begin."""

    async def execute(self) -> None:
        """Return when the run has ended or leaves memory; what it raises fails the run."""

    def drain(self) -> bool:
        """Start no more steps; returns whether none runs, so that the run can leave memory at once."""
