"""A client of HTTP/1.1 that costs as little as Python allows: the server is to be measured, not the client.

One request at a time on each connection, which stays open. It understands what the servers send, and no more.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Self
from urllib.parse import urlsplit

Sink = Callable[[bytes], None]


class Refused(Exception):
    """An answer with another status than the one that the measurement needs."""


class Answer:
    """The answer that a connection is reading: its status, and what is left to come."""

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self.status = 0
        self.left: int | None = None
        """Bytes of the body that are still to come; None where it comes in chunks."""

    def begin(self, head: bytes) -> None:
        """Take the status and the length from the head."""
        self.status = int(head[9:12])
        fields = head.lower()
        at = fields.find(b"\r\ncontent-length:")
        if at >= 0:
            self.left = int(fields[at + 17 :].partition(b"\r\n")[0])
        elif b"\r\ntransfer-encoding: chunked" not in fields:
            self.left = 0

    def take(self, data: bytes) -> bytes | None:
        """Hand out the body that is in ``data``; return what is not whole yet, or None at the end of the body."""
        if self.left is None:
            return self._take_chunks(data)
        self.sink(data)
        self.left -= len(data)
        return None if self.left <= 0 else b""

    def _take_chunks(self, data: bytes) -> bytes | None:
        position = 0
        pieces: list[bytes] = []
        while True:
            line = data.find(b"\r\n", position)
            if line < 0:
                break
            size = int(data[position:line], 16)
            if len(data) < line + 4 + size:
                break
            if size == 0:
                self.sink(b"".join(pieces))
                return None
            pieces.append(data[line + 2 : line + 2 + size])
            position = line + 4 + size
        if pieces:
            self.sink(b"".join(pieces))
        return data[position:]


class Connection(asyncio.Protocol):
    """A connection to a server."""

    def __init__(self) -> None:
        self._transport: asyncio.WriteTransport | None = None
        self._rest = b""
        self._answer: Answer | None = None
        self._done: asyncio.Future[int] | None = None

    @classmethod
    async def open(cls, url: str) -> Self:
        """Connect to the server at ``url``."""
        address = urlsplit(url)
        assert address.hostname is not None
        assert address.port is not None
        _, connection = await asyncio.get_running_loop().create_connection(cls, address.hostname, address.port)
        return connection

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        answer, done = self._answer, self._done
        if answer is None or done is None or done.done():
            return
        data = self._rest + data if self._rest else data
        if not answer.status:
            head, found, data = data.partition(b"\r\n\r\n")
            if not found:
                self._rest = head
                return
            answer.begin(head)
        rest = answer.take(data)
        if rest is None:
            done.set_result(answer.status)
        self._rest = rest or b""

    def connection_lost(self, exc: Exception | None) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_exception(exc or ConnectionResetError("the server closed the connection"))

    async def stream(self, method: str, path: str, body: bytes, sink: Sink) -> int:
        """Send a request, give its answer's body to ``sink`` as it comes, and return the status at its end.

        Raises:
            ConnectionError: the server closed the connection before.
        """
        assert self._transport is not None
        if self._transport.is_closing():
            raise ConnectionResetError("the server closed the connection")
        self._answer, self._rest = Answer(sink), b""
        self._done = asyncio.get_running_loop().create_future()
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n"
        kind = "Content-Type: application/json\r\n" if body else ""
        self._transport.write(f"{head}{kind}\r\n".encode() + body)
        return await self._done

    async def get(self, path: str) -> tuple[int, bytes]:
        """Return the status and the body that ``path`` answers with."""
        pieces: list[bytes] = []
        status = await self.stream("GET", path, b"", pieces.append)
        return status, b"".join(pieces)

    async def post(self, path: str, body: object) -> dict[str, Any]:
        """Post ``body`` as JSON, and return the answer.

        Raises:
            Refused: the status is not 200.
        """
        pieces: list[bytes] = []
        status = await self.stream("POST", path, json.dumps(body).encode(), pieces.append)
        if status != 200:
            raise Refused(f"POST {path}: {status} {b''.join(pieces)[:300].decode(errors='replace')}")
        answer: dict[str, Any] = json.loads(b"".join(pieces))
        return answer


class Count:
    """A sink that counts the occurrences of a marker, also where it comes in two pieces."""

    def __init__(self, marker: bytes) -> None:
        self._marker = marker
        self._tail = b""
        self.count = 0

    def __call__(self, piece: bytes) -> None:
        piece = self._tail + piece
        self.count += piece.count(self._marker)
        self._tail = piece[len(piece) - len(self._marker) + 1 :] if len(self._marker) > 1 else b""


@asynccontextmanager
async def connections(url: str, count: int) -> AsyncIterator[list[Connection]]:
    """Open so many connections, and close them in the end."""
    opened: list[Connection] = []
    try:
        while len(opened) < count:
            opened.append(await Connection.open(url))
        yield opened
    finally:
        for connection in opened:
            connection.close()
