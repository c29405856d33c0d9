"""Durable three-step runs a second and streamed events a second, each beside the bare engine in the same minute.

Absolute figures depend on the machine and on what else it does: quote the ratios. The load comes from this process,
the server is another one, as it is served.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
from workflows import Context, Workflow, step
from workflows.events import Event, StartEvent, StopEvent

CLIENTS = 32


class First(Event):
    """From the first step to the second."""


class Second(Event):
    """From the second step to the third."""


class Progress(Event):
    """An event that each step publishes."""

    step: str


class Tick(Event):
    """One of many events of a stream."""

    n: int


class ThreeSteps(Workflow):
    """One published event and one state write a step."""

    @step
    async def one(self, ctx: Context, ev: StartEvent) -> First:
        ctx.write_event_to_stream(Progress(step="one"))
        await ctx.store.set("one", 1)
        return First()

    @step
    async def two(self, ctx: Context, ev: First) -> Second:
        ctx.write_event_to_stream(Progress(step="two"))
        await ctx.store.set("two", 2)
        return Second()

    @step
    async def three(self, ctx: Context, ev: Second) -> StopEvent:
        ctx.write_event_to_stream(Progress(step="three"))
        await ctx.store.set("three", 3)
        return StopEvent(result="done")


class Chatter(Workflow):
    """Publishes as many events as it is asked for."""

    @step
    async def talk(self, ctx: Context, ev: StartEvent) -> StopEvent:
        for n in range(ev.get("count", 1_000)):
            ctx.write_event_to_stream(Tick(n=n))
            if n % 100 == 99:
                await asyncio.sleep(0)
        return StopEvent(result="done")


three_steps = ThreeSteps(timeout=300)
chatter = Chatter(timeout=300)


@contextmanager
def served(folder: str) -> Iterator[str]:
    """The address of a server of these workflows."""
    command = [sys.executable, "-m", "workflow_server", "serve", __file__, "--port", "0", "--log-level", "warning"]
    process = subprocess.Popen(
        [*command, "--db", str(Path(folder) / "bench.sqlite3")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().split()[-1]
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


async def durable_runs(session: aiohttp.ClientSession, total: int) -> float:
    """Runs a second: each client starts a run, waits for its result, and starts the next."""

    async def client(count: int) -> None:
        for _ in range(count):
            async with session.post("/workflows/three_steps/run", json={}) as answer:
                assert answer.status == 200, await answer.text()
                await answer.read()

    return await _rate(lambda count: client(count), total)


async def bare_runs(total: int) -> float:
    """Runs a second of the engine alone, in this process, its events read."""
    workflow = ThreeSteps(timeout=300)

    async def client(count: int) -> None:
        for _ in range(count):
            handler = workflow.run()
            async for _event in handler.stream_events():
                continue
            await handler

    return await _rate(lambda count: client(count), total)


async def _rate(client: object, total: int) -> float:
    assert callable(client)
    start = time.perf_counter()
    await asyncio.gather(*(client(total // CLIENTS) for _ in range(CLIENTS)))
    return (total // CLIENTS) * CLIENTS / (time.perf_counter() - start)


async def streamed_events(session: aiohttp.ClientSession, count: int, *, live: bool) -> float:
    """Events a second to one NDJSON reader: while they are published, or from the log."""
    async with session.post("/workflows/chatter/run-nowait", json={"start_event": {"count": count}}) as answer:
        handler_id = (await answer.json())["handler_id"]
    if not live:
        await _read(session, handler_id)
    start = time.perf_counter()
    assert await _read(session, handler_id) == count + 1
    return count / (time.perf_counter() - start)


async def _read(session: aiohttp.ClientSession, handler_id: str) -> int:
    lines = 0
    query = {"sse": "false", "after_sequence": "-1"}
    async with session.get(f"/events/{handler_id}", params=query) as stream:
        async for chunk in stream.content.iter_any():
            lines += chunk.count(b'"sequence":')
    return lines


async def bare_events(count: int) -> float:
    """Events a second of the engine alone."""
    start = time.perf_counter()
    handler = Chatter(timeout=300).run(count=count)
    async for _event in handler.stream_events():
        continue
    await handler
    return count / (time.perf_counter() - start)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


async def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--runs", type=_positive, default=1_600, help="three-step runs of each side a round")
    parser.add_argument("--events", type=_positive, default=30_000, help="streamed events of each side a round")
    parser.add_argument("--rounds", type=_positive, default=3, help="rounds; each is printed")
    options = parser.parse_args()
    base = os.environ.get("TMPDIR") or tempfile.gettempdir()
    with tempfile.TemporaryDirectory(dir=base) as folder, served(folder) as address:
        async with aiohttp.ClientSession(address, timeout=aiohttp.ClientTimeout(total=600)) as session:
            await durable_runs(session, 64)
            for number in range(1, options.rounds + 1):
                runs, bare = await durable_runs(session, options.runs), await bare_runs(options.runs)
                live = await streamed_events(session, options.events, live=True)
                replay = await streamed_events(session, options.events, live=False)
                alone = await bare_events(options.events)
                print(f"round {number}: {runs:,.0f} durable runs/s, bare engine {bare:,.0f} ({runs / bare:.2f})")
                print(f"round {number}: {live:,.0f} events/s live, bare engine {alone:,.0f} ({live / alone:.2f})")
                print(f"round {number}: {replay:,.0f} events/s from the log", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
