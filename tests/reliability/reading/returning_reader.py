"""A reader on a bare socket that comes back with its cursor however often its connection breaks."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from enum import Enum
from random import Random

from tests.reliability.reading.received import Answer, Received

TERMINAL = "StopEvent"
POLL = 0.02


class Cursor(Enum):
    """The ways in which a reader says where it is."""

    QUERY = "after_sequence"
    HEADER = "Last-Event-ID"
    BOTH = "Last-Event-ID beside an older after_sequence"


class ReturningReader:
    """Reads a handler through ``port`` until it has seen so many terminal events, and every event before them."""

    def __init__(self, port: int, handler_id: str, random: Random, *, sse: bool, internal: bool) -> None:
        self.events: list[Received] = []
        self.reconnects = 0
        """Number of times that it came back after its connection had been broken off."""
        self.returned_with: dict[Cursor, int] = dict.fromkeys(Cursor, 0)
        self.torn = 0
        """Number of connections that ended in the middle of an event."""
        self.rests = 0
        """Number of runs that ended while it was away."""
        self.sse = sse
        self.internal = internal
        self.may_rest_until: asyncio.Event | None = None
        """Set by the test for the time in which a run is about to end: the reader stays away until it has."""
        self._port = port
        self._handler_id = handler_id
        self._random = random

    @property
    def cursor(self) -> int:
        """The sequence of the last event that came whole."""
        return self.events[-1].sequence if self.events else -1

    @property
    def ended(self) -> int:
        """The number of runs that have ended for this reader."""
        return sum(event.type == TERMINAL for event in self.events)

    async def read(self, runs: int) -> None:
        """Return when the terminal events of so many runs have come."""
        while self.ended < runs:
            complete = await self._connect()
            if complete:
                # P5: a stream never ends by itself but after a terminal event.
                assert self.events, "a stream ended without an event"
                assert self.events[-1].type == TERMINAL, f"the stream ended after {self.events[-1]}"
                await asyncio.sleep(POLL)
                continue
            self.reconnects += 1
            if self.may_rest_until is not None and not self.may_rest_until.is_set() and self._random.random() < 0.3:
                ended = self.may_rest_until
                await ended.wait()
                self.rests += 1

    async def _connect(self) -> bool:
        """Read one connection to its end; whether that was the end of the stream."""
        loop = asyncio.get_running_loop()
        answer = Answer(sse=self.sse)
        with socket.socket() as connection:
            connection.setblocking(False)
            with suppress(ConnectionError):
                await loop.sock_connect(connection, ("127.0.0.1", self._port))
                await loop.sock_sendall(connection, self._request())
                while data := await loop.sock_recv(connection, 262_144):
                    for event in answer.feed(data):
                        self._take(event)
                    if answer.framing.status == 204:
                        break
        self.torn += bool(answer.torn)
        return answer.framing.complete

    def _take(self, event: Received) -> None:
        if self.internal and self.events:
            assert event.sequence == self.cursor + 1, f"{event.sequence} came after {self.cursor}"
        assert event.sequence > self.cursor, f"{event.sequence} came after {self.cursor}"
        self.events.append(event)

    def _request(self) -> bytes:
        sse = str(self.sse).lower()
        query = f"sse={sse}&include_internal={str(self.internal).lower()}"
        header = ""
        if self.sse and self.events:
            form = self._random.choice(list(Cursor))
            if form is not Cursor.QUERY:
                header = f"Last-Event-ID: {self.cursor}\r\n"
            if form is Cursor.BOTH:
                query += f"&after_sequence={self._random.randrange(-1, self.cursor + 1)}"
        else:
            form = Cursor.QUERY
        if form is Cursor.QUERY:
            query += f"&after_sequence={self.cursor}"
        self.returned_with[form] += bool(self.events)
        header += "Host: localhost\r\nConnection: close\r\n"
        return f"GET /events/{self._handler_id}?{query} HTTP/1.1\r\n{header}\r\n".encode()


async def whole_answer(port: int, path: str) -> list[Received]:
    """All events of one NDJSON answer, over a connection that nobody breaks."""
    loop = asyncio.get_running_loop()
    answer, events = Answer(sse=False), list[Received]()
    with socket.socket() as connection:
        connection.setblocking(False)
        await loop.sock_connect(connection, ("127.0.0.1", port))
        await loop.sock_sendall(
            connection, f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
        )
        while data := await loop.sock_recv(connection, 262_144):
            events += answer.feed(data)
    assert answer.framing.complete, f"the answer broke off: {answer.framing.head!r}"
    return events


async def read_once(port: int, path: str) -> int:
    """Read one connection to its end, or to where it breaks; the status, 0 where none came."""
    loop = asyncio.get_running_loop()
    answer = Answer(sse=False)
    with socket.socket() as connection, suppress(ConnectionError):
        connection.setblocking(False)
        await loop.sock_connect(connection, ("127.0.0.1", port))
        await loop.sock_sendall(
            connection, f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
        )
        while answer.framing.status != 204 and (data := await loop.sock_recv(connection, 262_144)):
            answer.feed(data)
    return answer.framing.status
