"""The standing of runs: their steps, their waits, and when nothing can happen in them any more."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import SecretStr, model_serializer
from workflows import Context, Workflow, step
from workflows.events import Event, HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent
from workflows.retry_policy import retry_policy, stop_after_attempt, wait_fixed

from tests.harness.managing import Managing
from tests.harness.runs import ended, in_memory, released, until
from tests.harness.waiting import until_seen
from workflow_server.execution import writer
from workflow_server.execution.engine import new_state
from workflow_server.execution.questions import question_text
from workflow_server.execution.standing import OpenWait, PendingRetry, RunningStep, Standing, standing_of
from workflow_server.execution.waits import Waits
from workflow_server.protocol.handlers import HandlerData, HandlerDetails, RunRequest
from workflow_server.records import InboxPosted, Record
from workflow_server.runs.manager import RuntimeManager

LONG = "x" * 1_000


class Question(InputRequiredEvent):
    key: SecretStr = SecretStr("secret")


class Approval(HumanResponseEvent):
    by: Any = None


class Asks(Workflow):
    """Waits for one approval, with all that a wait may have."""

    @step
    async def ask(self, ctx: Context, ev: StartEvent) -> StopEvent:
        await ctx.wait_for_event(
            Approval,
            waiter_event=Question(prefix="May it go out?"),
            requirements={"by": "Ada", "level": math.inf, "key": SecretStr("secret"), "long": LONG, "how": object()},
            timeout=3_600,
        )
        return StopEvent()


class Answered(Workflow):
    """Asks by returning a question, and has a step for the answer."""

    @step
    async def ask(self, ev: StartEvent) -> Question:
        return Question(prefix="May it go out?")

    @step
    async def answer(self, ev: Approval) -> StopEvent:
        return StopEvent()


class Part(Event):
    pass


class Stalls(Workflow):
    """Collects three parts, of which two come."""

    @step
    async def begin(self, ctx: Context, ev: StartEvent) -> Part | None:
        ctx.send_event(Part())
        ctx.send_event(Part())
        return None

    @step
    async def collect(self, ctx: Context, ev: Part) -> StopEvent | None:
        return None if ctx.collect_events(ev, [Part] * 3) is None else StopEvent()


class Retries(Workflow):
    """Fails at each attempt, and tries again after an hour."""

    @step(retry_policy=retry_policy(wait=wait_fixed(3_600), stop=stop_after_attempt(5)))
    async def fetch(self, ev: StartEvent) -> StopEvent:
        raise ValueError("not there")


class Works(Workflow):
    """Works until it may end, in two executions of a step at once."""

    def __init__(self) -> None:
        super().__init__(timeout=None)
        self.begun = 0
        self.may_end = asyncio.Event()

    @step
    async def begin(self, ctx: Context, ev: StartEvent) -> Part | None:
        ctx.send_event(Part())
        ctx.send_event(Part())
        return None

    @step(num_workers=2)
    async def work(self, ev: Part) -> StopEvent:
        self.begun += 1
        await self.may_end.wait()
        return StopEvent()


WAITS = {
    "step": "ask",
    "event": "Approval",
    "requirements": {"by": "Ada", "level": "Infinity", "key": "**********", "long": "(str)", "how": "(object)"},
    "question": "Question",
    "prompt": "May it go out?",
}


async def start(manager: RuntimeManager, workflow: str) -> str:
    return (await manager.start(workflow, RunRequest())).handler_id


async def stands(manager: RuntimeManager, handler_id: str) -> dict[str, Any]:
    """Return what is told beside what lists tell, too."""
    details = await manager.describe_handler(handler_id)
    return details.model_dump(include=set(HandlerDetails.model_fields) - set(HandlerData.model_fields))


async def resting(manager: RuntimeManager, handler_id: str) -> dict[str, Any]:
    """Return what is told when the run has come to rest: it waits or is stalled."""
    async with asyncio.timeout(20):
        while True:
            told = await stands(manager, handler_id)
            if told["waiting_for"] or told["retrying_steps"] or told["stalled"]:
                return told
            await asyncio.sleep(0.005)


async def each_place(managing: Managing, workflow: Workflow) -> list[dict[str, Any]]:
    """Return what is told of a run at rest: in memory, after a restart, released, and after another restart."""
    told = []
    async with managing(flow=workflow) as manager:
        handler_id = await start(manager, "flow")
        told.append(await resting(manager, handler_id))
    async with managing(flow=workflow, idle_timeout=0.3) as manager:
        told.append(await resting(manager, handler_id))
        await released(manager, handler_id)
        told.append(await stands(manager, handler_id))
    async with managing(flow=workflow, idle_timeout=0.3) as manager:
        assert not in_memory(manager, handler_id)
        told.append(await stands(manager, handler_id))
    return told


def assert_began(told: list[dict[str, Any]], before: datetime) -> None:
    """Check, and take out, the times at which the waits began."""
    for since in [datetime.fromisoformat(one["waiting_for"][0].pop("since")) for one in told]:
        assert before - timedelta(seconds=1) < since < datetime.now(UTC) + timedelta(seconds=1)


async def test_a_wait_is_told_with_all_that_it_has(managing: Managing) -> None:
    before = datetime.now(UTC)
    told = await each_place(managing, Asks(timeout=None))
    assert_began(told, before)
    deadlines = {one["waiting_for"][0].pop("deadline") for one in told}
    assert told == [{"running_steps": [], "waiting_for": [WAITS], "retrying_steps": [], "stalled": False}] * 4
    for deadline in map(datetime.fromisoformat, deadlines):
        left = deadline - datetime.now(UTC)
        assert timedelta(seconds=3_400) < left < timedelta(seconds=3_700)


async def test_a_wait_in_a_snapshot_is_told_as_before(managing: Managing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "SNAPSHOT_TICKS", 3)
    async with managing(flow=Asks(timeout=None)) as manager:
        handler_id = await start(manager, "flow")
        told = await resting(manager, handler_id)
        await manager.store.flush()
        stored = await manager.store.load_run(handler_id)
        assert stored is not None
        assert (stored.snapshot is not None, stored.ticks) == (True, [])
    async with managing(flow=Asks(timeout=None)) as manager:
        again = await resting(manager, handler_id)
    assert [one["waiting_for"][0].pop("deadline") is None for one in (told, again)] == [False, False]
    assert [one["waiting_for"][0].pop("since") is None for one in (told, again)] == [False, False]
    assert again == told
    assert told["waiting_for"] == [WAITS]


async def test_a_step_for_an_answer_is_waited_for(managing: Managing) -> None:
    before = datetime.now(UTC)
    told = await each_place(managing, Answered(timeout=None))
    assert_began(told, before)
    wait: dict[str, Any] = {
        "step": "answer",
        "event": "Approval",
        "requirements": {},
        "question": None,
        "deadline": None,
        "prompt": "May it go out?",
    }
    assert told == [{"running_steps": [], "waiting_for": [wait], "retrying_steps": [], "stalled": False}] * 4


async def test_a_question_in_a_snapshot_is_told_as_before(managing: Managing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "SNAPSHOT_TICKS", 4)
    async with managing(flow=Answered(timeout=None)) as manager:
        handler_id = await start(manager, "flow")
        told = await resting(manager, handler_id)
        await manager.store.flush()
        stored = await manager.store.load_run(handler_id)
        assert stored is not None
        assert (stored.snapshot is not None, stored.ticks) == (True, [])
    async with managing(flow=Answered(timeout=None)) as manager:
        again = await resting(manager, handler_id)
    for one in (told, again):
        assert one["waiting_for"][0]["prompt"] == "May it go out?"
        assert one["waiting_for"][0]["since"] is not None


async def test_a_question_that_was_answered_is_told_no_longer(managing: Managing) -> None:
    class Asks(Workflow):
        @step
        async def ask(self, ev: StartEvent) -> Question:
            return Question(prefix="Who is there?")

        @step
        async def answer(self, ev: Approval) -> StopEvent | None:
            return None if ev.by is None else StopEvent()

    async with managing(flow=Asks(timeout=None)) as manager:
        handler_id = await start(manager, "flow")
        assert (await resting(manager, handler_id))["waiting_for"][0]["prompt"] == "Who is there?"
        await manager.send(handler_id, {"type": "Approval", "value": {}}, None, None)

        async def is_forgotten() -> bool:
            return bool((await stands(manager, handler_id))["waiting_for"] == [NOTHING_ASKED])

        await until_seen(is_forgotten, "the question was not forgotten")


NOTHING_ASKED: dict[str, Any] = {
    "step": "answer", "event": "Approval", "requirements": {}, "question": None, "deadline": None, "since": None,
    "prompt": None,
}  # fmt: skip


async def test_a_question_that_cannot_be_written_is_none() -> None:
    class Odd(InputRequiredEvent):
        @model_serializer
        def refuse(self) -> dict[str, Any]:
            raise KeyboardInterrupt

    assert question_text(Odd()) is None


async def test_a_run_in_which_nothing_can_happen_is_stalled(managing: Managing) -> None:
    told = await each_place(managing, Stalls(timeout=None))
    assert told == [{"running_steps": [], "waiting_for": [], "retrying_steps": [], "stalled": True}] * 4


async def test_a_run_that_only_its_timeout_can_end_is_stalled(managing: Managing) -> None:
    async with managing(flow=Stalls(timeout=3_600)) as manager:
        assert (await resting(manager, await start(manager, "flow")))["stalled"] is True


async def test_a_stalled_run_that_is_sent_an_event_goes_on(managing: Managing) -> None:
    async with managing(flow=Stalls(timeout=None), idle_timeout=0.3) as manager:
        handler_id = await start(manager, "flow")
        await released(manager, handler_id)
        assert (await stands(manager, handler_id))["stalled"] is True
        await manager.send(handler_id, {"type": "Part", "value": {}}, None, None)
        await until(lambda: manager.runs.get(handler_id) is None)
        assert (await manager.get_handler(handler_id)).status == "completed"


async def test_a_run_for_which_an_event_is_stored_is_not_stalled(managing: Managing) -> None:
    def hear(records: Sequence[Record]) -> None:
        posted.extend(record for record in records if isinstance(record, InboxPosted))

    posted: list[InboxPosted] = []
    async with managing(flow=Stalls(timeout=None)) as manager:
        handler_id = await start(manager, "flow")
        await resting(manager, handler_id)
        run = manager.runs.get(handler_id)
        assert run is not None
        manager.store.subscribe(hear)
        sending = asyncio.create_task(manager.send(handler_id, {"type": "Part", "value": {}}, None, None))
        while not run.has_ended:
            assert run.standing is not None
            assert run.standing.stalled == (not posted)
            await asyncio.sleep(0)
        await sending


async def test_a_retry_is_told_with_its_time_and_is_not_stalled(managing: Managing) -> None:
    told = await each_place(managing, Retries(timeout=None))
    times = {one["retrying_steps"][0].pop("at") for one in told}
    retry = {"step": "fetch", "attempt": 2}
    assert told == [{"running_steps": [], "waiting_for": [], "retrying_steps": [retry], "stalled": False}] * 4
    for at in map(datetime.fromisoformat, times):
        assert timedelta(seconds=3_400) < at - datetime.now(UTC) < timedelta(seconds=3_700)


async def test_each_execution_of_a_step_is_told_until_it_ends(managing: Managing) -> None:
    workflow = Works()
    async with managing(flow=workflow) as manager:
        before = datetime.now(UTC)
        handler_id = await start(manager, "flow")
        await until(lambda: workflow.begun == 2)
        told = await stands(manager, handler_id)
        assert [one["step"] for one in told["running_steps"]] == ["work", "work"]
        assert all(before <= datetime.fromisoformat(one["since"]) <= datetime.now(UTC) for one in told["running_steps"])
        assert (told["waiting_for"], told["stalled"]) == ([], False)
        workflow.may_end.set()
        await ended(manager, handler_id)
        over = {"running_steps": [], "waiting_for": [], "retrying_steps": [], "stalled": False}
        assert await stands(manager, handler_id) == over


async def test_of_very_many_waits_a_hundred_are_told(managing: Managing) -> None:
    class Many(Workflow):
        @step
        async def begin(self, ev: StartEvent) -> list[Part]:
            return [Part() for _ in range(300)]

        @step(num_workers=200)
        async def work(self, ctx: Context, ev: Part) -> StopEvent:
            await ctx.wait_for_event(Approval, timeout=None)
            return StopEvent()

    async with managing(flow=Many(timeout=None)) as manager:
        handler_id = await start(manager, "flow")
        while not (told := await resting(manager, handler_id))["waiting_for"][99:]:
            pass
        assert len(told["waiting_for"]) == 100


async def test_a_run_that_begins_again_after_a_restart_is_running(managing: Managing) -> None:
    workflow = Works()
    async with managing(flow=workflow, grace=0.01) as manager:
        handler_id = await start(manager, "flow")
        await until(lambda: workflow.begun == 2)
    async with managing(flow=workflow) as manager:
        await until(lambda: workflow.begun == 4)
        assert len((await stands(manager, handler_id))["running_steps"]) == 2
        workflow.may_end.set()
        await ended(manager, handler_id)


async def test_of_a_run_that_was_not_waiting_nothing_is_claimed(managing: Managing) -> None:
    workflow = Works()
    async with managing(flow=workflow, grace=0.01) as manager:
        handler_id = await start(manager, "flow")
        await until(lambda: workflow.begun == 2)
    async with managing() as manager:
        told = await stands(manager, handler_id)
        assert told == {"running_steps": None, "waiting_for": None, "retrying_steps": None, "stalled": False}


async def test_an_answered_wait_is_told_no_longer(managing: Managing) -> None:
    class Twice(Workflow):
        @step
        async def ask(self, ctx: Context, ev: StartEvent) -> StopEvent:
            await ctx.wait_for_event(Approval, waiter_id="1", requirements={"by": "Ada"}, timeout=None)
            await ctx.wait_for_event(Approval, waiter_id="2", requirements={"by": "Bob"}, timeout=None)
            return StopEvent()

    async with managing(flow=Twice(timeout=None)) as manager:
        handler_id = await start(manager, "flow")
        await resting(manager, handler_id)
        await manager.send(handler_id, {"type": "Approval", "value": {"by": "Ada"}}, None, None)
        async with asyncio.timeout(20):
            while True:
                told = (await stands(manager, handler_id))["waiting_for"]
                if [one["requirements"] for one in told] == [{"by": "Bob"}]:
                    break
                await asyncio.sleep(0.005)
        await manager.send(handler_id, {"type": "Approval", "value": {"by": "Bob"}}, None, None)
        await ended(manager, handler_id)


def test_of_very_many_running_steps_a_hundred_are_told() -> None:
    running = [RunningStep("work", float(number)) for number in range(300)]
    standing = standing_of(new_state(Works()), Waits(), (), running, is_resting=False)
    assert standing == Standing(running[:100], [], [], stalled=False)


def test_what_is_stored_of_a_run_is_read_back() -> None:
    wait = OpenWait("ask", "Approval", {"by": "Ada", "n": None}, None, 1.5)
    standing = Standing((), [wait], [PendingRetry("fetch", 2, 2.5)], stalled=False)
    assert Standing.from_json(standing.to_json()) == standing
    for damaged in ("", "{}", "[1]", "[[[1]],[],false]", "[1,2,3]", "\ufffd"):
        assert Standing.from_json(damaged) is None
