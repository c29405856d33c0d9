"""How a run ends: its terminal event, its status, and the reason that its handler shows."""

from __future__ import annotations

import time

from workflow_server.records import RunEnded, Status
from workflow_server.runtime.engine import StopEvent, WorkflowCancelledEvent, WorkflowFailedEvent, WorkflowTimedOutEvent


def failed_event(error: BaseException) -> WorkflowFailedEvent:
    """The terminal event of a run that failed outside its steps."""
    text = _storable(str(error))
    exception = error if isinstance(error, Exception) and text == str(error) else RuntimeError(text)
    return WorkflowFailedEvent(step_name="<runtime>", exception=exception)


def terminal_status(event: StopEvent) -> Status:
    """The status that this terminal event ends a run with."""
    if isinstance(event, WorkflowCancelledEvent):
        return "cancelled"
    return "failed" if isinstance(event, (WorkflowFailedEvent, WorkflowTimedOutEvent)) else "completed"


def ended(handler_id: str, run_id: str, event: StopEvent, data: str) -> RunEnded:
    """The record of a run that ends with this event, whose envelope is ``data``."""
    status = terminal_status(event)
    result = data if status == "completed" else None
    return RunEnded(handler_id, run_id, status, _reason(event), result, time.time())


def _reason(event: StopEvent) -> str | None:
    if isinstance(event, WorkflowFailedEvent):
        return _storable(str(event.exception)) or type(event.exception).__name__
    if isinstance(event, WorkflowTimedOutEvent):
        active = f", while these steps were running: {', '.join(event.active_steps)}" if event.active_steps else ""
        return f"Operation timed out after {event.timeout} seconds{active}"
    return None


def _storable(message: str) -> str:
    """A message may hold what is no Unicode; the reason must be told all the same."""
    return message.encode("utf-8", "backslashreplace").decode()
