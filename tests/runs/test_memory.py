"""Memory of runs: what a run that only waits holds, and what is let go of when it is stored."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
import weakref

import pytest
from workflows import Context, Workflow, step
from workflows.events import HumanResponseEvent, StartEvent, StopEvent

from tests.harness.managing import Managing, uses_engine_loop
from tests.harness.waiting import until
from workflow_server.execution.session import RunSession
from workflow_server.protocol.handlers import RunRequest
from workflow_server.runs.manager import RuntimeManager

pytestmark = pytest.mark.skipif(uses_engine_loop(), reason="the engine's own loop holds more")

RUNS = 150
MOST = 18_000
"""Bytes that a waiting run may hold, by Python's own count: 15,700 were measured, and 36,500 where stored records and
events without a reader were kept."""


class Asking(Workflow):
    """Waits for a client."""

    waiting = 0

    @step
    async def ask(self, ctx: Context, ev: StartEvent) -> StopEvent:
        Asking.waiting += 1
        await ctx.wait_for_event(HumanResponseEvent)
        return StopEvent()


async def begin(manager: RuntimeManager, count: int) -> None:
    """Start runs, and return when all of them wait and what they wrote is stored."""
    before = Asking.waiting
    await asyncio.gather(*[manager.start("asking", RunRequest()) for _ in range(count)])
    await until(lambda: Asking.waiting == before + count, "the runs do not wait")
    for _ in range(20):
        await manager.store.flush()
    # The thread that commits holds the last batch until the next one, and on a busy machine all runs are in one.
    await manager.store.shift_clocks(0)
    gc.collect()


async def test_a_run_that_waits_in_memory_holds_little(managing: Managing) -> None:
    async with managing(asking=Asking()) as manager:
        await begin(manager, 20)
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            await begin(manager, RUNS)
            held = (tracemalloc.get_traced_memory()[0] - before) / RUNS
        finally:
            tracemalloc.stop()
    assert held < MOST


class Noting(Workflow):
    """Notes what it does in ``ctx.store``."""

    @step
    async def note(self, ctx: Context, ev: StartEvent) -> StopEvent:
        await ctx.store.set("noted", 1)
        ctx.write_event_to_stream(HumanResponseEvent())
        return StopEvent()


def parts(manager: RuntimeManager, handler_id: str) -> list[object]:
    """The session of a run that goes on, and all that it writes."""
    run = manager.runs.get(handler_id)
    assert run is not None
    session = run.session
    assert isinstance(session, RunSession)
    return [session, session.writer, session.writer.state, session.gate]


async def test_a_run_that_is_over_waits_for_no_garbage_collector(managing: Managing) -> None:
    """Its objects do not refer to each other in a circle: the collector would take an eighth of the time of runs."""
    async with managing(noting=Noting()) as manager:
        await manager.run("noting", RunRequest())
        gc.collect()
        gc.disable()
        try:
            begun = await manager.start("noting", RunRequest())
            left = [weakref.ref(part) for part in parts(manager, begun.handler_id)]
            await until(lambda: not any(part() for part in left), "something of a run that is over is still there")
        finally:
            gc.enable()
