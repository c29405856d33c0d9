"""Live streams through real proxies, as docs/operations.md configures them: ``scripts/interop proxies``."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from tests.harness.server_process import DurableServer

HERE = Path(__file__).parent
TARGET = str(HERE / "ticking.py")
HEARTBEAT = 1.0
IDLE = 3
"""Seconds after which the proxies give up a connection on which nothing comes."""
AT_ONCE = 0.3
NOTICED = 0.8
"""Seconds within which the server notices that a connection was closed."""

pytestmark = [pytest.mark.timeout(300), pytest.mark.parametrize("sse", ["false", "true"], ids=["NDJSON", "SSE"])]


@dataclass(frozen=True)
class Proxy:
    """One of them, as ``proxies/NAME.conf`` configures it, and what cannot be had of it."""

    name: str
    command: tuple[str, ...]
    shows_broken_streams: bool = True
    """True if its client can tell a stream that broke off from one that has ended."""
    heartbeats: int = 0
    """Heartbeats after which it leaves, at most, when its client has left."""


PROXIES = (
    Proxy("nginx", ("nginx", "-c")),
    Proxy("nginx-default", ("nginx", "-c"), shows_broken_streams=False),
    Proxy("caddy", ("caddy", "run", "--adapter", "caddyfile", "--config"), shows_broken_streams=False),
    Proxy("haproxy", ("haproxy", "-f")),
    Proxy("apache2", ("apache2", "-D", "FOREGROUND", "-f"), heartbeats=3),
    Proxy("lighttpd", ("lighttpd", "-D", "-f"), heartbeats=2),
)


@dataclass(frozen=True)
class Behind:
    """A server behind a proxy."""

    server: DurableServer
    proxy: Proxy
    url: str

    def stream(self, handler_id: str, sse: str) -> str:
        return f"{self.url}/events/{handler_id}?sse={sse}"


@pytest_asyncio.fixture(params=PROXIES, ids=lambda proxy: proxy.name)
async def behind(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Behind]:
    proxy: Proxy = request.param
    if shutil.which(proxy.command[0]) is None:
        pytest.skip(f"there is no {proxy.command[0]} on this machine")
    options = ("--heartbeat", str(HEARTBEAT), "--max-streams", "1", "--grace-period", "0.5")
    async with DurableServer(tmp_path, TARGET, *options) as server:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port: int = free.getsockname()[1]
        process = begin(proxy, {"PORT": port, "UPSTREAM": server.port, "IDLE": IDLE, "FOLDER": tmp_path}, tmp_path)
        try:
            await listening(port, process)
            yield Behind(server, proxy, f"http://127.0.0.1:{port}")
        except BaseException as error:
            error.add_note((tmp_path / "proxy.log").read_text())
            raise
        finally:
            process.terminate()
            await asyncio.to_thread(process.wait, 20)


def begin(proxy: Proxy, values: dict[str, object], folder: Path) -> subprocess.Popen[bytes]:
    text = (HERE / "proxies" / f"{proxy.name}.conf").read_text()
    for name, value in values.items():
        text = text.replace(f"@{name}@", str(value))
    # Apache's workers are another user.
    folder.chmod(0o755)
    config = folder / "proxy.conf"
    config.write_text(text)
    with (folder / "proxy.log").open("w") as log:
        return subprocess.Popen([*proxy.command, str(config)], stdout=log, stderr=log, cwd=folder)


async def listening(port: int, process: subprocess.Popen[bytes]) -> None:
    async with asyncio.timeout(10):
        while True:
            assert process.poll() is None, "the proxy has ended"
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return


async def ticks(response: aiohttp.ClientResponse, lines: list[tuple[float, dict[str, object]]]) -> None:
    """Read the stream to its end: each event, and when it came."""
    async for line in response.content:
        text = line.decode().strip().removeprefix("data: ")
        if text.startswith("{"):
            lines.append((time.time(), json.loads(text)))


async def test_events_come_at_once_through_long_pauses_and_the_stream_ends(behind: Behind, sse: str) -> None:
    handler = await behind.server.api.start("ticking", count=3, pause=IDLE + 1.5)
    lines: list[tuple[float, dict[str, object]]] = []
    async with behind.server.api.session.get(behind.stream(handler["handler_id"], sse)) as response:
        assert response.status == 200
        await ticks(response, lines)
    events = [event for _, event in lines]
    assert [event["type"] for event in events] == ["Tick"] * 3 + ["StopEvent"]
    assert max(at - event["value"]["at"] for at, event in lines[:-1]) < AT_ONCE  # type: ignore[index]


async def test_a_client_that_leaves_an_idle_stream_frees_its_place(behind: Behind, sse: str) -> None:
    handler = await behind.server.api.start("ticking", count=1, pause=20)
    path = f"/events/{handler['handler_id']}?sse={sse}"
    async with aiohttp.ClientSession() as client, client.get(f"{behind.url}{path}") as response:
        await response.content.readuntil(b"}\n")
        async with behind.server.api.session.get(f"{behind.server.api.url}{path}") as second:
            assert second.status == 429
    left = time.monotonic()
    while True:
        async with behind.server.api.session.get(f"{behind.server.api.url}{path}") as second:
            if second.status == 200:
                break
        assert time.monotonic() < left + 10, "the server never learnt that the client had left"
        await asyncio.sleep(0.05)
    assert time.monotonic() - left < behind.proxy.heartbeats * HEARTBEAT + NOTICED


async def test_a_stream_that_breaks_off_looks_so(behind: Behind, sse: str) -> None:
    handler = await behind.server.api.start("ticking", count=1, pause=20)
    lines: list[tuple[float, dict[str, object]]] = []
    async with behind.server.api.session.get(behind.stream(handler["handler_id"], sse)) as response:
        await response.content.readuntil(b"}\n")
        stopping = asyncio.create_task(behind.server.stop())
        broken = False
        try:
            async with asyncio.timeout(15):
                await ticks(response, lines)
        except aiohttp.ClientPayloadError:
            broken = True
        assert await stopping == 0
    assert lines == []
    assert broken is behind.proxy.shows_broken_streams
