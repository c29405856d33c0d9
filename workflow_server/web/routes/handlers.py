"""The request handlers for handlers of workflows: looking at one, listing and cancelling them."""

from __future__ import annotations

from contextlib import aclosing

from aiohttp import hdrs, web

from workflow_server.protocol.responses import HandlerCancelled, HandlerResult, HandlersCancelled, HandlerStats
from workflow_server.web.access.authentication import check_role
from workflow_server.web.listing import (
    BULK_PARAMETERS,
    PARAMETERS,
    bulk_asked,
    cursor_text,
    list_filter,
    page_asked,
)
from workflow_server.web.parameters import boolean, check_known
from workflow_server.web.responses import HANDLER_STATUS, JSON, handler_response, json_response
from workflow_server.web.state import MANAGER, STREAMS
from workflow_server.web.streaming.handler_list import page_response, write_list


async def get_handler(request: web.Request) -> web.Response:
    """GET /handlers/{handler_id}."""
    return handler_response(await request.app[MANAGER].describe_handler(request.match_info["handler_id"]))


async def get_result(request: web.Request) -> web.Response:
    """GET /results/{handler_id}."""
    handler = await request.app[MANAGER].get_handler(request.match_info["handler_id"])
    successor = {"Link": f'</handlers/{handler.handler_id}>; rel="successor-version"', "Deprecation": "true"}
    return json_response(HandlerResult.of(handler), HANDLER_STATUS[handler.status], successor)


async def list_handlers(request: web.Request) -> web.StreamResponse:
    """GET /handlers. Without a limit it counts as an open stream while it is written; HEAD reads nothing."""
    check_known(request, PARAMETERS)
    wanted, page = list_filter(request), page_asked(request)
    if request.method == hdrs.METH_HEAD:
        return web.Response(content_type=JSON)
    manager = request.app[MANAGER]
    if page is not None:
        handlers, following = await manager.handler_page(
            wanted, page.cursor, page.limit, with_results=page.with_results
        )
        return page_response(handlers, None if following is None else cursor_text(wanted, following))
    with request.app[STREAMS].admitted(request):
        async with aclosing(manager.handler_pages(wanted)) as pages:
            return await write_list(request, pages)


async def count_handlers(request: web.Request) -> web.Response:
    """GET /handlers/stats."""
    check_known(request, ())
    return json_response(HandlerStats.of(await request.app[MANAGER].count_handlers()))


async def cancel_matching(request: web.Request) -> web.Response:
    """POST /bulk/cancel."""
    check_known(request, BULK_PARAMETERS)
    bulk = bulk_asked(request)
    manager = request.app[MANAGER]
    act = manager.purge_matching if bulk.purge else manager.cancel_matching
    if bulk.dry_run:
        act = manager.handlers_matching
    done = await act(bulk.wanted, bulk.cursor, bulk.limit)
    return json_response(
        HandlersCancelled(
            status="deleted" if bulk.purge else "cancelled",
            dry_run=bulk.dry_run,
            handler_ids=done.handler_ids,
            next_cursor=None if done.cursor is None else cursor_text(bulk.wanted, done.cursor),
        )
    )


async def cancel(request: web.Request) -> web.Response:
    """POST /handlers/{handler_id}/cancel."""
    manager = request.app[MANAGER]
    handler_id = request.match_info["handler_id"]
    if boolean(request, "purge", default=False):
        check_role(request, "full")
        await manager.purge(handler_id)
        return json_response(HandlerCancelled(status="deleted"))
    await manager.cancel(handler_id)
    return json_response(HandlerCancelled(status="cancelled"))
