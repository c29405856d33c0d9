"""Open streams: the limit of their number, and the early end of their waits."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from types import TracebackType

from aiohttp import hdrs, web

from workflow_server.errors import ShuttingDown
from workflow_server.web.exceptions import AccessEnded, TooManyStreams, TooManyStreamsOfToken
from workflow_server.web.state import PRINCIPAL
from workflow_server.web.streaming.bounded_writer import ReaderLeft, has_left

LOOK_INTERVAL = 0.25
"""Seconds between two checks whether the readers of idle streams are still connected."""


class OpenStreams:
    """Counts streams, and interrupts their waits when the reader leaves or the server stops.

    One token may hold ``share`` of the ``limit``, so that one client cannot lock out the others. Readers that leave
    are noticed here rather than at the next heartbeat: until then they would hold the shared queue. So are readers
    that have no access any more, because their token was revoked or has expired.
    """

    def __init__(
        self,
        limit: int,
        *,
        share: Callable[[], int] | None = None,
        has_access: Callable[[web.Request], bool] = lambda _: True,
    ) -> None:
        self._limit = limit
        self._share = share or (lambda: limit)
        self._has_access = has_access
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
        principal = request.get(PRINCIPAL)
        token = "" if principal is None else principal.name
        if self._open.total() >= self._limit:
            raise TooManyStreams(self._limit)
        share = self._share()
        if self._open[token] >= share:
            raise TooManyStreamsOfToken(share)
        self._open[token] += 1
        try:
            yield
        finally:
            self._open -= Counter((token,))

    def waiting(self, request: web.Request) -> AbstractAsyncContextManager[None]:
        """Interrupt the block, a wait on behalf of the reader of ``request``, when nothing is to wait for any more.

        Raises:
            ReaderLeft: the connection was closed.
            AccessEnded: the reader may not read any more.
            ShuttingDown: the server stops.
        """
        return _Wait(self, request)

    def check_access(self, request: web.Request) -> None:
        """Check, before each write, that the reader of ``request`` may read on.

        Raises:
            AccessEnded: its token was revoked or has expired, or its session has ended.
        """
        if not self._may_go_on(request):
            raise AccessEnded

    def enter(self, wait: _Wait) -> None:
        """Interrupt this wait, which begins, when nothing is to wait for any more."""
        self._waits[wait.interruption] = wait.request
        self._look_later()

    def leave(self, wait: _Wait) -> None:
        """Forget a wait that is over."""
        del self._waits[wait.interruption]

    def check(self, request: web.Request) -> None:
        """Check that a wait on behalf of the reader of ``request`` has a purpose; see ``waiting``."""
        if self._closing:
            raise ShuttingDown
        if has_left(request):
            raise ReaderLeft
        self.check_access(request)

    def _may_go_on(self, request: web.Request) -> bool:
        """Return whether a reader may read on. A run that was started is waited for in any case: its answer is due."""
        return request.method != hdrs.METH_GET or self._has_access(request)

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
            if has_left(request) or not self._may_go_on(request):
                _interrupt(interruption)
        if self._waits:
            self._look_later()


class _Wait(AbstractAsyncContextManager[None]):
    """One block of ``OpenStreams.waiting``: no generator, since each run that is waited for has one."""

    __slots__ = ("_streams", "interruption", "request")

    interruption: asyncio.Timeout

    def __init__(self, streams: OpenStreams, request: web.Request) -> None:
        self._streams = streams
        self.request = request

    async def __aenter__(self) -> None:
        self._streams.check(self.request)
        self.interruption = asyncio.timeout(None)
        await self.interruption.__aenter__()
        self._streams.enter(self)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._streams.leave(self)
        try:
            await self.interruption.__aexit__(kind, error, traceback)
            if not isinstance(error, TimeoutError) or not self.interruption.expired():
                return
        except TimeoutError:
            pass
        self._streams.check(self.request)
        raise ReaderLeft from None


def _interrupt(interruption: asyncio.Timeout) -> None:
    if not interruption.expired():
        interruption.reschedule(asyncio.get_running_loop().time())
