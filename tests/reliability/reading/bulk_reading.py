"""Readers of very many events, which count and hash rather than parse, and readers who do not read at all."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import socket
import struct
import termios
import time

from tests.reliability.reading.http_framing import Framing, Place

BLOCK = 262_144


class Body:
    """The body of an NDJSON answer as it comes, without its heartbeats."""

    def __init__(self) -> None:
        self.framing = Framing()
        self._line_ended = True

    def feed(self, data: bytes) -> bytes:
        """Return the part of these bytes that belongs to the body."""
        parts = []
        for place, part in self.framing.feed(data):
            if place is not Place.BODY or (part == b" " and self._line_ended):
                continue
            self._line_ended = part.endswith(b"\n")
            parts.append(part)
        return b"".join(parts)


class HashingReader:
    """Reads one stream to its end."""

    def __init__(self) -> None:
        self.lines = 0
        self.complete = False
        self._hash = hashlib.blake2b()

    @property
    def digest(self) -> bytes:
        """The hash of all lines."""
        return self._hash.digest()

    async def read(self, port: int, path: str) -> None:
        """Return when the stream has ended."""
        body = Body()
        with await connected(port, path) as connection:
            while data := await asyncio.get_running_loop().sock_recv(connection, BLOCK):
                part = body.feed(data)
                self.lines += part.count(b"\n")
                self._hash.update(part)
        self.complete = body.framing.complete


class StalledReader:
    """Asks for a stream, and does not read it."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.port: int = connection.getsockname()[1]
        self.waiting = 0
        """Bytes that it could read."""
        self.stalled_at = time.monotonic()
        """Time at which the last of them came."""
        self.cut_at: float | None = None

    def look(self, connected_ports: set[int]) -> None:
        """Note whether something came, and whether the server has given it up."""
        waiting = struct.unpack("i", fcntl.ioctl(self.connection, termios.FIONREAD, bytes(4)))[0]
        if waiting != self.waiting:
            self.waiting, self.stalled_at = waiting, time.monotonic()
        if self.cut_at is None and self.port not in connected_ports:
            self.cut_at = time.monotonic()

    async def late(self) -> tuple[bytes, bool]:
        """Read after all, and return the text up to the last whole line, and whether the stream was complete."""
        body, parts = Body(), []
        # After some minutes the kernel, too, gives up what the server had left with it, and resets the connection.
        with self.connection, contextlib.suppress(ConnectionResetError):
            while data := await asyncio.get_running_loop().sock_recv(self.connection, BLOCK):
                parts.append(body.feed(data))
        found = b"".join(parts)
        return found[: found.rfind(b"\n") + 1], body.framing.complete


async def connected(port: int, path: str, *, receive_buffer: int | None = None, version: str = "1.1") -> socket.socket:
    """A socket on which ``path`` was asked for."""
    loop = asyncio.get_running_loop()
    connection = socket.socket()
    try:
        connection.setblocking(False)
        if receive_buffer is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        await loop.sock_connect(connection, ("127.0.0.1", port))
        await loop.sock_sendall(
            connection, f"GET {path} HTTP/{version}\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
        )
    except BaseException:
        connection.close()
        raise
    return connection


class Stream:
    """One answer on a connection of its own, which is read when it is asked to."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.port: int = connection.getsockname()[1]
        self._body = bytearray()
        self._taken = Body()

    @classmethod
    async def open(cls, port: int, path: str) -> Stream:
        """Ask, and return when the head has come."""
        stream = cls(await connected(port, path))
        try:
            while not stream.status and await stream.read():
                pass
        except BaseException:
            stream.connection.close()
            raise
        return stream

    @property
    def status(self) -> int:
        """Of the answer; 0 where its head has not come."""
        return self._taken.framing.status

    @property
    def body(self) -> bytes:
        """The part of the body that has come."""
        return bytes(self._body)

    @property
    def size(self) -> int:
        """The number of bytes of the body that have come."""
        return len(self._body)

    @property
    def complete(self) -> bool:
        """Return whether the answer has come to its own end."""
        return self._taken.framing.complete

    async def read(self, at_once: int = BLOCK) -> bool:
        """Take what has come; False at the end of the connection."""
        data = await asyncio.get_running_loop().sock_recv(self.connection, at_once)
        self._body += self._taken.feed(data)
        return bool(data)

    async def rest(self) -> bytes:
        """All of the body, when the connection or the answer has ended."""
        with self.connection, contextlib.suppress(ConnectionResetError):
            while self.status != 204 and await self.read():
                pass
        return self.body


async def body_of(port: int, path: str, limit: int | None = None) -> bytes:
    """The body of an answer, or its first ``limit`` bytes at least."""
    stream = await Stream.open(port, path)
    if limit is not None:
        with stream.connection:
            while stream.size < limit and await stream.read():
                pass
        return stream.body
    body = await stream.rest()
    assert stream.complete, "the answer broke off"
    return body
