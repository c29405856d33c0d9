"""The answers that clients get, besides handlers and events."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from workflow_server.protocol.events import EventEnvelope
from workflow_server.protocol.handlers import HandlerData
from workflow_server.records import Status


class Answer(BaseModel):
    """An answer: frozen, as all that goes over the wire."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")


class ErrorDetail(Answer):
    """An error: what was wrong, and what would be right."""

    detail: str


class Healthy(Answer):
    """The server takes work."""

    status: Literal["healthy"] = "healthy"


class Unhealthy(Answer):
    """The store cannot commit at present."""

    status: Literal["unhealthy"] = "unhealthy"
    detail: str


class WorkflowNames(Answer):
    """The workflows of this server."""

    workflows: list[str]


class EventSchemas(Answer):
    """The JSON schemas of a workflow's events."""

    events: list[dict[str, Any]]


class WorkflowSchema(Answer):
    """The JSON schemas of a workflow's start and stop events."""

    start: dict[str, Any]
    stop: dict[str, Any]


class WorkflowRepresentation(Answer):
    """A workflow's steps and events as a graph."""

    graph: dict[str, Any]


class HandlersList(Answer):
    """Handlers, oldest first."""

    handlers: list[HandlerData]


class EventSent(Answer):
    """The event is durable, and reaches its run."""

    status: Literal["sent"] = "sent"


class HandlerCancelled(Answer):
    """The run was cancelled, or, with ``purge``, the handler was deleted."""

    status: Literal["cancelled", "deleted"]


class StreamedEvent(EventEnvelope):
    """One line of an NDJSON stream."""

    sequence: int


class HandlerResult(Answer):
    """A handler with its plain result value in the place of the result's envelope."""

    handler_id: str
    workflow_name: str
    run_id: str | None
    error: str | None
    result: Any = Field(None, description='`value["result"]` of a plain StopEvent, else `value`.')
    status: Status
    started_at: str
    updated_at: str | None
    completed_at: str | None

    @classmethod
    def of(cls, handler: HandlerData) -> HandlerResult:
        """``handler`` with its result unwrapped."""
        fields = handler.model_dump(exclude={"result", "suspended", "held_events"})
        return cls(**fields, result=None if handler.result is None else _plain(handler.result))


def _plain(result: EventEnvelope) -> Any:
    if result.type == "StopEvent" and "result" in result.value:
        return result.value["result"]
    return result.value
