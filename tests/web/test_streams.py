"""Streams: which requests get one, how long it lasts, and what happens when its reader or the server leaves."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from contextlib import closing
from typing import Any

import pytest
from aiohttp import ClientPayloadError

from tests.web.conftest import Serve, Served
from tests.web.reading import START, lines_of, next_event, read

# -- The shared queue ------------------------------------------------------------------------------


async def test_each_event_of_the_shared_queue_goes_to_one_reader(served: Served) -> None:
    handler_id = await served.finish("count", n=3)
    first = lines_of((await read(served, handler_id, "sse=false&acquire_timeout=1"))[1])
    assert [event["type"] for event in first] == ["Counted"] * 3 + ["CountedAll"]
    assert await read(served, handler_id, "sse=false&acquire_timeout=1") == (204, "")


async def test_a_second_reader_of_the_shared_queue_is_409(served: Served) -> None:
    handler_id = await served.start("ask")
    async with served.client.get(f"/events/{handler_id}?sse=false&acquire_timeout=1"):
        for timeout in ("0", "0.05"):
            status, answer = await served.get(f"/events/{handler_id}?acquire_timeout={timeout}")
            assert status == 409
            assert "after_sequence" in answer["detail"]
        async with served.client.get(f"/events/{handler_id}?after_sequence=-1") as independent:
            assert independent.status == 200


async def test_a_shared_queue_that_is_free_is_taken_without_any_waiting(served: Served) -> None:
    handler_id = await served.finish("count")
    assert (await read(served, handler_id, "acquire_timeout=0"))[0] == 200


async def test_a_reader_that_left_an_idle_queue_frees_it_soon(serve: Serve) -> None:
    served = await serve(heartbeat=3_600)
    handler_id = await served.start("ask")
    async with served.client.get(f"/events/{handler_id}?sse=false&acquire_timeout=1") as first:
        assert (await next_event(first))["type"] == "Asked"
    async with served.client.get(f"/events/{handler_id}?acquire_timeout=30") as second:
        assert second.status == 200


async def test_a_reader_that_left_while_it_waited_gets_no_queue(serve: Serve) -> None:
    served = await serve(heartbeat=3_600, max_streams=2)
    handler_id = await served.start("ask")
    async with served.client.get(f"/events/{handler_id}?sse=false&acquire_timeout=1") as holder:
        assert (await next_event(holder))["type"] == "Asked"
        _, writer = await wait_for_the_queue(served, handler_id)
        writer.close()
        # Once it has left, its place is free.
        while await status_of_a_third(served, handler_id) == 429:
            pass


async def wait_for_the_queue(served: Served, handler_id: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Become the second of two streams, and wait for what the first one holds."""
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(f"GET /events/{handler_id}?acquire_timeout=3000 HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    # Once the second place is taken, a third stream is refused.
    while await status_of_a_third(served, handler_id) != 429:
        pass
    return reader, writer


async def status_of_a_third(served: Served, handler_id: str) -> int:
    async with served.client.get(f"/events/{handler_id}?sse=false&acquire_timeout=0") as response:
        return response.status


# -- Bounds ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("sse", "heartbeat"), [("true", b": heartbeat\n"), ("false", b" ")])
async def test_an_idle_stream_has_heartbeats(serve: Serve, sse: str, heartbeat: bytes) -> None:
    served = await serve(heartbeat=0.02)
    handler_id = await served.start("ask")
    async with served.client.get(f"/events/{handler_id}?sse={sse}&after_sequence=-1") as response:
        await asyncio.wait_for(response.content.readuntil(b"}\n\n" if sse == "true" else b"}\n"), 30)
        assert await asyncio.wait_for(response.content.readexactly(3 * len(heartbeat)), 30) == 3 * heartbeat
        answer = {"event": {"type": "Answered", "value": {"text": "yes"}}}
        assert (await served.post(f"/events/{handler_id}", json=answer))[0] == 200
        rest = await response.read()
    # They stand before a record, never in one, and not as a line or an event of their own.
    records = rest.split(b"\n\n" if sse == "true" else b"\n")
    assert records.pop() == b""
    for record in records:
        text = record.replace(heartbeat, b"") if sse == "true" else record.lstrip(heartbeat)
        assert text.startswith(b"id: " if sse == "true" else b"{")
        assert json.loads(text[text.index(b"{") :])


async def test_an_idle_stream_that_breaks_off_ends_in_blanks_alone(serve: Serve) -> None:
    served = await serve(heartbeat=0.02)
    handler_id = await served.start("ask")
    path = f"/events/{handler_id}?sse=false"
    broken_off = asyncio.create_task(served.raw(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode()))
    async with served.client.get(path) as beside:
        await asyncio.wait_for(beside.content.readuntil(b"}\n   "), 30)
        await served.runner.cleanup()
    _, end, rest = (await broken_off).partition(b"}\n")
    assert (end, rest.strip(b" ")) == (b"}\n", b"")


async def test_more_streams_than_allowed_are_429_until_one_ends(serve: Serve) -> None:
    served = await serve(max_streams=1)
    handler_id = await served.start("ask")
    done = await served.finish("count")
    async with served.client.get(f"/events/{handler_id}?sse=false&after_sequence=-1") as response:
        assert (await next_event(response))["type"] == "Asked"
        status, answer = await served.get(f"/events/{done}?{START}")
        assert status == 429
        assert "streams" in answer["detail"]
        await served.post(f"/handlers/{handler_id}/cancel")
        await response.read()
    assert (await read(served, done))[0] == 200


async def test_a_reader_that_does_not_read_is_cut_off_and_loses_nothing(serve: Serve) -> None:
    served = await serve(write_timeout=0.2, send_buffer=4_096)
    handler_id = await served.finish("count", n=2_000, text="x" * 2_000)
    path = f"/events/{handler_id}?sse=false&include_internal=true&acquire_timeout="
    with closing(socket.socket()) as stalled:
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        stalled.connect(("127.0.0.1", served.port))
        stalled.sendall(f"GET {path}1 HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert await asyncio.to_thread(stalled.recv, 1) == b"H"
        # Only a holder that was cut off lets the queue go: it would hold it until it has read everything.
        async with served.client.get(f"{path}60") as second:
            assert second.status == 200
            rest = lines_of(await second.text())
        got = await asyncio.to_thread(receive_all, stalled)
    numbers = [event["sequence"] for event in rest]
    assert numbers == list(range(numbers[0], numbers[-1] + 1))
    assert numbers[0] < 2_000
    assert rest[-1]["type"] == "CountedAll"
    # What counts as written out has left the process: the stalled reader finds it when it reads after all.
    read_late = [int(found) for found in re.findall(rb',"sequence":([0-9]+)\}\n', got)]
    assert read_late == list(range(len(read_late)))
    assert len(read_late) >= numbers[0]


def receive_all(connection: socket.socket) -> bytes:
    parts = []
    try:
        while part := connection.recv(65_536):
            parts.append(part)
    except ConnectionResetError:
        parts.append(b"")
    return b"".join(parts)


async def test_a_connection_whose_stream_has_ended_serves_the_next_request(served: Served) -> None:
    """ "Connection: close" would make a stream that breaks off look complete to fetch of Node.js."""
    handler_id = await served.finish("count", n=1)
    ask = f"GET /events/{handler_id}?sse=false HTTP/1.1\r\nHost: localhost\r\n"
    answers = await served.raw(f"{ask}\r\n{ask}Connection: close\r\n\r\n".encode())
    first, second = answers.split(b"0\r\n\r\n", 1)
    assert b"Connection:" not in first
    assert first.partition(b"\r\n\r\n")[2] == second.partition(b"\r\n\r\n")[2].removesuffix(b"0\r\n\r\n")


# -- Stopping --------------------------------------------------------------------------------------


async def test_no_client_takes_a_stop_for_the_end_of_the_stream(serve: Serve, tmp_path: Any) -> None:
    first = await serve(db=tmp_path / "runs.sqlite3")
    handler_id = await first.start("ask")
    async with first.client.get(f"/events/{handler_id}?sse=false&after_sequence=-1") as response:
        asked = await next_event(response)
        await first.runner.cleanup()
        with pytest.raises(ClientPayloadError):
            await response.read()
    second = await serve(db=tmp_path / "runs.sqlite3")
    query = f"sse=false&after_sequence={asked['sequence']}"
    async with second.client.get(f"/events/{handler_id}?{query}") as response:
        answer = {"event": {"type": "Answered", "value": {"text": "yes"}}}
        assert (await second.post(f"/events/{handler_id}", json=answer))[0] == 200
        events = lines_of(await response.text())
    assert all(event["sequence"] > asked["sequence"] for event in events)
    assert events[-1]["type"] == "StopEvent"


async def test_a_stop_does_not_wait_for_those_who_wait_for_the_queue(serve: Serve) -> None:
    served = await serve(max_streams=2)
    handler_id = await served.start("ask")
    async with served.client.get(f"/events/{handler_id}?sse=false&acquire_timeout=1") as holder:
        assert (await next_event(holder))["type"] == "Asked"
        reader, writer = await wait_for_the_queue(served, handler_id)
        await served.runner.cleanup()
        assert (await reader.readline()).split()[1] == b"503"
        writer.close()


async def test_a_stop_beneath_the_application_breaks_the_stream_off(served: Served) -> None:
    handler_id = await served.start("ask")
    async with served.client.get(f"/events/{handler_id}?sse=false&after_sequence=-1") as response:
        await next_event(response)
        await served.server.stop()
        with pytest.raises(ClientPayloadError):
            await response.read()
