"""The one table of routes: it feeds the router and ``/openapi.json``."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from workflow_server.protocol import responses
from workflow_server.protocol.handlers import HandlerData
from workflow_server.protocol.requests import EventBody, RunBody
from workflow_server.records import STATUSES
from workflow_server.web.parameters import NDJSON, SSE
from workflow_server.web.routes import handlers, workflows
from workflow_server.web.routes import server as pages
from workflow_server.web.routes.handler_list import list_handlers
from workflow_server.web.routes.route import JSON, Parameter, Response, Route
from workflow_server.web.streaming.events import stream_events


def _json(description: str, *models: type[BaseModel]) -> Response:
    return Response(description, {JSON: models})


def _error(description: str) -> Response:
    return _json(description, responses.ErrorDetail)


def _boolean(name: str, default: bool, description: str) -> Parameter:
    return Parameter(name, description, {"type": "boolean", "default": default})


_UNKNOWN_WORKFLOW = _error("There is no such workflow.")
_UNKNOWN_HANDLER = _error("There is no such handler.")
_KEY = Parameter(
    "Idempotency-Key",
    "The same key again gives the first answer again, and does nothing twice.",
    {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
    "header",
)
_WRITING: dict[int, Response] = {
    503: _error("The server is shutting down, or its store cannot commit: nothing was stored."),
    507: _error("The disk is full: nothing was stored."),
}
_STARTING: dict[int, Response] = {
    400: _error("The body or the start event is not valid: nothing was started."),
    404: _error("There is no such workflow, or no such completed handler of it to continue."),
    409: _error("The handler to continue is still running."),
    422: _error("The Idempotency-Key was used before with another body."),
    **_WRITING,
}


def _by_status(model: type[BaseModel]) -> dict[int, Response]:
    return {
        200: _json("The run has completed.", model),
        202: _json("The run is running.", model),
        404: _UNKNOWN_HANDLER,
        500: _json("The run failed or was cancelled, or the server failed.", model, responses.ErrorDetail),
        503: _WRITING[503],
    }


_SSE_EVENT: dict[str, Any] = {
    "description": "Each event: its sequence, and its envelope as JSON.",
    "type": "object",
    "properties": {
        "id": {"type": "string", "pattern": "^[0-9]+$"},
        "data": {
            "type": "string",
            "contentMediaType": JSON,
            "contentSchema": {"$ref": "#/components/schemas/EventEnvelope"},
        },
    },
    "required": ["id", "data"],
}
_CURSOR: dict[str, Any] = {"oneOf": [{"type": "integer", "minimum": -1}, {"const": "now"}]}
_STREAM_PARAMETERS = (
    _boolean("sse", True, f"Server-Sent Events, or NDJSON. Where it is absent, Accept decides: {SSE} or {NDJSON}."),
    _boolean("include_internal", False, "Include the engine's internal events."),
    _boolean("include_qualified_name", True, "Include the qualified names of the events' classes."),
    Parameter(
        "after_sequence",
        "Read every event after this one, independently of other readers: -1, as without it, from the start of the "
        "current run, now for those to come.",
        _CURSOR,
    ),
    Parameter(
        "acquire_timeout",
        "Without a cursor: read the handler's shared queue, one reader at a time, and wait for so many seconds, 3600 "
        "at most, while another one has it. What it gives is taken from others: a token that may only read is refused.",
        {"type": "number", "minimum": 0},
    ),
    Parameter("Last-Event-ID", "In SSE, wins over after_sequence.", {"type": "string"}, "header"),
)
_LISTING = (
    Parameter(
        "status",
        "Only these. An empty one is none.",
        {"type": "array", "items": {"type": "string", "enum": [*STATUSES, ""]}},
    ),
    Parameter("workflow_name", "Only of these workflows.", {"type": "array", "items": {"type": "string"}}),
)


ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/health",
        workflows.health,
        "The health of the server. Needs no token.",
        {
            200: _json("It does.", responses.Healthy),
            503: _json("The store cannot commit.", responses.Unhealthy),
        },
    ),
    Route(
        "GET",
        "/workflows",
        workflows.list_workflows,
        "The names of the workflows.",
        {200: _json("The names.", responses.WorkflowNames)},
    ),
    Route(
        "GET",
        "/workflows/{name}/events",
        workflows.list_event_schemas,
        "The JSON schemas of a workflow's events.",
        {200: _json("The schemas.", responses.EventSchemas), 404: _UNKNOWN_WORKFLOW},
    ),
    Route(
        "GET",
        "/workflows/{name}/schema",
        workflows.get_schema,
        "The JSON schemas of a workflow's start and stop events.",
        {200: _json("The schemas.", responses.WorkflowSchema), 404: _UNKNOWN_WORKFLOW},
    ),
    Route(
        "GET",
        "/workflows/{name}/representation",
        workflows.get_representation,
        "A workflow as a graph.",
        {200: _json("The graph.", responses.WorkflowRepresentation), 404: _UNKNOWN_WORKFLOW},
    ),
    Route(
        "POST",
        "/workflows/{name}/run",
        workflows.run,
        "Start a run and wait for its end.",
        {
            200: _json("The run has completed.", HandlerData),
            500: _json("The run failed or was cancelled, or the server failed.", HandlerData, responses.ErrorDetail),
            **_STARTING,
        },
        (_KEY,),
        RunBody,
    ),
    Route(
        "POST",
        "/workflows/{name}/run-nowait",
        workflows.run_nowait,
        "Start a run. Once this is answered, the run survives the process.",
        {200: _json("The run is durable.", HandlerData), **_STARTING},
        (_KEY,),
        RunBody,
    ),
    Route(
        "GET",
        "/handlers",
        list_handlers,
        "The handlers, oldest first.",
        {
            200: _json("Those that match.", responses.HandlersList),
            400: _error("A status or a parameter is unknown."),
            429: _error("Too many streams are open."),
            503: _WRITING[503],
        },
        _LISTING,
    ),
    Route(
        "GET",
        "/handlers/{handler_id}",
        handlers.get_handler,
        "A handler: its status, and its result.",
        _by_status(HandlerData),
    ),
    Route(
        "GET",
        "/results/{handler_id}",
        handlers.get_result,
        "A handler, with the plain value of its result.",
        _by_status(responses.HandlerResult),
        deprecated=True,
    ),
    Route(
        "GET",
        "/events/{handler_id}",
        stream_events,
        "The events of a handler, as they come.",
        {
            200: Response(
                "The events; the stream ends after the terminal event of the run.",
                {SSE: _SSE_EVENT, NDJSON: (responses.StreamedEvent,)},
            ),
            204: Response("The run has ended and nothing is left past the cursor."),
            400: _error("A parameter is not valid."),
            404: _UNKNOWN_HANDLER,
            409: _error("Another reader has the shared queue."),
            429: _error("Too many streams are open."),
            503: _WRITING[503],
        },
        _STREAM_PARAMETERS,
    ),
    Route(
        "POST",
        "/events/{handler_id}",
        handlers.send_event,
        "Send an event to a run. Once this is answered, it reaches its run exactly once.",
        {
            200: _json("The event is durable.", responses.EventSent),
            400: _error("The body, the event or the step is not valid."),
            404: _UNKNOWN_HANDLER,
            409: _error("The run has already ended."),
            422: _error("The Idempotency-Key was used before with another body."),
            429: _error("Too many events wait for the run, or are kept for a wait that has not begun."),
            **_WRITING,
        },
        (_KEY,),
        EventBody,
        body_required=True,
    ),
    Route(
        "POST",
        "/handlers/{handler_id}/cancel",
        handlers.cancel,
        "Cancel a run, or delete a handler and all that belongs to it.",
        {
            200: _json("It is done.", responses.HandlerCancelled),
            400: _error("A parameter is not valid."),
            404: _error("There is no such handler, or it is not running and purge was not asked for."),
            **_WRITING,
        },
        (_boolean("purge", False, "Delete the handler, whether it is running or not."),),
    ),
    Route(
        "GET",
        "/openapi.json",
        pages.get_openapi,
        "This description.",
        {200: Response("OpenAPI 3.1.", {JSON: {"type": "object"}})},
    ),
    Route("GET", "/", pages.index, "The start page.", {200: Response("A page.", {"text/html": {"type": "string"}})}),
)
