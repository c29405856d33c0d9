"""The timers of released runs."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress

from workflow_server.execution.clock import ServerClock
from workflow_server.runs.timers import SPARE, Timers

CLOCK = ServerClock()


class Sleeping:
    """A run by its name."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.wake_at: float | None = None


async def woken(plan: dict[str, float], forget: str | None = None, *, count: int) -> list[str]:
    order: list[str] = []
    enough = asyncio.Event()

    def wake(run: Sleeping) -> None:
        order.append(run.name)
        if len(order) >= count:
            enough.set()

    timers = Timers[Sleeping](wake, CLOCK)
    task = asyncio.create_task(timers.run(), name="timers")
    await asyncio.sleep(0)
    now = CLOCK.now()
    runs = {name: Sleeping(name) for name in plan}
    for name, delay in plan.items():
        timers.schedule(runs[name], now + delay)
    if forget is not None:
        timers.forget(runs[forget])
    await asyncio.wait_for(enough.wait(), 10)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    return order


async def test_handlers_wake_in_the_order_of_their_deadlines() -> None:
    assert await woken({"late": 0.2, "early": 0.05, "past": -5}, count=3) == ["past", "early", "late"]


async def test_a_forgotten_handler_is_not_woken() -> None:
    assert await woken({"gone": 0.01, "kept": 0.05}, "gone", count=1) == ["kept"]


async def test_a_new_deadline_replaces_the_old_one() -> None:
    order: list[str] = []
    done = asyncio.Event()

    def wake(run: Sleeping) -> None:
        order.append(run.name)
        if run.name == "end":
            done.set()

    timers = Timers[Sleeping](wake, CLOCK)
    now = CLOCK.now()
    moved = Sleeping("moved")
    timers.schedule(moved, now + 30)
    timers.schedule(moved, now - 1)
    timers.schedule(Sleeping("end"), now + 0.05)
    task = asyncio.create_task(timers.run(), name="timers")
    await asyncio.wait_for(done.wait(), 10)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert order == ["moved", "end"]


async def test_runs_that_are_loaded_and_released_over_and_over_do_not_let_the_heap_grow() -> None:
    order: list[str] = []
    done = asyncio.Event()

    def wake(run: Sleeping) -> None:
        order.append(run.name)
        if run.name == "end":
            done.set()

    timers = Timers[Sleeping](wake, CLOCK)
    now = CLOCK.now()
    timers.schedule(Sleeping("end"), now + 0.05)
    timers.schedule(Sleeping("first"), now - 1)
    again = Sleeping("again")
    before = sys.getrefcount(again)
    for _ in range(10_000):
        timers.schedule(again, now + 86_400)
        timers.forget(again)
    assert sys.getrefcount(again) - before <= SPARE + 4
    assert len(timers) == 2
    task = asyncio.create_task(timers.run(), name="timers")
    await asyncio.wait_for(done.wait(), 10)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert order == ["first", "end"]


async def test_the_scheduler_ends_when_it_is_cancelled_together_with_a_new_deadline() -> None:
    for turns in range(6):
        timers = Timers[Sleeping](lambda _: None, CLOCK)
        timers.schedule(Sleeping("later"), CLOCK.now() + 200)
        task = asyncio.create_task(timers.run(), name="timers")
        await asyncio.sleep(0.001)
        timers.schedule(Sleeping("late"), CLOCK.now() + 100)
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=5)
        assert done, f"it took no heed of its cancellation {turns} turns after the deadline"
