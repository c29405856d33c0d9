"""The handlers of started workflows: how they stand, what is sent to them, and ending them."""

from __future__ import annotations

from aiohttp import web

from workflow_server.protocol.requests import EventBody
from workflow_server.protocol.responses import EventSent, HandlerCancelled, HandlerResult
from workflow_server.protocol.strict_json import parse_json
from workflow_server.web.bodies import read_body
from workflow_server.web.keys import MANAGER
from workflow_server.web.parameters import boolean
from workflow_server.web.responses import HANDLER_STATUS, handler_answer, json_answer


async def get_handler(request: web.Request) -> web.Response:
    """GET /handlers/{handler_id}."""
    return handler_answer(await request.app[MANAGER].get_handler(request.match_info["handler_id"]))


async def get_result(request: web.Request) -> web.Response:
    """GET /results/{handler_id}."""
    handler = await request.app[MANAGER].get_handler(request.match_info["handler_id"])
    successor = {"Link": f'</handlers/{handler.handler_id}>; rel="successor-version"', "Deprecation": "true"}
    return json_answer(HandlerResult.of(handler), HANDLER_STATUS[handler.status], successor)


async def send_event(request: web.Request) -> web.Response:
    """POST /events/{handler_id}."""
    body, key = await read_body(request, EventBody)
    event = parse_json(body.event, "The string 'event'") if isinstance(body.event, str) else body.event
    await request.app[MANAGER].send(request.match_info["handler_id"], event, body.step, key, hold=bool(body.hold))
    return json_answer(EventSent())


async def cancel(request: web.Request) -> web.Response:
    """POST /handlers/{handler_id}/cancel."""
    manager = request.app[MANAGER]
    handler_id = request.match_info["handler_id"]
    if boolean(request, "purge", default=False):
        await manager.purge(handler_id)
        return json_answer(HandlerCancelled(status="deleted"))
    await manager.cancel(handler_id)
    return json_answer(HandlerCancelled(status="cancelled"))
