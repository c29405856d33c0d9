"""Responses: models as JSON, and the headers that every response has."""

from __future__ import annotations

from aiohttp import hdrs, web
from aiohttp.http import SERVER_SOFTWARE
from pydantic import BaseModel

from workflow_server.protocol.handlers import HandlerData
from workflow_server.records import Status

JSON = "application/json"

HANDLER_STATUS: dict[Status, int] = {"completed": 200, "running": 202, "failed": 500, "cancelled": 500}
"""The status code for each status of a handler."""

SERVER = "workflow_server"
"""Replaces aiohttp's ``Server`` header, which names its version and Python's to those who look for known faults."""


def json_response(model: BaseModel, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """Return a response with ``model`` as its body."""
    return web.Response(status=status, body=model.model_dump_json().encode(), content_type=JSON, headers=headers)


def handler_response(handler: HandlerData) -> web.Response:
    """Return a response with ``handler`` as its body, and the status code for its status."""
    return json_response(handler, HANDLER_STATUS[handler.status])


def add_common_headers(response: web.StreamResponse) -> None:
    """Add the headers that every response has. A ``Cache-Control`` that is there stays: streams have their own."""
    headers = response.headers
    headers.setdefault(hdrs.CACHE_CONTROL, "no-store")
    headers["X-Content-Type-Options"] = "nosniff"
    if headers.get(hdrs.SERVER, SERVER_SOFTWARE) == SERVER_SOFTWARE:
        headers[hdrs.SERVER] = SERVER
