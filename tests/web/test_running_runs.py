"""The limit of runs that have not ended: exact at any concurrency, and no obstacle to what was answered before."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from workflows import Workflow, step
from workflows.events import StartEvent, StopEvent

from tests.harness.waiting import until_seen
from tests.web.conftest import Serve, Served


class Stubborn(Workflow):
    """Has a step that does not end when it is cancelled."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.begun, self.let_go = asyncio.Event(), asyncio.Event()

    @step
    async def stay(self, ev: StartEvent) -> StopEvent:
        self.begun.set()
        while not self.let_go.is_set():
            with suppress(asyncio.CancelledError):
                await self.let_go.wait()
        return StopEvent()


ANSWER = {"event": {"type": "Answered", "value": {"text": "yes"}}}


async def start(served: Served, key: str | None = None) -> tuple[int, dict[str, str]]:
    headers = {} if key is None else {"Idempotency-Key": key}
    async with served.client.post("/workflows/ask/run-nowait", headers=headers) as response:
        if response.status == 429:
            assert int(response.headers["Retry-After"]) >= 1
        return response.status, await response.json()


async def running(served: Served) -> list[str]:
    _, found = await served.get("/handlers?status=running")
    return [handler["handler_id"] for handler in found["handlers"]]


async def test_of_many_starts_at_once_exactly_the_limit_begins(serve: Serve) -> None:
    served = await serve(max_running_runs=7)
    statuses = Counter(status for status, _ in await asyncio.gather(*(start(served) for _ in range(40))))
    assert statuses == {200: 7, 429: 33}
    assert len(await running(served)) == 7


async def test_of_handlers_continued_at_once_exactly_the_limit_goes_on(serve: Serve) -> None:
    served = await serve(max_running_runs=2)
    ended = []
    for _ in range(8):
        _, handler = await start(served)
        assert (await served.post(f"/events/{handler['handler_id']}", json=ANSWER))[0] == 200
        ended.append(handler["handler_id"])

        async def is_over(handler_id: str = handler["handler_id"]) -> bool:
            return (await served.get(f"/handlers/{handler_id}"))[0] == 200

        await until_seen(is_over, "the run did not end")

    async def go_on(handler_id: str) -> int:
        return (await served.post("/workflows/ask/run-nowait", json={"handler_id": handler_id}))[0]

    assert Counter(await asyncio.gather(*map(go_on, ended))) == {200: 2, 429: 6}
    assert len(await running(served)) == 2


async def test_a_cancelled_run_holds_no_place_though_its_step_goes_on(serve: Serve) -> None:
    stubborn = Stubborn(timeout=None)
    served = await serve(max_running_runs=1, workflows={"stubborn": stubborn})
    _, handler = await served.post("/workflows/stubborn/run-nowait")
    await asyncio.wait_for(stubborn.begun.wait(), 30)
    assert (await served.post(f"/handlers/{handler['handler_id']}/cancel"))[0] == 200
    assert (await start(served))[0] == 200
    assert (await start(served))[0] == 429
    stubborn.let_go.set()


async def test_each_end_makes_room_for_one(serve: Serve) -> None:
    served = await serve(max_running_runs=3)
    for _ in range(3):
        assert (await start(served))[0] == 200
    status, answer = await start(served)
    assert (status, "nothing was started" in answer["detail"]) == (429, True)
    first, second, _ = await running(served)
    assert (await served.post(f"/handlers/{first}/cancel"))[0] == 200
    assert [status for status, _ in await asyncio.gather(*(start(served) for _ in range(5)))].count(200) == 1
    assert (await served.post(f"/events/{second}", json=ANSWER))[0] == 200

    async def is_over() -> bool:
        return (await served.get(f"/handlers/{second}"))[0] == 200

    await until_seen(is_over, "the run did not end")
    assert sorted(status for status, _ in await asyncio.gather(start(served), start(served))) == [200, 429]


async def test_starts_that_fail_and_runs_that_end_hold_no_place(serve: Serve) -> None:
    served = await serve(max_running_runs=1)
    for _ in range(5):
        assert (await served.post("/workflows/count/run", json={"start_event": {"n": "x"}}))[0] == 400
        assert (await served.post("/workflows/echo/run", json={"handler_id": "nothing"}))[0] == 404
        assert (await served.post("/workflows/echo/run"))[0] == 200
        assert (await served.post("/workflows/fail/run"))[0] == 500


async def test_a_repeated_key_gets_its_answer_though_all_is_taken(serve: Serve) -> None:
    served = await serve(max_running_runs=2)
    first = await start(served, "first")
    assert (await start(served, "second"))[0] == 200
    assert (await start(served, "third"))[0] == 429
    assert await start(served, "first") == first
    # A start that was refused has left no answer behind.
    await served.post(f"/handlers/{first[1]['handler_id']}/cancel")
    assert (await start(served, "third"))[0] == 200
    assert (await start(served, "fourth"))[0] == 429


async def test_a_handler_that_is_continued_takes_one_place(serve: Serve) -> None:
    served = await serve(max_running_runs=1)
    handler_id = await served.finish("echo")
    for _ in range(3):
        assert (await served.post("/workflows/echo/run", json={"handler_id": handler_id}))[0] == 200


async def test_runs_of_before_count_and_are_all_resumed(serve: Serve, tmp_path: Path) -> None:
    first = await serve(tmp_path / "db")
    for _ in range(3):
        assert (await start(first))[0] == 200
    await first.runner.cleanup()
    served = await serve(tmp_path / "db", max_running_runs=2)
    waiting = await running(served)
    assert len(waiting) == 3
    assert (await start(served))[0] == 429
    for handler_id in waiting[:2]:
        assert (await served.post(f"/handlers/{handler_id}/cancel"))[0] == 200
    assert (await start(served))[0] == 200
    assert (await start(served))[0] == 429


async def test_a_retry_needs_a_place_like_a_start(serve: Serve) -> None:
    served = await serve(max_running_runs=1)
    _, first = await start(served)
    assert (await served.post(f"/handlers/{first['handler_id']}/cancel"))[0] == 200
    _, second = await start(served)
    assert (await served.post(f"/handlers/{first['handler_id']}/retry"))[0] == 429
    status, done = await served.post("/bulk/retry?status=cancelled")
    assert (status, done["handler_ids"], [told["handler_id"] for told in done["refused"]]) == (
        200,
        [],
        [first["handler_id"]],
    )
    assert await running(served) == [second["handler_id"]]
    assert (await served.post(f"/handlers/{second['handler_id']}/cancel"))[0] == 200
    assert (await served.post(f"/handlers/{first['handler_id']}/retry"))[0] == 200
