"""The models of responses, besides handlers and events."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from workflow_server.protocol.events import EventEnvelope, PublishedEvent
from workflow_server.protocol.handlers import HandlerData, HandlerInList
from workflow_server.records import STATUSES, HandlerCount, NowState, Status


class Response(BaseModel):
    """Base of the models here."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")


class ErrorDetail(Response):
    """The body of every error response."""

    detail: str = Field(description="What is wrong, and what would be right.")


class Healthy(Response):
    """The body of GET /health while the store can commit."""

    status: Literal["healthy"] = "healthy"


class Unhealthy(Response):
    """The body of GET /health while the store cannot commit."""

    status: Literal["unhealthy"] = "unhealthy"
    detail: str


class Ready(Response):
    """The body of GET /ready while work is taken."""

    status: Literal["ready"] = "ready"


class Unready(Response):
    """The body of GET /ready while no work is taken."""

    status: Literal["unready"] = "unready"
    detail: str


class WorkflowNames(Response):
    """The names under which workflows are registered."""

    workflows: list[str]


class EventSchemas(Response):
    """JSON schemas of a workflow's events."""

    events: list[dict[str, Any]]


class WorkflowSchema(Response):
    """JSON schemas of a workflow's start and stop events."""

    start: dict[str, Any]
    stop: dict[str, Any]


class WorkflowRepresentation(Response):
    """A workflow's steps and events as a graph."""

    graph: dict[str, Any]


class HandlersList(Response):
    """A list of handlers."""

    handlers: list[HandlerInList]
    next_cursor: str | None = Field(
        None, description="With limit: the cursor of the next page, null after the last one. Absent without limit."
    )


class HandlerStats(Response):
    """Numbers of handlers."""

    total: dict[Status, int] = Field(description="Of all workflows, by status.")
    workflows: dict[str, dict[Status, int]] = Field(description="Of each workflow that has any, by status.")
    now: dict[NowState, int] = Field(description="Of running runs, by what they do, as in a list with include=now.")
    failed_recently: int = Field(description="Of runs that failed or timed out in the last 24 hours.")

    @classmethod
    def of(cls, counts: Iterable[HandlerCount], now: dict[NowState, int], failed_recently: int) -> HandlerStats:
        """Return these numbers; a status that a workflow has no handlers of is 0."""
        workflows: dict[str, dict[Status, int]] = {}
        for name, status, number in counts:
            workflows.setdefault(name, dict.fromkeys(STATUSES, 0))[status] = number
        total: dict[Status, int] = {status: sum(of[status] for of in workflows.values()) for status in STATUSES}
        return cls(total=total, workflows=workflows, now=now, failed_recently=failed_recently)


class HandlerChange(Response):
    """One line of the stream of changes: a cursor, and what has changed, if anything."""

    cursor: str = Field(description="The stream goes on behind this line with it.")
    handler: HandlerInList | None = Field(None, description="A handler as it is now, without its result.")
    left: str | None = Field(None, description="The id of a handler that does not match the filters any more.")
    purged: str | None = Field(None, description="The id of a handler that was deleted.")
    reset: str | None = Field(
        None, description="Changes are missing, for this reason: load the list again. The stream goes on."
    )


class EventSent(Response):
    """The confirmation that an event is durable."""

    status: Literal["sent"] = "sent"


class HandlerCancelled(Response):
    """The confirmation of a cancellation."""

    status: Literal["cancelled", "deleted"] = Field(description="deleted with purge=true, else cancelled.")


class HandlersCancelled(Response):
    """The handlers of a page that were cancelled or deleted."""

    status: Literal["cancelled", "deleted"] = Field(description="deleted with purge=true, else cancelled.")
    dry_run: bool = Field(description="Nothing was done: these are the handlers that it would be done to.")
    handler_ids: list[str]
    next_cursor: str | None = Field(description="The cursor with which to go on, null where no handlers are left.")


class RetryRefused(Response):
    """A handler whose run was not retried."""

    handler_id: str
    detail: str = Field(description="Why not.")


class HandlersRetried(Response):
    """The handlers of a page whose runs were retried."""

    status: Literal["retried"] = "retried"
    dry_run: bool = Field(description="Nothing was done: these are the handlers that match.")
    handler_ids: list[str] = Field(description="With fork=true, those of the new handlers.")
    refused: list[RetryRefused] = Field(description="Handlers that match, but whose runs cannot be retried.")
    next_cursor: str | None = Field(description="The cursor with which to go on, null where no handlers are left.")


class SessionData(Response):
    """The rights of a request, and the session that it belongs to."""

    name: str | None = Field(description="The name of the token; null where the server has no tokens.")
    role: Literal["read", "run", "full"]
    expires_at: str | None = Field(description="The end of the session; null for a request with a token.")


class SessionEnded(Response):
    """The confirmation that a session is over."""

    status: Literal["ended"] = "ended"


class StreamedEvent(PublishedEvent):
    """One line of an NDJSON stream."""

    sequence: int = Field(description="The position of the event in its handler's log.")


class HandlerResult(Response):
    """A handler with the plain value of its result instead of the envelope."""

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
        """Unwrap the result of ``handler``."""
        fields = handler.model_dump(include=set(cls.model_fields) - {"result"})
        return cls(**fields, result=None if handler.result is None else _plain(handler.result))


def _plain(result: EventEnvelope) -> Any:
    if result.type == "StopEvent" and "result" in result.value:
        return result.value["result"]
    return result.value
