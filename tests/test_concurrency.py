"""Work on many items leaves others their turn."""

from __future__ import annotations

import asyncio

from workflow_server.concurrency import SLICE, map_cooperatively


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
