"""Events on their way out, as NDJSON or Server-Sent Events.

Each page of waiting events is joined into few large writes; no event is parsed on its way. A stream that ends before
its terminal event (the server stops, the reader does not read, the handler is deleted) breaks off without the last
chunk, so that a client can tell it from the end of the run and comes back with its cursor.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from aiohttp import hdrs, web

from workflow_server.errors import HandlerNotFound, ShuttingDown
from workflow_server.protocol.client_json import with_finite_numbers
from workflow_server.records import StoredEvent
from workflow_server.web.identity import check_may_take_events
from workflow_server.web.keys import MANAGER, SETTINGS, STREAMS
from workflow_server.web.parameters import NDJSON, SSE, StreamRequest, stream_request
from workflow_server.web.streaming.bounded_writer import (
    WRITE_SIZE,
    BoundedWriter,
    ReaderLeft,
    ReaderStalled,
    limit_send_buffer,
    unbuffered,
)

if TYPE_CHECKING:
    from workflow_server.runs.events import EventReader

RETRY_MILLISECONDS = 1_000

# One blank is no record to any reader of NDJSON; an empty line is one to those who parse each line.
_NDJSON_HEARTBEAT = b" "
# Without an empty line behind them: at one, many readers hand out an event, though it has no data.
_SSE_HEARTBEAT = b": heartbeat\n"
_SSE_RETRY = b"retry: %d\n" % RETRY_MILLISECONDS

_QUALIFIED_NAME = re.compile(r'"qualified_name":"[^"\\]*"\}\Z')

# The line ends that JSON leaves as they are, and at which httpx splits what it reads.
_LINE_ENDS = {"\x85": "\\u0085", "\u2028": "\\u2028", "\u2029": "\\u2029"}


async def stream_events(request: web.Request) -> web.StreamResponse:
    """GET /events/{handler_id}."""
    wanted = stream_request(request)
    handler_id = request.match_info["handler_id"]
    if request.method == hdrs.METH_HEAD:
        await request.app[MANAGER].get_handler(handler_id)
        return web.Response(headers=_headers(wanted))
    with request.app[STREAMS].admitted(request):
        try:
            reader = await _open(request, handler_id, wanted)
            if reader is None:
                return web.Response(status=204)
            try:
                return await _Stream(request, reader, wanted).run()
            finally:
                await reader.close()
        except ReaderLeft:
            # Nobody is there to read an answer: this one only ends the exchange.
            return web.Response(status=204)


async def _open(request: web.Request, handler_id: str, wanted: StreamRequest) -> EventReader | None:
    manager = request.app[MANAGER]
    if wanted.acquire_timeout is None:
        return await manager.open_cursor(handler_id, wanted.cursor)
    check_may_take_events(request)
    async with request.app[STREAMS].waiting(request):
        return await manager.open_queue(handler_id, wanted.acquire_timeout)


class _Stream:
    """One reader's connection."""

    def __init__(self, request: web.Request, reader: EventReader, wanted: StreamRequest) -> None:
        self._request = request
        self._reader = reader
        self._wanted = wanted
        self._settings = request.app[SETTINGS]
        self._streams = request.app[STREAMS]

    async def run(self) -> web.StreamResponse:
        response = web.StreamResponse(headers=_headers(self._wanted))
        # Not "Connection: close": with it, fetch of Node.js takes a stream that breaks off for one that has ended.
        # Whatever waits for a reader waits in the store, not in buffers.
        transport = unbuffered(self._request)
        limit_send_buffer(transport, self._settings.send_buffer)
        stream = await response.prepare(self._request)
        if stream is None:
            raise ReaderLeft
        try:
            await self._pump(BoundedWriter(transport, stream, self._settings.write_timeout))
            transport.set_write_buffer_limits()
        except (ShuttingDown, HandlerNotFound):
            transport.close()
        except (ReaderLeft, ReaderStalled):
            transport.abort()
        except Exception:
            transport.abort()
            raise
        return response

    async def _pump(self, writer: BoundedWriter) -> None:
        clock = asyncio.get_running_loop().time
        pause = self._settings.heartbeat
        heartbeat = _SSE_HEARTBEAT if self._wanted.sse else _NDJSON_HEARTBEAT
        if self._wanted.sse:
            await writer.write(_SSE_RETRY)
        written_at = clock()
        while True:
            page = await self._next_pieces(pause)
            for data, last in page or ():
                if data:
                    await writer.write(data)
                    written_at = clock()
                await self._reader.written(last)
            if page == []:
                return
            if page is None or clock() - written_at >= pause:
                await writer.write(heartbeat)
                written_at = clock()

    async def _next_pieces(self, pause: float) -> list[tuple[bytes, int]] | None:
        """The next page as bytes: who does not read has nothing else of it held in memory."""
        async with self._streams.waiting(self._request):
            page = await self._reader.next_page(pause)
        return None if page is None else list(pieces(page, self._wanted))


def pieces(page: Iterable[StoredEvent], wanted: StreamRequest) -> Iterator[tuple[bytes, int]]:
    """The bytes of a page, in pieces of about ``WRITE_SIZE``, each with the last sequence that it brings."""
    line = _sse_event if wanted.sse else _ndjson_line
    lines: list[str] = []
    size = 0
    sequence = -1
    for sequence, internal, data in page:
        if internal and not wanted.include_internal:
            continue
        data = with_finite_numbers(data)
        text = line(sequence, data if wanted.include_qualified_name else without_qualified_name(data))
        lines.append(text)
        size += len(text)
        if size >= WRITE_SIZE:
            yield _encode(lines), sequence
            lines, size = [], 0
    if sequence >= 0:
        yield _encode(lines), sequence


def without_qualified_name(data: str) -> str:
    """An envelope whose ``qualified_name`` is null."""
    replaced, found = _QUALIFIED_NAME.subn('"qualified_name":null}', data)
    if found:
        return replaced
    return json.dumps({**json.loads(data), "qualified_name": None}, ensure_ascii=False, separators=(",", ":"))


def _sse_event(sequence: int, data: str) -> str:
    return f"id: {sequence}\ndata: {data}\n\n"


def _ndjson_line(sequence: int, data: str) -> str:
    return f'{data[:-1]},"sequence":{sequence}}}\n'


def _encode(lines: list[str]) -> bytes:
    text = "".join(lines)
    if not text.isascii():
        for end, escaped in _LINE_ENDS.items():
            text = text.replace(end, escaped)
    return text.encode()


def _headers(wanted: StreamRequest) -> dict[str, str]:
    return {
        hdrs.CONTENT_TYPE: SSE if wanted.sse else NDJSON,
        hdrs.CACHE_CONTROL: "no-cache, no-transform",
        "X-Accel-Buffering": "no",
    }
