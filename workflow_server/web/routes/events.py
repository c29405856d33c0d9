"""The request handlers for events: streaming those of a handler, and sending one to its run."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from aiohttp import hdrs, web

from workflow_server.log_context import principal
from workflow_server.protocol.requests import EventBody
from workflow_server.protocol.responses import EventSent
from workflow_server.protocol.strict_json import parse_json
from workflow_server.web.bodies import read_body
from workflow_server.web.exceptions import QueueIsForWriters
from workflow_server.web.parameters import Cursor, boolean, cursor, parse_cursor, seconds
from workflow_server.web.responses import json_response
from workflow_server.web.roles import includes
from workflow_server.web.state import MANAGER, PRINCIPAL, STREAMS
from workflow_server.web.streaming.bounded_writer import ReaderLeft
from workflow_server.web.streaming.event_format import EventFormat
from workflow_server.web.streaming.event_stream import EventStream, StreamOptions
from workflow_server.web.streaming.ndjson import NDJSON
from workflow_server.web.streaming.sse import SSE

if TYPE_CHECKING:
    from workflow_server.runs.events import EventReader

LAST_EVENT_ID = "Last-Event-ID"
START_OF_RUN: Cursor = -1
LONGEST_WAIT = 3_600.0
"""Seconds that a reader waits for the shared queue at most, whatever it asks for: it holds a place of the open streams
meanwhile."""


async def send_event(request: web.Request) -> web.Response:
    """POST /events/{handler_id}."""
    body, key = await read_body(request, EventBody)
    event = parse_json(body.event, "The string 'event'") if isinstance(body.event, str) else body.event
    handler_id, by = request.match_info["handler_id"], principal.get()
    await request.app[MANAGER].send(handler_id, event, body.step, key, hold=bool(body.hold), by=by)
    return json_response(EventSent())


async def stream_events(request: web.Request) -> web.StreamResponse:
    """GET /events/{handler_id}."""
    options = stream_options(request)
    position = stream_position(request, options)
    handler_id = request.match_info["handler_id"]
    if request.method == hdrs.METH_HEAD:
        await request.app[MANAGER].get_handler(handler_id)
        return web.Response(headers=options.format.headers())
    with request.app[STREAMS].admitted(request):
        try:
            reader = await _open(request, handler_id, *position)
            if reader is None:
                return web.Response(status=204)
            try:
                return await EventStream(request, reader, options).run()
            finally:
                await reader.close()
        except ReaderLeft:
            # Nobody is there to read a response: this one only ends the exchange.
            return web.Response(status=204)


async def _open(
    request: web.Request, handler_id: str, start: Cursor, acquire_timeout: float | None
) -> EventReader | None:
    manager = request.app[MANAGER]
    if acquire_timeout is None:
        return await manager.open_cursor(handler_id, start)
    _check_may_take_events(request)
    async with request.app[STREAMS].waiting(request):
        return await manager.open_queue(handler_id, acquire_timeout)


def _check_may_take_events(request: web.Request) -> None:
    """Refuse a token that may only read: it would take events from other readers."""
    token = request.get(PRINCIPAL)
    if token is not None and not includes(token.role, "run"):
        raise QueueIsForWriters


# -- The request -----------------------------------------------------------------------------------


def stream_options(request: web.Request) -> StreamOptions:
    """Parse the form in which the client wants its events.

    Raises:
        InvalidParameter: a parameter is not valid.
    """
    return StreamOptions(
        format=stream_format(request),
        include_internal=boolean(request, "include_internal", default=False),
        include_qualified_name=boolean(request, "include_qualified_name", default=True),
    )


def stream_format(request: web.Request) -> EventFormat:
    """Parse the format in which the client wants a stream.

    Raises:
        InvalidParameter: a parameter is not valid.
    """
    sse = boolean(request, "sse", default=_prefers_sse(request.headers.get(hdrs.ACCEPT, "")))
    return SSE if sse else NDJSON


def stream_position(request: web.Request, options: StreamOptions) -> tuple[Cursor, float | None]:
    """Parse where to begin: at a cursor as an independent reader, or in the shared queue with its timeout.

    Raises:
        InvalidParameter: a parameter is not valid.
    """
    after = cursor(request, "after_sequence")
    if options.format is SSE and (last_event_id := request.headers.get(LAST_EVENT_ID)):
        after = parse_cursor(LAST_EVENT_ID, last_event_id)
    acquire_timeout = seconds(request, "acquire_timeout")
    if after is not None:
        return after, None
    return START_OF_RUN, None if acquire_timeout is None else min(acquire_timeout, LONGEST_WAIT)


def _prefers_sse(accept: str) -> bool:
    """Return whether an ``Accept`` header prefers SSE to NDJSON, or neither."""
    preference: dict[str, tuple[float, int]] = {}
    for position, item in enumerate(accept.split(",")):
        kind, _, parameters = item.partition(";")
        quality = re.search(r"(?:^|;)\s*q=([0-9.]{1,5})\s*(?:;|$)", parameters)
        try:
            weight = float(quality[1]) if quality else 1.0
        except ValueError:
            weight = 1.0
        preference.setdefault(kind.strip().lower(), (weight, -position))
    absent = (0.0, -1_000_000)
    return preference.get(SSE.content_type, absent) >= preference.get(NDJSON.content_type, absent)
