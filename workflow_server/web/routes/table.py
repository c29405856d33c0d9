"""The table of routes, from which the router and ``/openapi.json`` are made."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from workflow_server.protocol import responses
from workflow_server.protocol.handlers import HandlerData, HandlerDetails
from workflow_server.protocol.history import HistoryPageData
from workflow_server.protocol.requests import EventBody, RetryBody, RunBody, SessionBody
from workflow_server.protocol.server import ServerData
from workflow_server.protocol.state import StateData
from workflow_server.protocol.statistics import WorkflowStatisticsData
from workflow_server.records import HISTORY_CURSOR, NOW_STATES, STATUSES
from workflow_server.runs.statistics import PERIODS
from workflow_server.web import statistics
from workflow_server.web.history import USUAL
from workflow_server.web.listing import LONGEST_TEXT, MOST
from workflow_server.web.metrics import OPENMETRICS
from workflow_server.web.responses import JSON
from workflow_server.web.routes import changes, events, handlers, page, server, sessions, workflows
from workflow_server.web.routes.route import Parameter, Response, Route
from workflow_server.web.streaming.ndjson import NDJSON
from workflow_server.web.streaming.sse import SSE
from workflow_server.web.ui.assets import CONTENT_TYPES


def _json(description: str, *models: type[BaseModel]) -> Response:
    return Response(description, {JSON: models})


_ERROR = (responses.ErrorDetail,)


def _error(description: str) -> Response:
    return _json(description, *_ERROR)


def _boolean(name: str, default: bool, description: str) -> Parameter:
    return Parameter(name, description, {"type": "boolean", "default": default})


_UNKNOWN_WORKFLOW = _error("Unknown workflow.")
_UNKNOWN_HANDLER = _error("Unknown handler.")
_KEY = Parameter(
    "Idempotency-Key",
    "A repeated key gets the first response again, and nothing is done twice.",
    {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
    "header",
)
_WRITING: dict[int, Response] = {
    503: _error("The server is shutting down, or its store cannot commit: nothing was stored."),
    507: _error("The disk is full: nothing was stored."),
}
_STARTING: dict[int, Response] = {
    400: _error("The body or the start event is not valid: nothing was started."),
    404: _error("Unknown workflow, or no such completed handler to continue."),
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


def _sse(description: str, id_pattern: str, model: str) -> dict[str, Any]:
    return {
        "description": description,
        "type": "object",
        "properties": {
            "id": {"type": "string", "pattern": f"^{id_pattern}$"},
            "data": {
                "type": "string",
                "contentMediaType": JSON,
                "contentSchema": {"$ref": f"#/components/schemas/{model}"},
            },
        },
        "required": ["id", "data"],
    }


_SSE_EVENT = _sse("An event: its sequence, and its envelope with its time as JSON.", "[0-9]+", "PublishedEvent")
_SSE_CHANGE = _sse("A change: its cursor, and what there is to tell as JSON.", changes.CURSOR, "HandlerChange")
_TIME: dict[str, Any] = {"type": "string", "format": "date-time"}
_CURSOR: dict[str, Any] = {"oneOf": [{"type": "integer", "minimum": -1}, {"const": "now"}]}
_SSE_OR_NDJSON = _boolean(
    "sse", True, "Server-Sent Events if true, NDJSON if false. By default, the Accept header decides."
)
_STREAM_PARAMETERS = (
    _SSE_OR_NDJSON,
    _boolean("include_internal", False, "Include the engine's internal events."),
    _boolean("include_qualified_name", True, "Include the qualified names of the events' classes."),
    Parameter(
        "after_sequence",
        "Read every event after this sequence, independently of other readers. -1, the default, is the start of the "
        "current run; now means future events only.",
        _CURSOR,
    ),
    Parameter(
        "acquire_timeout",
        "Without a cursor: read the handler's shared queue, which has one reader at a time and gives each event to one "
        "reader. Wait up to this many seconds (3600 at most) for another reader to leave. Needs a token with the "
        "role run.",
        {"type": "number", "minimum": 0},
    ),
    Parameter("Last-Event-ID", "In SSE, takes precedence over after_sequence.", {"type": "string"}, "header"),
)
_FILTERS = (
    Parameter(
        "status",
        "Statuses to include. Empty values are ignored.",
        {"type": "array", "items": {"type": "string", "enum": [*STATUSES, ""]}},
    ),
    Parameter("workflow_name", "Workflows to include.", {"type": "array", "items": {"type": "string"}}),
    Parameter("tag", "Tags that a handler has all of.", {"type": "array", "items": {"type": "string"}}),
    Parameter("code_version", "Versions of the code to include.", {"type": "array", "items": {"type": "string"}}),
    Parameter(
        "q",
        "A text that is part of the handler's id, its run's id, its workflow's name, its error or one of its tags, in "
        "upper or lower case.",
        {"type": "string", "maxLength": LONGEST_TEXT},
    ),
    Parameter("started_after", "Handlers that were started later than this, UTC where no offset is given.", _TIME),
    Parameter("started_before", "Handlers that were started earlier than this.", _TIME),
    Parameter("ended_after", "Handlers whose run ended later than this; none that runs.", _TIME),
    Parameter("ended_before", "Handlers whose run ended earlier than this; none that runs.", _TIME),
)
_CHANGES = (
    _SSE_OR_NDJSON,
    Parameter(
        "cursor",
        "Send every change behind this cursor of an earlier line; without a cursor, those from now on.",
        {"type": "string", "pattern": f"^({changes.CURSOR})?$"},
    ),
    *(parameter for parameter in _FILTERS if parameter.name in changes.PARAMETERS),
    Parameter("Last-Event-ID", "In SSE, takes precedence over cursor.", {"type": "string"}, "header"),
)
_NOW = Parameter(
    "now",
    "Running runs that do one of these at present: see the key now that include=now adds. Empty values are ignored by "
    "lists.",
    {"type": "array", "items": {"type": "string", "enum": [*NOW_STATES, ""]}},
)
_LISTING = (
    *_FILTERS,
    _NOW,
    Parameter(
        "order",
        "asc for the oldest first, by their start; desc for the newest first.",
        {"type": "string", "enum": ["asc", "desc"], "default": "asc"},
    ),
    Parameter(
        "limit",
        "Return one page, of at most so many handlers; without a limit, all are returned. Before the last one, whose "
        "next_cursor is null, pages may be shorter, or empty.",
        {"type": "integer", "minimum": 1, "maximum": MOST},
    ),
    Parameter("cursor", "With limit: the next_cursor of the page before.", {"type": "string"}),
    Parameter(
        "include",
        "With limit, results are null unless they are included. now, which needs a limit, adds what each run does at "
        "present, as the key now.",
        {"type": "array", "items": {"type": "string", "enum": ["result", "now"]}},
    ),
)

_HISTORY = (
    Parameter(
        "limit",
        "Return at most so many entries. Before the last page, whose next_cursor is null, pages may be shorter.",
        {"type": "integer", "minimum": 1, "maximum": MOST, "default": USUAL},
    ),
    Parameter(
        "cursor",
        "The next_cursor of the page before, or the cursor of an entry.",
        {"type": "string", "pattern": rf"^({HISTORY_CURSOR})?$"},
    ),
    Parameter(
        "order",
        "asc for the oldest first, desc for the newest first.",
        {"type": "string", "enum": ["asc", "desc"], "default": "asc"},
    ),
    Parameter("include", "Include the values of events.", {"type": "string", "enum": ["value"]}),
)


ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/health",
        server.health,
        "Get the health of the server. Needs no token.",
        {
            200: _json("The store can commit.", responses.Healthy),
            503: _json("The store cannot commit.", responses.Unhealthy),
        },
        role=None,
    ),
    Route(
        "GET",
        "/ready",
        server.ready,
        "Get whether the server takes work. Needs no token.",
        {
            200: _json("The runs of before are resumed, and the store can commit.", responses.Ready),
            503: _json("The server starts or stops, or its store cannot commit.", responses.Unready),
        },
        role=None,
    ),
    Route(
        "GET",
        "/metrics",
        server.metrics,
        "Get the metrics of the server, for Prometheus.",
        {200: Response("All series.", {"text/plain": {"type": "string"}, OPENMETRICS: {"type": "string"}})},
        role="read",
    ),
    Route(
        "GET",
        "/server",
        server.get_server,
        "Get the state of the server: versions, sizes, commits, and what its runs do.",
        {
            200: _json("The state.", ServerData),
            400: _error("Unknown parameter."),
            503: _WRITING[503],
        },
        role="read",
    ),
    Route(
        "GET",
        "/workflows",
        workflows.list_workflows,
        "List the workflows.",
        {200: _json("The names.", responses.WorkflowNames)},
        role="read",
    ),
    Route(
        "GET",
        "/workflows/{name}/events",
        workflows.list_event_schemas,
        "Get the JSON schemas of a workflow's events.",
        {
            200: _json("The schemas.", responses.EventSchemas),
            400: _error("Unknown or invalid parameter."),
            404: _UNKNOWN_WORKFLOW,
        },
        (
            Parameter(
                "include",
                "waited_for: also the events for which steps wait, as far as the code or a run has told.",
                {"type": "string", "enum": ["waited_for", ""]},
            ),
        ),
        role="read",
    ),
    Route(
        "GET",
        "/workflows/{name}/schema",
        workflows.get_schema,
        "Get the JSON schemas of a workflow's start and stop events.",
        {200: _json("The schemas.", responses.WorkflowSchema), 404: _UNKNOWN_WORKFLOW},
        role="read",
    ),
    Route(
        "GET",
        "/workflows/{name}/representation",
        workflows.get_representation,
        "Get a workflow as a graph.",
        {200: _json("The graph.", responses.WorkflowRepresentation), 404: _UNKNOWN_WORKFLOW},
        role="read",
    ),
    Route(
        "GET",
        "/workflows/{name}/stats",
        workflows.get_statistics,
        "Get what a workflow's runs did in a period, and its steps since the start.",
        {
            200: _json("The statistics.", WorkflowStatisticsData),
            400: _error("Unknown or invalid parameter."),
            404: _error("The workflow is not registered, and has no handlers either."),
            503: _WRITING[503],
        },
        (
            Parameter(
                "period",
                "The time up to now, in 60, 48, 56 or 30 buckets.",
                {"type": "string", "enum": list(PERIODS), "default": statistics.USUAL},
            ),
        ),
        role="read",
    ),
    Route(
        "POST",
        "/workflows/{name}/run",
        workflows.run,
        "Start a run and wait until it ends.",
        {
            200: _json("The run has completed.", HandlerData),
            500: _json("The run failed or was cancelled, or the server failed.", HandlerData, responses.ErrorDetail),
            **_STARTING,
        },
        (_KEY,),
        RunBody,
        role="run",
        waits=True,
    ),
    Route(
        "POST",
        "/workflows/{name}/run-nowait",
        workflows.run_nowait,
        "Start a run. Once this is answered, the run survives crashes and restarts.",
        {200: _json("The run is durable.", HandlerData), **_STARTING},
        (_KEY,),
        RunBody,
        role="run",
    ),
    Route(
        "GET",
        "/handlers",
        handlers.list_handlers,
        "List the handlers.",
        {
            200: _json("The handlers that match.", responses.HandlersList),
            400: _error("Unknown or invalid parameter."),
            429: _error("Too many streams are open."),
            503: _WRITING[503],
        },
        _LISTING,
        role="read",
    ),
    Route(
        "GET",
        "/handlers/stats",
        handlers.count_handlers,
        "Count the handlers by workflow, by status and by what they do.",
        {
            200: _json("The numbers.", responses.HandlerStats),
            400: _error("Unknown parameter."),
            503: _WRITING[503],
        },
        role="read",
    ),
    Route(
        "GET",
        "/handlers/stream",
        changes.stream_handlers,
        "Stream the changes of handlers.",
        {
            200: Response(
                "The changes, from the cursor on; the stream has no end.",
                {SSE.content_type: _SSE_CHANGE, NDJSON.content_type: (responses.HandlerChange,)},
            ),
            400: _error("Unknown or invalid parameter."),
            429: _error("Too many streams are open."),
            503: _WRITING[503],
        },
        _CHANGES,
        role="read",
        waits=True,
    ),
    Route(
        "GET",
        "/handlers/{handler_id}",
        handlers.get_handler,
        "Get a handler, with its status and result.",
        {
            **_by_status(HandlerDetails),
            200: _json("The run has completed, or run_status is false.", HandlerDetails),
            400: _error("Invalid parameter."),
        },
        (_boolean("run_status", True, "If false, the status of a response with a handler is 200 always."),),
        role="read",
    ),
    Route(
        "GET",
        "/handlers/{handler_id}/history",
        handlers.get_history,
        "Get what happened to a handler, a page at a time.",
        {
            200: _json("A page of its history.", HistoryPageData),
            400: _error("Unknown or invalid parameter."),
            404: _UNKNOWN_HANDLER,
            503: _WRITING[503],
        },
        _HISTORY,
        role="read",
    ),
    Route(
        "GET",
        "/handlers/{handler_id}/state",
        handlers.get_state,
        "Get the contents of ctx.store of a handler's current run, without secrets.",
        {
            200: _json("The state, as of the run's last commit.", StateData),
            400: _error("Unknown parameter."),
            404: _UNKNOWN_HANDLER,
            409: _error("Nothing is known of it; or it is too large, or does not fit the workflow's code any more."),
            503: _WRITING[503],
        },
        role="run",
    ),
    Route(
        "GET",
        "/results/{handler_id}",
        handlers.get_result,
        "Get a handler, with the plain value of its result.",
        _by_status(responses.HandlerResult),
        deprecated=True,
        role="read",
    ),
    Route(
        "GET",
        "/events/{handler_id}",
        events.stream_events,
        "Stream the events of a handler.",
        {
            200: Response(
                "The events; the stream ends after the terminal event of the run.",
                {SSE.content_type: _SSE_EVENT, NDJSON.content_type: (responses.StreamedEvent,)},
            ),
            204: Response("The run has ended, and no events are left after the cursor."),
            400: _error("Invalid parameter."),
            404: _UNKNOWN_HANDLER,
            409: _error("Another reader holds the shared queue."),
            429: _error("Too many streams are open."),
            503: _WRITING[503],
        },
        _STREAM_PARAMETERS,
        role="read",
        waits=True,
    ),
    Route(
        "POST",
        "/events/{handler_id}",
        events.send_event,
        "Send an event to a run. Once this is answered, the run gets it exactly once.",
        {
            200: _json("The event is durable.", responses.EventSent),
            400: _error("The body, the event or the step is not valid."),
            404: _UNKNOWN_HANDLER,
            409: _error("The run has already ended."),
            422: _error("The Idempotency-Key was used before with another body."),
            429: _error("Too many events are waiting for the run, or are held for it."),
            **_WRITING,
        },
        (_KEY,),
        EventBody,
        body_required=True,
        role="run",
    ),
    Route(
        "POST",
        "/bulk/cancel",
        handlers.cancel_matching,
        "Cancel or delete the handlers that match, a page at a time.",
        {
            200: _json("Cancelled or deleted, or with dry_run=true found.", responses.HandlersCancelled),
            400: _error("Invalid parameter; or no filter; or running runs would be cancelled without running=true."),
            **_WRITING,
        },
        (
            *_FILTERS,
            _NOW,
            _boolean("purge", False, "Delete the handlers. Otherwise, their runs are cancelled."),
            _boolean("running", False, "Allow that running runs are cancelled."),
            _boolean("dry_run", False, "Do nothing, and return the handlers that it would be done to."),
            Parameter(
                "limit",
                "Act on at most so many handlers.",
                {"type": "integer", "minimum": 1, "maximum": MOST, "default": MOST},
            ),
            Parameter("cursor", "The next_cursor of the response before, with the limit.", {"type": "string"}),
        ),
        role="full",
    ),
    Route(
        "POST",
        "/bulk/retry",
        handlers.retry_matching,
        "Retry the runs that match, a page at a time: of those that failed, where no status is given.",
        {
            200: _json("Retried, or with dry_run=true found.", responses.HandlersRetried),
            400: _error("Invalid parameter; or no filter; or a status of runs that cannot be retried."),
            **_WRITING,
        },
        (
            *_FILTERS,
            Parameter(
                "now",
                "Running runs that are suspended, in place of ended ones: they are loaded again.",
                {"type": "string", "const": "suspended"},
            ),
            Parameter("from_step", "Go back to the last beginning of this step.", {"type": "string"}),
            _boolean("fork", False, "Go on in new handlers, and leave those that match as they are."),
            _boolean("dry_run", False, "Do nothing, and return the handlers that match."),
            Parameter(
                "limit",
                "Retry at most so many runs.",
                {"type": "integer", "minimum": 1, "maximum": MOST, "default": MOST},
            ),
            Parameter("cursor", "The next_cursor of the response before, with the limit.", {"type": "string"}),
        ),
        role="full",
    ),
    Route(
        "POST",
        "/handlers/{handler_id}/cancel",
        handlers.cancel,
        "Cancel a run, or delete a handler with everything that belongs to it.",
        {
            200: _json("Cancelled or deleted.", responses.HandlerCancelled),
            400: _error("Invalid parameter."),
            404: _error("Unknown handler; or it is not running, and purge is not true."),
            **_WRITING,
        },
        (_boolean("purge", False, "Delete the handler, running or not. Needs a token with the role full."),),
        role="run",
    ),
    Route(
        "POST",
        "/session",
        sessions.begin_session,
        "Begin a session, for a browser: its cookie stands for the token, which is in the body or in Authorization.",
        {
            200: _json("The session has begun.", responses.SessionData),
            400: _error("The body is not valid, or the server has no tokens."),
            401: _error("Missing or unknown token."),
            429: _error("Too many wrong tokens, or too many requests."),
        },
        body=SessionBody,
        role=None,
    ),
    Route(
        "GET",
        "/session",
        sessions.get_session,
        "Get the name and the role of the token.",
        {200: _json("The rights of this request.", responses.SessionData)},
        role="read",
    ),
    Route(
        "DELETE",
        "/session",
        sessions.end_session,
        "End the session of this browser, if there is one.",
        {200: _json("The session is over.", responses.SessionEnded)},
        role=None,
    ),
    Route(
        "POST",
        "/handlers/{handler_id}/retry",
        handlers.retry,
        "Retry a run that failed, was cancelled or timed out. Once this is answered, the new run survives crashes.",
        {
            200: _json("The new run is durable.", HandlerData),
            400: _error("The body is not valid, or there is no such step."),
            404: _UNKNOWN_HANDLER,
            409: _error("The run is running or has completed; or what is kept of it does not allow this."),
            422: _error("The Idempotency-Key was used before with another body."),
            **_WRITING,
        },
        (_KEY,),
        RetryBody,
        role="run",
    ),
    Route(
        "GET",
        "/openapi.json",
        server.get_openapi,
        "Get this description.",
        {200: Response("OpenAPI 3.1.", {JSON: {"type": "object"}})},
        role="read",
    ),
    Route(
        "GET",
        "/",
        page.index,
        "Get the start page.",
        {
            200: Response("The page.", {"text/html": {"type": "string"}}),
            401: Response("A form for the token, for browsers.", {"text/html": {"type": "string"}, JSON: _ERROR}),
        },
        role="read",
    ),
    Route(
        "GET",
        "/static/{version}/{path}",
        page.get_asset,
        "Get a file of the start page. Needs no token: it is the same on every server of this version.",
        {
            200: Response("The file.", {kind: {"type": "string"} for kind in CONTENT_TYPES}),
            304: Response("The client has it."),
            404: _error("There is no such file."),
        },
        role=None,
    ),
)
