"""The ticks that a run was sent and has not taken: in which order it takes them, and when.

In the basic runtime a step that has been started has come to its first wait before the next event is taken. Here it
may still stand at the barrier. So the first event in the mailbox waits for the steps that stand there where taking it
now could have another outcome: where no step accepts it, where a step that stands there may wait for it, or where it
would have to queue for a worker that may be free by then. Any other does not: what a fan-out sends shares its commits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from workflow_server.execution.barrier import StepBarrier
from workflow_server.execution.engine import BrokerState, Event, TickAddEvent, WorkflowTick
from workflow_server.execution.inbox import NONE_BEGIN, PostedEvent, is_kept, is_lost
from workflow_server.execution.routing import (
    Weights,
    accepting_steps,
    answers,
    beginning_waits,
    is_at_work,
    would_queue,
)
from workflow_server.execution.waits import KnownWaits
from workflow_server.execution.writer import RunWriter
from workflow_server.records import InboxPosted

LARGEST = 4
"""Times the limit for the events in a run's state: beyond these it takes only answers. An event in a snapshot may take
twice its size, and a value of SQLite holds 10^9 bytes."""


class LoopState(Protocol):
    """The run that the mailbox belongs to."""

    @property
    def broker(self) -> BrokerState:
        """Return the state of its loop."""


class Mailbox:
    """The ticks that are sent to a run, in order. ``limit``: bytes of posted events in its state from which on further
    ones stay in the inbox while there is work to do."""

    def __init__(self, run: LoopState, writer: RunWriter, barrier: StepBarrier, known: KnownWaits, limit: int) -> None:
        self._run = run
        self._writer = writer
        self._inbox = writer.inbox
        self._barrier = barrier
        self._known = known
        self._limit = limit
        self.listener: Callable[[], None] | None = None
        """Called when the run may find something to take that it did not find before."""
        self._ticks: list[WorkflowTick] = []
        self.given = 0
        """Number of the ticks that were given to the run's loop."""
        self._changed: asyncio.Future[None] | None = None
        """Done when something has changed; made by who waits for that."""
        self._delivered = -1
        """The inbox id that was delivered last."""
        self._beginnings = NONE_BEGIN
        self._was_taken: WorkflowTick | None = None
        """A tick that the run had taken before it was loaded again, and that waits for no step."""
        self._weights = Weights()
        self._weight = 0
        """An upper bound of the weight of what was posted and is in the state."""

    def deliver(self, posted: InboxPosted, event: Event, now: float) -> None:
        """Take in what a client has posted; once, however often it is called."""
        if posted.inbox_id <= self._delivered:
            return
        self._delivered = posted.inbox_id
        added = self._inbox.add(posted, event, now)
        if not added.held:
            self.put(added.tick())

    def before(self, tick: WorkflowTick, state: BrokerState) -> None:
        """Look which held events the waits take that begin with this tick."""
        if self._inbox.held_events:
            self._beginnings = self._inbox.begin(beginning_waits(tick, state), self._writer.journal.waits.begun)

    def after(self) -> None:
        """Give them, in the transaction of the tick: what is given to a wait is given to it also after a crash. The run
        has gone on, and may take what it did not take before."""
        beginnings, self._beginnings = self._beginnings, NONE_BEGIN
        if beginnings is not NONE_BEGIN:
            for posted in beginnings.given:
                self._writer.give(posted)
            for posted in beginnings.dropped:
                self._writer.drop(posted)
            self.put_first([posted.tick() for posted in beginnings.given])
        if self._ticks:
            self._notify()

    def put(self, tick: WorkflowTick) -> None:
        """Send a tick."""
        self._ticks.append(tick)
        self._notify()

    def put_first(self, ticks: Sequence[WorkflowTick]) -> None:
        """Send ticks that come before all others."""
        self._ticks[:0] = ticks
        if ticks:
            self._notify()

    def _notify(self) -> None:
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)
        if self.listener is not None:
            self.listener()

    def send_again(self, ticks: list[WorkflowTick], before: BrokerState) -> None:
        """Send what was on its way to the run when it left memory, or its process died, in the state ``before``."""
        first = ticks[0] if ticks else None
        if isinstance(first, TickAddEvent) and self._writer.journal.pulls.had_taken(first.emission, before):
            self._was_taken = first
        self.put_first(ticks)

    def expect(self, weight: int) -> None:
        """Note that the run was loaded with a state of at most this weight."""
        self._weight = weight

    @property
    def is_empty(self) -> bool:
        """Return whether nothing is in it."""
        return not self._ticks

    @property
    def is_quiet(self) -> bool:
        """Return whether nothing is in it that the run would take."""
        return self._next() is None

    async def get(self) -> WorkflowTick:
        """Return the next tick, when the run is to take it."""
        while True:
            self._changed = None
            tick = self.take()
            if tick is not None:
                return tick
            if self.is_quiet:
                self._changed = asyncio.get_running_loop().create_future()
                await self._changed
            else:
                await self._barrier.opening()

    def take(self) -> WorkflowTick | None:
        """Return the next tick; None where there is none, or where it waits for steps that stand at the barrier."""
        while True:
            place = self._next()
            if place is None or (self._barrier.standing and self._waits_for_steps(self._ticks[place])):
                return None
            tick = self._ticks[place]
            del self._ticks[place]
            if self._is_taken(tick):
                self.given += 1
                return tick

    def _next(self) -> int | None:
        """Return the place of the first tick that the run takes. It always takes a send: a step may wait for that."""
        if not self._ticks:
            return None
        is_large = self._is_large()
        for place, tick in enumerate(self._ticks):
            posted = self._posted(tick)
            if posted is None:
                return place
            posted.put_off = is_large and not answers(self._run.broker, posted.event)
            if not posted.put_off:
                return place
        return None

    def _posted(self, tick: WorkflowTick) -> PostedEvent | None:
        return self._inbox.find(tick.event) if isinstance(tick, TickAddEvent) else None

    def _is_large(self) -> bool:
        """Return whether the run's state holds so much that it takes nothing new."""
        if self._weight <= self._limit:
            return False
        state = self._run.broker
        self._weight = self._weights.of(state)
        return self._weight > (self._limit if is_at_work(state) else LARGEST * self._limit)

    def _waits_for_steps(self, tick: WorkflowTick) -> bool:
        """Return whether it could have another outcome to take the tick before the steps that stand at the barrier
        begin."""
        if not isinstance(tick, TickAddEvent) or tick is self._was_taken:
            return False
        state, standing = self._run.broker, self._barrier.standing
        accepting = accepting_steps(state, tick.event, tick.step_id)
        if not accepting or any(self._known.may_wait(step, tick.event) for step in standing):
            return True
        return any(str(step_id) in standing and would_queue(state, step_id) for step_id in accepting)

    def _is_taken(self, tick: WorkflowTick) -> bool:
        posted = self._posted(tick)
        if posted is None:
            return True
        if is_kept(posted, self._run.broker, self._writer.journal.waits.begun):
            self._writer.keep(posted)
            return False
        if is_lost(posted, self._run.broker):
            self._writer.drop(posted)
            return False
        if self._weights.is_full:
            self._weight = self._weights.of(self._run.broker)
        self._weight += posted.record.size
        self._weights.note(posted.event, posted.record.size)
        return True
