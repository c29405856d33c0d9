"""The events that clients post to a run, until it takes them: on their way into the store, waiting for its turn, or
held until a wait begins.

An event that no step accepts can only answer a wait. Where it comes before the first wait for its type has begun, it is
held: it stays in the store's inbox, and is given to the run when a wait begins that it meets. From then on the engine's
rule holds for its type, and what nobody takes is told as an ``UnhandledEvent``: a second click must not answer the next
question. One that was posted with ``hold`` waits for the next wait instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from workflow_server.execution.engine import BrokerState, Event, StepId, TickAddEvent, UnhandledEvent
from workflow_server.execution.interface import RunOwner
from workflow_server.execution.routing import (
    BeginningWait,
    accepting_steps,
    answers,
    is_ignored,
    meets,
)
from workflow_server.execution.waits import BegunWaits
from workflow_server.records import InboxLoad, InboxPosted, UntakenEvent


@dataclass(eq=False)
class PostedEvent:
    """An event that was delivered to the run, which has not taken it yet."""

    record: InboxPosted
    event: Event
    held: bool
    delivered_at: float
    """By the server's clock."""
    put_off: bool = False
    """The run does not take it at present: its state is too large."""

    def tick(self) -> TickAddEvent:
        """Return the tick that gives it to the run."""
        step = self.record.step
        return TickAddEvent(event=self.event, step_id=None if step is None else StepId.root(step))


@dataclass(frozen=True)
class Beginnings:
    """The consequences that the waits that begin with a tick have for the events that are held."""

    given: Sequence[PostedEvent] = ()
    dropped: Sequence[PostedEvent] = ()


NONE_BEGIN = Beginnings()
"""No wait begins with the tick."""


class Inbox:
    """The posted events of a run that it has not taken, in order."""

    def __init__(self) -> None:
        self.load = InboxLoad()
        self.held_events = 0
        """Number of events that are kept until a wait begins."""
        self._events: dict[int, PostedEvent] = {}

    def add(self, record: InboxPosted, event: Event, now: float) -> PostedEvent:
        """Add an event that was delivered at this time of the server's clock."""
        # Holding the event keeps its identity its own: the engine copies the tick, but not the event.
        posted = self._events[id(event)] = PostedEvent(record, event, record.held, now)
        self.load = self.load.plus(load_of(record))
        self.held_events += record.held
        return posted

    def hold(self, posted: PostedEvent, *, held: bool) -> None:
        """Hold the event from now on, or no longer."""
        self.held_events += held - posted.held
        posted.held = held

    def find(self, event: Event) -> PostedEvent | None:
        """Return the event, where it was posted and is not taken."""
        return self._events.get(id(event))

    def take(self, event: Event) -> PostedEvent | None:
        """Forget an event that the run has taken or never will, and return it; None where it was not posted."""
        posted = self._events.pop(id(event), None)
        if posted is not None:
            self.hold(posted, held=False)
            less = load_of(posted.record)
            self.load = self.load.plus(InboxLoad(-less.waiting, -less.early, -less.size))
        return posted

    def has_untaken(self, before: float) -> bool:
        """Return whether an event was delivered before this time that the run is about to take."""
        return any(
            posted.delivered_at <= before and not posted.held and not posted.put_off for posted in self._events.values()
        )

    def untaken(self) -> list[PostedEvent]:
        """Return all of them."""
        return list(self._events.values())

    def begin(self, waits: Sequence[BeginningWait], begun: BegunWaits) -> Beginnings:
        """Return what is given to waits that begin, and what is not held any longer; ``begun`` is as it was before
        them."""
        given: list[PostedEvent] = []
        dropped: list[PostedEvent] = []
        held = [posted for posted in self._events.values() if posted.held] if waits and self.held_events else []
        for wait in waits:
            answered = False
            for posted in held:
                if posted in given or posted in dropped or not _may_answer(posted, wait, begun):
                    continue
                if not answered:
                    given.append(posted)
                    answered = True
                elif not posted.record.hold:
                    dropped.append(posted)
        return Beginnings(given, dropped)


def _may_answer(posted: PostedEvent, wait: BeginningWait, begun: BegunWaits) -> bool:
    if not wait.is_for(posted.event) or not meets(posted.event, wait.requirements):
        return False
    # An event that did not meet the first wait for its type may be meant for another, if that one has requirements.
    return posted.record.hold or bool(wait.requirements) or not begun.cover(type(posted.event))


def is_kept(posted: PostedEvent, state: BrokerState, begun: BegunWaits) -> bool:
    """Return whether the event is to be held now that its turn has come."""
    if not posted.record.early or answers(state, posted.event) or accepting_steps(state, posted.event, None):
        return False
    return posted.record.hold or not begun.cover(type(posted.event))


def is_lost(posted: PostedEvent, state: BrokerState) -> bool:
    """Return whether the engine would ignore the event without a word."""
    return posted.record.early and is_ignored(state, posted.event)


def load_of(record: InboxPosted) -> InboxLoad:
    """Return what one event adds to the load of its run."""
    return InboxLoad(int(not record.early), int(record.early), record.size)


def event_type(event: Event) -> str:
    """The class of an event as the engine's ``UnhandledEvent`` names it."""
    return f"{type(event).__module__}.{type(event).__name__}"


def unhandled(posted: UntakenEvent | InboxPosted, *, idle: bool = False) -> UnhandledEvent:
    """Return the event that tells that nobody took this one."""
    name = posted.event_type
    return UnhandledEvent(event_type=name.rpartition(".")[2], qualified_name=name, step_name=posted.step, idle=idle)


class InboxRecords:
    """Makes the records of posted events, each with the next place in the inbox."""

    def __init__(self) -> None:
        self.next_id = 0
        """Set when the store is open."""

    def of(self, run: RunOwner, event: Event, step: str | None) -> InboxPosted:
        """Return the record of an event for a run.

        Raises:
            InvalidEvent: a value in it cannot be kept.
        """
        data = run.workflow.encode(event)
        size = len(data.encode("utf-8", "surrogatepass"))
        return self.renumbered(InboxPosted(-1, run.handler_id, run.run_id, data, step, event_type(event), size))

    def renumbered(self, posted: InboxPosted) -> InboxPosted:
        """Return the record with the next place, for one that was made before others that are stored first."""
        self.next_id += 1
        return posted._replace(inbox_id=self.next_id - 1)


class InFlight:
    """The events that are being handed to the store for one run."""

    def __init__(self) -> None:
        self.load = InboxLoad()
        """Their load, which comes on top of what the run's inbox holds already."""
        self._events: dict[int, tuple[InboxPosted, Event]] = {}

    def __bool__(self) -> bool:
        return bool(self._events)

    def add(self, posted: InboxPosted, event: Event) -> None:
        """Add an event that is handed to the store."""
        self._events[posted.inbox_id] = (posted, event)
        self.load = self.load.plus(load_of(posted))

    def pop(self, inbox_id: int) -> Event | None:
        """Return the event as it was parsed, where it is one of them: it is stored, or refused."""
        posted, event = self._events.pop(inbox_id, (None, None))
        if posted is not None:
            less = load_of(posted)
            self.load = self.load.plus(InboxLoad(-less.waiting, -less.early, -less.size))
        return event
