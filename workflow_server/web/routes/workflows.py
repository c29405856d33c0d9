"""The request handlers for workflows: listing, describing and starting them."""

from __future__ import annotations

import time

from aiohttp import web

from workflow_server.errors import InvalidBody
from workflow_server.log_context import principal
from workflow_server.protocol.handlers import RunRequest
from workflow_server.protocol.requests import RunBody
from workflow_server.protocol.responses import EventSchemas, WorkflowNames, WorkflowRepresentation, WorkflowSchema
from workflow_server.protocol.strict_json import parse_json
from workflow_server.runs.statistics import period_until
from workflow_server.web.bodies import read_body
from workflow_server.web.exceptions import InvalidParameter
from workflow_server.web.parameters import single
from workflow_server.web.responses import handler_response, json_response
from workflow_server.web.state import HANDLER_ID, MANAGER, STREAMS
from workflow_server.web.statistics import period_asked, statistics_data
from workflow_server.web.streaming.bounded_writer import ReaderLeft


async def list_workflows(request: web.Request) -> web.Response:
    """GET /workflows."""
    return json_response(WorkflowNames(workflows=request.app[MANAGER].workflow_names()))


async def list_event_schemas(request: web.Request) -> web.Response:
    """GET /workflows/{name}/events."""
    workflow = request.app[MANAGER].workflow(request.match_info["name"])
    include = single(request, "include") or None
    if include not in (None, "waited_for"):
        raise InvalidParameter("include", "waited_for")
    return json_response(EventSchemas(events=workflow.event_schemas(with_waited_for=include is not None)))


async def get_schema(request: web.Request) -> web.Response:
    """GET /workflows/{name}/schema."""
    workflow = request.app[MANAGER].workflow(request.match_info["name"])
    return json_response(WorkflowSchema(start=workflow.start_schema(), stop=workflow.stop_schema()))


async def get_representation(request: web.Request) -> web.Response:
    """GET /workflows/{name}/representation."""
    workflow = request.app[MANAGER].workflow(request.match_info["name"])
    return json_response(WorkflowRepresentation(graph=workflow.representation()))


async def get_statistics(request: web.Request) -> web.Response:
    """GET /workflows/{name}/stats."""
    name, period = request.match_info["name"], period_asked(request)
    found = await request.app[MANAGER].workflow_statistics(name, period_until(time.time(), period))
    return json_response(statistics_data(name, period, found))


async def run(request: web.Request) -> web.Response:
    """POST /workflows/{name}/run."""
    wanted = await _run_request(request)
    try:
        async with request.app[STREAMS].waiting(request):
            handler = await request.app[MANAGER].run(request.match_info["name"], wanted)
    except ReaderLeft:
        # The run goes on. Nobody is there to read a response: this one only ends the exchange.
        return web.Response(status=204)
    request[HANDLER_ID] = handler.handler_id
    return handler_response(handler)


async def run_nowait(request: web.Request) -> web.Response:
    """POST /workflows/{name}/run-nowait."""
    wanted = await _run_request(request)
    handler = await request.app[MANAGER].start(request.match_info["name"], wanted)
    request[HANDLER_ID] = handler.handler_id
    return json_response(handler)


async def _run_request(request: web.Request) -> RunRequest:
    # Report an unknown workflow before reading the body.
    request.app[MANAGER].workflow(request.match_info["name"])
    body, key = await read_body(request, RunBody)
    # The Python clients send "" for an absent start event, and {} for other absent keys.
    start_event = None if body.start_event == "" else body.start_event
    if start_event is not None and body.fields_by_old_name:
        raise InvalidBody("The body has both 'start_event' and 'kwargs', its old name: send one of them.")
    if isinstance(start_event, str):
        start_event = parse_json(start_event, "The string 'start_event'")
    return RunRequest(
        start_event=body.fields_by_old_name if start_event is None else start_event,
        handler_id=body.handler_id or None,
        context=body.context or None,
        tags=None if body.tags is None else tuple(dict.fromkeys(body.tags)),
        key=key,
        by=principal.get(),
    )
