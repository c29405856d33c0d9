"""A list of handlers as an answer, however many there are: it is never in memory as one body."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from aiohttp import hdrs, web

from workflow_server.protocol.handlers import HandlerData
from workflow_server.web.keys import SETTINGS
from workflow_server.web.route import JSON
from workflow_server.web.writing import WRITE_SIZE, BoundedWriter, ReaderLeft, ReaderStalled, reset, unbuffered

PAGE = 200
"""Handlers that are encoded in one go, at most; other requests have their turn after each page."""


async def handlers_list(request: web.Request, handlers: list[HandlerData]) -> web.StreamResponse:
    """``{"handlers": [...]}`` of these; the list is emptied, so that what was written takes no memory any more."""
    pages = encoded(handlers)
    first = next(pages)
    if request.method == hdrs.METH_HEAD:
        return web.Response(content_type=JSON)
    if not handlers:
        return web.Response(body=first, content_type=JSON)
    response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: JSON})
    timeout = request.app[SETTINGS].write_timeout
    try:
        transport = unbuffered(request)
        stream = await response.prepare(request)
        assert stream is not None
        writer = BoundedWriter(transport, stream, timeout)
        await writer.write(first)
        for page in pages:
            await writer.write(page)
            await asyncio.sleep(0)
    except ReaderStalled:
        reset(transport)
    except ReaderLeft:
        # Nobody is there to read the rest.
        return response if response.prepared else web.Response(status=204)
    return response


def encoded(handlers: list[HandlerData]) -> Iterator[bytes]:
    """The bytes of the list, in pieces of about ``WRITE_SIZE`` and of ``PAGE`` handlers at most."""
    handlers.reverse()
    parts = ['{"handlers":[']
    size = 0
    separator = ""
    while handlers:
        text = handlers.pop().model_dump_json()
        parts += (separator, text)
        size += len(text)
        separator = ","
        if handlers and (size >= WRITE_SIZE or len(parts) >= 2 * PAGE):
            yield "".join(parts).encode()
            parts, size = [], 0
    yield "".join([*parts, "]}"]).encode()
