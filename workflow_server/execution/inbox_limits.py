"""Limits on what may wait for a run: what is posted beyond it is refused before it is acknowledged."""

from __future__ import annotations

from dataclasses import dataclass

from workflow_server.execution.exceptions import TooManyHeld, TooManyWaiting
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
