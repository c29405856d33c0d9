"""Runs that do not fit the code are suspended: nothing of them is lost, they hold up nobody, and they go on."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, Field
from workflows import Context, Workflow, step
from workflows.events import Event, HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent

from tests.harness.managing import Managing
from tests.harness.runs import asked, damage, ended, in_memory, released, suspended, until
from workflow_server.errors import HandlerNotFound
from workflow_server.protocol.handlers import IdempotencyKey, RetryRequest, RunRequest
from workflow_server.records import ListFilter
from workflow_server.runs.exceptions import RunNotOver, RunSucceeded, RunSuspended
from workflow_server.runs.manager import RuntimeManager
from workflow_server.runs.suspension import suspensions

REPLY = {"type": "HumanResponseEvent", "value": {}}


class Moody:
    """A value that the code does not read at times."""

    unfit = False

    def __init__(self) -> None:
        self.text = "kept"

    def __setstate__(self, state: dict[str, Any]) -> None:
        if Moody.unfit:
            raise ValueError("not now")
        self.__dict__.update(state)


class Asks(Workflow):
    """Keeps such a value while it waits."""

    begun = 0

    @step
    async def ask(self, ctx: Context, ev: StartEvent) -> StopEvent:
        type(self).begun += 1
        if ev.get("hold", None):
            await asyncio.sleep(600)
        await ctx.store.set("mood", Moody())
        answers = []
        questions, timeout = ev.get("questions", 1), ev.get("timeout", None)
        for number in range(questions):
            wanted = {"n": number} if questions > 1 else {}
            try:
                reply = await ctx.wait_for_event(
                    HumanResponseEvent,
                    waiter_event=InputRequiredEvent(),
                    waiter_id=str(number),
                    requirements=wanted,
                    timeout=timeout,
                )
                answers.append(reply.get("n", 0))
            except TimeoutError:
                return StopEvent(result="timed out")
        return StopEvent(result=answers)


def one_at_a_time() -> Asks:
    return Asks(timeout=None, num_concurrent_runs=1)


@pytest.fixture(autouse=True)
def moods() -> Iterator[None]:
    yield
    Moody.unfit = False


def spun(caplog: pytest.LogCaptureFixture) -> int:
    """Return how often a suspension was logged."""
    return sum(" is suspended: " in record.getMessage() for record in caplog.records)


def answer_to(n: int) -> dict[str, object]:
    """Return the answer to the question of this number."""
    return {"type": "HumanResponseEvent", "value": {"n": n}}


async def waiting(manager: RuntimeManager, **fields: object) -> str:
    handler = await manager.start("asks", RunRequest(dict(fields)))
    await asked(manager, handler.handler_id)
    return handler.handler_id


async def test_events_that_are_posted_meanwhile_come_once_and_in_order(managing: Managing) -> None:
    async with managing(asks=Asks(timeout=None)) as manager:
        handler_id = await waiting(manager, questions=3)
    Moody.unfit = True
    async with managing(asks=Asks(timeout=None)) as manager:
        assert "its class no longer accepts the stored state" in await suspended(manager, handler_id)
        reader = await manager.open_cursor(handler_id, "now")
        assert reader is not None
        assert not await reader.next_page(0.05)
        for n in (0, 1):
            await manager.send(handler_id, answer_to(n), None, None, hold=True)
        assert not in_memory(manager, handler_id)
    # Suspended again, with what was posted in the store.
    async with managing(asks=Asks(timeout=None)) as manager:
        await suspended(manager, handler_id)
        await manager.send(handler_id, answer_to(2), None, None, hold=True)
    Moody.unfit = False
    async with managing(asks=Asks(timeout=None)) as manager:
        shown, _ = await ended(manager, handler_id)
        assert shown.result is not None
        assert shown.result.value == {"result": [0, 1, 2]}


async def test_a_suspended_run_takes_no_slot_and_is_not_loaded_again(
    managing: Managing, caplog: pytest.LogCaptureFixture
) -> None:
    async with managing(asks=one_at_a_time(), idle_timeout=0.05) as manager:
        handler_id = await waiting(manager, timeout=0.5)
        await released(manager, handler_id)
        Moody.unfit = True
        # Its deadline passes, and loads it.
        reason = await suspended(manager, handler_id)
        assert reason.endswith("(deploy code that reads it, as the code did that wrote it)")
        Moody.unfit = False
        other = await waiting(manager)
        await manager.send(other, REPLY, None, None)
        assert (await ended(manager, other))[0].status == "completed"
        assert not in_memory(manager, handler_id)
        assert spun(caplog) == 1
        assert manager.figures().runs["suspended"] == 1
        assert manager.footprint()["timers"] == 0
        assert manager.footprint()["slots and places in line"] == 0
    async with managing(asks=one_at_a_time(), idle_timeout=0.05) as manager:
        shown, _ = await ended(manager, handler_id)
        assert shown.result is not None
        assert shown.result.value == {"result": "timed out"}


async def test_a_queued_run_is_suspended_when_it_gets_its_slot(managing: Managing, database: Path) -> None:
    async with managing(asks=one_at_a_time(), grace=0.0) as manager:
        first = await waiting(manager)
        second = (await manager.start("asks", RunRequest())).handler_id
        third = (await manager.start("asks", RunRequest())).handler_id
    gone = """UPDATE payloads SET start_event = '{"$":"m","c":"nowhere:Gone","v":{}}' WHERE handler_id = ?"""
    damage(database, gone, second)
    async with managing(asks=one_at_a_time(), grace=0.0) as manager:
        await manager.send(first, REPLY, None, None)
        assert "its start event cannot be read: 'Gone' is no longer in the code" in await suspended(manager, second)
        await asked(manager, third)
        assert suspensions(manager.runs) == "1 suspended: 1 does not fit the code"


async def test_another_try_goes_on_or_says_why_not(managing: Managing) -> None:
    async with managing(asks=Asks(timeout=None)) as manager:
        handler_id = await waiting(manager)
        with pytest.raises(RunNotOver):
            await manager.retry(handler_id, RetryRequest())
        with pytest.raises(HandlerNotFound):
            await manager.retry("nobody", RetryRequest())
    Moody.unfit = True
    async with managing(asks=Asks(timeout=None)) as manager:
        await suspended(manager, handler_id)
        with pytest.raises(RunSuspended, match="no longer accepts"):
            await manager.retry(handler_id, RetryRequest())
        await suspended(manager, handler_id)
        Moody.unfit = False
        shown = await manager.retry(handler_id, RetryRequest())
        assert (shown.status, shown.suspended) == ("running", None)
        await manager.send(handler_id, REPLY, None, None)
        assert (await ended(manager, handler_id))[0].status == "completed"
        with pytest.raises(RunSucceeded):
            await manager.retry(handler_id, RetryRequest())
    async with managing() as manager:
        with pytest.raises(HandlerNotFound):
            await manager.retry("nobody", RetryRequest())


async def retries(manager: RuntimeManager, handler_id: str) -> list[object]:
    """Return who had the run begin again and why, and its resumes."""
    entries = map(json.loads, (await manager.history(handler_id, None, 100))[0])
    return [
        (entry["by"], entry["reason"]) if entry["kind"] == "retried" else "resumed"
        for entry in entries
        if entry["kind"] in {"retried", "resumed"}
    ]


async def test_suspended_runs_are_retried_together(managing: Managing) -> None:
    async with managing(asks=Asks(timeout=None)) as manager:
        ids = [await waiting(manager) for _ in range(2)]
    Moody.unfit = True
    async with managing(asks=Asks(timeout=None)) as manager:
        for handler_id in ids:
            await suspended(manager, handler_id)
        again = partial(manager.retry_matching, ListFilter(("running",)), None, 10, states=("suspended",))
        page = await again(RetryRequest())
        assert (page.handler_ids, list(page.refused)) == ([], ids)
        Moody.unfit = False
        assert (await again(RetryRequest())).handler_ids == ids
        assert (await again(RetryRequest())).handler_ids == []


async def test_a_retry_of_a_suspended_run_is_another_try(managing: Managing) -> None:
    async with managing(asks=Asks(timeout=None)) as manager:
        handler_id = await waiting(manager)
        run_id = (await manager.get_handler(handler_id)).run_id
    Moody.unfit = True
    async with managing(asks=Asks(timeout=None)) as manager:
        await suspended(manager, handler_id)
        with pytest.raises(RunSuspended, match="no longer accepts"):
            await manager.retry(handler_id, RetryRequest())
        Moody.unfit = False
        with pytest.raises(RunNotOver):
            await manager.retry(handler_id, RetryRequest(from_step="ask"))
        key = IdempotencyKey("k", "hash")
        shown = await manager.retry(handler_id, RetryRequest(key=key, by="alice"))
        assert (shown.run_id, shown.status, shown.suspended) == (run_id, "running", None)
        assert await manager.retry(handler_id, RetryRequest(key=key)) == shown
        # Only the try that succeeded is told.
        assert await retries(manager, handler_id) == [("alice", "it was suspended"), "resumed"]
        with pytest.raises(RunNotOver):
            await manager.retry(handler_id, RetryRequest())
        await manager.send(handler_id, REPLY, None, None)
        assert (await ended(manager, handler_id))[0].status == "completed"


async def test_another_try_waits_for_a_slot_where_none_is_free(managing: Managing) -> None:
    async with managing(asks=one_at_a_time()) as manager:
        handler_id = await waiting(manager)
    Moody.unfit = True
    async with managing(asks=one_at_a_time()) as manager:
        await suspended(manager, handler_id)
        Moody.unfit = False
        other = await waiting(manager)
        shown = await manager.retry(handler_id, RetryRequest())
        assert "num_concurrent_runs" in str(shown.suspended)
        for handler in (other, handler_id):
            await manager.send(handler, REPLY, None, None)
        for handler in (other, handler_id):
            assert (await ended(manager, handler))[0].status == "completed"


async def test_a_run_of_no_registered_workflow_is_not_tried_again(managing: Managing) -> None:
    async with managing(asks=Asks(timeout=None)) as manager:
        handler_id = await waiting(manager)
    async with managing() as manager:
        with pytest.raises(RunSuspended, match="not registered"):
            await manager.retry(handler_id, RetryRequest())
        assert suspensions(manager.runs) == "1 suspended: 1 is of a workflow that is not registered"


@pytest.mark.parametrize("purge", [False, True])
async def test_a_suspended_run_can_be_cancelled_and_purged(managing: Managing, *, purge: bool) -> None:
    async with managing(asks=Asks(timeout=None)) as manager:
        handler_id = await waiting(manager)
    Moody.unfit = True
    async with managing(asks=Asks(timeout=None)) as manager:
        await suspended(manager, handler_id)
        if purge:
            await manager.purge(handler_id)
            with pytest.raises(HandlerNotFound):
                await manager.get_handler(handler_id)
        else:
            await manager.cancel(handler_id)
            shown, last = await ended(manager, handler_id)
            assert (shown.status, shown.suspended) == ("cancelled", None)
            assert '"type":"WorkflowCancelledEvent"' in last
        await until(lambda: not any(manager.footprint().values()))


class Item(Event):
    n: int = 0


class Works(Workflow):
    @step
    async def begin(self, ctx: Context, ev: StartEvent) -> Item:
        return Item(n=1)

    @step
    async def work(self, ctx: Context, ev: Item) -> StopEvent | None:
        await ctx.store.set("began", value=True)
        if ev.n:
            await asyncio.sleep(600)
        return StopEvent()


class WorksNoMore(Workflow):
    """``Works`` after a deploy that renamed the step that is under way."""

    @step
    async def begin(self, ctx: Context, ev: StartEvent) -> Item:
        return Item(n=1)

    @step
    async def labour(self, ctx: Context, ev: Item) -> StopEvent | None:
        raise AssertionError("another step got the work")


class WorksOnOthers(Workflow):
    """``Works`` after a deploy in which the step takes other events."""

    @step
    async def begin(self, ctx: Context, ev: StartEvent) -> Item:
        return Item(n=1)

    @step
    async def other(self, ctx: Context, ev: Item) -> HumanResponseEvent:
        raise AssertionError("another step got the work")

    @step
    async def work(self, ctx: Context, ev: HumanResponseEvent) -> StopEvent:
        return StopEvent()


@pytest.mark.parametrize(
    ("deployed", "reason"),
    [
        (WorksNoMore, "there is work for step 'work', which is no longer in the code"),
        (WorksOnOthers, "there is work for step 'work', which no longer accepts 'Item'"),
    ],
)
async def test_a_step_under_way_is_given_to_no_other(managing: Managing, deployed: type[Workflow], reason: str) -> None:
    async with managing(works=Works(timeout=None), grace=0.0) as manager:
        handler_id = (await manager.start("works", RunRequest())).handler_id
        await until(lambda: "work" in steps_of(manager, handler_id))
    async with managing(works=deployed(timeout=None), grace=0.0) as manager:
        assert reason in await suspended(manager, handler_id)
    async with managing(works=Works(timeout=None), grace=0.0) as manager:
        await until(lambda: "work" in steps_of(manager, handler_id))


def steps_of(manager: RuntimeManager, handler_id: str) -> list[str]:
    """Return the steps of the handler's run that are under way."""
    run = manager.runs.get(handler_id)
    standing = None if run is None else run.standing
    return [] if standing is None else [one.step for one in standing.running if one.since is not None]


async def test_an_event_for_a_step_that_is_gone_suspends_its_run(managing: Managing, database: Path) -> None:
    async with managing(asks=Asks(timeout=None), grace=0.0) as manager:
        handler_id = (await manager.start("asks", RunRequest({"hold": True}))).handler_id
        await until(lambda: "ask" in steps_of(manager, handler_id))
        await manager.send(handler_id, REPLY, None, None)
    damage(database, "UPDATE inbox SET step = 'ask_before' WHERE handler_id = ?", handler_id)
    async with managing(asks=Asks(timeout=None), grace=0.0) as manager:
        assert "for step 'ask_before', which is no longer in the code" in await suspended(manager, handler_id)


async def test_deaths_while_a_run_is_suspended_are_not_its_doing(managing: Managing, database: Path) -> None:
    async with managing(asks=Asks(timeout=None), grace=0.0) as manager:
        handler_id = (await manager.start("asks", RunRequest({"hold": True}))).handler_id
        await until(lambda: "ask" in steps_of(manager, handler_id))
    statement = "INSERT INTO inbox (handler_id, run_id, event) SELECT handler_id, run_id, '{' FROM handlers"
    damage(database, statement)
    for _ in range(4):
        damage(database, "UPDATE server SET clean_stop = 0")
        async with managing(asks=Asks(timeout=None), grace=0.0) as manager:
            await suspended(manager, handler_id)
            stored = await manager.store.load_run(handler_id)
            assert stored is not None
            assert stored.attempts == 0
    damage(database, "DELETE FROM inbox")
    damage(database, "UPDATE server SET clean_stop = 0")
    async with managing(asks=Asks(timeout=None), grace=0.0) as manager:
        await until(lambda: "ask" in steps_of(manager, handler_id))
        await manager.store.flush()
        stored = await manager.store.load_run(handler_id)
        assert stored is not None
        assert stored.attempts == 1


def _made() -> int:
    if Moody.unfit:
        raise ValueError("not now")
    return 1


class Made(BaseModel):
    n: int = Field(default_factory=_made)


class Makes(Workflow):
    @step
    async def make(self, ctx: Context[Made], ev: StartEvent) -> StopEvent:
        return StopEvent()


async def test_a_new_run_whose_state_cannot_be_made_is_failed(managing: Managing) -> None:
    async with managing(makes=Makes()) as manager:
        Moody.unfit = True
        failed = await manager.run("makes", RunRequest())
        assert failed.status == "failed"
        assert "could not be resumed" in str(failed.error)
        await until(lambda: not any(manager.footprint().values()))


async def test_no_log_record_of_a_suspension_quotes_what_is_stored(
    managing: Managing, caplog: pytest.LogCaptureFixture
) -> None:
    async with managing(asks=Asks(timeout=None)) as manager:
        handler_id = await waiting(manager)
    Moody.unfit = True
    caplog.set_level(logging.WARNING)
    async with managing(asks=Asks(timeout=None)) as manager:
        await suspended(manager, handler_id)
        await manager.send(handler_id, json.dumps(REPLY), None, None)
    assert spun(caplog) == 1
    assert "not now" not in caplog.text


class Named(HumanResponseEvent):
    """Only a wait names it."""


class Names(Workflow):
    @step
    async def ask(self, ctx: Context, ev: StartEvent) -> StopEvent:
        await ctx.store.set("mood", Moody())
        await ctx.wait_for_event(Named, waiter_event=InputRequiredEvent(), timeout=None)
        return StopEvent(result="named")


@pytest.mark.parametrize("idle_timeout", [None, 0.05])
async def test_an_answer_of_a_type_that_is_declared_nowhere_is_kept(
    managing: Managing, idle_timeout: float | None
) -> None:
    async with managing(names=Names(timeout=None), idle_timeout=idle_timeout) as manager:
        handler_id = (await manager.start("names", RunRequest())).handler_id
        await asked(manager, handler_id)
        if idle_timeout is not None:
            await released(manager, handler_id)
    Moody.unfit = True
    async with managing(names=Names(timeout=None)) as manager:
        await manager.send(handler_id, {"type": "Named", "value": {}}, None, None)
        await suspended(manager, handler_id)
    Moody.unfit = False
    async with managing(names=Names(timeout=None)) as manager:
        assert (await ended(manager, handler_id))[0].status == "completed"
