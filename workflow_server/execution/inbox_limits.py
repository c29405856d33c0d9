"""Limits on what may wait for a run: what is posted beyond it is refused before it is acknowledged."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from workflow_server.execution.engine import Event
from workflow_server.execution.exceptions import TooManyHeld, TooManyWaiting
from workflow_server.execution.inbox import load_of
from workflow_server.records import InboxLoad, InboxPosted


@dataclass(frozen=True)
class InboxLimits:
    """The limits for each run."""

    waiting: int = 10_000
    """Events that steps accept."""
    held: int = 1_000
    """Events that only a wait can take."""
    size: int = 64 << 20
    """Bytes of all of them; one alone may have more."""

    def check(self, load: InboxLoad, posted: InboxPosted) -> None:
        """Accept the event beside what waits already.

        Raises:
            TooManyWaiting, TooManyHeld: why not.
        """
        if load.size and load.size + posted.size > self.size:
            raise TooManyWaiting(posted.handler_id, f"{self.size:,} bytes")
        if posted.early and load.early >= self.held:
            raise TooManyHeld(posted.handler_id, self.held)
        if not posted.early and load.waiting >= self.waiting:
            raise TooManyWaiting(posted.handler_id, f"{self.waiting:,} events")

    def for_answers(self) -> InboxLimits:
        """The limits for an event that answers a wait: what the run may go on with finds room beside the others."""
        return InboxLimits(2 * self.waiting, 2 * self.held, 2 * self.size)


class Postings:
    """The events that are being posted: accepted, but neither stored nor refused yet."""

    def __init__(self) -> None:
        self._events: dict[int, Event] = {}
        self._loads: dict[int, InboxPosted] = {}
        """Those that are not delivered, by inbox id."""
        self._by_run: dict[str, InboxLoad] = {}

    @contextmanager
    def posting(self, posted: InboxPosted, event: Event) -> Iterator[None]:
        """Within it, the event is being posted."""
        self._events[posted.inbox_id] = event
        self._loads[posted.inbox_id] = posted
        self._by_run[posted.run_id] = self.load(posted.run_id).plus(load_of(posted))
        try:
            yield
        finally:
            del self._events[posted.inbox_id]
            self.delivered(posted.inbox_id)

    def event(self, inbox_id: int) -> Event | None:
        """The event as it was parsed."""
        return self._events.get(inbox_id)

    def load(self, run_id: str) -> InboxLoad:
        """Return what is being posted to this run, without what was delivered to it."""
        return self._by_run.get(run_id, InboxLoad())

    def delivered(self, inbox_id: int) -> None:
        """The event is stored, and counts as waiting from now on."""
        posted = self._loads.pop(inbox_id, None)
        if posted is None:
            return
        less = load_of(posted)
        left = self.load(posted.run_id).plus(InboxLoad(-less.waiting, -less.early, -less.size))
        if left == InboxLoad():
            del self._by_run[posted.run_id]
        else:
            self._by_run[posted.run_id] = left
