"""The timers of released runs."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from workflow_server.execution.clock import ServerClock
from workflow_server.runs.timers import SPARE, Timers

CLOCK = ServerClock()


class Sleeping:
    """A run by its name."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.wake_at: float | None = None


class Bell:
    """Timers, and the names of the runs that they wake."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self.timers = Timers[Sleeping](self._wake, CLOCK)
        self._rung = asyncio.Event()

    def _wake(self, run: Sleeping) -> None:
        self.order.append(run.name)
        self._rung.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Let the timers run."""
        task = asyncio.create_task(self.timers.run(), name="timers")
        await asyncio.sleep(0)
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return when the condition holds, which is looked at whenever a run wakes."""
        async with asyncio.timeout(10):
            while not condition():
                self._rung.clear()
                await self._rung.wait()


async def woken(plan: dict[str, float], forget: str | None = None, *, count: int) -> list[str]:
    bell = Bell()
    async with bell.running():
        now = CLOCK.now()
        runs = {name: Sleeping(name) for name in plan}
        for name, delay in plan.items():
            bell.timers.schedule(runs[name], now + delay)
        if forget is not None:
            bell.timers.forget(runs[forget])
        await bell.until(lambda: len(bell.order) >= count)
    return bell.order


async def test_handlers_wake_in_the_order_of_their_deadlines() -> None:
    assert await woken({"late": 0.2, "early": 0.05, "past": -5}, count=3) == ["past", "early", "late"]


async def test_a_forgotten_handler_is_not_woken() -> None:
    assert await woken({"gone": 0.01, "kept": 0.05}, "gone", count=1) == ["kept"]


async def test_a_new_deadline_replaces_the_old_one() -> None:
    bell = Bell()
    timers = bell.timers
    now = CLOCK.now()
    moved = Sleeping("moved")
    timers.schedule(moved, now + 30)
    timers.schedule(moved, now - 1)
    timers.schedule(Sleeping("end"), now + 0.05)
    async with bell.running():
        await bell.until(lambda: "end" in bell.order)
    assert bell.order == ["moved", "end"]


async def test_runs_loaded_and_released_again_and_again_grow_no_heap() -> None:
    bell = Bell()
    timers = bell.timers
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
    async with bell.running():
        await bell.until(lambda: "end" in bell.order)
    assert bell.order == ["first", "end"]


async def test_the_scheduler_ends_though_a_deadline_comes_with_its_end() -> None:
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
