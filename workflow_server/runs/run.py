"""A handler's current run: the one object that is asked where it stands, and that changes it.

Each run that the store holds as running has one. When a run has ended and its task is over, its object goes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from workflow_server.errors import ResumeFailed, WorkflowServerError
from workflow_server.execution.containment import cancel as cancel_task
from workflow_server.execution.containment import harmless
from workflow_server.execution.engine import Event
from workflow_server.execution.inbox import InFlight
from workflow_server.execution.interface import Session
from workflow_server.execution.standing import Doing, Standing
from workflow_server.execution.workflow import ServedWorkflow
from workflow_server.records import InboxLoad, InboxPosted
from workflow_server.runs.states import NEXT, QUEUE_REASON, IllegalTransition, Retry, RunState
from workflow_server.store.base import Commit
from workflow_server.tracing import RunTrace, TracedRun


class RunHost(Protocol):
    """The server, as far as a run speaks to it."""

    def left(self, run: Run) -> None:
        """Take the run out of memory: its task is about to end, and all that it wrote is durable."""

    def send_late(self, run: Run, event: Event, step: str | None) -> None:
        """Post the event of a task that outlived its step; the run is released."""


class Run:
    """One run. It is changed under its handler's lock, or by its own task; a hundred thousand may be released."""

    __slots__ = (
        "_held",
        "_host",
        "_in_flight",
        "_interrupted",
        "_interruptible",
        "_missed",
        "_pending",
        "_state",
        "failure",
        "handler_id",
        "left_as",
        "retry",
        "run_id",
        "served",
        "session",
        "suspended",
        "task",
        "trace",
        "wake_at",
    )

    def __init__(
        self,
        host: RunHost,
        handler_id: str,
        run_id: str,
        served: ServedWorkflow | None,
        *,
        held_events: int = 0,
        trace: RunTrace | None = None,
        left_as: Doing | None = None,
    ) -> None:
        self.handler_id = handler_id
        self.run_id = run_id
        self.served = served
        """The workflow that it is a run of; None where that is not registered."""
        self.trace = trace
        self._state = RunState.RELEASED
        self.suspended: str | None = None
        """The reason for which it does not go on at present."""
        self.session: Session | None = None
        self.task: asyncio.Task[None] | None = None
        """The task that executes it, while it is in memory."""
        self.failure: WorkflowServerError | None = None
        self.wake_at: float | None = None
        """The time, by the server's clock, at which its timer wakes it; set by ``Timers`` alone."""
        self.retry: Retry | None = None
        self.left_as = left_as
        """Its activity when it was released last; None where that is not known."""
        self._host = host
        self._held = held_events
        self._in_flight: InFlight | None = None
        self._pending: list[tuple[InboxPosted, Event | None]] | None = None
        self._interruptible = self._interrupted = self._missed = False

    @property
    def workflow(self) -> ServedWorkflow:
        """Return the workflow that it is a run of; asked only of runs that go on."""
        assert self.served is not None
        return self.served

    @property
    def traced(self) -> TracedRun | None:
        """Return itself for its spans; None where it belongs to no trace."""
        if self.trace is None:
            return None
        return TracedRun(self.trace, self.handler_id, self.run_id, None if self.served is None else self.served.name)

    # -- Where it stands -----------------------------------------------------------------------

    @property
    def state(self) -> RunState:
        """Return its state."""
        return self._state

    def _enter(self, state: RunState, why: str | None = None) -> None:
        if state not in NEXT[self._state]:
            raise IllegalTransition(self.handler_id, self._state, state)
        self._state = state
        self.suspended = why

    @property
    def is_active(self) -> bool:
        """Return whether its task executes it."""
        return self._state is RunState.ACTIVE

    @property
    def is_released(self) -> bool:
        """Return whether it is in the store only, or about to be."""
        return self._state is RunState.RELEASED

    @property
    def can_cancel(self) -> bool:
        """Return whether its session can end it: also one that was just released, and has all that was posted."""
        is_leaving = self.is_released and self.session is not None and not self._missed and not self._in_flight
        return self.is_active or is_leaving

    @property
    def has_ended(self) -> bool:
        """Return whether its end is stored or on its way to the store."""
        return self._state is RunState.ENDED

    @property
    def held_events(self) -> int:
        """Return how many events are held until a wait begins."""
        if self.has_ended:
            return 0
        return self.session.writer.inbox.held_events if self.is_active and self.session is not None else self._held

    @property
    def standing(self) -> Standing | None:
        """Return where it stands, as far as memory tells: None where it is in the store only, or being loaded."""
        if self.has_ended:
            return Standing()
        return self.session.standing() if self.session is not None and self.task is not None else None

    def queue(self) -> None:
        """Wait for a slot."""
        if self._state is not RunState.QUEUED:
            self._enter(RunState.QUEUED, QUEUE_REASON)

    def load(self) -> None:
        """Come into memory: it has its slot. Events that are posted from now on wait until it is there."""
        self._enter(RunState.LOADING)
        self._pending = []

    def suspend(self, reason: str) -> None:
        """Stay in the store for this reason, which its handler shows."""
        self._enter(RunState.SUSPENDED, reason)

    def end(self) -> None:
        """Note that its end is stored or on its way to the store."""
        if not self.has_ended:
            self._enter(RunState.ENDED)

    def release(self) -> None:
        """Note that it only waits, or cannot be loaded at present: it leaves memory, where it is in it."""
        if self.is_active and self.session is not None:
            self.left_as = self.session.doing
        self._enter(RunState.RELEASED)

    def leave(self) -> bool:
        """Forget its session, which is over; returns whether it has to be loaded again at once."""
        if self.is_active:
            self.release()  # The server stops.
        if self.session is not None and self.task is not None:
            self._held = self.session.writer.inbox.held_events
        missed, self._missed = self._missed, False
        self.session = self.task = self.failure = self._pending = None
        self._interruptible = self._interrupted = False
        return missed and self.is_released

    # -- In memory -----------------------------------------------------------------------------

    def attach(self, session: Session) -> None:
        """Take the session that it is loaded into."""
        assert self._state is RunState.LOADING
        self.session = session

    def hand_over(self, inbox: Sequence[InboxPosted]) -> None:
        """Give its session what the store has of its inbox, and what was posted since that was read.

        Raises:
            ResumeFailed: an event cannot be read any more.
        """
        assert self.session is not None
        # All are read before the first is delivered, which may change what the store has of it.
        found = [self._read(posted, None) for posted in inbox]
        pending, self._pending = self._pending or [], None
        found += [self._read(posted, event) for posted, event in pending]
        for posted, event in found:
            self.session.deliver(posted, event)

    def _read(self, posted: InboxPosted, event: Event | None) -> tuple[InboxPosted, Event]:
        # Not "event or …": a workflow's own events say by themselves whether they are true, and may raise at it.
        return (posted, event) if event is not None else self.workflow.inbox_event(posted)

    def begin(self) -> None:
        """Execute it, with the session that it was loaded into, in a task of its own."""
        assert self.session is not None
        self.session.begin()
        self._enter(RunState.ACTIVE)
        self.task = asyncio.create_task(self._live(self.session), name=f"run {self.handler_id}")

    @harmless
    async def _live(self, session: Session) -> None:
        self._interruptible = True
        try:
            if self._interrupted:
                raise asyncio.CancelledError  # noqa: TRY301
            await session.execute()
        except asyncio.CancelledError:
            # Cancelled by us before its loop began.
            if self.failure is not None:
                session.writer.fail(self.failure)
        except BaseException as error:
            session.writer.fail(error)
        finally:
            self._interruptible = False
            session.writer.note_progress()
            await session.writer.settle()
            self._host.left(self)

    async def settle(self) -> None:
        """Return when it has left memory, if it is about to, and what it wrote is durable."""
        if self.is_released and self.task is not None:
            await asyncio.wait([self.task])
        if self.session is not None:
            await self.session.writer.settle()

    def cancel(self, by: str | None = None) -> Commit:
        """End it as cancelled, whatever its steps do; what they still publish or write is dropped. Its session can.
        ``by``: the name of the token that asked for it."""
        assert self.session is not None
        is_leaving = self.is_released
        commit = self.session.writer.cancel(by)
        if not is_leaving:
            self._interrupt()
        return commit

    def withdraw(self) -> None:
        """Leave without a trace: its start was refused, and no step has begun."""
        self.end()
        self.failure = None
        if self.session is not None:
            # A step that comes to the barrier only now finds it closed.
            self.session.drain()
        self._interrupt()

    def abort(self, error: WorkflowServerError) -> None:
        """Fail it from outside its task, wherever it stands."""
        if self.session is None or self.has_ended:
            return
        if self.is_released:
            # It is on its way out, and what it wrote must settle: it fails when it is loaded again.
            self._missed = True
        elif self.task is None:
            self.session.writer.fail(error)
        elif self.failure is None:
            self.failure = error
            self._interrupt()

    def drain(self) -> None:
        """Start no more steps, and leave memory when those that run have been recorded."""
        if self.session is not None and self.session.drain() and self.session.writer.is_open and not self.has_ended:
            self._interrupt()

    def _interrupt(self) -> None:
        """Cancel its task. Not before that has begun, nor where it ends already: it would end without giving back what
        it holds."""
        if self.task is not None and self._interruptible:
            cancel_task(self.task)
        self._interrupted = True

    # -- What is posted to it ------------------------------------------------------------------

    @contextmanager
    def posting(self, posted: InboxPosted, event: Event) -> Iterator[None]:
        """Within it, the event is handed to the store."""
        self._in_flight = self._in_flight or InFlight()
        self._in_flight.add(posted, event)
        try:
            yield
        finally:
            self._landed(posted)

    def _landed(self, posted: InboxPosted) -> Event | None:
        event = self._in_flight.pop(posted.inbox_id) if self._in_flight is not None else None
        self._in_flight = self._in_flight or None
        return event

    @property
    def inbox_load(self) -> InboxLoad:
        """Return how much is posted to it that it has not taken; it is active."""
        assert self.session is not None
        load = self.session.writer.inbox.load
        return load if self._in_flight is None else load.plus(self._in_flight.load)

    def waits_for(self, event: Event) -> bool:
        """Return whether the event answers a wait that is open; it is active."""
        assert self.session is not None
        return self.session.is_answer(event)

    def deliver(self, posted: InboxPosted) -> bool:
        """Take in a posted event, which is stored; returns whether the run has to be loaded for it."""
        event = self._landed(posted)
        if self.is_active and self.session is not None:
            try:
                self.session.deliver(*self._read(posted, event))
            except ResumeFailed as error:
                self.abort(error)
        elif self._pending is not None:
            self._pending.append((posted, event))
        elif self.is_released and self.session is not None:
            self._missed = True
        return self.is_released and self.session is None

    def send_late(self, event: Event, step: str | None) -> None:
        """Send it an event of a task that outlived its step, when it is released."""
        self._host.send_late(self, event, step)
