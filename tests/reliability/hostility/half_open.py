"""Clients that connect and never finish their request, and how long they are put up with."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import NamedTuple

from tests.reliability.hostility.request import HOST, JSON, RUN, request

DRIP = 0.5
"""Seconds between two bytes of a client that sends slowly."""
GIVEN_UP = 60
"""Seconds after which a client takes it that it is never cut off."""


class HalfOpen(NamedTuple):
    """The bytes that a client sends at once, and those that it then sends one by one."""

    kind: str
    sent: bytes
    drip: bytes = b""


_POST = request(RUN, method=b"POST", head=HOST + JSON + b"Content-Length: 100\r\n")
_CHUNKED = request(RUN, method=b"POST", head=HOST + JSON + b"Transfer-Encoding: chunked\r\n")
_NOWHERE = request(b"/nothing", method=b"POST", head=HOST + JSON + b"Content-Length: 100\r\n")

KINDS = (
    HalfOpen("silent", b""),
    HalfOpen("half a request line", b"GET /work"),
    HalfOpen("half a head", b"GET /workflows HTTP/1.1\r\nHost: localh"),
    HalfOpen("half a body", _POST + b'{"start_event": {'),
    HalfOpen("no body at all", _POST),
    HalfOpen("half a chunk", _CHUNKED + b'20\r\n{"start_'),
    HalfOpen("half a body for nobody", _NOWHERE + b"{"),
    HalfOpen("half a body of a GET", request(head=HOST + b"Content-Length: 100\r\n") + b"{"),
    HalfOpen("half a second request", request() + b"GET /work"),
    HalfOpen("a TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(32)) + b"\x20"),
    HalfOpen("half of what may be TLS", b"\x16"),
    HalfOpen("a head, byte by byte", b"GET /workflows HTTP/1.1\r\nHost: localhost\r\nX: ", b"y" * 200),
    HalfOpen("a body, byte by byte", _POST, b" " * 99),
    HalfOpen("a body for nobody, byte by byte", _NOWHERE, b" " * 99),
)


def half_open(count: int) -> Iterator[HalfOpen]:
    """So many clients, of each kind in turn."""
    for number in range(count):
        yield KINDS[number % len(KINDS)]


async def cut_off(port: int, client: HalfOpen) -> float:
    """Seconds from the connection of the client until the server has closed it."""
    begun = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    dripping = asyncio.create_task(_drip(writer, client), name=f"drip: {client.kind}")
    try:
        async with asyncio.timeout(GIVEN_UP):
            while await reader.read(65_536):
                pass
    except (ConnectionError, TimeoutError):
        # Reset, which is an end, too; or never, which the time says.
        return time.monotonic() - begun
    finally:
        dripping.cancel()
        await asyncio.wait([dripping])
        writer.transport.abort()
    return time.monotonic() - begun


async def _drip(writer: asyncio.StreamWriter, client: HalfOpen) -> None:
    writer.write(client.sent)
    for byte in client.drip:
        await asyncio.sleep(DRIP)
        if writer.transport.is_closing():
            return
        writer.write(bytes([byte]))


async def latencies(ask: Callable[[], AsyncIterator[None]], until: asyncio.Event) -> list[float]:
    """Seconds that each request of an honest client took; ``ask`` makes one after the other until then."""
    taken: list[float] = []
    begun = time.perf_counter()
    async for _ in ask():
        taken.append(time.perf_counter() - begun)
        if until.is_set():
            break
        await asyncio.sleep(0.01)
        begun = time.perf_counter()
    return taken


def percentile(values: list[float], share: float) -> float:
    """The value that so large a share of them does not exceed."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]
