"""Clients that do to their connections what few do, but may: each asks for a stream, and gives back what it got."""

from __future__ import annotations

import asyncio
import socket
import time

from tests.reliability.reading.bulk_reading import Stream, connected


async def _half_closed(port: int, path: str) -> bytes:
    """Closes its own side behind the request, as ``nc -N`` does: to the server it has left."""
    stream = Stream(await connected(port, path))
    stream.connection.shutdown(socket.SHUT_WR)
    return await stream.rest()


async def _half_closed_later(port: int, path: str) -> bytes:
    stream = await Stream.open(port, path)
    while stream.body.count(b"\n") < 10:
        await stream.read(4_096)
    stream.connection.shutdown(socket.SHUT_WR)
    return await stream.rest()


async def _old(port: int, path: str) -> bytes:
    """Speaks HTTP/1.0, where the body has no chunks and ends with the connection."""
    stream = Stream(await connected(port, path, version="1.0"))
    return await stream.rest()


async def _pipelining(port: int, path: str) -> bytes:
    """Sends more requests behind the first: a stream is the last answer of its connection."""
    stream = await Stream.open(port, path)
    more = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3
    await asyncio.get_running_loop().sock_sendall(stream.connection, more)
    await stream.rest()
    assert stream.complete
    return stream.body


async def _by_the_byte(port: int, path: str) -> bytes:
    """Reads a byte a second until it is cut, and then what was on its way."""
    stream = Stream(await connected(port, path, receive_buffer=4_096))
    begin = time.monotonic()
    while time.monotonic() - begin < 3:
        await stream.read(1)
        await asyncio.sleep(1)
    await stream.rest()
    assert not stream.complete, "a reader of a byte a second was given as long as it wanted"
    return stream.body


SLOW = "a byte a second"
MANNERS = {
    "half-closing": _half_closed,
    "half-closing later": _half_closed_later,
    "HTTP/1.0": _old,
    "pipelining": _pipelining,
    SLOW: _by_the_byte,
}
WHOLE = ("HTTP/1.0", "pipelining")
"""Those who get all of the stream."""
