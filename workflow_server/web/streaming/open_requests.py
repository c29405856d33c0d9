"""Open streams: the limit of their number, and the early end of their waits."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from aiohttp import web

from workflow_server.errors import ShuttingDown
from workflow_server.web.exceptions import TooManyStreams, TooManyStreamsOfToken
from workflow_server.web.state import TOKEN
from workflow_server.web.streaming.bounded_writer import ReaderLeft, has_left

LOOK_INTERVAL = 0.25
"""Seconds between two checks whether the readers of idle streams are still connected."""


class OpenStreams:
    """Counts streams, and interrupts their waits when the reader leaves or the server stops.

    One token may hold ``share`` of the ``limit``, so that one client cannot lock out the others. Readers that leave
    are noticed here rather than at the next heartbeat: until then they would hold the shared queue.
    """

    def __init__(self, limit: int, *, share: int | None = None) -> None:
        self._limit = limit
        self._share = limit if share is None else share
        self._open: Counter[str] = Counter()
        self._closing = False
        self._waits: dict[asyncio.Timeout, web.Request] = {}
        self._next_look: asyncio.TimerHandle | None = None

    @property
    def number(self) -> int:
        """Return how many streams and lists are open."""
        return self._open.total()

    @property
    def closing(self) -> bool:
        """True when the server stops: every stream ends, and its reader reconnects with its cursor."""
        return self._closing

    @contextmanager
    def admitted(self, request: web.Request) -> Iterator[None]:
        """Hold a place for a stream or a list.

        Raises:
            TooManyStreams, TooManyStreamsOfToken: all places are taken, or the share of this token.
            ShuttingDown: the server stops.
        """
        if self._closing:
            raise ShuttingDown
        token = request.get(TOKEN, "")
        if self._open.total() >= self._limit:
            raise TooManyStreams(self._limit)
        if self._open[token] >= self._share:
            raise TooManyStreamsOfToken(self._share)
        self._open[token] += 1
        try:
            yield
        finally:
            self._open -= Counter((token,))

    @asynccontextmanager
    async def waiting(self, request: web.Request) -> AsyncIterator[None]:
        """Interrupt the block, a wait on behalf of the reader of ``request``, when nothing is to wait for any more.

        Raises:
            ReaderLeft: the connection was closed.
            ShuttingDown: the server stops.
        """
        if self._closing:
            raise ShuttingDown
        if has_left(request):
            raise ReaderLeft
        interruption = asyncio.timeout(None)
        try:
            async with interruption:
                self._waits[interruption] = request
                self._look_later()
                try:
                    yield
                finally:
                    del self._waits[interruption]
        except TimeoutError:
            if not interruption.expired():
                raise
            if self._closing:
                raise ShuttingDown from None
            raise ReaderLeft from None

    def close(self) -> None:
        """End every stream. May be called twice."""
        self._closing = True
        if self._next_look is not None:
            self._next_look.cancel()
            self._next_look = None
        for interruption in self._waits:
            _interrupt(interruption)

    def _look_later(self) -> None:
        if self._next_look is None and not self._closing:
            self._next_look = asyncio.get_running_loop().call_later(LOOK_INTERVAL, self._look)

    def _look(self) -> None:
        self._next_look = None
        for interruption, request in self._waits.items():
            if has_left(request):
                _interrupt(interruption)
        if self._waits:
            self._look_later()


def _interrupt(interruption: asyncio.Timeout) -> None:
    if not interruption.expired():
        interruption.reschedule(asyncio.get_running_loop().time())
