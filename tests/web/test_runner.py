"""Connections: what is not HTTP, what nobody reads, and how many there may be."""

from __future__ import annotations

import asyncio
import json
import logging
import select
import socket
from contextlib import suppress
from typing import Any, ClassVar

import pytest
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from workflows import Workflow, step
from workflows.events import StartEvent, StopEvent

from tests.web.conftest import Serve
from workflow_server.execution.containment import contained
from workflow_server.web.http_server import runner

TOKEN = "secret-secret-secret"
AUTHORIZED = f"Host: localhost\r\nConnection: close\r\nAuthorization: Bearer {TOKEN}\r\n".encode()
CHUNKED = b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
BROKEN_CHUNK = b'13\r\n{"password":"hunter2"}XXX\r\n0\r\n\r\n'


def answers(raw: bytes) -> tuple[int, dict[str, str], object]:
    head, _, body = raw.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    return int(status.split()[1]), dict(line.lower().split(": ", 1) for line in lines), json.loads(body)


def unread(port: int, request: bytes) -> socket.socket:
    """A connection on which a request was sent, and nothing is read."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    connection.connect(("127.0.0.1", port))
    connection.sendall(request)
    return connection


async def is_dropped(connection: socket.socket) -> bool:
    """Return whether the server resets this connection; wait for it, and read nothing."""
    poll = select.poll()
    poll.register(connection, 0)
    with connection:
        return bool(await asyncio.to_thread(poll.poll, 30_000))


# -- What is not HTTP ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /handlers?q=hunter2 HTTP/1.1\r\n" + AUTHORIZED + b"X: \x01\r\n\r\n",
        b"POST /workflows/echo/run HTTP/1.1\r\n" + AUTHORIZED + CHUNKED + BROKEN_CHUNK,
        b"hunter2\r\n\r\n",
        b"GET /handlers?q=hunter2\r\n" + AUTHORIZED + b"\r\n",
        b"GET /" + b"x" * 9_000 + b" HTTP/1.1\r\n" + AUTHORIZED + b"\r\n",
    ],
)
async def test_what_is_no_http_is_400_in_json_and_repeated_nowhere(
    serve: Serve, request_bytes: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    served = await serve(tokens=(TOKEN,))
    with caplog.at_level(logging.DEBUG):
        status, headers, answer = answers(await served.raw(request_bytes))
    assert (status, answer) == (400, {"detail": "The request is not valid HTTP."})
    assert (headers["content-type"], headers["x-content-type-options"]) == ("application/json", "nosniff")
    assert TOKEN not in caplog.text
    assert "hunter2" not in caplog.text
    assert [record for record in caplog.records if record.levelno > logging.DEBUG] == []


async def test_a_body_behind_an_upgrade_is_never_taken_for_a_request(serve: Serve) -> None:
    served = await serve()
    hidden = b"POST /workflows/echo/run-nowait HTTP/1.1\r\nHost: localhost\r\n\r\n"
    upgrade = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    head = b"POST /nothing HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(hidden)
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(upgrade + head)
    answer = await asyncio.wait_for(reader.readuntil(b"}"), 30)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"\r\nConnection: close\r\n" in answer
    writer.write(hidden)
    # What comes before the server has closed the connection makes a reset of its end.
    with suppress(ConnectionResetError):
        assert await asyncio.wait_for(reader.read(), 30) == b""
    writer.close()
    assert await served.get("/handlers") == (200, {"handlers": []})


@pytest.mark.parametrize("sent", [b"", b"GET /heal", b"GET /health HTTP/1.1\r\nHost: localhost\r\n"])
async def test_a_request_that_does_not_come_is_not_waited_for(
    serve: Serve, sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "KEEPALIVE", 0.1)
    assert await (await serve()).raw(sent) == b""


async def test_an_unknown_expectation_is_417_after_the_other_checks(serve: Serve) -> None:
    served = await serve(tokens=(TOKEN,))
    expecting = b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nExpect: x\r\n"
    token = f"Authorization: Bearer {TOKEN}\r\n".encode()
    assert answers(await served.raw(b"GET /handlers" + expecting + b"\r\n"))[0] == 401
    for path in (b"/handlers", b"/nothing"):
        status, headers, answer = answers(await served.raw(b"GET " + path + expecting + token + b"\r\n"))
        assert (status, headers["content-type"]) == (417, "application/json")
        assert "100-continue" in str(answer)


async def test_100_continue_comes_only_where_the_body_is_wanted(serve: Serve) -> None:
    served = await serve(tokens=(TOKEN,))
    head = (
        b"POST /workflows/echo/run HTTP/1.1\r\n%sContent-Type: %s\r\nContent-Length: 2\r\nExpect: 100-Continue\r\n\r\n"
    )
    welcome = await served.raw(head % (AUTHORIZED, b"application/json") + b"{}")
    assert [line for line in welcome.split(b"\r\n") if line.startswith(b"HTTP/")] == [
        b"HTTP/1.1 100 Continue",
        b"HTTP/1.1 200 OK",
    ]
    refused = await served.raw(head % (AUTHORIZED, b"text/plain") + b"{}")
    assert refused.startswith(b"HTTP/1.1 415 ")
    refused = await served.raw(head % (b"Host: localhost\r\nConnection: close\r\n", b"application/json") + b"{}")
    assert refused.startswith(b"HTTP/1.1 401 ")


async def test_a_users_connection_error_is_500_in_json_and_logged(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    @web.middleware
    async def broken(request: web.Request, handler: Handler) -> web.StreamResponse:
        raise ConnectionRefusedError("cache.internal:6379")

    served = await serve(middlewares=[broken])
    assert await served.get("/workflows") == (500, {"detail": "Internal server error"})
    assert [record.getMessage() for record in caplog.records] == ["GET /workflows failed"]


# -- Steps that cancel tasks of others -------------------------------------------------------------


class CancelsEverything(Workflow):
    """A step that cancels every task there is, except those of the test."""

    spared: ClassVar[set[asyncio.Task[Any]]] = set()

    @step
    async def go(self, ev: StartEvent) -> StopEvent:
        for task in asyncio.all_tasks() - CancelsEverything.spared:
            task.cancel()
        return StopEvent()


async def test_a_step_that_cancels_all_tasks_breaks_no_request(serve: Serve) -> None:
    CancelsEverything.spared = asyncio.all_tasks()
    within = contained.set(object())
    served = await serve(workflows={"cancels": CancelsEverything(timeout=None)})
    contained.reset(within)
    run = b"POST /workflows/cancels/run HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    async with asyncio.timeout(30):
        for _ in range(2):
            writer.write(run + b"Content-Length: 2\r\n\r\n{}")
            answer = await reader.readuntil(b"in step go")
            assert b"CancelledError (cancelled from within, not by the server)" in answer
        writer.write(b"GET /health HTTP/1.1\r\n" + AUTHORIZED + b"\r\n")
        assert b"HTTP/1.1 200 " in await reader.read()
    writer.close()
    await writer.wait_closed()


# -- What nobody reads -----------------------------------------------------------------------------


async def test_an_answer_that_is_not_read_is_given_up(serve: Serve) -> None:
    @web.middleware
    async def long(request: web.Request, handler: Handler) -> web.StreamResponse:
        return web.Response(body=b" " * 20_000_000)

    served = await serve(middlewares=[long], write_timeout=0.1)
    assert await is_dropped(unread(served.port, b"GET /workflows HTTP/1.1\r\nHost: localhost\r\n\r\n"))


async def test_where_too_much_waits_the_oldest_answer_is_given_up(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "UNREAD", 30_000_000)

    @web.middleware
    async def long(request: web.Request, handler: Handler) -> web.StreamResponse:
        return web.Response(body=b" " * 20_000_000)

    served = await serve(middlewares=[long], write_timeout=3_600)
    first = unread(served.port, b"GET /workflows HTTP/1.1\r\nHost: localhost\r\n\r\n")
    # It waits once the first bytes of it have come.
    await asyncio.to_thread(first.recv, 1)
    second = unread(served.port, b"GET /workflows HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert await is_dropped(first)
    received = 0
    with second:
        while received < 20_000_000:
            received += len(await asyncio.to_thread(second.recv, 1_000_000))


async def test_an_answer_that_is_read_slowly_comes_to_its_end(serve: Serve) -> None:
    size = 4_000_000

    @web.middleware
    async def long(request: web.Request, handler: Handler) -> web.StreamResponse:
        return web.Response(body=b" " * size)

    served = await serve(middlewares=[long], write_timeout=0.5)
    loop = asyncio.get_running_loop()
    connection = unread(served.port, b"GET /workflows HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    connection.setblocking(False)
    received = 0
    with connection:
        # The pause is what is tested: together these take longer than an answer that stands still may.
        for _ in range(20):
            received += len(await loop.sock_recv(connection, 200_000))
            await asyncio.sleep(0.08)
        while part := await loop.sock_recv(connection, 1_000_000):
            received += len(part)
    assert received > size


async def test_a_list_of_handlers_that_is_not_read_is_given_up(serve: Serve) -> None:
    served = await serve(write_timeout=0.1)
    for _ in range(10):
        await served.finish("echo", text="x" * 1_000_000)
    assert await is_dropped(unread(served.port, b"GET /handlers HTTP/1.1\r\nHost: localhost\r\n\r\n"))


# -- Clients that leave ----------------------------------------------------------------------------


class Ends:
    """A middleware that tells when a request has been dealt with."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.ended = asyncio.Event()

    def middleware(self, path: str) -> Middleware:
        @web.middleware
        async def note(request: web.Request, handler: Handler) -> web.StreamResponse:
            if not request.path.startswith(path):
                return await handler(request)
            self.begun.set()
            try:
                return await handler(request)
            finally:
                self.ended.set()

        return note


async def test_a_run_whose_client_left_is_not_waited_for_and_goes_on(serve: Serve) -> None:
    ends = Ends()
    served = await serve(middlewares=[ends.middleware("/workflows/ask/run")])
    _, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(b"POST /workflows/ask/run HTTP/1.1\r\nHost: localhost\r\n\r\n")
    handlers: list[dict[str, object]] = []
    while not handlers:
        handlers = (await served.get("/handlers"))[1]["handlers"]
    writer.transport.abort()
    await asyncio.wait_for(ends.ended.wait(), 30)
    assert (await served.get(f"/handlers/{handlers[0]['handler_id']}"))[0] == 202


@pytest.mark.parametrize("mounted_elsewhere", [False, True])
async def test_a_reader_that_leaves_in_the_middle_is_no_error(
    serve: Serve, mounted_elsewhere: bool, caplog: pytest.LogCaptureFixture
) -> None:
    ends = Ends()
    served = await serve(
        middlewares=[ends.middleware("/events")], send_buffer=4_096, mounted_elsewhere=mounted_elsewhere
    )
    handler_id = await served.finish("count", n=2_000, text="x" * 1_000)
    # On a busy machine the step that publishes all this is told to block the event loop.
    caplog.clear()
    for _ in range(5):
        ends.ended.clear()
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(f"GET /events/{handler_id}?after_sequence=-1 HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        await asyncio.wait_for(reader.readexactly(1_000), 30)
        writer.transport.abort()
        await asyncio.wait_for(ends.ended.wait(), 30)
    # A later request on a connection of its own is dealt with after all that was left to log.
    await served.get("/health")
    assert [record for record in caplog.records if record.levelno > logging.DEBUG] == []


# -- How many --------------------------------------------------------------------------------------


async def test_a_connection_above_the_most_is_dropped_until_one_leaves(serve: Serve) -> None:
    served = await serve(max_connections=2)
    request = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"

    async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(request)
        return reader, writer

    async def is_served(reader: asyncio.StreamReader) -> bool:
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
            await reader.readexactly(len(b'{"status":"healthy"}'))
        except (ConnectionError, asyncio.IncompleteReadError):
            return False
        return head.startswith(b"HTTP/1.1 200")

    (first, first_writer), (second, second_writer) = await connect(), await connect()
    assert await is_served(first)
    assert await is_served(second)
    third, third_writer = await connect()
    assert not await is_served(third)
    first_writer.close()
    await first_writer.wait_closed()
    fourth, fourth_writer = await connect()
    while not await is_served(fourth):
        fourth_writer.close()
        fourth, fourth_writer = await connect()
    second_writer.write(request)
    assert await is_served(second)
    for writer in (second_writer, third_writer, fourth_writer):
        writer.close()
