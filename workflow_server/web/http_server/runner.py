"""The application on sockets; the only module that reaches into aiohttp.

``web.AppRunner`` offers no way to replace the class of its connections. There aiohttp answers what is not HTTP, in
plain text with the offending line, which it also logs; and there a response waits for its reader without a limit.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

from aiohttp import HttpVersion10, hdrs, web, web_runner
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import RawRequestMessage
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_request import BaseRequest

from workflow_server.execution.containment import harmless, in_served_task, kept_within
from workflow_server.web.error_mapping import error_response
from workflow_server.web.exceptions import ExpectationRefused, NotHttp
from workflow_server.web.http_server.access_log import LOGGER as ACCESS_LOGGER
from workflow_server.web.http_server.access_log import AccessLog
from workflow_server.web.http_server.handshakes import SecureListener
from workflow_server.web.responses import add_common_headers
from workflow_server.web.state import SETTINGS, WebSettings
from workflow_server.web.streaming.bounded_writer import buffer_nothing, limit_send_buffer, reset

logger = logging.getLogger(__name__)

KEEPALIVE: Final = 17.0
"""Seconds that an idle connection stays open: longer than aiohttp's own client keeps one (15). aiohttp applies this
limit to the head of a request, too (an hour by default): half a request is disconnected within 20 s."""
LINGERING: Final = 5.0
"""Seconds for which the rest of a body is read after the response, so that its client gets to read that."""
SHUTDOWN_TIMEOUT: Final = 1.5
"""Seconds that open requests and streams get to end by themselves on shutdown; aiohttp waits as long again for those
that it then cancels. Both must fit into the time that a stop may take beyond the grace period."""
BACKLOG: Final = 1024
"""Connections that the kernel queues until they are accepted."""
ACCEPTED_AT_ONCE: Final = 16
"""The backlog for asyncio, which accepts as many at once, and without descriptors fails as often."""
UNREAD: Final = 64 * 1024 * 1024
"""Bytes of responses that may wait for readers, over all connections. A single response may be larger."""
FULL_INTERVAL: Final = 60.0
"""Seconds between two warnings that there are too many connections."""

_NO_VERSION = web.RequestKey("no_version", bool)

RequestFactory = Callable[..., BaseRequest]
RequestHandling = Callable[[BaseRequest], Awaitable[web.StreamResponse]]


class HttpRunner(web.AppRunner):
    """Serves an application of ``create_app``.

    A client that reads nothing of a response for ``write_timeout`` to twice as many seconds is disconnected, and
    earlier while more than ``UNREAD`` bytes wait in all. Connections above ``max_connections`` are dropped.
    """

    def __init__(self, app: web.Application, *, max_connections: int) -> None:
        super().__init__(app, handle_signals=False, access_log=None, shutdown_timeout=SHUTDOWN_TIMEOUT)
        self._settings = app[SETTINGS]
        self._max_connections = max_connections

    async def listen(self, bound: socket.socket, context: ssl.SSLContext | None = None) -> None:
        """Accept connections on a bound socket, with ``context`` those of TLS."""
        await _Site(self, bound, ssl_context=context, backlog=ACCEPTED_AT_ONCE).start()
        bound.listen(BACKLOG)

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        factory = _with_strict_heads(made.request_factory)
        return _HttpServer(made.request_handler, factory, self._settings, self._max_connections)


class _Site(web.SockSite):
    """A socket; with TLS, its connections count from the beginning."""

    async def start(self) -> None:
        if self._ssl_context is None:
            await super().start()
            return
        await web_runner.BaseSite.start(self)
        server = self._runner.server
        assert isinstance(server, _HttpServer)
        self._server = cast(asyncio.Server, SecureListener(server, self._sock, self._ssl_context))


class _HttpServer(web.Server):
    """Creates and counts the connections."""

    def __init__(
        self, handler: RequestHandling, factory: RequestFactory, settings: WebSettings, max_connections: int
    ) -> None:
        super().__init__(_with_refusals(handler), request_factory=factory)
        self.settings = settings
        self._max_connections = max_connections
        self._admitted: set[_Connection] = set()
        self._unread: dict[_Connection, asyncio.Transport] = {}
        self._warned_at = -FULL_INTERVAL

    def __call__(self) -> _Connection:
        return _Connection(self)

    def admit(self, connection: _Connection) -> bool:
        """Return whether there is room for a connection, or was before; one that was admitted must ``leave``."""
        if connection in self._admitted:
            return True
        if len(self._admitted) < self._max_connections:
            self._admitted.add(connection)
            return True
        now = asyncio.get_running_loop().time()
        if now - self._warned_at >= FULL_INTERVAL:
            self._warned_at = now
            logger.warning(
                "%d connections are open, which is the limit: further ones are dropped", self._max_connections
            )
        return False

    def leave(self, connection: _Connection) -> None:
        """Note the end of a connection."""
        self._admitted.discard(connection)
        self._unread.pop(connection, None)

    def waits_for_reader(self, connection: _Connection, transport: asyncio.Transport) -> None:
        """Note that the kernel took no more of a response. Above ``UNREAD``, those that wait longest are given up."""
        self._unread[connection] = transport
        waiting = sum(other.get_write_buffer_size() for other in self._unread.values())
        while waiting > UNREAD and len(self._unread) > 1:
            longest = self._unread.pop(next(iter(self._unread)))
            waiting -= longest.get_write_buffer_size()
            logger.debug("A response was given up: too much waits for readers")
            reset(longest)

    def was_read(self, connection: _Connection) -> None:
        """Note that the kernel has all of a response."""
        self._unread.pop(connection, None)


class _Connection(web.RequestHandler):
    """One connection of a client."""

    __slots__ = ("_finishing", "_server", "_watch")

    def __init__(self, server: _HttpServer) -> None:
        # The middleware refuses compressed bodies, so none has to be decompressed.
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=KEEPALIVE,
            access_log_class=AccessLog,
            access_log=ACCESS_LOGGER if server.settings.access_log else None,  # type: ignore[arg-type]
            logger=logger,
            lingering_time=LINGERING,
            auto_decompress=False,
        )
        self._server = server
        self._finishing: AbstractStreamWriter | None = None
        """Writes the response that is being finished."""
        self._watch: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Of uvloop, too, whose transports have another base.
        transport = cast(asyncio.Transport, transport)
        if not self._server.admit(self):
            transport.abort()
            return
        # A response counts as written when the kernel has all of it: closing would wait for a rest without a limit.
        # And the kernel takes little, so that it shows soon whether a slow reader reads.
        buffer_nothing(transport)
        limit_send_buffer(transport, self._server.settings.send_buffer)
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._server.leave(self)
        super().connection_lost(exc)

    # -- Tasks, which from Python 3.12 aiohttp makes past the loop's factory -------------------

    @harmless
    async def start(self) -> None:
        try:
            await in_served_task(super().start())
        except (SystemExit, KeyboardInterrupt) as error:
            raise kept_within(error) from None

    @harmless
    async def _handle_request(
        self, request: BaseRequest, start_time: float | None, request_handler: RequestHandling
    ) -> tuple[web.StreamResponse, bool]:
        try:
            return await in_served_task(super()._handle_request(request, start_time, request_handler))
        except (SystemExit, KeyboardInterrupt) as error:
            # A middleware of the user's own may raise anything.
            raise kept_within(error) from None

    # -- Responses that nobody reads -----------------------------------------------------------

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.transport is not None:
            self._server.waits_for_reader(self, self.transport)
            if self._finishing is not None and self._watch is None:
                self._look_later(self.transport, self._finishing)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._server.was_read(self)

    async def finish_response(
        self, request: BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        self._finishing = request.writer
        if self.transport is not None and self.transport.get_write_buffer_size():
            self._look_later(self.transport, request.writer)
        try:
            return await super().finish_response(request, resp, start_time)
        finally:
            self._finishing = None
            if self._watch is not None:
                self._watch.cancel()
                self._watch = None

    def _look_later(self, transport: asyncio.Transport, writer: AbstractStreamWriter) -> None:
        """Watch a response of which the kernel did not take all: most are taken at once."""
        sent = writer.output_size - transport.get_write_buffer_size()
        loop = asyncio.get_running_loop()
        self._watch = loop.call_later(self._server.settings.write_timeout, self._look, transport, writer, sent)

    def _look(self, transport: asyncio.Transport, writer: AbstractStreamWriter, sent_before: int) -> None:
        waiting = transport.get_write_buffer_size()
        if waiting and writer.output_size - waiting <= sent_before:
            logger.debug("A response was not read, and given up")
            reset(transport)
        else:
            self._look_later(transport, writer)

    # -- What is not HTTP ----------------------------------------------------------------------

    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002
    ) -> web.StreamResponse:
        if isinstance(exc, ConnectionError):
            raise exc
        self.log_exception("A request failed outside its handler", exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("part of another response was already sent")
        invalid = isinstance(exc, HttpProcessingError) or status == 400
        return _last_answer(NotHttp() if invalid else RuntimeError())

    def log_exception(self, *args: Any, **kw: Any) -> None:
        # The parser's exceptions quote what they could not read: tokens, queries and bodies.
        if isinstance(kw.get("exc_info"), (HttpProcessingError, web.RequestPayloadError)):
            logger.debug("A request that is not valid HTTP was refused")
        else:
            super().log_exception(*args, **kw)


def _last_answer(error: Exception) -> web.Response:
    """Return a response that bypasses the middleware, and ends its connection."""
    answer = error_response(error)
    add_common_headers(answer)
    answer.force_close()
    return answer


def _with_strict_heads(factory: RequestFactory) -> RequestFactory:
    """Return a factory that defuses what aiohttp's parser should not let through, or marks it to be refused.

    - Upgrades are not accepted, and end their connection with the response. Where aiohttp does not know the protocol
      (``h2c``), it drops what arrived together with such a request: the next request or only its head, so that the
      body would be taken for a request.
    - A request line without a version is HTTP/0.9, which has no status lines: its client could not tell the response
      from anything else.
    """

    def make(message: RawRequestMessage, *rest: Any) -> BaseRequest:
        if hdrs.UPGRADE in message.headers:
            message = message._replace(should_close=True)
        if message.version >= HttpVersion10:
            return factory(message, *rest)
        request = factory(message._replace(version=HttpVersion10, should_close=True), *rest)
        request[_NO_VERSION] = True
        return request

    return make


def _with_refusals(handler: RequestHandling) -> RequestHandling:
    """Return a handler that refuses marked requests.

    For an unknown path, aiohttp refuses ``Expect`` before any middleware runs.
    """

    async def handle(request: BaseRequest) -> web.StreamResponse:
        if _NO_VERSION in request:
            return _last_answer(NotHttp())
        try:
            return await handler(request)
        except web.HTTPExpectationFailed:
            answer = error_response(ExpectationRefused())
            add_common_headers(answer)
            return answer

    return handle
