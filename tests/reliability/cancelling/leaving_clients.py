"""Clients that leave in the middle of what they asked for, on a server that listens on a real socket."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from aiohttp import web

from tests.harness.runs import until
from tests.reliability.cancelling.instrumented_loop import LIMIT, Moment, Outcome, Point
from tests.reliability.cancelling.operation import IDLE, Http, Operation, last_event, told, work_done, workflows
from tests.store.fault_injection import HookedStore, Written
from tests.web.workflows import Count
from workflow_server.records import InboxPosted
from workflow_server.runs.manager import RuntimeManager
from workflow_server.server import WorkflowServer
from workflow_server.settings import Settings
from workflow_server.store.internal_records import Entry
from workflow_server.web.http_server.runner import HttpRunner
from workflow_server.web.state import STREAMS
from workflow_server.web.streaming.bounded_writer import reset

GONE = Outcome(Point(1, Moment.AT_ONCE), began=True, passed=True, reached=True, cancelled=True, answer=None, error=None)
"""The result for a client that left."""


class HeldCommit:
    """A hook that holds the writer at ``moment`` of the first commit with a record of this kind, until ``let_go``."""

    def __init__(self, moment: str, kind: type[Entry]) -> None:
        self.reached = asyncio.Event()
        self._moment = moment
        self._kind = kind
        self._let_go = threading.Event()
        self._loop = asyncio.get_running_loop()

    def __call__(self, moment: str, records: Sequence[Written]) -> None:
        if moment == self._moment and any(type(record) is self._kind for record in records):
            self._loop.call_soon_threadsafe(self.reached.set)
            assert self._let_go.wait(2 * LIMIT)

    def let_go(self) -> None:
        self._let_go.set()


class Client:
    """One connection to a server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def leave(self, *, politely: bool) -> None:
        """Close the connection, or break it off as a lost network does."""
        if politely:
            self.writer.close()
        else:
            assert isinstance(self.writer.transport, asyncio.Transport)
            reset(self.writer.transport)
        await asyncio.gather(self.writer.wait_closed(), return_exceptions=True)


class Listening(NamedTuple):
    """A server that listens."""

    server: WorkflowServer
    runner: web.AppRunner
    port: int

    @property
    def manager(self) -> RuntimeManager:
        return self.server._manager

    @property
    def store(self) -> HookedStore:
        assert isinstance(self.server._store, HookedStore)
        return self.server._store

    async def client(self) -> Client:
        return Client(*await asyncio.open_connection("127.0.0.1", self.port))

    async def is_at_work(self) -> None:
        """Return when the server has begun with a request."""
        server = self.runner.server
        assert server is not None
        await until(lambda: any(connection._current_request is not None for connection in server.connections))

    async def nobody_is_connected(self) -> None:
        """Return when the server has noticed that all its clients have left; it may be at work for them still."""
        server = self.runner.server
        assert server is not None
        await until(lambda: all(connection.transport is None for connection in server.connections))

    async def nothing_is_open(self) -> None:
        """Return when no stream, no wait and no connection is left."""
        server, streams = self.runner.server, self.server.app[STREAMS]
        assert server is not None
        await until(lambda: not server.connections and not streams._open and not streams._waits)


def raw(method: str, path: str, body: dict[str, Any] | None = None, key: str | None = None) -> bytes:
    """A request as it goes over the wire; the connection is closed after its answer."""
    data = b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "Connection: close", f"Content-Length: {len(data)}"]
    lines += [] if body is None else ["Content-Type: application/json"]
    lines += [] if key is None else [f"Idempotency-Key: {key}"]
    return "\r\n".join([*lines, "", ""]).encode() + data


def raw_post(asked: Http) -> bytes:
    """The POST that asks for it."""
    return raw("POST", asked.path, asked.body, asked.key)


@asynccontextmanager
async def listening(db: Path, *, handler_cancellation: bool) -> AsyncIterator[Listening]:
    """A server as ``serve`` runs it; or mounted by somebody who lets aiohttp cancel the handlers of who has left."""
    server = WorkflowServer(workflow_store=HookedStore(db), idle_timeout=IDLE, settings=Settings(grace_period=1.0))
    for name, workflow in {**workflows(), "count": Count()}.items():
        server.add_workflow(name, workflow)
    own = HttpRunner(server.app, max_connections=100)
    runner = web.AppRunner(server.app, handler_cancellation=True) if handler_cancellation else own
    await runner.setup()
    bound = socket.create_server(("127.0.0.1", 0))
    try:
        await (web.SockSite(runner, bound).start() if handler_cancellation else own.listen(bound))
        yield Listening(server, runner, bound.getsockname()[1])
    finally:
        await runner.cleanup()


async def leave_while_held(listening: Listening, operation: Operation, point: str, *, politely: bool) -> None:
    """Ask, leave while the commit is held at ``point``, and then hold what is there against the promises."""
    await operation.prepare()
    asked = operation.http()
    assert asked is not None
    held = HeldCommit(point, asked.held)
    listening.store.hook = held
    try:
        client = await listening.client()
        await client.send(raw_post(asked))
        await asyncio.wait_for(held.reached.wait(), LIMIT)
        beside = [asyncio.create_task(work, name="beside") for work in operation.beside()]
        await client.leave(politely=politely)
        await listening.nobody_is_connected()
    finally:
        held.let_go()
        listening.store.hook = None
    await asyncio.wait_for(asyncio.gather(*beside), LIMIT)
    await operation.check(GONE)


async def leave_in_the_body(listening: Listening, operation: Operation, where: int, chance: random.Random) -> None:
    """Send a part of the request, and leave: nothing of it was done. All of it: it was done, or not."""
    await operation.prepare()
    asked = operation.http()
    assert asked is not None
    data = raw_post(asked)
    # Without its body, a start would be one of a run without fields.
    head = data.index(b"\r\n\r\n") + 4
    size = (head, chance.randint(0, head), chance.randint(head, len(data)), len(data))[where % 4]
    client = await listening.client()
    await client.send(data[:size])
    if head <= size < len(data):
        await listening.is_at_work()
    await client.leave(politely=chance.random() < 0.5)
    await listening.nothing_is_open()
    await work_done(operation.manager)
    if size < len(data):
        scope = f"event:{operation.handler_id}" if asked.held is InboxPosted else "run:once"
        assert await listening.store.find_answer(scope, operation.tag) is None
    await asyncio.gather(*operation.beside())
    await operation.check(GONE)


async def leave_a_run(listening: Listening, *, politely: bool) -> None:
    """Leave while waiting for a run: the run goes on to its end, and nothing waits for it any more."""
    client = await listening.client()
    await client.send(raw("POST", "/workflows/listen/run", {}))
    await until(lambda: bool(listening.manager.runs.in_memory()))
    (handler_id,) = [run.handler_id for run in listening.manager.runs.in_memory()]
    assert listening.manager.footprint()["waits for ends"] == 1
    await client.leave(politely=politely)
    await listening.nothing_is_open()
    assert not listening.manager.footprint()["waits for ends"]
    await listening.manager.send(handler_id, told("last"), None, None)
    assert '"result":["last"]' in await last_event(listening.manager, handler_id)
