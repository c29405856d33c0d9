"""Events on their way into the inboxes of runs: their records, and those that are neither stored nor refused yet."""

from __future__ import annotations

from workflow_server.execution.engine import Event
from workflow_server.execution.inbox import event_type, load_of
from workflow_server.execution.interface import RunOwner
from workflow_server.records import InboxLoad, InboxPosted


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
        posted = InboxPosted(self.next_id, run.handler_id, run.run_id, data, step, event_type(event), size)
        self.next_id += 1
        return posted


class InFlight:
    """The events that are being handed to the store for one run."""

    def __init__(self) -> None:
        self.load = InboxLoad()
        """How much they are: it comes on top of what the run's inbox holds already."""
        self._events: dict[int, tuple[InboxPosted, Event]] = {}

    def __bool__(self) -> bool:
        return bool(self._events)

    def add(self, posted: InboxPosted, event: Event) -> None:
        """The event is handed to the store."""
        self._events[posted.inbox_id] = (posted, event)
        self.load = self.load.plus(load_of(posted))

    def pop(self, inbox_id: int) -> Event | None:
        """Return the event as it was parsed, where it is one of them: it is stored, or refused."""
        posted, event = self._events.pop(inbox_id, (None, None))
        if posted is not None:
            less = load_of(posted)
            self.load = self.load.plus(InboxLoad(-less.waiting, -less.early, -less.size))
        return event
