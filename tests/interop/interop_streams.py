"""Real consumers read live streams, with heartbeats in them, from a real server: ``scripts/interop``."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytest_asyncio

from tests.harness.server_process import DurableServer
from tests.interop.consumers import CONSUMERS, Consumer, Environments
from tests.interop.table import Seen

TARGET = str(Path(__file__).parent / "ticking.py")
HEARTBEAT = "0.1"
COUNT, PAUSE = 4, 0.5
AT_ONCE = 0.3
"""Seconds within which an event is there at once, on a machine that does other things beside."""

pytestmark = pytest.mark.timeout(300)


class Line(NamedTuple):
    """An event that a consumer printed, and the time at which it did."""

    at: float
    event: dict[str, Any]


class Reading:
    """A consumer that reads a run."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[Line] = []
        self.first = asyncio.Event()
        self._task = asyncio.create_task(self._read(), name="read what a consumer prints")

    @classmethod
    async def begin(cls, environments: Environments, consumer: Consumer, url: str) -> Reading:
        command, folder = await asyncio.to_thread(environments.command, consumer, url)
        pipe = asyncio.subprocess.PIPE
        return cls(await asyncio.create_subprocess_exec(*command, cwd=folder, stdout=pipe, stderr=pipe, limit=2**20))

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.lines.append(Line(time.time(), json.loads(line)))
            self.first.set()

    async def end(self, timeout: float) -> int | None:
        """The exit code; None for one that had not ended by then, and was killed."""
        try:
            async with asyncio.timeout(timeout):
                await self._task
                return await self.process.wait()
        except TimeoutError:
            self.process.kill()
            await self.process.wait()
            return None

    async def said(self) -> str:
        assert self.process.stderr is not None
        return (await self.process.stderr.read()).decode()[-2_000:]


@pytest.fixture(params=CONSUMERS, ids=lambda consumer: consumer.pin)
def consumer(request: pytest.FixtureRequest, environments: Environments, seen: Seen) -> Consumer:
    known: Consumer = request.param
    missing = environments.missing(known)
    if missing is not None:
        pytest.skip(f"there is no {missing} on this machine")
    seen.setdefault(known, {})["version"] = environments.version(known)
    return known


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[DurableServer]:
    async with DurableServer(tmp_path, TARGET, "--heartbeat", HEARTBEAT, "--grace-period", "0.5") as server:
        yield server


async def begin(
    server: DurableServer, environments: Environments, consumer: Consumer, **start: Any
) -> tuple[str, Reading]:
    """A run, and the consumer that reads it. Its environment is made before the run begins."""
    await asyncio.to_thread(environments.command, consumer, "")
    handler_id = (await server.api.start("ticking", **start))["handler_id"]
    url = f"{server.api.url}/events/{handler_id}?sse={str(consumer.sse).lower()}"
    return handler_id, await Reading.begin(environments, consumer, url)


async def test_a_live_stream_with_heartbeats_is_read_whole(
    server: DurableServer, environments: Environments, consumer: Consumer, seen: Seen
) -> None:
    handler_id, reading = await begin(server, environments, consumer, count=COUNT, pause=PAUSE)
    code = await reading.end(60)
    assert code == 0, await reading.said()
    events = await server.api.events(handler_id)
    assert [told(line.event["value"]) for line in reading.lines] == [told(event.value) for event in events]
    sequences = [line.event["sequence"] for line in reading.lines if "sequence" in line.event]
    assert sequences in ([event.sequence for event in events], [])
    # Of those that came when it had begun to read: who waits for the end gets even the last one late.
    late = min(line.at - line.event["value"]["at"] for line in reading.lines[:-1])
    seen[consumer]["events"] = "at once" if late < AT_ONCE else "at the end" if late >= PAUSE else f"{late:.1f} s later"


def told(value: dict[str, Any]) -> dict[str, Any]:
    """The fields of an event; tables fill the columns of those that an event does not have."""
    return {
        name: field
        for name, field in value.items()
        if field is not None and not (isinstance(field, float) and math.isnan(field))
    }


async def test_a_stream_that_breaks_off_gives_nothing_that_was_not_sent(
    server: DurableServer, environments: Environments, consumer: Consumer, seen: Seen
) -> None:
    """The server is started anew, and a step begins again. A consumer's reaction to that is its own affair."""
    handler_id, reading = await begin(server, environments, consumer, count=1, pause=3)
    # A consumer that waits for the whole has begun by then, and prints nothing.
    with suppress(TimeoutError):
        async with asyncio.timeout(2):
            await reading.first.wait()
    port = server.port
    assert await server.stop() == 0
    await server.start(port=str(port))
    log = await server.api.events(handler_id)
    code = await reading.end(4)
    got = [told(line.event["value"]) for line in reading.lines]
    assert got == [told(event.value) for event in log][: len(got)]
    broken = "comes back" if len(got) == len(log) else "asks for ever" if code is None else "is an error"
    seen[consumer]["broken"] = "looks complete" if code == 0 and len(got) < len(log) else broken
