"""Writing to a reader: bytes count as written if the kernel took them while the reader was there."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_writer import StreamWriter

from workflow_server.web.streaming.bounded_writer import BoundedWriter, ReaderLeft, ReaderStalled


class Written:
    """A connection with a writer on one side and a bare socket on the other."""

    def __init__(self, client: socket.socket, protocol: BaseProtocol, timeout: float) -> None:
        assert protocol.transport is not None
        protocol.transport.set_write_buffer_limits(high=0)
        self.client = client
        self.transport = protocol.transport
        self.writer = BoundedWriter(self.transport, StreamWriter(protocol, asyncio.get_running_loop()), timeout)


@pytest.fixture
async def written() -> AsyncIterator[Written]:
    loop = asyncio.get_running_loop()
    protocols: asyncio.Queue[BaseProtocol] = asyncio.Queue()

    class Accepted(BaseProtocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            protocols.put_nowait(self)

    server = await loop.create_server(lambda: Accepted(loop), "127.0.0.1", 0)
    with socket.create_connection(server.sockets[0].getsockname()) as client:
        made = Written(client, await protocols.get(), timeout=0.2)
        yield made
        made.transport.abort()
    server.close()
    await server.wait_closed()


async def test_what_the_kernel_took_is_written(written: Written) -> None:
    await written.writer.write(b"x" * 100_000)
    received = b""
    while len(received) < 100_000:
        received += written.client.recv(100_000)
    assert received == b"x" * 100_000


@pytest.mark.parametrize("reset", [False, True])
async def test_nothing_is_written_to_a_reader_that_has_just_closed(written: Written, reset: bool) -> None:
    if reset:
        written.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    # The event loop cannot have seen it when the write begins.
    written.client.close()
    with pytest.raises(ReaderLeft):
        await written.writer.write(b"x")


async def test_what_waits_when_a_connection_is_given_up_is_not_written(written: Written) -> None:
    asyncio.get_running_loop().call_later(0.1, written.transport.abort)
    taken = 0
    try:
        while True:
            await written.writer.write(b"x" * 60_000)
            taken += 60_000
    except ReaderLeft:
        assert taken
    await asyncio.sleep(0)
    received = 0
    while data := written.client.recv(1_000_000):
        received += len(data)
    assert received >= taken


async def test_a_reader_that_takes_nothing_for_too_long_is_stalled(written: Written) -> None:
    with pytest.raises(ReaderStalled):
        await written.writer.write(b"x" * 20_000_000)
