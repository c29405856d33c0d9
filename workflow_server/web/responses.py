"""Models as JSON answers."""

from __future__ import annotations

from aiohttp import web
from pydantic import BaseModel

from workflow_server.protocol.handlers import HandlerData
from workflow_server.records import Status

HANDLER_STATUS: dict[Status, int] = {"completed": 200, "running": 202, "failed": 500, "cancelled": 500}
"""The status code that says how a handler stands."""


def json_answer(model: BaseModel, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """``model`` as the body."""
    return web.Response(
        status=status, body=model.model_dump_json().encode(), content_type="application/json", headers=headers
    )


def handler_answer(handler: HandlerData) -> web.Response:
    """A handler, with the status code that says how it stands."""
    return json_answer(handler, HANDLER_STATUS[handler.status])
