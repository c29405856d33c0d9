"""The end of a run: its terminal event, its status, and the error that its handler shows."""

from __future__ import annotations

import time

from workflows.errors import WorkflowCancelledByUser

from workflow_server.errors import Unstorable, WorkflowServerError
from workflow_server.execution.engine import (
    StopEvent,
    WorkflowCancelledEvent,
    WorkflowFailedEvent,
    WorkflowTimedOutEvent,
)
from workflow_server.execution.failures import message_of, told, user_traceback
from workflow_server.records import RunEnded, Status


class LeftMemory(WorkflowCancelledByUser):
    """The run leaves memory, but does not end. The engine closes the run's trace as for a cancelled one."""


class RunCancelled(WorkflowCancelledByUser):
    """A client has cancelled the run."""


RUNTIME = "<runtime>"
"""Stands in place of a step's name when a run failed outside of its steps."""


def failed_event(error: BaseException) -> WorkflowFailedEvent:
    """Return the terminal event of a run that failed outside its steps, or by a value that cannot be stored."""
    text = told(error)
    exception = error if isinstance(error, WorkflowServerError) and text == message_of(error) else RuntimeError(text)
    step = exception.step if isinstance(exception, Unstorable) else None
    return WorkflowFailedEvent(step_name=step or RUNTIME, exception=exception.with_traceback(error.__traceback__))


def terminal_status(event: StopEvent) -> Status:
    """Return the status of a run that ends with this terminal event."""
    if isinstance(event, WorkflowCancelledEvent):
        return "cancelled"
    return "failed" if isinstance(event, (WorkflowFailedEvent, WorkflowTimedOutEvent)) else "completed"


def ended(handler_id: str, run_id: str, event: StopEvent, data: str) -> RunEnded:
    """Return the record of a run that ends with this event, whose envelope is ``data``."""
    status = terminal_status(event)
    result = data if status == "completed" else None
    return RunEnded(handler_id, run_id, status, _reason(event), result, time.time(), _traceback(event))


def _reason(event: StopEvent) -> str | None:
    if isinstance(event, WorkflowFailedEvent):
        if event.step_name == RUNTIME:
            return message_of(event.exception)
        if isinstance(event.exception, Unstorable):
            # Its message ends with the remedy.
            return f"{told(event.exception)} (in step {event.step_name})"
        return f"{told(event.exception)} in step {event.step_name}"
    if isinstance(event, WorkflowTimedOutEvent):
        active = f", while these steps were running: {', '.join(event.active_steps)}" if event.active_steps else ""
        return f"Operation timed out after {event.timeout} seconds{active}"
    return None


def _traceback(event: StopEvent) -> str | None:
    return user_traceback(event.exception) or None if isinstance(event, WorkflowFailedEvent) else None
