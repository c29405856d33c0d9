"""Cancelling and deleting many handlers, while they change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from workflows import Context, Workflow, step
from workflows.events import HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent

from tests.harness.managing import Managing
from tests.harness.runs import asked, ended
from workflow_server.errors import HandlerNotFound
from workflow_server.protocol.handlers import RunRequest
from workflow_server.records import ListFilter, StoredEvent
from workflow_server.runs.events import EventReader
from workflow_server.runs.manager import RuntimeManager

ANSWER = {"type": "HumanResponseEvent", "value": {}}
Meanwhile = Callable[..., None]

ENDED = ListFilter(("completed", "failed", "cancelled"))


class Quick(Workflow):
    @step
    async def end(self, ev: StartEvent) -> StopEvent:
        return StopEvent()


class Slow(Workflow):
    @step
    async def ask(self, ctx: Context, ev: StartEvent) -> StopEvent:
        await ctx.wait_for_event(HumanResponseEvent, waiter_event=InputRequiredEvent())
        return StopEvent()


class Gated(Workflow):
    """Ends when its gate is opened."""

    def __init__(self) -> None:
        super().__init__(timeout=None)
        self.gate = asyncio.Event()

    @step
    async def wait(self, ev: StartEvent) -> StopEvent:
        await self.gate.wait()
        return StopEvent()


class SlowAndGated(Workflow):
    """Asks, and ends when its gate is opened."""

    def __init__(self) -> None:
        super().__init__(timeout=None)
        self.gate, self.answered = asyncio.Event(), asyncio.Event()

    @step
    async def wait(self, ctx: Context, ev: StartEvent) -> StopEvent:
        await ctx.wait_for_event(HumanResponseEvent, waiter_event=InputRequiredEvent())
        self.answered.set()
        await self.gate.wait()
        return StopEvent()


async def statuses(manager: RuntimeManager) -> dict[str, str]:
    return {handler.handler_id: handler.status for handler in await manager.list_handlers(None, None)}


async def read(reader: EventReader) -> AsyncIterator[StoredEvent]:
    while page := await reader.next_page(20):
        for event in page:
            yield event


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Meanwhile:
    """Let something happen when a page was read so often, before anything is done to its handlers."""

    def change(manager: RuntimeManager, work: Callable[[], Awaitable[object]], times: int = 1) -> None:
        read = manager.store.list_page
        left = times

        async def read_then_work(*arguments: Any, **options: Any) -> Any:
            nonlocal left
            page = await read(*arguments, **options)
            left -= 1
            if not left:
                await work()
            return page

        monkeypatch.setattr(manager.store, "list_page", read_then_work)

    return change


@pytest.mark.parametrize("workflow", ["slow", "quick"])
async def test_a_handler_that_is_continued_meanwhile_is_not_deleted(
    managing: Managing, meanwhile: Meanwhile, workflow: str
) -> None:
    """Neither where it runs when its turn comes, nor where it has completed again."""
    async with managing(quick=Quick(), slow=Slow()) as manager:
        others = [(await manager.run("quick", RunRequest())).handler_id for _ in range(2)]
        continued = (await manager.start(workflow, RunRequest())).handler_id
        if workflow == "slow":
            await manager.send(continued, ANSWER, None, None)
        await ended(manager, continued)

        async def go_on() -> None:
            await manager.start(workflow, RunRequest(handler_id=continued))
            if workflow == "quick":
                await ended(manager, continued)

        meanwhile(manager, go_on)
        page = await manager.purge_matching(ENDED, None, 100)
        assert page.handler_ids == others
        assert list(await statuses(manager)) == [continued]


@pytest.mark.parametrize("times", [1, 2])
async def test_a_run_that_ends_meanwhile_is_not_deleted_as_a_running_one(
    managing: Managing, meanwhile: Meanwhile, times: int
) -> None:
    """The page is read twice: its handlers are locked in between, and runs end by themselves all the same."""
    gated = Gated()
    async with managing(gated=gated, slow=Slow()) as manager:
        first, second = [(await manager.start(name, RunRequest())).handler_id for name in ("gated", "slow")]
        await asked(manager, second)

        async def end() -> None:
            gated.gate.set()
            await ended(manager, first)

        meanwhile(manager, end, times)
        page = await manager.purge_matching(ListFilter(("running",)), None, 100)
        assert page.handler_ids == [second]
        assert await statuses(manager) == {first: "completed"}


async def test_a_run_that_was_begun_meanwhile_is_not_cancelled(managing: Managing, meanwhile: Meanwhile) -> None:
    """The handler was listed with its run before, which had another tag."""
    async with managing(slow=Slow()) as manager:
        handler_id = (await manager.start("slow", RunRequest(tags=("old",)))).handler_id
        await asked(manager, handler_id)

        async def answer_and_go_on() -> None:
            await manager.send(handler_id, ANSWER, None, None)
            await ended(manager, handler_id)
            await manager.start("slow", RunRequest(handler_id=handler_id, tags=("new",)))

        meanwhile(manager, answer_and_go_on)
        assert (await manager.cancel_matching(ListFilter(tags=["old"]), None, 100)).handler_ids == []
        assert await statuses(manager) == {handler_id: "running"}


async def test_a_run_that_does_something_else_meanwhile_is_not_cancelled(
    managing: Managing, meanwhile: Meanwhile
) -> None:
    slow = SlowAndGated()
    async with managing(slow=slow) as manager:
        first, second = [(await manager.start("slow", RunRequest())).handler_id for _ in range(2)]
        for handler_id in (first, second):
            await asked(manager, handler_id)

        async def answer() -> None:
            await manager.send(first, ANSWER, None, None)
            await slow.answered.wait()

        meanwhile(manager, answer)
        page = await manager.cancel_matching(ListFilter(), None, 100, states=("waiting",))
        assert page.handler_ids == [second]
        assert await statuses(manager) == {first: "running", second: "cancelled"}
        slow.gate.set()


async def test_runs_that_end_by_themselves_meanwhile_are_not_cancelled(
    managing: Managing, meanwhile: Meanwhile
) -> None:
    async with managing(slow=Slow()) as manager:
        first, second = [(await manager.start("slow", RunRequest())).handler_id for _ in range(2)]
        for handler_id in (first, second):
            await asked(manager, handler_id)

        async def answer() -> None:
            await manager.send(first, ANSWER, None, None)
            await ended(manager, first)

        meanwhile(manager, answer)
        page = await manager.cancel_matching(ListFilter(), None, 100)
        assert page.handler_ids == [second]
        assert await statuses(manager) == {first: "completed", second: "cancelled"}


async def test_deletions_in_other_orders_do_not_wait_for_each_other(managing: Managing) -> None:
    """Each has a part of the locks when they come to one that somebody holds."""
    async with managing(quick=Quick()) as manager:
        handlers = [(await manager.run("quick", RunRequest())).handler_id for _ in range(9)]
        async with asyncio.timeout(20):
            async with manager.runs.lock(sorted(handlers)[4]):
                both = [
                    asyncio.create_task(manager.purge_matching(wanted, None, 9), name="purge")
                    for wanted in (ENDED, ENDED._replace(newest_first=True))
                ]
                for _ in range(3):
                    await manager.store.flush()
                    await asyncio.sleep(0.05)
                assert not any(task.done() for task in both)
            await asyncio.gather(*both)
        assert await statuses(manager) == {}


async def test_readers_of_a_deleted_run_get_its_end_and_others_nothing(managing: Managing) -> None:
    async with managing(slow=Slow(), quick=Quick()) as manager:
        running = (await manager.start("slow", RunRequest())).handler_id
        await asked(manager, running)
        over = (await manager.run("quick", RunRequest())).handler_id
        readers = [await manager.open_cursor(handler_id, -1) for handler_id in (running, over)]
        assert readers[0] is not None
        assert await readers[0].next_page(20)
        page = await manager.purge_matching(ListFilter(), None, 10)
        assert page.handler_ids == [running, over]
        events = [event.data async for event in read(readers[0])]
        assert "WorkflowCancelledEvent" in events[-1]
        for handler_id in (running, over):
            with pytest.raises(HandlerNotFound):
                await manager.open_cursor(handler_id, -1)
