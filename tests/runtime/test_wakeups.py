"""The scheduler of released runs."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from workflow_server.execution.clock import ServerClock
from workflow_server.runs.timers import Wakeups

CLOCK = ServerClock()


async def woken(plan: dict[str, float], forget: str | None = None, *, count: int) -> list[str]:
    order: list[str] = []
    enough = asyncio.Event()

    def wake(handler_id: str) -> None:
        order.append(handler_id)
        if len(order) >= count:
            enough.set()

    wakeups = Wakeups(wake, CLOCK)
    task = asyncio.create_task(wakeups.run(), name="wakeups")
    await asyncio.sleep(0)
    now = CLOCK.now()
    for handler_id, delay in plan.items():
        wakeups.schedule(handler_id, now + delay)
    if forget is not None:
        wakeups.forget(forget)
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

    def wake(handler_id: str) -> None:
        order.append(handler_id)
        if handler_id == "end":
            done.set()

    wakeups = Wakeups(wake, CLOCK)
    now = CLOCK.now()
    wakeups.schedule("moved", now + 30)
    wakeups.schedule("moved", now - 1)
    wakeups.schedule("end", now + 0.05)
    task = asyncio.create_task(wakeups.run(), name="wakeups")
    await asyncio.wait_for(done.wait(), 10)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert order == ["moved", "end"]


async def test_runs_that_are_loaded_and_released_over_and_over_do_not_let_the_heap_grow() -> None:
    order: list[str] = []
    done = asyncio.Event()

    def wake(handler_id: str) -> None:
        order.append(handler_id)
        if handler_id == "end":
            done.set()

    wakeups = Wakeups(wake, CLOCK)
    now = CLOCK.now()
    wakeups.schedule("end", now + 0.05)
    wakeups.schedule("first", now - 1)
    for _ in range(10_000):
        wakeups.schedule("again", now + 86_400)
        wakeups.forget("again")
    assert len(wakeups._heap) < 100
    task = asyncio.create_task(wakeups.run(), name="wakeups")
    await asyncio.wait_for(done.wait(), 10)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert order == ["first", "end"]


async def test_the_scheduler_ends_when_it_is_cancelled_together_with_a_new_deadline() -> None:
    for turns in range(6):
        wakeups = Wakeups(lambda _: None, CLOCK)
        wakeups.schedule("later", CLOCK.now() + 200)
        task = asyncio.create_task(wakeups.run(), name="wakeups")
        await asyncio.sleep(0.001)
        wakeups.schedule("late", CLOCK.now() + 100)
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=5)
        assert done, f"it took no heed of its cancellation {turns} turns after the deadline"
