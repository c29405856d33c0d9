"""The request handlers about the server itself: its health, readiness and metrics, and its description."""

from __future__ import annotations

from aiohttp import hdrs, web

from workflow_server.printable import printable
from workflow_server.protocol.responses import Healthy, Ready, Unhealthy, Unready
from workflow_server.web.parameters import check_known
from workflow_server.web.responses import JSON, json_response
from workflow_server.web.server_data import server_data
from workflow_server.web.state import EXPORTER, MANAGER, OPENAPI, REQUESTS, STREAMS

MAX_PROBLEM = 500
"""Characters of the reason why the server is unhealthy."""


async def health(request: web.Request) -> web.Response:
    """GET /health."""
    detail = _problem(request)
    return json_response(Healthy()) if detail is None else json_response(Unhealthy(detail=detail), 503)


def _problem(request: web.Request) -> str | None:
    manager = request.app[MANAGER]
    if manager.problem is None:
        return None
    # Clients need no token for this, and are not told where the files are.
    return printable(manager.problem.replace(manager.location, "the database"), MAX_PROBLEM)


async def ready(request: web.Request) -> web.Response:
    """GET /ready."""
    reason = request.app[MANAGER].unready
    return json_response(Ready()) if reason is None else json_response(Unready(detail=reason), 503)


async def metrics(request: web.Request) -> web.Response:
    """GET /metrics."""
    body, content_type = request.app[EXPORTER].write(request.headers.get(hdrs.ACCEPT, ""))
    return web.Response(body=body, headers={hdrs.CONTENT_TYPE: content_type})


async def get_server(request: web.Request) -> web.Response:
    """GET /server."""
    check_known(request, ())
    manager = request.app[MANAGER]
    state = await manager.server_state()
    problem = _problem(request) or manager.unready
    streams, requests = request.app[STREAMS].number, request.app[REQUESTS]
    return json_response(server_data(manager.figures(), state, requests, streams=streams, problem=problem))


async def get_openapi(request: web.Request) -> web.Response:
    """GET /openapi.json."""
    return web.Response(body=request.app[OPENAPI], content_type=JSON)
