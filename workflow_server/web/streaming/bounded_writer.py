"""Writing to readers that may be slow, stall or leave, in bounded memory and time."""

from __future__ import annotations

import asyncio
import select
import socket
import struct

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

WRITE_SIZE = 65_536
"""Bytes that are handed to the socket at once, and that the reader must take within ``write_timeout``."""

_PEER_CLOSED: int = getattr(select, "POLLRDHUP", 0)
"""The event to poll for beside a reset, which is always reported. Only Linux has a name for it."""


class ReaderLeft(Exception):
    """The client closed its connection."""


class ReaderStalled(Exception):
    """The client did not read for longer than allowed."""


def has_left(request: web.BaseRequest) -> bool:
    """Return whether the connection of ``request`` is closed."""
    return request.transport is None or request.transport.is_closing()


def unbuffered(request: web.Request) -> asyncio.Transport:
    """Return the connection of ``request``, set to buffer nothing, so that a drain means that the kernel has the data.

    Raises:
        ReaderLeft: it is closed.
    """
    transport = request.transport
    if transport is None or has_left(request):
        raise ReaderLeft
    buffer_nothing(transport)
    return transport


def buffer_nothing(transport: asyncio.Transport) -> None:
    """Let a connection count as written to when the kernel has all of it.

    Over TLS, some 64 KiB more may wait in the connection below. There, asyncio takes a limit of 0 for one that an empty
    buffer reaches, and never writes again.
    """
    is_secure = transport.get_extra_info("sslcontext") is not None
    transport.set_write_buffer_limits(high=1 if is_secure else 0, low=0)


def reset(transport: asyncio.Transport) -> None:
    """Reset a connection, with what the kernel would otherwise go on sending for minutes."""
    connection: socket.socket | None = transport.get_extra_info("socket")
    if connection is not None and not transport.is_closing():
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def limit_send_buffer(transport: asyncio.BaseTransport, size: int) -> None:
    """Bound the bytes that the kernel holds for a reader."""
    connection: socket.socket | None = transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)


class BoundedWriter:
    """Writes to the ``unbuffered`` connection of a response that was begun; the reader must take each piece within
    ``timeout`` seconds."""

    def __init__(self, transport: asyncio.Transport, writer: AbstractStreamWriter, timeout: float) -> None:
        self._transport = transport
        self._writer = writer
        self._timeout = timeout

    async def write(self, data: bytes) -> None:
        """Return when the kernel has all of ``data``.

        Raises:
            ReaderLeft: the connection was closed before that, from either side.
            ReaderStalled: a piece was not taken in time.
        """
        for start in range(0, len(data), WRITE_SIZE):
            # Bytes given to the kernel now would be lost. After the write it is too late to check: a reader that has
            # read all of it may leave, too.
            if _peer_is_gone(self._transport):
                raise ReaderLeft
            try:
                async with asyncio.timeout(self._timeout):
                    await self._writer.write(data[start : start + WRITE_SIZE])
                    await self._writer.drain()
            except TimeoutError:
                raise ReaderStalled from None
            except ConnectionError:
                raise ReaderLeft from None
            # A write that fails, or that the loss of the connection overtakes, drops what it had and raises nothing.
            if self._transport.is_closing():
                raise ReaderLeft


def _peer_is_gone(transport: asyncio.BaseTransport) -> bool:
    """Return whether the other side has closed, also where only the kernel knows it yet."""
    if transport.is_closing():
        return True
    connection: socket.socket | None = transport.get_extra_info("socket")
    if connection is None:
        return False
    poll = select.poll()
    poll.register(connection.fileno(), _PEER_CLOSED)
    return bool(poll.poll(0))
