"""The request handler for the changes of handlers."""

from __future__ import annotations

import re

from aiohttp import hdrs, web

from workflow_server.web.exceptions import InvalidParameter
from workflow_server.web.listing import TIMES, list_filter
from workflow_server.web.parameters import check_known, single
from workflow_server.web.routes.events import LAST_EVENT_ID, stream_format
from workflow_server.web.state import MANAGER, STREAMS
from workflow_server.web.streaming.bounded_writer import ReaderLeft
from workflow_server.web.streaming.change_stream import ChangeStream
from workflow_server.web.streaming.event_format import EventFormat
from workflow_server.web.streaming.sse import SSE

PARAMETERS = ("sse", "cursor", "status", "workflow_name", "tag", "q", *TIMES)
CURSOR = r"[0-9a-f]{8}\.[0-9]{1,18}"
"""A cursor of this stream, as a pattern."""


async def stream_handlers(request: web.Request) -> web.StreamResponse:
    """GET /handlers/stream. HEAD reads nothing."""
    check_known(request, PARAMETERS)
    form, wanted = stream_format(request), list_filter(request)
    cursor = _cursor(request, form)
    if request.method == hdrs.METH_HEAD:
        return web.Response(headers=form.headers())
    with request.app[STREAMS].admitted(request), request.app[MANAGER].follow(wanted, cursor) as reader:
        try:
            return await ChangeStream(request, reader, form).run()
        except ReaderLeft:
            # Nobody is there to read a response: this one only ends the exchange.
            return web.Response(status=204)


def _cursor(request: web.Request, form: EventFormat) -> str | None:
    """Parse the cursor; None where the stream begins now.

    Raises:
        InvalidParameter: it is not one.
    """
    name, text = "cursor", single(request, "cursor")
    if form is SSE and (last_event_id := request.headers.get(LAST_EVENT_ID)):
        name, text = LAST_EVENT_ID, last_event_id
    if text and not re.fullmatch(CURSOR, text):
        raise InvalidParameter(name, "the cursor of a line of this stream")
    return text or None
