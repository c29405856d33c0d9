"""The events of a step, as the step left them before it waited or failed, when it begins again."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field
from workflows import Context, Workflow, catch_error, step
from workflows.events import Event, HumanResponseEvent, InputRequiredEvent, StartEvent, StepFailedEvent, StopEvent
from workflows.retry_policy import retry_policy, stop_after_attempt, wait_fixed
from workflows.runtime.types.internal_state import BrokerState
from workflows.runtime.types.results import AddCollectedEvent, AddWaiter, DeleteCollectedEvent
from workflows.runtime.types.ticks import TickAddEvent, TickStepResult

from tests.harness.managing import Managing
from tests.harness.runs import asked, ended, released
from workflow_server.execution.codec import Codec
from workflow_server.execution.engine.live_state import live
from workflow_server.execution.engine.reducing import reduce_live
from workflow_server.execution.held_inputs import HeldInputs
from workflow_server.protocol.handlers import RunRequest
from workflow_server.runs.manager import RuntimeManager

REPLY = {"type": "HumanResponseEvent", "value": {}}


class Work(Event):
    notes: list[Any] = Field(default_factory=list)


class Gathered(Event):
    notes: list[Any] = Field(default_factory=list)


class Note(HumanResponseEvent):
    number: int
    notes: list[Any] = Field(default_factory=list)


class Retries(Workflow):
    """Counts its attempts in its own event, and succeeds with the third."""

    @step
    async def begin(self, ev: StartEvent) -> Work:
        return Work()

    @step(retry_policy=retry_policy(wait=wait_fixed(0.2), stop=stop_after_attempt(3)))
    async def attempt(self, ev: Work) -> StopEvent:
        ev.notes.append(len(ev.notes))
        if len(ev.notes) < 3:
            raise ValueError("again")
        return StopEvent(result=ev.notes)


class Waits(Workflow):
    """Notes in its own event that it asks and, when it has begun again, that it was answered."""

    def __init__(self, note: object = "asked") -> None:
        super().__init__(timeout=None)
        self.note = note

    @step
    async def begin(self, ev: StartEvent) -> Work:
        return Work()

    @step
    async def ask(self, ctx: Context, ev: Work) -> StopEvent:
        ev.notes.append("answered" if ev.notes else self.note)
        await ctx.wait_for_event(HumanResponseEvent, waiter_event=InputRequiredEvent())
        return StopEvent(result=ev.notes)


class Gathers(Workflow):
    """Collects two events and changes them before it waits: ``how`` it comes by them."""

    def __init__(self, how: str) -> None:
        super().__init__(timeout=None)
        self.how = how

    @step
    async def begin(self, ctx: Context, ev: StartEvent) -> Work | Gathered:
        ctx.send_event(Gathered())
        ctx.send_event(Work())
        return Work()

    @step(num_workers=1)
    async def gather(self, ctx: Context, ev: Work) -> StopEvent | None:
        works = ctx.collect_events(ev, [Work, Work])
        if works is None or self.how != "collected":
            return None
        return await self.noted(ctx, works)

    @step
    async def answer(self, ctx: Context, ev: Gathered) -> StopEvent | None:
        if self.how != "answers":
            return None
        first = await ctx.wait_for_event(Note, waiter_id="first", requirements={"number": 1})
        return await self.noted(ctx, [first])

    async def noted(self, ctx: Context, events: list[Any]) -> StopEvent:
        for event in events:
            event.notes.append(len(event.notes))
        await ctx.wait_for_event(HumanResponseEvent, waiter_event=InputRequiredEvent(), waiter_id="last")
        return StopEvent(result=[event.notes for event in events])


class Batches(Workflow):
    """Takes a list of what was fanned out, and changes it before it waits."""

    @step
    async def begin(self, ev: StartEvent) -> list[Work]:
        return [Work(), Work()]

    @step
    async def pass_on(self, ev: Work) -> Gathered:
        return Gathered()

    @step
    async def gather(self, ctx: Context, evs: list[Gathered]) -> StopEvent:
        for event in evs:
            event.notes.append(len(event.notes))
        await ctx.wait_for_event(HumanResponseEvent, waiter_event=InputRequiredEvent())
        return StopEvent(result=[event.notes for event in evs])


class Pairs(Workflow):
    """Is run for two events at once, and changes both before it waits."""

    @step
    async def begin(self, ctx: Context, ev: StartEvent) -> Work | Gathered:
        ctx.send_event(Gathered())
        return Work()

    @step
    async def gather(self, ctx: Context, one: Work, other: Gathered) -> StopEvent:
        for event in (one, other):
            event.notes.append(len(event.notes))
        await ctx.wait_for_event(HumanResponseEvent, waiter_event=InputRequiredEvent())
        return StopEvent(result=[one.notes, other.notes])


class Polls(Workflow):
    """Asks again and again, and leaves its event as it is."""

    @step
    async def begin(self, ev: StartEvent) -> Work:
        return Work(notes=["long" * 100])

    @step
    async def ask(self, ctx: Context, ev: Work) -> StopEvent:
        for number in range(5):
            await ctx.wait_for_event(HumanResponseEvent, waiter_event=InputRequiredEvent(), waiter_id=str(number))
        return StopEvent(result="done")


class Unkeepable(Exception):
    """Holds what cannot be kept."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.lock = threading.Lock()


class Rescues(Workflow):
    """A step fails, and the one that catches its error waits with what the failed one had noted and raised."""

    @step
    async def begin(self, ev: StartEvent) -> Work:
        return Work()

    @step
    async def fail(self, ev: Work) -> StopEvent:
        ev.notes.append("half done")
        raise Unkeepable("broken")

    @catch_error
    async def rescue(self, ctx: Context, ev: StepFailedEvent) -> StopEvent:
        await ctx.wait_for_event(HumanResponseEvent, waiter_event=InputRequiredEvent())
        return StopEvent(result=[*ev.input_event.notes, str(ev.exception)])


async def answered(manager: RuntimeManager, handler_id: str) -> str:
    """The last event of a run that waits for one answer."""
    await manager.send(handler_id, REPLY, None, None)
    return (await ended(manager, handler_id))[1]


async def test_a_retry_after_a_release_finds_its_event_as_it_was_left(managing: Managing) -> None:
    async with managing(idle_timeout=0.02, sample=Retries(timeout=None)) as manager:
        handler = await manager.start("sample", RunRequest())
        shown, last = await ended(manager, handler.handler_id)
    assert shown.status == "completed", shown.error
    assert '"result":[0,1,2]' in last


async def test_a_step_finds_its_event_as_another_process_left_it(managing: Managing) -> None:
    async with managing(grace=0.0, sample=Waits()) as manager:
        handler = await manager.start("sample", RunRequest())
        await asked(manager, handler.handler_id)
    async with managing(sample=Waits()) as manager:
        assert '"result":["asked","answered"]' in await answered(manager, handler.handler_id)


@pytest.mark.parametrize(
    ("make", "result"),
    [
        (lambda: Gathers("collected"), "[[0,1],[0,1]]"),
        (lambda: Gathers("answers"), "[[0,1]]"),
        (Batches, "[[0,1],[0,1]]"),
        (Pairs, "[[0,1],[0,1]]"),
    ],
    ids=["collected", "answers", "batch", "bound"],
)
async def test_a_step_finds_all_the_events_that_it_has_as_it_left_them(
    managing: Managing, make: Callable[[], Workflow], result: str
) -> None:
    async with managing(grace=0.0, additional=[Note], sample=make()) as manager:
        handler = await manager.start("sample", RunRequest())
        await manager.send(handler.handler_id, {"type": "Note", "value": {"number": 1}}, None, None)
        await asked(manager, handler.handler_id)
    async with managing(additional=[Note], sample=make()) as manager:
        assert f'"result":{result}' in await answered(manager, handler.handler_id)


async def test_a_catcher_finds_the_failed_steps_event_as_it_was_left(managing: Managing) -> None:
    async with managing(grace=0.0, sample=Rescues(timeout=None)) as manager:
        handler = await manager.start("sample", RunRequest())
        await asked(manager, handler.handler_id)
    async with managing(sample=Rescues(timeout=None)) as manager:
        assert '"result":["half done","broken"]' in await answered(manager, handler.handler_id)


async def test_what_cannot_be_kept_is_named_in_the_step_that_made_it(managing: Managing) -> None:
    async with managing(sample=Waits(note=threading.Lock())) as manager:
        handler = await manager.start("sample", RunRequest())
        shown, _ = await ended(manager, handler.handler_id)
    assert shown.status == "failed"
    assert shown.error is not None
    assert "Work.notes[0] cannot be stored" in shown.error


async def test_an_event_that_stays_as_it_is_is_recorded_once(managing: Managing, database: Path) -> None:
    async with managing(idle_timeout=0.02, sample=Polls(timeout=None)) as manager:
        handler = await manager.start("sample", RunRequest())
        await asked(manager, handler.handler_id)
        for _ in range(2):
            await released(manager, handler.handler_id)
            await manager.send(handler.handler_id, REPLY, None, None)
        await released(manager, handler.handler_id)
        await manager.store.flush()
        with closing(sqlite3.connect(database)) as connection:
            ticks = [data for (data,) in connection.execute("SELECT data FROM ticks")]
    assert sum('"add_event_waiter"' in data for data in ticks) > 1
    # Where it was sent, and where the step first waited.
    assert sum("longlong" in data for data in ticks) == 2


def test_collected_events_are_recorded_as_they_were_before_the_tick() -> None:
    """The run's state is changed in place: here, by an event that is collected anew with the same result."""
    start, collected, further = StartEvent(), Work(notes=[1]), Work(notes=[2])
    state: BrokerState = live(BrokerState.from_workflow(Waits()))
    state, _ = reduce_live(state, TickAddEvent(event=start, stamped_at=1.0), 1.0, "run")
    (step_id, worker), *_ = [(name, one) for name, one in state.workers.items() if one.in_progress]
    worker.collected_events["default"] = [collected]
    (execution,) = worker.in_progress
    execution.shared_state.collected_events["default"] = [collected]
    tick = TickStepResult(
        step_id=step_id,
        worker_id=0,
        event=start,
        invocation_id=execution.invocation_id,
        stamped_at=2.0,
        result=[
            DeleteCollectedEvent(event_id="default"),
            AddCollectedEvent(event_id="default", event=further),
            AddWaiter(waiter_id="w", event_type=HumanResponseEvent),
        ],
    )
    codec = Codec([StartEvent, Work])
    inputs = HeldInputs(codec)
    inputs.note(tick, state)
    reduce_live(state, tick, 2.0, "run")
    assert worker.collected_events["default"] == [collected, further]
    assert codec.decode(inputs.to_record()["collected"]) == {"default": [collected]}
