"""A real server on a real port, in the test's own event loop."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from aiohttp import ClientSession, web
from aiohttp.typedefs import Middleware
from workflows import Workflow

from tests.web.workflows import Answered, Ask, Count, Echo, Fail
from workflow_server.server import WorkflowServer
from workflow_server.settings import Settings
from workflow_server.store.sqlite.store import SqliteWorkflowStore
from workflow_server.web.http_server.runner import HttpRunner

JSON_TYPE = {"Content-Type": "application/json"}


class Served(NamedTuple):
    """A server, where it listens, and a client that speaks to it."""

    server: WorkflowServer
    runner: web.AppRunner
    port: int
    client: ClientSession

    async def start(self, workflow: str, **fields: Any) -> str:
        """Start a run; its handler's id."""
        async with self.client.post(f"/workflows/{workflow}/run-nowait", json={"start_event": fields}) as response:
            assert response.status == 200, await response.text()
            return str((await response.json())["handler_id"])

    async def finish(self, workflow: str, **fields: Any) -> str:
        """Start a run and wait for its end; its handler's id."""
        async with self.client.post(f"/workflows/{workflow}/run", json={"start_event": fields}) as response:
            return str((await response.json())["handler_id"])

    async def get(self, path: str, **options: Any) -> tuple[int, Any]:
        """The status and the JSON that a GET is answered with."""
        async with self.client.get(path, **options) as response:
            return response.status, await response.json()

    async def post(self, path: str, **options: Any) -> tuple[int, Any]:
        """The status and the JSON that a POST is answered with."""
        async with self.client.post(path, **options) as response:
            return response.status, await response.json()

    async def raw(self, request: bytes) -> bytes:
        """All that the server answers to these bytes, until it closes the connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(request)
            await writer.drain()
            return await asyncio.wait_for(reader.read(), 30)
        finally:
            writer.close()
            await writer.wait_closed()


Serve = Callable[..., Awaitable[Served]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Start servers; each has the tests' workflows, and a store in memory or in ``db``."""
    async with AsyncExitStack() as stack:

        async def start(
            db: Path | None = None,
            middlewares: Sequence[Middleware] = (),
            max_connections: int = 1_000,
            mounted_elsewhere: bool = False,
            workflows: Mapping[str, Workflow] | None = None,
            tls: ssl.SSLContext | None = None,
            **settings: Any,
        ) -> Served:
            server = WorkflowServer(
                workflow_store=SqliteWorkflowStore(str(db) if db is not None else ":memory:"),
                middlewares=middlewares,
                settings=Settings(**settings),
            )
            for kind in (Count, Echo, Fail):
                server.add_workflow(kind.__name__.lower(), kind())
            server.add_workflow("ask", Ask(timeout=None), additional_events=[Answered])
            for name, workflow in (workflows or {}).items():
                server.add_workflow(name, workflow)
            own = HttpRunner(server.app, max_connections=max_connections)
            runner = web.AppRunner(server.app, shutdown_timeout=5.0) if mounted_elsewhere else own
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            bound = socket.create_server(("127.0.0.1", 0))
            await (web.SockSite(runner, bound).start() if mounted_elsewhere else own.listen(bound, tls))
            port = runner.addresses[0][1]
            scheme = "http" if tls is None else "https"
            client = await stack.enter_async_context(ClientSession(f"{scheme}://127.0.0.1:{port}"))
            return Served(server, runner, port, client)

        yield start


@pytest.fixture
async def served(serve: Serve) -> Served:
    """A server with the settings that it has by default."""
    return await serve()
