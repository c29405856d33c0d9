"""Long runs: the last steps of a run hold no more in memory, and write no more, than the first."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
from workflows import Context, Workflow, step
from workflows.events import Event, HumanResponseEvent, StartEvent, StopEvent

from tests.harness.managing import Managing
from tests.harness.waiting import until
from workflow_server.execution import routing
from workflow_server.execution.engine import loop
from workflow_server.protocol.handlers import RunRequest
from workflow_server.records import EventAppended, Record, SnapshotTaken, StatePatched, StateReplaced, TickAppended
from workflow_server.runs.manager import RuntimeManager

WARM = 300
STEPS = 1_500
MOST = 60
"""Bytes that a step may leave behind: a delivery that was kept took 250, a timeout 900."""


class Turn(Event):
    n: int


class Measures:
    """The memory in use, and the records written, at the end of the first steps and of all."""

    def __init__(self) -> None:
        self.memory: dict[int, int] = {}
        self.written: dict[int, Counter[type]] = {}
        self.snapshots: list[int] = []
        self._records: Counter[type] = Counter()

    def listen(self, records: Sequence[Record]) -> None:
        self._records.update(map(type, records))
        self.snapshots += [len(record.data) for record in records if isinstance(record, SnapshotTaken)]

    def take(self, n: int) -> None:
        """Measure at this step, the first time that it comes there."""
        if n not in self.memory:
            gc.collect()
            self.memory[n] = tracemalloc.get_traced_memory()[0]
            self.written[n] = Counter(self._records)

    def left_behind(self, first: int, last: int) -> float:
        """Return the bytes that each step between these two has left behind."""
        return (self.memory[last] - self.memory[first]) / (last - first)


class Looping(Workflow):
    """One step after the other, each of which changes the state."""

    def __init__(self, measures: Measures) -> None:
        super().__init__(timeout=None)
        self.measures = measures

    @step
    async def turn(self, ctx: Context, ev: StartEvent | Turn) -> Turn | StopEvent:
        n = ev.n if isinstance(ev, Turn) else 0
        if n in (WARM, STEPS):
            self.measures.take(n)
        await ctx.store.set("n", n)
        return Turn(n=n + 1) if n < STEPS else StopEvent()


class Asking(Workflow):
    """One wait for a client after the other, each with a timeout."""

    def __init__(self, measures: Measures, waits: int) -> None:
        super().__init__(timeout=None)
        self.measures = measures
        self.waits = waits
        self.begun = -1
        self.begins = asyncio.Semaphore(0)

    @step
    async def turn(self, ctx: Context, ev: StartEvent | Turn) -> Turn | StopEvent:
        n = ev.n if isinstance(ev, Turn) else 0
        if n > self.begun:
            self.begun = n
            self.begins.release()
        await ctx.wait_for_event(HumanResponseEvent, waiter_id=f"wait {n}")
        if n in (self.waits // 2, self.waits):
            self.measures.take(n)
        return Turn(n=n + 1) if n < self.waits else StopEvent()


@contextmanager
def traced() -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()


async def completed(manager: RuntimeManager, handler_id: str) -> None:
    """Return when the run has completed. It is not read: recent events are kept for readers."""
    await until(lambda: manager.runs.get(handler_id) is None, "the run does not end")
    assert (await manager.get_handler(handler_id)).status == "completed"


@pytest.mark.slow
async def test_the_last_steps_of_a_run_hold_and_write_what_the_first_do(managing: Managing) -> None:
    measures = Measures()
    with traced():
        async with managing(loop=Looping(measures)) as manager:
            manager.store.subscribe(measures.listen)
            handler = await manager.start("loop", RunRequest())
            await completed(manager, handler.handler_id)
    assert measures.left_behind(WARM, STEPS) < MOST
    written = measures.written[STEPS] - measures.written[WARM]
    assert written[TickAppended] == written[EventAppended] == 2 * (STEPS - WARM)
    assert written[StatePatched] == STEPS - WARM
    assert written[SnapshotTaken] + written[StateReplaced] < (STEPS - WARM) // 60
    # A snapshot may have the results of a few steps.
    assert max(measures.snapshots) <= measures.snapshots[0] + 700


async def answer(manager: RuntimeManager, handler_id: str, asking: Asking) -> None:
    """Answer all waits of a run, each when its step has begun."""
    for _ in range(asking.waits + 1):
        await asking.begins.acquire()
        await manager.send(handler_id, {"type": "HumanResponseEvent", "value": {}}, None, None, hold=True)


@pytest.mark.slow
async def test_waits_that_are_over_and_taken_events_are_forgotten(
    managing: Managing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routing, "FEW", 8)
    monkeypatch.setattr(loop, "MANY_WAKEUPS", 8)
    monkeypatch.setattr(loop.ObservedLoop, "most_wakeups", 8)
    measures = Measures()
    asking = Asking(measures, 400)
    with traced():
        async with managing(ask=asking) as manager:
            handler = await manager.start("ask", RunRequest())
            await answer(manager, handler.handler_id, asking)
            await completed(manager, handler.handler_id)
    assert measures.left_behind(200, 400) < 5 * MOST
