"""Connections over TLS from the moment at which they are accepted: those in their handshake count, too.

The servers of asyncio make a connection when its handshake is over, so that any number of clients that never begin one
would hold descriptors and memory.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from typing import Final, Generic, Protocol, TypeVar

logger = logging.getLogger(__name__)

HANDSHAKE_TIMEOUT: Final = 10.0
"""Seconds for the handshake of a connection."""
GOODBYE_TIMEOUT: Final = 5.0
"""Seconds for the end of a connection, which both sides confirm."""
OUT_OF_DESCRIPTORS: Final = 1.0
"""Seconds until connections are accepted again, after that has failed."""

Connection = TypeVar("Connection", bound=asyncio.Protocol)


class Connections(Protocol[Connection]):
    """A maker of connections that counts them."""

    def __call__(self) -> Connection:
        """Make a connection."""

    def admit(self, connection: Connection) -> bool:
        """Return whether there is room for it; one that was admitted must ``leave``."""

    def leave(self, connection: Connection) -> None:
        """Note its end."""


class SecureListener(Generic[Connection]):
    """Accepts connections on a bound socket, and makes their handshakes. It has of ``asyncio.Server`` what aiohttp
    asks of one."""

    def __init__(self, connections: Connections[Connection], bound: socket.socket, context: ssl.SSLContext) -> None:
        self._connections = connections
        self._bound = bound
        self._context = context
        self._handshakes: set[asyncio.Task[None]] = set()
        bound.setblocking(False)
        self._accepting = asyncio.create_task(self._accept(), name="accept TLS connections")

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        """The socket that listens, as asyncio's servers tell theirs."""
        return () if self._bound.fileno() < 0 else (self._bound,)

    def close(self) -> None:
        """Accept nothing more, and break off the handshakes."""
        self._accepting.cancel()
        for handshake in self._handshakes:
            handshake.cancel()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while True:
                try:
                    accepted, _ = await loop.sock_accept(self._bound)
                except ConnectionError:
                    # The client has left already.
                    continue
                except OSError as error:
                    logger.error("No connections can be accepted at present: %s", error.strerror)  # noqa: TRY400
                    await asyncio.sleep(OUT_OF_DESCRIPTORS)
                    continue
                self._begin(accepted)
                # Where many connect at once, others have their turns in between.
                await asyncio.sleep(0)
        finally:
            self._bound.close()

    def _begin(self, accepted: socket.socket) -> None:
        connection = self._connections()
        if not self._connections.admit(connection):
            accepted.close()
            return
        handshake = asyncio.create_task(self._secure(connection, accepted), name="make a TLS connection")
        self._handshakes.add(handshake)
        handshake.add_done_callback(self._handshakes.discard)

    async def _secure(self, connection: Connection, accepted: socket.socket) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: connection,
                accepted,
                ssl=self._context,
                ssl_handshake_timeout=HANDSHAKE_TIMEOUT,
                ssl_shutdown_timeout=GOODBYE_TIMEOUT,
            )
        except OSError as error:
            self._connections.leave(connection)
            logger.debug("A TLS handshake failed: %s", error)
        except BaseException:
            self._connections.leave(connection)
            raise
