"""Limits of the events that clients may post to a run, and of those that its state may hold."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Any

import pytest
from workflows import Context, Workflow, step
from workflows.events import Event, StartEvent, StopEvent

from tests.harness.managing import Managing
from tests.harness.runs import ended, released, until
from workflow_server.execution import writer
from workflow_server.execution.exceptions import TooManyHeld, TooManyWaiting
from workflow_server.execution.inbox_limits import InboxLimits
from workflow_server.protocol.handlers import RunRequest
from workflow_server.runs.manager import RuntimeManager
from workflow_server.store.sqlite.store import SqliteWorkflowStore

from .test_early_events import Approval, Asks, approval, begun, held


class Item(Event):
    n: int = 0
    text: str = ""
    last: bool = False


class Busy(Workflow):
    """One worker, which works when it may."""

    def __init__(self) -> None:
        super().__init__(timeout=None, disable_validation=True)
        self.gate = asyncio.Event()
        self.taken = 0

    @step
    async def begin(self, ev: StartEvent) -> None:
        return None

    @step(num_workers=1)
    async def work(self, ctx: Context, ev: Item) -> StopEvent | None:
        await self.gate.wait()
        self.taken += 1
        return StopEvent(result=self.taken) if ev.last else None


def item(text: str = "", *, last: bool = False) -> dict[str, Any]:
    return {"type": "Item", "value": {"text": text, "last": last}}


async def test_held_events_have_a_limit_and_awaited_answers_pass(managing: Managing) -> None:
    limits = InboxLimits(held=3)
    for how in ("in memory", "released"):
        idle = 0.0 if how == "released" else None
        store = SqliteWorkflowStore(":memory:")
        async with managing(store=store, idle_timeout=idle, additional=[Approval], limits=limits, sample=Asks()) as it:
            handler_id = (await it.start("sample", RunRequest())).handler_id
            await begun(it, handler_id, 1)
            for by in "abc":
                await it.send(handler_id, approval(by), None, None)
            await held(it, handler_id, 3)
            if idle is not None:
                await released(it, handler_id)
            with pytest.raises(TooManyHeld):
                await it.send(handler_id, approval("d"), None, None)
            await it.send(handler_id, {"type": "Go", "value": {"response": "0"}}, None, None)
            handler, _ = await ended(it, handler_id)
            assert handler.result is not None
            assert handler.result.value["result"] == ["a"]


async def test_an_event_too_many_is_refused_also_after_a_restart(managing: Managing) -> None:
    limits = InboxLimits(waiting=5, size=4_000)
    big = item("x" * 1_500)
    async with managing(grace=0.0, limits=limits, sample=Busy()) as manager:
        handler_id = (await manager.start("sample", RunRequest())).handler_id
        posted = 0
        with suppress(TooManyWaiting):
            for _ in range(20):
                await manager.send(handler_id, big, None, None)
                posted += 1
        # The first are in the engine's queue, as many as may be, and the others in the inbox.
        assert 4 <= posted <= 6
    workflow = Busy()
    async with managing(limits=limits, sample=workflow) as manager:
        with pytest.raises(TooManyWaiting, match="bytes"):
            await manager.send(handler_id, big, None, None)
        workflow.gate.set()
        await until(lambda: workflow.taken == posted)
        await manager.send(handler_id, item(last=True), None, None)
        handler, _ = await ended(manager, handler_id)
        assert handler.result is not None
        assert handler.result.value["result"] == posted + 1


async def test_events_that_wait_are_counted_while_the_run_has_no_turn(managing: Managing) -> None:
    class Queued(Busy):
        def __init__(self) -> None:
            super().__init__()
            self._num_concurrent_runs = 1

    async with managing(grace=0.0, limits=InboxLimits(waiting=3), sample=Queued()) as manager:
        first, second = [(await manager.start("sample", RunRequest())).handler_id for _ in range(2)]
        for _ in range(3):
            await manager.send(second, item(), None, None)
        with pytest.raises(TooManyWaiting, match="3 events"):
            await manager.send(second, item(), None, None)
        await manager.send(first, item(), None, None)


async def test_posts_side_by_side_do_not_pass_the_limit(managing: Managing) -> None:
    async with managing(grace=0.0, limits=InboxLimits(held=10), additional=[Approval], sample=Asks()) as manager:
        handler_id = (await manager.start("sample", RunRequest())).handler_id
        posts = [manager.send(handler_id, approval(str(n)), None, None) for n in range(40)]
        answers = await asyncio.gather(*posts, return_exceptions=True)
        assert sum(isinstance(answer, TooManyHeld) for answer in answers) == 30
        await held(manager, handler_id, 10)
        run = manager.runs.get(handler_id)
        assert run is not None
        # What was refused or is delivered counts as nothing that is on its way.
        assert run.session is not None
        assert run.inbox_load == run.session.writer.inbox.load


async def test_a_snapshot_that_sqlite_could_not_hold_is_not_written(
    managing: Managing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "SNAPSHOT_TICKS", 1)
    monkeypatch.setattr(writer, "LARGEST_SNAPSHOT", 1)
    workflow = Busy()
    workflow.gate.set()
    async with managing(sample=workflow) as manager:
        handler_id = (await manager.start("sample", RunRequest())).handler_id
        await manager.send(handler_id, item(), None, None)
        await until(lambda: workflow.taken == 1)
        stored = await manager.store.load_run(handler_id)
        assert stored is not None
        assert stored.snapshot is None
        await manager.send(handler_id, item(last=True), None, None)
        handler, _ = await ended(manager, handler_id)
        assert handler.status == "completed"


class Reviews(Workflow):
    """Asks about each item; ends with the last."""

    def __init__(self) -> None:
        super().__init__(timeout=None, disable_validation=True)

    @step
    async def begin(self, ev: StartEvent) -> None:
        return None

    @step
    async def review(self, ctx: Context, ev: Item) -> StopEvent | None:
        await ctx.wait_for_event(Approval, Begun(n=ev.n), str(ev.n), {"by": str(ev.n)}, timeout=None)
        async with ctx.store.edit_state() as state:
            done = state["done"] = [*state.get("done", []), ev.n]
        return StopEvent(result=sorted(done)) if ev.last else None


class Begun(Event):
    n: int


@pytest.mark.parametrize("idle_timeout", [None, 0.0])
async def test_a_large_state_takes_answers_first_and_loses_nothing(
    managing: Managing, idle_timeout: float | None
) -> None:
    """Events that wait for an answer are in each snapshot: beyond the limit, new work stays in the inbox."""
    limits = InboxLimits(size=4_000)
    async with managing(idle_timeout=idle_timeout, additional=[Approval], limits=limits, sample=Reviews()) as manager:
        handler_id = (await manager.start("sample", RunRequest())).handler_id
        posted = 0
        with suppress(TooManyWaiting):
            for _ in range(100):
                event = {"type": "Item", "value": {"n": posted, "text": "x" * 1_000}}
                await manager.send(handler_id, event, None, None)
                posted += 1
                # What may be taken is, before the next one comes.
                await asyncio.sleep(0.05)
        asked = posted - (await manager.store.inbox_load(await run_of(manager, handler_id))).waiting
        assert 14 <= asked <= 18, "four times the limit, while nothing is under way"
        assert 2 <= posted - asked <= 4
        reader = await manager.open_cursor(handler_id, -1)
        assert reader is not None
        answered = 0
        async with asyncio.timeout(20):
            while answered < posted and (page := await reader.next_page(20)):
                for number in [json.loads(event.data)["value"]["n"] for event in page if '"Begun"' in event.data]:
                    await manager.send(handler_id, approval(str(number)), None, None)
                    answered += 1
        event = {"type": "Item", "value": {"n": posted, "last": True}}
        await manager.send(handler_id, event, None, None)
        await manager.send(handler_id, approval(str(posted)), None, None, hold=True)
        handler, _ = await ended(manager, handler_id)
        assert handler.result is not None, handler.error
        assert handler.result.value["result"] == list(range(posted + 1))


async def run_of(manager: RuntimeManager, handler_id: str) -> str:
    run_id = (await manager.get_handler(handler_id)).run_id
    assert run_id is not None
    return run_id
