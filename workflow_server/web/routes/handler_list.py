"""The list of handlers as an answer, however long it is: of what is read, nothing but one page is in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing

from aiohttp import hdrs, web

from workflow_server.errors import ShuttingDown
from workflow_server.protocol.handlers import ListedHandler
from workflow_server.web.keys import MANAGER, SETTINGS, STREAMS
from workflow_server.web.parameters import check_known, statuses, values
from workflow_server.web.routes.route import JSON
from workflow_server.web.streaming.bounded_writer import (
    WRITE_SIZE,
    BoundedWriter,
    ReaderLeft,
    ReaderStalled,
    reset,
    unbuffered,
)

Pages = AsyncIterator[list[ListedHandler]]


async def list_handlers(request: web.Request) -> web.StreamResponse:
    """GET /handlers. It is one of the open streams while it is written; HEAD reads nothing."""
    check_known(request, ("status", "workflow_name"))
    wanted = statuses(request), values(request, "workflow_name")
    if request.method == hdrs.METH_HEAD:
        return web.Response(content_type=JSON)
    with request.app[STREAMS].admitted(request):
        async with aclosing(request.app[MANAGER].handler_pages(*wanted)) as pages:
            return await _answer(request, pages)


async def _answer(request: web.Request, pages: Pages) -> web.StreamResponse:
    # What fails here can still be told; later, only the connection can be broken off.
    first = await anext(pages)
    if not first:
        return web.Response(body=b'{"handlers":[]}', content_type=JSON)
    return await _write(request, first, pages)


async def _write(request: web.Request, first: list[ListedHandler], pages: Pages) -> web.StreamResponse:
    response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: JSON})
    try:
        transport = unbuffered(request)
        stream = await response.prepare(request)
        assert stream is not None
    except ReaderLeft:
        # Nobody is there to read it.
        return web.Response(status=204)
    writer = BoundedWriter(transport, stream, request.app[SETTINGS].write_timeout)
    try:
        await writer.write(b'{"handlers":[')
        separator = b""
        page = first
        while True:
            for piece in pieces(page, separator):
                await writer.write(piece)
                separator = b","
            if (following := await anext(pages, None)) is None:
                break
            page = following
        await writer.write(b"]}")
    except ReaderLeft:
        return response
    except ReaderStalled:
        reset(transport)
    except ShuttingDown:
        transport.close()
    except Exception:
        # Without its end it is no JSON: nobody takes it for the whole list.
        transport.abort()
        raise
    return response


def pieces(page: list[ListedHandler], separator: bytes) -> Iterator[bytes]:
    """The bytes of a page, in pieces of about ``WRITE_SIZE`` or of one result; the page is emptied, so that nothing of
    it is held twice."""
    page.reverse()
    small: list[bytes] = []
    size = 0
    while page:
        small.append(separator)
        separator = b","
        handler, result = page.pop()
        for part in handler.json_with_result(result):
            if len(part) >= WRITE_SIZE:
                yield b"".join(small)
                small, size = [], 0
                yield part
                continue
            small.append(part)
            size += len(part)
        if size >= WRITE_SIZE:
            yield b"".join(small)
            small, size = [], 0
    if small:
        yield b"".join(small)
