"""One reader's stream of events, in any format.

Each page of waiting events is joined into few large writes; no event is parsed on its way. A stream that ends before
its terminal event (the server stops, the reader does not read, the handler is deleted) breaks off without the last
chunk, so that a client can tell it from the end of the run and comes back with its cursor.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web

from workflow_server.protocol.client_json import with_finite_numbers
from workflow_server.protocol.events import time_as_json
from workflow_server.records import StoredEvent
from workflow_server.web.state import SETTINGS, STREAMS
from workflow_server.web.streaming.bounded_writer import WRITE_SIZE, BoundedWriter
from workflow_server.web.streaming.event_format import EventFormat
from workflow_server.web.streaming.open_response import write_stream

if TYPE_CHECKING:
    from workflow_server.runs.events import EventReader

_QUALIFIED_NAME = re.compile(r'"qualified_name":"[^"\\]*"\}\Z')

# Line ends that JSON leaves as they are, and at which httpx splits what it reads.
_LINE_ENDS = {"\x85": "\\u0085", "\u2028": "\\u2028", "\u2029": "\\u2029"}


@dataclass(frozen=True)
class StreamOptions:
    """The form in which a client wants its events."""

    format: EventFormat
    include_internal: bool
    include_qualified_name: bool


class EventStream:
    """Writes the events of ``reader`` as the response to ``request``."""

    def __init__(self, request: web.Request, reader: EventReader, options: StreamOptions) -> None:
        self._request = request
        self._reader = reader
        self._options = options
        self._settings = request.app[SETTINGS]
        self._streams = request.app[STREAMS]

    async def run(self) -> web.StreamResponse:
        """Write until the run ends, the reader leaves, stalls or loses its access, or the server stops.

        Raises:
            ReaderLeft: before anything was written.
        """
        return await write_stream(self._request, self._options.format.headers(), self._pump)

    async def _pump(self, writer: BoundedWriter) -> None:
        clock = asyncio.get_running_loop().time
        interval = self._settings.heartbeat
        await writer.write(self._options.format.opening)
        written_at = clock()
        while True:
            page = await self._next_pieces(interval)
            for data, last in page or ():
                if data:
                    await writer.write(data)
                    written_at = clock()
                await self._reader.written(last)
            if page == []:
                return
            if page is None or clock() - written_at >= interval:
                await writer.write(self._options.format.heartbeat)
                written_at = clock()

    async def _next_pieces(self, timeout: float) -> list[tuple[bytes, int]] | None:
        """Return the next page as bytes, which readers at the same place share. Nothing else of it is in memory while
        the reader is slow."""
        async with self._streams.waiting(self._request):
            page = await self._reader.next_page(timeout)
        return None if page is None else page.form(self._options, lambda page: list(pieces(page, self._options)))


def pieces(page: Iterable[StoredEvent], options: StreamOptions) -> Iterator[tuple[bytes, int]]:
    """Yield the bytes of a page in pieces of about ``WRITE_SIZE``, each with the last sequence in it."""
    record = options.format.record
    records: list[str] = []
    size = 0
    sequence = -1
    for sequence, internal, data, time in page:
        if internal and not options.include_internal:
            continue
        envelope = with_finite_numbers(data)
        if not options.include_qualified_name:
            envelope = without_qualified_name(envelope)
        text = record(sequence, envelope, time_as_json(time))
        records.append(text)
        size += len(text)
        if size >= WRITE_SIZE:
            yield encoded(records), sequence
            records, size = [], 0
    if sequence >= 0:
        yield encoded(records), sequence


def without_qualified_name(envelope: str) -> str:
    """Return an envelope with null as its ``qualified_name``."""
    replaced, found = _QUALIFIED_NAME.subn('"qualified_name":null}', envelope)
    if found:
        return replaced
    return json.dumps({**json.loads(envelope), "qualified_name": None}, ensure_ascii=False, separators=(",", ":"))


def encoded(records: Iterable[str]) -> bytes:
    """Return records as they are written, each of them on lines of its own to any reader."""
    text = "".join(records)
    if not text.isascii():
        for end, escaped in _LINE_ENDS.items():
            text = text.replace(end, escaped)
    return text.encode()
