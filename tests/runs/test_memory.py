"""Memory of runs: what a run that only waits holds, and what is let go of when it is stored."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc

from workflows import Context, Workflow, step
from workflows.events import HumanResponseEvent, StartEvent, StopEvent

from tests.harness.managing import Managing
from tests.harness.waiting import until
from workflow_server.protocol.handlers import RunRequest
from workflow_server.runs.manager import RuntimeManager

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
