"""The stream of the changes of handlers, in any format: a line, or an event, for each."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp import web

from workflow_server.web.state import SETTINGS, STREAMS
from workflow_server.web.streaming.bounded_writer import BoundedWriter
from workflow_server.web.streaming.event_format import EventFormat
from workflow_server.web.streaming.event_stream import encoded
from workflow_server.web.streaming.open_response import write_stream
from workflow_server.web.streaming.sse import SSE

if TYPE_CHECKING:
    from workflow_server.runs.change_feed import ChangeReader
    from workflow_server.runs.changes import Told


class ChangeStream:
    """Writes the changes that ``reader`` is told as the response to ``request``."""

    def __init__(self, request: web.Request, reader: ChangeReader, form: EventFormat) -> None:
        self._request = request
        self._reader = reader
        self._is_sse = form is SSE
        self._format = form
        self._heartbeat = request.app[SETTINGS].heartbeat

    async def run(self) -> web.StreamResponse:
        """Write until the reader leaves, stalls or loses its access, or the server stops; see ``write_stream``."""
        return await write_stream(self._request, self._format.headers(), self._pump)

    async def _pump(self, writer: BoundedWriter) -> None:
        clock = asyncio.get_running_loop().time
        streams = self._request.app[STREAMS]
        await writer.write(self._format.opening)
        written_at = clock()
        while True:
            async with streams.waiting(self._request):
                page = await self._reader.next_page(max(0.0, written_at + self._heartbeat - clock()))
            if page:
                await writer.write(encoded(map(self._record, page)))
                written_at = clock()
            elif clock() - written_at >= self._heartbeat:
                await writer.write(self._idle())
                written_at = clock()

    def _record(self, one: Told) -> str:
        return self._line(self._reader.cursor(one.place), "" if one.key is None else f',"{one.key}":{one.value}')

    def _line(self, cursor: str, rest: str) -> str:
        line = f'{{"cursor":"{cursor}"{rest}}}'
        return f"id: {cursor}\ndata: {line}\n\n" if self._is_sse else f"{line}\n"

    def _idle(self) -> bytes:
        # Readers of NDJSON learn from it that nothing was missed.
        return self._format.heartbeat if self._is_sse else self._line(self._reader.cursor(), "").encode()
