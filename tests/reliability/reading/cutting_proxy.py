"""A TCP proxy between readers and the server that breaks off where it hurts, and passes on in odd pieces."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from random import Random
from types import TracebackType
from typing import Self

from tests.reliability.reading.http_framing import Framing, Place

_IN_CHARACTER = re.compile(rb"[\x80-\xbf]")


class Where(Enum):
    """The kinds of places at which a cut is made."""

    HEAD = "inside the HTTP head"
    FRAME = "inside a chunk's frame"
    CHARACTER = "inside a character"
    LAST_CHUNK = "inside the last chunk"
    ANYWHERE = "at any byte"


class How(Enum):
    """The ways in which a connection ends."""

    FIN = "FIN"
    RST = "RST"
    DRAIN = "FIN to the server, whose last bytes are still taken"
    """The reader's side is closed at the cut. The bytes that the server had written until it noticed are recorded."""


@dataclass
class Plan:
    """The plan for one connection: where it is cut, at the earliest after how many bytes, and how."""

    where: Where
    after: int
    how: How
    split: bool
    """Pass on in pieces of a few bytes, each in a packet of its own."""
    delay: float
    """Seconds between two reads: what comes meanwhile is passed on at once."""


@dataclass
class Passage:
    """The fate of one connection."""

    plan: Plan
    received: bytearray = field(default_factory=bytearray)
    """All that came from the server."""
    cut_at: int | None = None
    """Number of these bytes that were passed on before the cut; None where the stream came to its own end."""
    place: Where | None = None
    """The place at which the cut really was."""


def planned(random: Random, hows: tuple[How, ...] = (How.FIN, How.RST)) -> Plan:
    """A plan by chance; one in a dozen lets more than the largest event through."""
    where = random.choices(list(Where), (2, 3, 5, 1, 5))[0]
    if where is Where.HEAD:
        after = random.randrange(220)
    elif random.random() < 0.08:
        after = random.randrange(150_000, 900_000)
    else:
        after = int(200 + 10 ** random.uniform(1, 4.6))
    return Plan(where, after, random.choice(hows), random.random() < 0.2, random.choice((0.0, 0.0, 0.002, 0.02)))


class CuttingProxy:
    """Listens on ``port`` inside ``async with``; each connection that is made to it is cut as the next plan says."""

    def __init__(self, upstream: int, seed: int, *, hows: tuple[How, ...] = (How.FIN, How.RST)) -> None:
        self.port = 0
        self.cuts: Counter[Where] = Counter()
        self.ends: Counter[How] = Counter()
        self.passages: list[Passage] = []
        """Of the connections that were drained, in the order in which they were made."""
        self._upstream = upstream
        self._random = Random(seed)
        self._hows = hows
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self._connections: set[asyncio.Task[None]] = set()
        self._accepting: asyncio.Task[None] | None = None

    @property
    def cut(self) -> int:
        """The number of connections that were cut."""
        return sum(self.ends.values())

    async def __aenter__(self) -> Self:
        self._listener.setblocking(False)
        self.port = self._listener.getsockname()[1]
        self._accepting = asyncio.create_task(self._accept(), name="cutting proxy")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._accepting is not None
        tasks = [self._accepting, *self._connections]
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        self._listener.close()
        failed = [end for end in ends if isinstance(end, Exception)]
        if failed and error is None:
            raise failed[0]

    async def drained(self) -> None:
        """Return when no connection is open any more."""
        while self._connections:
            await asyncio.wait(self._connections)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            client, _ = await loop.sock_accept(self._listener)
            connection = asyncio.create_task(self._carry(client, planned(self._random, self._hows)), name="passage")
            self._connections.add(connection)
            connection.add_done_callback(self._carried)

    def _carried(self, connection: asyncio.Task[None]) -> None:
        # One that failed is kept: it fails the test at the end.
        if connection.cancelled() or connection.exception() is None:
            self._connections.discard(connection)

    async def _carry(self, client: socket.socket, plan: Plan) -> None:
        loop = asyncio.get_running_loop()
        passage = Passage(plan)
        if plan.how is How.DRAIN:
            self.passages.append(passage)
        with client, socket.socket() as server:
            for side in (client, server):
                side.setblocking(False)
                side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await loop.sock_connect(server, ("127.0.0.1", self._upstream))
            await loop.sock_sendall(server, await loop.sock_recv(client, 65_536))
            with suppress(ConnectionError):
                await self._pass_down(server, client, passage)
            if passage.cut_at is None:
                return
            self.ends[plan.how] += 1
            if plan.how is How.RST:
                for side in (client, server):
                    side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            elif plan.how is How.DRAIN:
                client.close()
                await _drain(server, passage)

    async def _pass_down(self, server: socket.socket, client: socket.socket, passage: Passage) -> None:
        loop = asyncio.get_running_loop()
        framing, plan = Framing(), passage.plan
        passed = 0
        while data := await loop.sock_recv(server, 65_536):
            passage.received += data
            found = _cut_in(framing.feed(data), plan, passed)
            if found is not None:
                passage.cut_at, passage.place = passed + found[0], found[1]
                self.cuts[found[1]] += 1
                data = data[: found[0]]
            await self._send(client, data, plan)
            passed += len(data)
            if found is not None or framing.status == 204:
                return
            if plan.delay:
                await asyncio.sleep(plan.delay)

    async def _send(self, client: socket.socket, data: bytes, plan: Plan) -> None:
        loop = asyncio.get_running_loop()
        start = 0
        while start < len(data):
            size = self._random.randrange(1, 40) if plan.split and start < 2_000 else len(data)
            await loop.sock_sendall(client, data[start : start + size])
            start += size
            if plan.split:
                await asyncio.sleep(0)


async def _drain(server: socket.socket, passage: Passage) -> None:
    """Tell the server that the reader has left, and take what it still had written out."""
    loop = asyncio.get_running_loop()
    server.shutdown(socket.SHUT_WR)
    with suppress(ConnectionError):
        while data := await loop.sock_recv(server, 65_536):
            passage.received += data


def _cut_in(parts: list[tuple[Place, bytes]], plan: Plan, passed: int) -> tuple[int, Where] | None:
    """The place in these bytes, of which the first is number ``passed`` of its answer, where the plan cuts."""
    start = 0
    for place, data in parts:
        at = start + max(plan.after - passed - start, 0)
        if at < start + len(data):
            found = _cut_in_part(place, data, plan.where, at - start)
            if found is not None:
                return start + found[0], found[1]
        start += len(data)
    return None


def _cut_in_part(place: Place, data: bytes, where: Where, at: int) -> tuple[int, Where] | None:
    if place is Place.BODY:
        if where is Where.ANYWHERE:
            return at, Where.ANYWHERE
        found = _IN_CHARACTER.search(data, at) if where is Where.CHARACTER else None
        return (found.start(), Where.CHARACTER) if found else None
    inside = max(at, 1) if len(data) > 1 else at
    if place is Place.HEAD and where in (Where.HEAD, Where.ANYWHERE):
        return at, Where.HEAD
    if place is Place.FRAME and where is Where.FRAME:
        return inside, Where.FRAME
    if place is Place.LAST_CHUNK and where in (Where.LAST_CHUNK, Where.ANYWHERE, Where.FRAME):
        return inside, Where.LAST_CHUNK
    return None
