"""The list of handlers as a response: streamed, with one page of it in memory however long it is, or one page."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

from aiohttp import hdrs, web

from workflow_server.errors import ShuttingDown
from workflow_server.protocol.client_json import with_finite_numbers
from workflow_server.protocol.handlers import ListedHandler
from workflow_server.web.exceptions import AccessEnded
from workflow_server.web.responses import JSON
from workflow_server.web.state import SETTINGS, STREAMS
from workflow_server.web.streaming.bounded_writer import (
    WRITE_SIZE,
    BoundedWriter,
    ReaderLeft,
    ReaderStalled,
    reset,
    unbuffered,
)

Pages = AsyncIterator[list[ListedHandler]]


async def write_list(request: web.Request, pages: Pages) -> web.StreamResponse:
    """Write the pages as the response to ``request``.

    A failure before the first page can still be reported; after that, the connection is broken off without the last
    bracket, so that nobody takes the JSON for the whole list.
    """
    first = await anext(pages)
    if not first:
        return web.Response(body=b'{"handlers":[]}', content_type=JSON)
    return await _write(request, first, pages)


def page_response(page: list[ListedHandler], next_cursor: str | None) -> web.Response:
    """Return one page of a list as a response, with where the next begins."""
    following = "null" if next_cursor is None else f'"{next_cursor}"'
    body = b"".join((b'{"handlers":[', *pieces(page, b""), f'],"next_cursor":{following}}}'.encode()))
    return web.Response(body=body, content_type=JSON)


async def _write(request: web.Request, first: list[ListedHandler], pages: Pages) -> web.StreamResponse:
    response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: JSON})
    try:
        transport = unbuffered(request)
        stream = await response.prepare(request)
        assert stream is not None
    except ReaderLeft:
        # Nobody is there to read a response.
        return web.Response(status=204)
    streams = request.app[STREAMS]
    writer = BoundedWriter(transport, stream, request.app[SETTINGS].write_timeout)
    try:
        await writer.write(b'{"handlers":[')
        separator = b""
        page = first
        while True:
            for piece in pieces(page, separator):
                streams.check_access(request)
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
    except (ShuttingDown, AccessEnded):
        transport.close()
    except Exception:
        transport.abort()
        raise
    return response


def pieces(page: list[ListedHandler], separator: bytes) -> Iterator[bytes]:
    """Yield the bytes of a page, in pieces of about ``WRITE_SIZE`` characters or of one result.

    The page is emptied, so that nothing of it is in memory twice.
    """
    page.reverse()
    small: list[str] = []
    size = 0
    between = separator.decode()
    while page:
        before, stored, after = page.pop()
        result = "null" if stored is None else with_finite_numbers(stored)
        del stored
        small += (between, before)
        between = ","
        if len(result) >= WRITE_SIZE:
            yield "".join(small).encode()
            small, size = [], 0
            yield result.encode()
        else:
            small.append(result)
            size += len(before) + len(result) + len(after)
        small.append(after)
        if size >= WRITE_SIZE:
            yield "".join(small).encode()
            small, size = [], 0
    if small:
        yield "".join(small).encode()
