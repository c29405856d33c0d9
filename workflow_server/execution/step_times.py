"""Times as steps see them: by the wall clock, while the run itself uses the server's clock."""

from __future__ import annotations

from collections.abc import Awaitable
from datetime import timedelta

from workflow_server.execution.clock import ServerClock
from workflow_server.execution.engine import (
    Event,
    RetryAttempt,
    StepFailedEvent,
    StepWorkerFunction,
    StepWorkerOutput,
    StepWorkerState,
    Workflow,
)

_FIRST_ATTEMPT = RetryAttempt()


class WallClockAttempt(RetryAttempt):
    """An attempt whose times are the wall clock's at the moment they are read, because ``ctx.retry_info()`` compares
    them with the wall clock."""

    def __init__(self, attempt: RetryAttempt, clock: ServerClock) -> None:
        vars(self).update(vars(attempt), clock=clock)

    @property
    def first_attempt_at(self) -> float:
        """Return the time of the first attempt."""
        first: float = vars(self)["first_attempt_at"]
        return first + self._behind if first else first

    @property
    def last_failed_at(self) -> float | None:
        """Return the time of the last failure, None if there was none."""
        last: float | None = vars(self)["last_failed_at"]
        return None if last is None else last + self._behind

    @property
    def _behind(self) -> float:
        clock: ServerClock = vars(self)["clock"]
        return clock.behind()


def told_by_wall_clock(step: StepWorkerFunction, clock: ServerClock) -> StepWorkerFunction:
    """Return the step with all times that it is given converted to the wall clock."""

    def with_wall_clock(
        state: StepWorkerState,
        step_name: str,
        event: Event,
        workflow: Workflow,
        bound_events: dict[str, Event] | None = None,
        retry: RetryAttempt = _FIRST_ATTEMPT,
    ) -> Awaitable[list[StepWorkerOutput]]:
        if isinstance(event, StepFailedEvent):
            event = event.model_copy(update={"failed_at": event.failed_at + timedelta(seconds=clock.behind())})
        return step(
            state=state,
            step_name=step_name,
            event=event,
            workflow=workflow,
            bound_events=bound_events,
            retry=WallClockAttempt(retry, clock),
        )

    return with_wall_clock
