"""Handlers as clients see them."""

from __future__ import annotations

from datetime import UTC, datetime

from workflow_server.protocol.events import EventEnvelope
from workflow_server.protocol.handlers import HandlerData
from workflow_server.records import RunEnded, RunStarted
from workflow_server.store.abstract import PersistentHandler


def from_store(handler: PersistentHandler, suspended: str | None) -> HandlerData:
    """The handler as it stands in the store."""
    return HandlerData(
        handler_id=handler.handler_id,
        workflow_name=handler.workflow_name,
        run_id=handler.run_id,
        error=handler.error,
        result=handler.result,
        status=handler.status,
        started_at=_iso(handler.started_at) or "",
        updated_at=_iso(handler.updated_at),
        completed_at=_iso(handler.completed_at),
        suspended=suspended if handler.status == "running" else None,
    )


def from_start(started: RunStarted) -> HandlerData:
    """The handler as its run begins."""
    at = _iso(datetime.fromtimestamp(started.started_at, UTC)) or ""
    return HandlerData(
        handler_id=started.handler_id,
        workflow_name=started.workflow_name,
        run_id=started.run_id,
        error=None,
        result=None,
        status="running",
        started_at=at,
        updated_at=at,
        completed_at=None,
    )


def from_end(before: HandlerData, over: RunEnded) -> HandlerData:
    """The handler as its run ends."""
    at = _iso(datetime.fromtimestamp(over.ended_at, UTC))
    result = EventEnvelope.model_validate_json(over.result) if over.result is not None else None
    changes = {"status": over.status, "error": over.error, "result": result, "updated_at": at, "completed_at": at}
    return before.model_copy(update={**changes, "suspended": None})


def _iso(time: datetime | None) -> str | None:
    return time.astimezone(UTC).isoformat() if time is not None else None
