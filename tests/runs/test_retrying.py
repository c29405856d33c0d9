"""Retries of runs that failed, were cancelled or timed out."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections import Counter
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from workflows import Context, Workflow, step
from workflows.events import Event, HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent
from workflows.retry_policy import retry_policy, stop_after_attempt, wait_fixed
from workflows.runtime.types.internal_state import CollectionStreamInstance, Delivery

from tests.harness.managing import Managing
from tests.harness.runs import asked, damage, ended, until
from workflow_server import idempotency_key
from workflow_server.errors import HandlerNotFound, KeyReused
from workflow_server.execution import retry_point
from workflow_server.execution.engine import EmissionKey, StepId, is_stuck, new_state
from workflow_server.execution.exceptions import JournalUnreadable, NothingToRetry, StepNotReached, UnknownStep
from workflow_server.protocol.handlers import HandlerData, IdempotencyKey, RetryRequest, RunRequest
from workflow_server.records import ListFilter
from workflow_server.runs.exceptions import (
    HandlerExists,
    HandlerIdBesideNoFork,
    HandlerIdRefused,
    HandlerNotRunning,
    JournalNotKept,
    RunNotOver,
    RunSucceeded,
)
from workflow_server.runs.manager import RuntimeManager

REPLY = {"type": "HumanResponseEvent", "value": {}}


class First(Event):
    number: int = 0


class Second(Event):
    number: int = 0


class Third(Event):
    number: int = 0


class Broken(Exception):
    """The failure of a step that is not mended."""


class Chain(Workflow):
    """Three steps that count themselves, in the state and here; ``broken`` ones fail when they have written."""

    def __init__(self, *, broken: str | None = None, attempts: int = 1) -> None:
        super().__init__(timeout=None)
        self.broken = broken
        self.ran: Counter[str] = Counter()
        self.keys: list[str] = []
        self.found: list[int] = []

    async def note(self, ctx: Context, name: str) -> None:
        self.ran[name] += 1
        self.keys.append(idempotency_key())
        async with ctx.store.edit_state() as state:
            self.found.append(state.get("count", 0))
            state["count"] = state.get("count", 0) + 1
            state["names"] = [*state.get("names", []), name]
        if self.broken == name:
            raise Broken

    @step
    async def one(self, ctx: Context, ev: StartEvent) -> Second:
        await self.note(ctx, "one")
        return Second(number=1)

    @step(retry_policy=retry_policy(wait=wait_fixed(0), stop=stop_after_attempt(2)))
    async def two(self, ctx: Context, ev: Second) -> Third:
        await self.note(ctx, "two")
        return Third(number=ev.number + 1)

    @step
    async def three(self, ctx: Context, ev: Third) -> StopEvent:
        await self.note(ctx, "three")
        state = await ctx.store.get_state()
        return StopEvent(result=[ev.number, state["count"], list(state["names"])])


WHOLE = [2, 3, ["one", "two", "three"]]


def result_of(handler: HandlerData) -> Any:
    assert handler.result is not None, handler.error
    return handler.result.value["result"]


async def run(manager: RuntimeManager) -> HandlerData:
    return await manager.run("w", RunRequest())


async def retried(manager: RuntimeManager, of: str, **wanted: Any) -> HandlerData:
    """Retry, and return the handler when the new run has ended."""
    begun = await manager.retry(of, RetryRequest(**wanted))
    assert begun.status == "running"
    return (await ended(manager, begun.handler_id))[0]


@pytest.mark.parametrize("broken", ["one", "two", "three"])
async def test_a_retry_runs_the_failed_step_and_those_behind(managing: Managing, broken: str) -> None:
    async with managing(w=Chain(broken=broken)) as manager:
        failed = await run(manager)
        assert failed.status == "failed"
    mended = Chain()
    async with managing(w=mended) as manager:
        handler = await retried(manager, failed.handler_id)
        assert (handler.status, result_of(handler)) == ("completed", WHOLE)
        assert handler.run_id != failed.run_id
        assert handler.handler_id == failed.handler_id
    names = ["one", "two", "three"]
    assert mended.ran == Counter(names[names.index(broken) :])


async def test_a_retry_gives_fresh_attempts_without_earlier_writes(managing: Managing) -> None:
    broken = Chain(broken="two")
    async with managing(w=broken) as manager:
        failed = await run(manager)
        assert broken.ran["two"] == 2
        again = await retried(manager, failed.handler_id)
        assert again.status == "failed"
        assert broken.ran == {"one": 1, "two": 4}
        broken.broken = None
        assert result_of(await retried(manager, failed.handler_id)) == WHOLE
    # An attempt finds what the one before it wrote, and a retry does not.
    assert broken.found == [0, 1, 2, 1, 2, 1, 2]


async def test_a_retried_step_keeps_its_idempotency_key(managing: Managing) -> None:
    workflow = Chain(broken="three")
    async with managing(w=workflow) as manager:
        failed = await run(manager)
        first = workflow.keys[-1]
        await retried(manager, failed.handler_id)
        workflow.broken = None
        await retried(manager, failed.handler_id)
        assert workflow.keys[-3:] == [first] * 3
        assert first.startswith(f"{failed.run_id}:three:")


async def test_a_run_goes_back_to_an_earlier_step(managing: Managing) -> None:
    workflow = Chain(broken="three")
    async with managing(w=workflow) as manager:
        failed = await run(manager)
        workflow.broken = None
        before = list(workflow.keys)
        handler = await retried(manager, failed.handler_id, from_step="two")
        assert result_of(handler) == WHOLE
        assert workflow.ran == {"one": 1, "two": 2, "three": 2}
        # The step that had begun keeps its key. What comes behind is not sure to be the same again.
        assert workflow.keys[3] == before[1]
        assert workflow.keys[4].startswith(f"{handler.run_id}:three:")


class Gathers(Workflow):
    """Collects a fan-out, and fails."""

    def __init__(self) -> None:
        super().__init__(timeout=None)
        self.broken = True
        self.keys: list[str] = []

    @step
    async def spread(self, ev: StartEvent) -> list[Second]:
        return [Second(number=number) for number in range(2)]

    @step
    async def work(self, ev: Second) -> Third:
        return Third(number=ev.number)

    @step
    async def gather(self, evs: list[Third]) -> StopEvent:
        self.keys.append(idempotency_key())
        if self.broken:
            raise Broken
        return StopEvent()


@pytest.mark.parametrize("from_step", [None, "work", "spread"])
async def test_a_collection_keeps_its_key_where_it_had_begun(managing: Managing, from_step: str | None) -> None:
    workflow = Gathers()
    async with managing(w=workflow) as manager:
        failed = await run(manager)
        await retried(manager, failed.handler_id, from_step=from_step)
        workflow.broken = False
        assert (await retried(manager, failed.handler_id)).status == "completed"
    assert (workflow.keys[0] == workflow.keys[1]) == (from_step is None)
    assert workflow.keys[1] == workflow.keys[2]


async def test_a_fork_leaves_its_handler_as_it_is(managing: Managing) -> None:
    workflow = Chain(broken="three")
    async with managing(w=workflow) as manager:
        failed = await manager.run("w", RunRequest(tags=("night",)))
        workflow.broken = None
        fork = await retried(manager, failed.handler_id, fork=True)
        assert fork.handler_id != failed.handler_id
        assert fork.tags == ["night"]
        assert result_of(fork) == WHOLE
        assert workflow.keys[-1].startswith(f"{fork.run_id}:")
        assert await manager.get_handler(failed.handler_id) == failed
        other = await retried(manager, failed.handler_id, fork=True, tags=("day",))
        assert (other.tags, other.status) == (["day"], "completed")
        assert result_of(await retried(manager, failed.handler_id)) == WHOLE


async def test_a_fork_takes_an_id_where_clients_choose_them(managing: Managing) -> None:
    workflow = Chain(broken="three")
    async with managing(w=workflow, accept_handler_ids=True) as manager:
        failed = await run(manager)
        workflow.broken = None
        assert (await retried(manager, failed.handler_id, fork=True, handler_id="mine")).handler_id == "mine"
        for taken in ("mine", failed.handler_id):
            with pytest.raises(HandlerExists):
                await manager.retry(failed.handler_id, RetryRequest(fork=True, handler_id=taken))
        with pytest.raises(HandlerIdBesideNoFork):
            await manager.retry(failed.handler_id, RetryRequest(handler_id="other"))
    async with managing(w=workflow) as manager:
        with pytest.raises(HandlerIdRefused):
            await manager.retry(failed.handler_id, RetryRequest(fork=True, handler_id="other"))


async def test_what_is_not_over_or_completed_is_not_retried(managing: Managing) -> None:
    async with managing(w=Chain(), asks=Asks()) as manager:
        completed = await run(manager)
        with pytest.raises(RunSucceeded):
            await manager.retry(completed.handler_id, RetryRequest())
        running = await manager.start("asks", RunRequest())
        await asked(manager, running.handler_id)
        with pytest.raises(RunNotOver):
            await manager.retry(running.handler_id, RetryRequest())
        with pytest.raises(HandlerNotFound):
            await manager.retry("unknown", RetryRequest())


async def test_a_step_that_is_unknown_or_did_not_begin_is_named(managing: Managing) -> None:
    workflow = Chain(broken="two")
    async with managing(w=workflow) as manager:
        failed = await run(manager)
        with pytest.raises(UnknownStep, match=r"'four'.*one, three, two"):
            await manager.retry(failed.handler_id, RetryRequest(from_step="four"))
        with pytest.raises(StepNotReached, match=r"'three'.*retried from one, two"):
            await manager.retry(failed.handler_id, RetryRequest(from_step="three"))
        assert await manager.get_handler(failed.handler_id) == failed


async def test_a_key_retries_once(managing: Managing) -> None:
    workflow = Chain(broken="two")
    async with managing(w=workflow) as manager:
        failed = await run(manager)
        workflow.broken = None
        wanted = RetryRequest(key=IdempotencyKey("key", "hash"))
        first, second = await asyncio.gather(
            manager.retry(failed.handler_id, wanted), manager.retry(failed.handler_id, wanted)
        )
        assert first == second
        await ended(manager, failed.handler_id)
        assert await manager.retry(failed.handler_id, wanted) == first
        assert workflow.ran["two"] == 3
        with pytest.raises(KeyReused):
            await manager.retry(failed.handler_id, RetryRequest(key=IdempotencyKey("key", "other")))


async def test_the_key_of_a_fork_lasts_as_long_as_its_origin(managing: Managing) -> None:
    workflow = Chain(broken="two")
    wanted = RetryRequest(fork=True, key=IdempotencyKey("key", "hash"))
    async with managing(w=workflow, accept_handler_ids=True) as manager:
        await manager.run("w", RunRequest(handler_id="origin"))
        first = await manager.retry("origin", wanted)
        await ended(manager, first.handler_id)
        await manager.purge(first.handler_id)
        assert await manager.retry("origin", wanted) == first
        await manager.purge("origin")
        await manager.run("w", RunRequest(handler_id="origin"))
        assert (await manager.retry("origin", wanted)).handler_id != first.handler_id


async def test_of_two_retries_at_once_one_is_refused(managing: Managing) -> None:
    workflow = Chain(broken="two")
    async with managing(w=workflow) as manager:
        failed = await run(manager)
        workflow.broken = None
        outcomes = await asyncio.gather(
            *(manager.retry(failed.handler_id, RetryRequest()) for _ in range(2)), return_exceptions=True
        )
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["HandlerData", "RunNotOver"]
        await ended(manager, failed.handler_id)
        assert workflow.ran["two"] == 3


@pytest.mark.parametrize("turns", range(0, 30, 3))
async def test_a_retry_beside_a_purge_leaves_a_run_or_nothing(managing: Managing, database: Path, turns: int) -> None:
    workflow = Chain(broken="two")
    async with managing(w=workflow) as manager:
        failed = await run(manager)
        workflow.broken = None

        async def later() -> None:
            for _ in range(turns):
                await asyncio.sleep(0)
            await manager.purge(failed.handler_id)

        outcomes = await asyncio.gather(
            manager.retry(failed.handler_id, RetryRequest()), later(), return_exceptions=True
        )
        # The purge takes a run that was retried with it.
        assert outcomes[1] is None
        assert isinstance(outcomes[0], HandlerData | HandlerNotFound)
        with pytest.raises(HandlerNotFound):
            await manager.get_handler(failed.handler_id)
    assert rows(database) == {}


async def test_a_retry_beside_a_cancel_ends_one_way(managing: Managing) -> None:
    async with managing(w=Asks()) as manager:
        handler = await manager.start("w", RunRequest())
        await asked(manager, handler.handler_id)
        await manager.cancel(handler.handler_id)
        outcomes = await asyncio.gather(
            manager.retry(handler.handler_id, RetryRequest()),
            manager.cancel(handler.handler_id),
            return_exceptions=True,
        )
        assert isinstance(outcomes[0], HandlerData)
        # Behind the retry it cancels the new run, and before it there is none to cancel.
        assert outcomes[1] is None or isinstance(outcomes[1], HandlerNotRunning)
        status = (await manager.get_handler(handler.handler_id)).status
        assert status == ("cancelled" if outcomes[1] is None else "running")


@pytest.mark.parametrize("turns", range(0, 40, 4))
async def test_a_retry_while_its_run_is_cancelled_waits_for_that(managing: Managing, turns: int) -> None:
    async with managing(w=Asks()) as manager:
        handler = await manager.start("w", RunRequest())
        await asked(manager, handler.handler_id)
        cancelling = asyncio.create_task(manager.cancel(handler.handler_id))
        for _ in range(turns):
            await asyncio.sleep(0)
        try:
            begun = await manager.retry(handler.handler_id, RetryRequest())
        except RunNotOver:
            begun = None
        await cancelling
        after = await manager.get_handler(handler.handler_id)
        if begun is None:
            assert (after.status, after.run_id) == ("cancelled", handler.run_id)
            return
        assert (after.status, after.run_id) == ("running", begun.run_id)
        await until(lambda: bool(manager.runs.in_memory()))
        await manager.send(handler.handler_id, REPLY, None, None)
        assert result_of((await ended(manager, handler.handler_id))[0]) == 1


async def test_the_events_of_a_retry_follow_those_before(managing: Managing) -> None:
    workflow = Chain(broken="three")
    async with managing(w=workflow) as manager:
        failed = await run(manager)
        before = await manager.store.read_events(failed.handler_id, -1, 1000)
        assert "WorkflowFailedEvent" in before[-1].data
        workflow.broken = None
        await retried(manager, failed.handler_id)
        events = await manager.store.read_events(failed.handler_id, -1, 1000)
        assert events[: len(before)] == before
        assert [event.sequence for event in events] == list(range(len(events)))
        reader = await manager.open_cursor(failed.handler_id, -1)
        assert reader is not None
        page = await reader.next_page(20)
        assert page
        assert page[0].sequence == len(before)


# -- Runs that were cancelled or timed out ---------------------------------------------------------


class Asks(Workflow):
    """Asks, and counts what it did before and after the answer."""

    def __init__(self, *, timeout: float | None = None, wait: float | None = None) -> None:
        super().__init__(timeout=timeout)
        self.wait = wait
        self.ran: Counter[str] = Counter()

    @step
    async def begin(self, ctx: Context, ev: StartEvent) -> First:
        self.ran["begin"] += 1
        await ctx.store.set("count", 1)
        return First()

    @step
    async def ask(self, ctx: Context, ev: First) -> StopEvent:
        self.ran["ask"] += 1
        await ctx.wait_for_event(HumanResponseEvent, waiter_event=InputRequiredEvent(), timeout=self.wait)
        return StopEvent(result=await ctx.store.get("count"))


async def test_a_cancelled_run_goes_on_where_it_stood(managing: Managing) -> None:
    workflow = Asks()
    async with managing(w=workflow) as manager:
        handler = await manager.start("w", RunRequest())
        await asked(manager, handler.handler_id)
        await manager.cancel(handler.handler_id)
        await manager.retry(handler.handler_id, RetryRequest())
        details = await manager.describe_handler(handler.handler_id)
        await until(lambda: workflow.ran["ask"] == 1)
        await manager.send(handler.handler_id, REPLY, None, None)
        over, _ = await ended(manager, handler.handler_id)
        assert (over.status, result_of(over)) == ("completed", 1)
        assert details.status == "running"
    assert workflow.ran == {"begin": 1, "ask": 2}


class Refusing(Workflow):
    """Fails when it has got its answer."""

    def __init__(self) -> None:
        super().__init__(timeout=None)
        self.broken = True
        self.ran: Counter[str] = Counter()

    @step
    async def begin(self, ev: StartEvent) -> First:
        self.ran["begin"] += 1
        return First()

    @step
    async def ask(self, ctx: Context, ev: First) -> StopEvent:
        self.ran["ask"] += 1
        await ctx.wait_for_event(HumanResponseEvent, waiter_event=InputRequiredEvent(), timeout=None)
        if self.broken:
            raise Broken
        return StopEvent(result="answered")


async def test_a_step_that_failed_after_its_answer_has_it_again(managing: Managing) -> None:
    workflow = Refusing()
    async with managing(w=workflow) as manager:
        handler = await manager.start("w", RunRequest())
        await asked(manager, handler.handler_id)
        await manager.send(handler.handler_id, REPLY, None, None)
        assert (await ended(manager, handler.handler_id))[0].status == "failed"
        workflow.broken = False
        assert result_of(await retried(manager, handler.handler_id)) == "answered"
    assert workflow.ran == {"begin": 1, "ask": 3}


async def test_a_question_is_asked_again_from_its_step(managing: Managing) -> None:
    workflow = Refusing()
    async with managing(w=workflow) as manager:
        handler = await manager.start("w", RunRequest())
        await asked(manager, handler.handler_id)
        await manager.send(handler.handler_id, REPLY, None, None)
        await ended(manager, handler.handler_id)
        workflow.broken = False
        await manager.retry(handler.handler_id, RetryRequest(from_step="ask"))
        await asked(manager, handler.handler_id)
        await manager.send(handler.handler_id, REPLY, None, None)
        assert result_of((await ended(manager, handler.handler_id))[0]) == "answered"


HOURS = timedelta(hours=3)


def ended_earlier(database: Path) -> None:
    """Let it be as if the runs had ended some hours ago."""
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE handlers SET completed_at = completed_at - ?", [HOURS.total_seconds()])


async def deadline(manager: RuntimeManager, handler_id: str) -> datetime:
    waits = (await manager.describe_handler(handler_id)).waiting_for
    assert waits is not None
    assert waits[0].deadline is not None
    return datetime.fromisoformat(waits[0].deadline)


async def test_a_wait_has_the_time_left_that_it_had(managing: Managing, database: Path) -> None:
    async with managing(w=Asks(wait=600)) as manager:
        handler = await manager.start("w", RunRequest())
        await asked(manager, handler.handler_id)
        before = await deadline(manager, handler.handler_id)
        await manager.cancel(handler.handler_id)
    ended_earlier(database)
    async with managing(w=Asks(wait=600)) as manager:
        await manager.retry(handler.handler_id, RetryRequest())
        await until(lambda: bool(manager.runs.in_memory()))
        moved = await deadline(manager, handler.handler_id) - before
        assert HOURS <= moved < HOURS + timedelta(minutes=5)


class Delayed(Workflow):
    @step(retry_policy=retry_policy(wait=wait_fixed(600), stop=stop_after_attempt(3)))
    async def work(self, ev: StartEvent) -> StopEvent:
        raise Broken


async def test_a_delay_has_the_time_left_that_it_had(managing: Managing, database: Path) -> None:
    async with managing(w=Delayed(timeout=None)) as manager:
        handler = await manager.start("w", RunRequest())
        before = await delay(manager, handler.handler_id)
        await manager.cancel(handler.handler_id)
    ended_earlier(database)
    async with managing(w=Delayed(timeout=None)) as manager:
        await manager.retry(handler.handler_id, RetryRequest())
        await until(lambda: bool(manager.runs.in_memory()))
        after = await delay(manager, handler.handler_id)
        # It has the attempts left that it had.
        assert after[0] == before[0] == 2
        assert HOURS <= after[1] - before[1] < HOURS + timedelta(minutes=5)


async def delay(manager: RuntimeManager, handler_id: str) -> tuple[int, datetime]:
    """The attempt that comes, and when; the first has failed when this returns."""
    async with asyncio.timeout(20):
        while not (retries := (await manager.describe_handler(handler_id)).retrying_steps):  # noqa: ASYNC110 no event
            await asyncio.sleep(0.01)
    assert retries[0].at is not None
    return retries[0].attempt, datetime.fromisoformat(retries[0].at)


async def test_the_clock_of_a_run_that_timed_out_begins_anew(managing: Managing) -> None:
    workflow = Asks(timeout=0.5)
    async with managing(w=workflow) as manager:
        timed_out = await manager.run("w", RunRequest())
        assert (timed_out.status, "timed out" in (timed_out.error or "")) == ("failed", True)
    async with managing(w=Asks(timeout=600)) as manager:
        await manager.retry(timed_out.handler_id, RetryRequest())
        stored = await manager.store.load_run(timed_out.handler_id)
        assert stored is not None
        assert stored.snapshot is not None
        assert json.loads(stored.snapshot.data)["loop"].get("elapsed_alive", 0) == 0
        await until(lambda: bool(manager.runs.in_memory()))
        await manager.send(timed_out.handler_id, REPLY, None, None)
        assert result_of((await ended(manager, timed_out.handler_id))[0]) == 1


class Queued(Workflow):
    def __init__(self) -> None:
        super().__init__(timeout=None, num_concurrent_runs=1)
        self.ran = 0
        self.gate = asyncio.Event()

    @step
    async def work(self, ev: StartEvent) -> StopEvent:
        self.ran += 1
        await self.gate.wait()
        return StopEvent(result="done")


async def test_a_run_that_was_cancelled_in_the_queue_starts(managing: Managing) -> None:
    workflow = Queued()
    async with managing(w=workflow) as manager:
        first = await manager.start("w", RunRequest())
        second = await manager.start("w", RunRequest())
        await until(lambda: workflow.ran == 1)
        await manager.cancel(second.handler_id)
        await manager.retry(second.handler_id, RetryRequest())
        assert (await manager.get_handler(second.handler_id)).suspended is not None
        workflow.gate.set()
        assert result_of((await ended(manager, second.handler_id))[0]) == "done"
        assert result_of((await ended(manager, first.handler_id))[0]) == "done"
    assert workflow.ran == 2


class Continued(Workflow):
    """Counts its runs in the state that the next one is given."""

    def __init__(self) -> None:
        super().__init__(timeout=None, num_concurrent_runs=1)
        self.gate = asyncio.Event()

    @step
    async def work(self, ctx: Context, ev: StartEvent) -> StopEvent:
        await self.gate.wait()
        async with ctx.store.edit_state() as state:
            state["runs"] = state.get("runs", 0) + 1
        return StopEvent(result=state["runs"])


@pytest.mark.parametrize("fork", [False, True])
async def test_a_run_that_never_began_keeps_the_state_it_was_given(managing: Managing, *, fork: bool) -> None:
    workflow = Continued()
    async with managing(w=workflow) as manager:
        workflow.gate.set()
        first = await run(manager)
        workflow.gate.clear()
        await manager.start("w", RunRequest())
        await manager.start("w", RunRequest(handler_id=first.handler_id))
        await manager.cancel(first.handler_id)
        begun = await manager.retry(first.handler_id, RetryRequest(fork=fork))
        workflow.gate.set()
        assert result_of((await ended(manager, begun.handler_id))[0]) == 2


# -- What beside the failed step was recorded ------------------------------------------------------


class Part(Event):
    number: int


class Fan(Workflow):
    """Steps side by side, of which the last fails when the others have ended or wait at a gate."""

    def __init__(self, *, broken: bool) -> None:
        super().__init__(timeout=None)
        self.broken = broken
        self.ran: Counter[int] = Counter()

    @step
    async def spread(self, ctx: Context, ev: StartEvent) -> list[Part]:
        return [Part(number=number) for number in range(4)]

    @step(num_workers=4)
    async def work(self, ctx: Context, ev: Part) -> Second:
        self.ran[ev.number] += 1
        async with ctx.store.edit_state() as state:
            state["sum"] = state.get("sum", 0) + 1
        if self.broken and ev.number == 3:
            await until(lambda: self.ran[2] == 1)
            await asyncio.sleep(0.1)
            raise Broken
        if self.broken and ev.number == 2:
            await asyncio.sleep(600)
        return Second(number=ev.number)

    @step
    async def gather(self, ctx: Context, evs: list[Second]) -> StopEvent:
        return StopEvent(result=[sorted(ev.number for ev in evs), await ctx.store.get("sum")])


async def test_steps_beside_the_failed_one_that_ended_do_not_run_again(managing: Managing) -> None:
    async with managing(w=Fan(broken=True)) as manager:
        failed = await run(manager)
        assert failed.status == "failed"
    mended = Fan(broken=False)
    async with managing(w=mended) as manager:
        assert result_of(await retried(manager, failed.handler_id)) == [[0, 1, 2, 3], 4]
    assert mended.ran == {2: 1, 3: 1}


class Beside(Workflow):
    """Fails once beside a step that has not begun then, and for good when that has ended."""

    def __init__(self) -> None:
        super().__init__(timeout=None)
        self.broken = True
        self.attempts = 0

    @step
    async def begin(self, ctx: Context, ev: StartEvent) -> Second:
        return Second()

    @step(retry_policy=retry_policy(wait=wait_fixed(0), stop=stop_after_attempt(2)))
    async def fail(self, ctx: Context, ev: Second) -> StopEvent | Third:
        self.attempts += 1
        async with ctx.store.edit_state() as state:
            state["count"] = state.get("count", 0) + 1
        if not self.broken:
            return StopEvent(result=await ctx.store.get("count"))
        if self.attempts == 2:
            ctx.send_event(Third())
            await asyncio.sleep(0.05)
        raise Broken

    @step
    async def other(self, ev: Third) -> None:
        return None


async def test_the_failed_step_has_fresh_attempts_at_an_earlier_point(managing: Managing) -> None:
    workflow = Beside()
    async with managing(w=workflow) as manager:
        failed = await run(manager)
        assert workflow.attempts == 2
        workflow.broken = False
        # When it began, the first attempt of the step that fails the run had failed.
        assert result_of(await retried(manager, failed.handler_id, from_step="other")) == 1


class Named(BaseModel):
    names: list[str] = []


async def written(ctx: Context[Named], *, broken: bool) -> StopEvent:
    """Write to the state, for the first time, and fail."""
    async with ctx.store.edit_state() as state:
        state.names.append("x")
    if broken:
        raise Broken
    return StopEvent(result=(await ctx.store.get_state()).names)


class Typed(Workflow):
    broken = True

    @step(retry_policy=retry_policy(wait=wait_fixed(0), stop=stop_after_attempt(2)))
    async def work(self, ctx: Context[Named], ev: StartEvent) -> StopEvent:
        return await written(ctx, broken=self.broken)


class TypedOnce(Workflow):
    broken = True

    @step
    async def work(self, ctx: Context[Named], ev: StartEvent) -> StopEvent:
        return await written(ctx, broken=self.broken)


@pytest.mark.parametrize("kind", [Typed, TypedOnce])
async def test_a_typed_state_is_as_before_its_first_write(managing: Managing, kind: type[Typed | TypedOnce]) -> None:
    workflow = kind(timeout=None)
    async with managing(w=workflow) as manager:
        failed = await run(manager)
        workflow.broken = False
        assert result_of(await retried(manager, failed.handler_id)) == ["x"]


class Pair(BaseModel):
    first: int
    second: int
    names: list[str] = []


class Held(BaseModel):
    pair: Pair | None = None


class Shared(Workflow):
    """Fails when another step has changed what its first attempt, the first that writes at all, had made.

    That is changed in the first attempt by a step that ends in the second one, or in the second attempt.
    """

    def __init__(self, changed_in: int) -> None:
        super().__init__(timeout=None)
        self.changed_in = changed_in
        self.broken = True
        self.attempts = 0
        self.made = self.changed = self.over = False

    async def make(self, ctx: Context[Any]) -> StopEvent:
        self.attempts += 1
        if self.attempts == 1:
            await ctx.store.set("pair", Pair(first=1, second=1))
            self.made = True
        if self.broken:
            await until(lambda: self.over if self.attempts == 2 else self.changed or self.changed_in == 2)
            raise Broken
        return StopEvent(result=repr(await ctx.store.get("pair")))

    async def change(self, ctx: Context[Any]) -> Third:
        await until(lambda: self.made and self.attempts == self.changed_in)
        pair = await ctx.store.get("pair")
        pair.second += 1
        pair.names.append("changed")
        self.changed = True
        await until(lambda: self.attempts == 2)
        return Third()

    @step
    async def end(self, ev: Third) -> StopEvent | None:
        self.over = True
        return None


class SharedByKeys(Shared):
    @step
    async def begin(self, ctx: Context, ev: StartEvent) -> First | Second | None:
        ctx.send_event(First())
        return Second()

    @step(retry_policy=retry_policy(wait=wait_fixed(0), stop=stop_after_attempt(2)))
    async def one(self, ctx: Context, ev: First) -> StopEvent:
        return await self.make(ctx)

    @step
    async def other(self, ctx: Context, ev: Second) -> Third:
        return await self.change(ctx)


class SharedTyped(Shared):
    @step
    async def begin(self, ctx: Context[Held], ev: StartEvent) -> First | Second | None:
        ctx.send_event(First())
        return Second()

    @step(retry_policy=retry_policy(wait=wait_fixed(0), stop=stop_after_attempt(2)))
    async def one(self, ctx: Context[Held], ev: First) -> StopEvent:
        return await self.make(ctx)

    @step
    async def other(self, ctx: Context[Held], ev: Second) -> Third:
        return await self.change(ctx)


@pytest.mark.parametrize("changed_in", [1, 2])
@pytest.mark.parametrize("kind", [SharedByKeys, SharedTyped])
async def test_an_object_of_a_failed_attempt_stays_as_it_was_changed(
    managing: Managing, kind: type[Shared], changed_in: int
) -> None:
    workflow = kind(changed_in)
    async with managing(w=workflow) as manager:
        failed = await run(manager)
        assert workflow.over
        workflow.broken = False
        over = await retried(manager, failed.handler_id)
        assert result_of(over) == "Pair(first=1, second=2, names=['changed'])"


class Counting(Workflow):
    """Fails after a transaction, while another step has changed what it had fetched."""

    def __init__(self) -> None:
        super().__init__(timeout=None)
        self.broken = True
        self.attempts = 0
        self.changed = self.over = False

    @step
    async def begin(self, ctx: Context, ev: StartEvent) -> First | Second | None:
        await ctx.store.set("names", [])
        ctx.send_event(First())
        return Second()

    @step(retry_policy=retry_policy(wait=wait_fixed(0), stop=stop_after_attempt(2)))
    async def count(self, ctx: Context, ev: First) -> StopEvent:
        self.attempts += 1
        await until(lambda: self.changed)
        async with ctx.store.edit_state() as state:
            state["count"] = state.get("count", 0) + 1
        if self.broken:
            await until(lambda: self.attempts == 1 or self.over)
            raise Broken
        return StopEvent(result=[await ctx.store.get("count"), await ctx.store.get("names")])

    @step
    async def change(self, ctx: Context, ev: Second) -> Third:
        (await ctx.store.get("names")).append("changed")
        self.changed = True
        await until(lambda: self.attempts == 2)
        return Third()

    @step
    async def end(self, ev: Third) -> StopEvent | None:
        self.over = True
        return None


async def test_a_transaction_of_a_failed_attempt_takes_no_others_with_it(managing: Managing) -> None:
    workflow = Counting()
    async with managing(w=workflow) as manager:
        failed = await run(manager)
        assert workflow.over
        workflow.broken = False
        assert result_of(await retried(manager, failed.handler_id)) == [1, ["changed"]]


class Background(Workflow):
    """Fails twice beside a task that outlived its step, and writes."""

    def __init__(self) -> None:
        super().__init__(timeout=None)
        self.broken = True
        self.written = 0
        self.tasks: list[asyncio.Task[None]] = []

    async def write(self, ctx: Context[Any]) -> None:
        while self.written < 20:
            await asyncio.sleep(0.01)
            async with ctx.store.edit_state() as state:
                state.names = [*state.names, str(self.written)]
            self.written += 1

    @step
    async def begin(self, ctx: Context[Named], ev: StartEvent) -> Second:
        self.tasks.append(asyncio.create_task(self.write(ctx)))
        return Second()

    @step(retry_policy=retry_policy(wait=wait_fixed(1), stop=stop_after_attempt(2)))
    async def work(self, ctx: Context[Named], ev: Second) -> StopEvent:
        if self.broken:
            raise Broken
        return StopEvent(result=(await ctx.store.get_state()).names)


async def test_what_a_task_wrote_between_two_attempts_is_kept(managing: Managing) -> None:
    workflow = Background()
    async with managing(w=workflow) as manager:
        failed = await run(manager)
        assert workflow.written == 20
        workflow.broken = False
        over = await retried(manager, failed.handler_id)
        assert result_of(over) == list(map(str, range(20)))


class Mutating(Workflow):
    """Changes its event in place before it fails."""

    def __init__(self) -> None:
        super().__init__(timeout=None)
        self.broken = True

    @step
    async def begin(self, ev: StartEvent) -> Second:
        return Second(number=0)

    @step(retry_policy=retry_policy(wait=wait_fixed(0), stop=stop_after_attempt(3)))
    async def work(self, ev: Second) -> StopEvent:
        ev.number += 1
        if self.broken:
            raise Broken
        return StopEvent(result=ev.number)


async def test_the_failed_step_gets_its_event_as_it_was(managing: Managing) -> None:
    workflow = Mutating()
    async with managing(w=workflow) as manager:
        failed = await run(manager)
        workflow.broken = False
        assert result_of(await retried(manager, failed.handler_id)) == 1


class Sending(Workflow):
    """Sends before it fails, and waits until that is taken."""

    def __init__(self) -> None:
        super().__init__(timeout=None)
        self.broken = True
        self.taken = 0

    @step
    async def send(self, ctx: Context, ev: StartEvent) -> Second | Third:
        ctx.send_event(Second())
        if self.broken:
            await until(lambda: self.taken == 1)
            await asyncio.sleep(0.05)
            raise Broken
        return Third()

    @step
    async def take(self, ctx: Context, ev: Second) -> None:
        self.taken += 1

    @step
    async def end(self, ev: Third) -> StopEvent:
        return StopEvent(result=self.taken)


async def test_what_the_failed_step_had_sent_is_not_sent_again(managing: Managing) -> None:
    workflow = Sending()
    async with managing(w=workflow) as manager:
        failed = await run(manager)
        assert failed.status == "failed"
        workflow.broken = False
        await retried(manager, failed.handler_id)
    assert workflow.taken == 1


class Unkept(Workflow):
    """Returns a value that cannot be stored."""

    def __init__(self) -> None:
        super().__init__(timeout=None)
        self.value: Any = "done"

    @step
    async def begin(self, ev: StartEvent) -> Second:
        return Second()

    @step
    async def end(self, ev: Second) -> StopEvent:
        return StopEvent(result=self.value)


@pytest.mark.parametrize("value", [open, object(), lambda: None])
async def test_a_step_whose_result_could_not_be_stored_begins_again(managing: Managing, value: Any) -> None:
    workflow = Unkept()
    async with managing(w=workflow) as manager:
        workflow.value = value
        failed = await run(manager)
        assert failed.status == "failed", failed
        workflow.value = "done"
        assert result_of(await retried(manager, failed.handler_id)) == "done"


# -- What is kept, and what is not -----------------------------------------------------------------


def rows(database: Path) -> dict[str, int]:
    with closing(sqlite3.connect(database)) as connection:
        tables = ("ticks", "snapshots", "inbox", "state_records", "state_patches")
        return {
            table: number
            for table in tables
            if (number := connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
        }


async def test_the_journal_of_a_failed_run_goes_with_its_handler(managing: Managing, database: Path) -> None:
    workflow = Chain(broken="three")
    async with managing(w=workflow) as manager:
        failed = await run(manager)
        assert rows(database)["ticks"] > 0
        workflow.broken = None
        await retried(manager, failed.handler_id)
        assert "ticks" not in rows(database)
        workflow.broken = "two"
        other = await run(manager)
        await manager.purge(failed.handler_id)
        await manager.purge(other.handler_id)
    assert rows(database) == {}


async def test_a_run_without_a_kept_journal_says_so(managing: Managing, database: Path) -> None:
    async with managing(w=Chain(broken="three")) as manager:
        failed = await run(manager)
    with closing(sqlite3.connect(database)) as connection, connection:
        # As older versions left it.
        connection.execute("DELETE FROM ticks")
    async with managing(w=Chain()) as manager:
        with pytest.raises(JournalNotKept, match="older version"):
            await manager.retry(failed.handler_id, RetryRequest())
        assert await manager.get_handler(failed.handler_id) == failed


async def test_an_undated_state_is_not_taken_for_an_earlier_one(managing: Managing, database: Path) -> None:
    async with managing(w=Chain(broken="three")) as manager:
        failed = await run(manager)
    # Of what older versions wrote it is not known when.
    damage(database, "UPDATE handlers SET code_version = NULL")
    damage(database, "UPDATE state_patches SET tick = -1 WHERE seq < 2")
    mended = Chain()
    async with managing(w=mended) as manager:
        with pytest.raises(JournalUnreadable, match="name a later step"):
            await manager.retry(failed.handler_id, RetryRequest(from_step="two"))
        assert result_of(await retried(manager, failed.handler_id)) == WHOLE


async def test_a_journal_with_a_gap_is_retried_from_before_it(managing: Managing, database: Path) -> None:
    workflow = Chain(broken="three")
    async with managing(w=workflow) as manager:
        failed = await run(manager)
        with closing(sqlite3.connect(database)) as connection, connection:
            # The result of the first step is gone.
            (gap,) = connection.execute("SELECT seq FROM ticks WHERE data LIKE '%step_result%'").fetchone()
            connection.execute("DELETE FROM ticks WHERE seq = ?", [gap])
        workflow.broken = None
        with pytest.raises(JournalUnreadable, match=f"no tick {gap}"):
            await manager.retry(failed.handler_id, RetryRequest())
        with pytest.raises(StepNotReached, match="retried from one"):
            await manager.retry(failed.handler_id, RetryRequest(from_step="two"))
        assert result_of(await retried(manager, failed.handler_id, from_step="one")) == WHOLE


class OtherChain(Workflow):
    """The same workflow without its second step."""

    def __init__(self) -> None:
        super().__init__(timeout=None)

    @step
    async def one(self, ev: StartEvent) -> StopEvent:
        return StopEvent()


async def test_a_journal_that_does_not_fit_the_code_is_refused(managing: Managing, database: Path) -> None:
    async with managing(w=Chain(broken="three")) as manager:
        failed = await run(manager)
    before = rows(database)
    async with managing(w=OtherChain()) as manager:
        with pytest.raises(JournalUnreadable, match="cannot be retried"):
            await manager.retry(failed.handler_id, RetryRequest())
        assert await manager.get_handler(failed.handler_id) == failed
    assert rows(database) == before
    async with managing(w=Chain()) as manager:
        assert result_of(await retried(manager, failed.handler_id)) == WHOLE


async def test_a_run_that_failed_with_no_step_in_progress_says_so(
    managing: Managing, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As where the engine finds that what a collection waits for can never come.
    monkeypatch.setattr(retry_point, "is_stuck", lambda state: not state.workers[StepId.root("two")].in_progress)
    workflow = Chain(broken="three")
    async with managing(w=workflow) as manager:
        failed = await run(manager)
        with pytest.raises(NothingToRetry, match="from an earlier step"):
            await manager.retry(failed.handler_id, RetryRequest())
        workflow.broken = None
        assert result_of(await retried(manager, failed.handler_id, from_step="one")) == WHOLE


def test_a_run_is_stuck_whose_stream_nothing_can_close() -> None:
    state = new_state(Fan(broken=False))
    state.is_running = True
    assert not is_stuck(state)
    spread = StepId.root("spread")
    state.streams["s"] = CollectionStreamInstance("s", spread, (), open_work_items=1)
    assert is_stuck(state)
    key = EmissionKey("invocation_1", 0)
    state.deliveries[key] = Delivery(key, Part(number=1), None, {}, ("s",))
    assert not is_stuck(state)


async def test_bulk_retries_what_it_can_and_tells_the_rest(managing: Managing, database: Path) -> None:
    workflow = Chain(broken="three")
    async with managing(w=workflow) as manager:
        failed = [await run(manager) for _ in range(5)]
        completed = Chain()
        assert completed is not workflow
        with closing(sqlite3.connect(database)) as connection, connection:
            connection.execute("DELETE FROM ticks WHERE run_id = ?", [failed[2].run_id])
        workflow.broken = None
        wanted = ListFilter(statuses=("failed", "cancelled"))
        first = await manager.retry_matching(wanted, None, 3, RetryRequest())
        assert first.handler_ids == [one.handler_id for one in failed[:2]]
        assert list(first.refused) == [failed[2].handler_id]
        assert first.cursor is not None
        second = await manager.retry_matching(wanted, first.cursor, 3, RetryRequest())
        assert second.handler_ids == [one.handler_id for one in failed[3:]]
        assert (second.refused, second.cursor) == ({}, None)
        for handler_id in (*first.handler_ids, *second.handler_ids):
            assert result_of((await ended(manager, handler_id))[0]) == WHOLE
