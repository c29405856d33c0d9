"""Work on many items, and work that a cancelled caller waits for."""

from __future__ import annotations

import asyncio

import pytest

from workflow_server.concurrency import SLICE, map_cooperatively, run_to_completion


async def test_others_have_a_turn_after_each_slice_and_the_order_is_kept() -> None:
    turns: list[int] = []
    done: list[int] = []

    async def other() -> None:
        while True:
            turns.append(len(done))
            await asyncio.sleep(0)

    def double(number: int) -> int:
        done.append(number)
        return 2 * number

    task = asyncio.create_task(other())
    try:
        assert await map_cooperatively(double, range(4 * SLICE)) == list(range(0, 8 * SLICE, 2))
    finally:
        task.cancel()
    assert {SLICE, 2 * SLICE, 3 * SLICE} <= set(turns)


async def test_few_items_take_one_go() -> None:
    assert await map_cooperatively(str, [1, 2]) == ["1", "2"]
    assert await map_cooperatively(str, []) == []


async def test_work_is_ended_before_its_caller_is_told_of_any_cancellation() -> None:
    go_on, did = asyncio.Event(), []

    async def work() -> None:
        await go_on.wait()
        did.append("all of it")

    caller = asyncio.create_task(run_to_completion(work(), "work"), name="caller")
    for _ in range(3):
        await asyncio.sleep(0)
        caller.cancel()
    await asyncio.sleep(0)
    assert not caller.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert did == ["all of it"]


async def test_what_the_work_returns_or_raises_is_the_callers() -> None:
    async def divide(number: int) -> float:
        return 1 / number

    assert await run_to_completion(divide(2), "divide") == 0.5
    with pytest.raises(ZeroDivisionError):
        await run_to_completion(divide(0), "divide")


async def test_a_failure_that_nobody_waits_for_any_more_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        await asyncio.sleep(0.01)
        raise ValueError("broken")

    caplog.set_level("INFO", "workflow_server")
    caller = asyncio.create_task(run_to_completion(fail(), "the work"), name="caller")
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert "the work failed" in caplog.text
    assert "broken" in caplog.text
