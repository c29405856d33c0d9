"""Children that a step forks share nothing of the server: they neither hold its lock, its port and its clients, nor
go on as it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing, suppress
from pathlib import Path

import aiohttp
import pytest

from tests.end_to_end.targets.forks import KINDS
from tests.harness.server_process import DurableServer


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[DurableServer]:
    """A server whose steps make children."""
    async with DurableServer(tmp_path, "forks.py", "--heartbeat", "60") as server:
        yield server


async def test_children_that_outlive_the_server_hold_nothing_of_it(
    server: DurableServer,
) -> None:
    kinds = [(kind, thread) for kind in KINDS for thread in (False, True)]
    handlers = [(await server.api.start("forks", kind=kind, thread=thread))["handler_id"] for kind, thread in kinds]
    reached, ended = asyncio.Barrier(len(handlers) + 1), asyncio.Event()

    async def children(handler_id: str) -> list[int]:
        url = f"{server.api.url}/events/{handler_id}"
        async with server.api.session.get(url, params={"sse": "false", "after_sequence": "-1"}) as response:
            pids: list[int] = json.loads(await response.content.readline())["value"]["pids"]
            await reached.wait()
            await ended.wait()
            async with asyncio.timeout(5):
                with pytest.raises(aiohttp.ClientError):
                    await response.content.read()
            return pids

    reading = asyncio.gather(*map(children, handlers))
    port = server.port
    await reached.wait()
    await server.kill()
    ended.set()
    pids = [pid for found in await reading for pid in found]
    try:
        assert all(map(_lives, pids))
        server.environment["FORKS_REST"] = "1"
        await server.start(port=str(port))
        assert await asyncio.gather(*map(server.api.result, handlers)) == ["done"] * len(handlers)
        assert all(map(_lives, pids))
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _lives(pid: int) -> bool:
    state = Path(f"/proc/{pid}/stat")
    return state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z"


async def test_a_child_that_comes_back_into_the_loop_is_ended_there(server: DurableServer) -> None:
    for way in ("return", "raise", "exit", "wait", "thread"):
        beside = [await server.api.start("terminates") for _ in range(2)]
        handler = await server.api.start("forks_and_returns", way=way)
        assert await server.api.result(handler["handler_id"]) == 70, way
        events = await server.api.events(handler["handler_id"])
        assert [event.type for event in events] == ["StopEvent"], way
        assert [await server.api.result(other["handler_id"]) for other in beside] == [True] * 2, way
    assert server.log_tail().count("returned to the server's event loop") == 5


async def test_a_child_that_closes_connections_leaves_the_database_alone(server: DurableServer) -> None:
    for _ in range(3):
        handler = await server.api.start("forks_and_closes")
        assert await server.api.result(handler["handler_id"]) > 0
    assert server.db.with_name(server.db.name + "-wal").stat().st_size > 0
    await server.restart()
    assert (await server.api.handler(handler["handler_id"]))["status"] == "completed"
    assert await server.stop() == 0
    with closing(sqlite3.connect(server.db)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def test_a_signal_to_a_child_is_the_childs_and_not_the_servers(server: DurableServer) -> None:
    handler = await server.api.start("terminates")
    assert await server.api.result(handler["handler_id"]) is True
    assert (await server.api.call("GET", "/health"))[0] == 200
    assert "Stopping" not in server.log_tail()
