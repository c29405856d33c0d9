"""The request handlers for handlers of workflows: looking at one, listing and cancelling them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import aclosing

from aiohttp import hdrs, web

from workflow_server.log_context import principal
from workflow_server.protocol.handlers import RetryRequest
from workflow_server.protocol.requests import RetryBody
from workflow_server.protocol.responses import (
    HandlerCancelled,
    HandlerResult,
    HandlersCancelled,
    HandlersRetried,
    HandlerStats,
    RetryRefused,
)
from workflow_server.web.access.authentication import check_role
from workflow_server.web.bodies import read_body
from workflow_server.web.history import history_asked, history_response
from workflow_server.web.listing import (
    BULK_PARAMETERS,
    PARAMETERS,
    RETRY_PARAMETERS,
    bulk_asked,
    cursor_text,
    list_filter,
    page_asked,
    retry_asked,
    states_asked,
)
from workflow_server.web.parameters import boolean, check_known, single
from workflow_server.web.responses import HANDLER_STATUS, JSON, handler_response, json_response
from workflow_server.web.state import HANDLER_ID, MANAGER, STREAMS
from workflow_server.web.streaming.handler_list import page_response, write_list

logger = logging.getLogger(__name__)

RECENTLY = 86_400.0
"""Seconds for which a failure is recent."""


async def get_handler(request: web.Request) -> web.Response:
    """GET /handlers/{handler_id}."""
    by_status = boolean(request, "run_status", default=True)
    handler = await request.app[MANAGER].describe_handler(request.match_info["handler_id"])
    return handler_response(handler) if by_status else json_response(handler)


async def get_result(request: web.Request) -> web.Response:
    """GET /results/{handler_id}."""
    handler = await request.app[MANAGER].get_handler(request.match_info["handler_id"])
    successor = {"Link": f'</handlers/{handler.handler_id}>; rel="successor-version"', "Deprecation": "true"}
    return json_response(HandlerResult.of(handler), HANDLER_STATUS[handler.status], successor)


async def list_handlers(request: web.Request) -> web.StreamResponse:
    """GET /handlers. Without a limit it counts as an open stream while it is written; HEAD reads nothing."""
    check_known(request, PARAMETERS)
    wanted, states, page = list_filter(request), states_asked(request), page_asked(request)
    if request.method == hdrs.METH_HEAD:
        return web.Response(content_type=JSON)
    manager = request.app[MANAGER]
    if page is not None:
        wanted = await manager.doing(wanted, states)
        handlers, following = await manager.handler_page(
            wanted, page.cursor, page.limit, with_results=page.with_results, with_now=page.with_now
        )
        return page_response(handlers, None if following is None else cursor_text(wanted, following))
    with request.app[STREAMS].admitted(request):
        async with aclosing(manager.handler_pages(await manager.doing(wanted, states))) as pages:
            return await write_list(request, pages)


async def get_history(request: web.Request) -> web.Response:
    """GET /handlers/{handler_id}/history."""
    asked = history_asked(request)
    entries, following = await request.app[MANAGER].history(
        request.match_info["handler_id"],
        asked.after,
        asked.limit,
        newest_first=asked.newest_first,
        with_values=asked.with_values,
    )
    return history_response(entries, following)


async def get_state(request: web.Request) -> web.Response:
    """GET /handlers/{handler_id}/state."""
    check_known(request, ())
    body = await request.app[MANAGER].state(request.match_info["handler_id"])
    return web.Response(body=body.encode(), content_type=JSON)


async def count_handlers(request: web.Request) -> web.Response:
    """GET /handlers/stats."""
    check_known(request, ())
    manager = request.app[MANAGER]
    counts, failed = await manager.count_handlers(), await manager.count_failed(RECENTLY)
    return json_response(HandlerStats.of(counts, await manager.count_now(), failed))


async def cancel_matching(request: web.Request) -> web.Response:
    """POST /bulk/cancel."""
    check_known(request, BULK_PARAMETERS)
    bulk = bulk_asked(request)
    manager = request.app[MANAGER]
    if bulk.dry_run:
        done = await manager.handlers_matching(bulk.wanted, bulk.cursor, bulk.limit, states=bulk.states)
    elif bulk.purge:
        done = await manager.purge_matching(bulk.wanted, bulk.cursor, bulk.limit, states=bulk.states)
        _log_deletion(done.handler_ids)
    else:
        done = await manager.cancel_matching(
            bulk.wanted, bulk.cursor, bulk.limit, states=bulk.states, by=principal.get()
        )
    return json_response(
        HandlersCancelled(
            status="deleted" if bulk.purge else "cancelled",
            dry_run=bulk.dry_run,
            handler_ids=done.handler_ids,
            next_cursor=None if done.cursor is None else cursor_text(bulk.wanted, done.cursor),
        )
    )


async def retry_matching(request: web.Request) -> web.Response:
    """POST /bulk/retry."""
    check_known(request, RETRY_PARAMETERS)
    bulk = retry_asked(request)
    manager = request.app[MANAGER]
    refused: list[RetryRefused] = []
    if bulk.dry_run:
        found = await manager.handlers_matching(bulk.wanted, bulk.cursor, bulk.limit, states=bulk.states)
        handler_ids, cursor = found.handler_ids, found.cursor
    else:
        is_fork = boolean(request, "fork", default=False)
        wanted = RetryRequest(single(request, "from_step") or None, is_fork, by=principal.get())
        done = await manager.retry_matching(bulk.wanted, bulk.cursor, bulk.limit, wanted, states=bulk.states)
        handler_ids, cursor = done.handler_ids, done.cursor
        refused = [RetryRefused(handler_id=name, detail=reason) for name, reason in done.refused.items()]
    return json_response(
        HandlersRetried(
            dry_run=bulk.dry_run,
            handler_ids=handler_ids,
            refused=refused,
            next_cursor=None if cursor is None else cursor_text(bulk.wanted, cursor),
        )
    )


async def retry(request: web.Request) -> web.Response:
    """POST /handlers/{handler_id}/retry."""
    body, key = await read_body(request, RetryBody)
    wanted = RetryRequest(
        from_step=body.from_step,
        fork=bool(body.fork),
        handler_id=body.handler_id or None,
        tags=None if body.tags is None else tuple(dict.fromkeys(body.tags)),
        key=key,
        by=principal.get(),
    )
    handler = await request.app[MANAGER].retry(request.match_info["handler_id"], wanted)
    request[HANDLER_ID] = handler.handler_id
    return json_response(handler)


async def cancel(request: web.Request) -> web.Response:
    """POST /handlers/{handler_id}/cancel."""
    manager = request.app[MANAGER]
    handler_id = request.match_info["handler_id"]
    if boolean(request, "purge", default=False):
        check_role(request, "full")
        await manager.purge(handler_id)
        _log_deletion([handler_id])
        return json_response(HandlerCancelled(status="deleted"))
    await manager.cancel(handler_id, by=principal.get())
    return json_response(HandlerCancelled(status="cancelled"))


def _log_deletion(handler_ids: Sequence[str]) -> None:
    """Log what was deleted, and by whom: the history of a handler is gone with it."""
    by = principal.get()
    for handler_id in handler_ids:
        logger.info("Deleted handler %s%s", handler_id, "" if by is None else f", by '{by}'")
