"""What a step made of its own event before it waited or failed, when it begins again."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

from pydantic import Field
from workflows import Context, Workflow, catch_error, step
from workflows.events import Event, HumanResponseEvent, InputRequiredEvent, StartEvent, StepFailedEvent, StopEvent
from workflows.retry_policy import retry_policy, stop_after_attempt, wait_fixed

from workflow_server.protocol.handlers import RunRequest
from workflow_server.runtime.manager import RuntimeManager

from .conftest import Managing
from .waiting import asked, ended, released

REPLY = {"type": "HumanResponseEvent", "value": {}}


class Work(Event):
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


class Rescues(Workflow):
    """A step fails, and the one that catches its error waits with what the failed one had noted."""

    @step
    async def begin(self, ev: StartEvent) -> Work:
        return Work()

    @step
    async def fail(self, ev: Work) -> StopEvent:
        ev.notes.append("half done")
        raise ValueError("broken")

    @catch_error
    async def rescue(self, ctx: Context, ev: StepFailedEvent) -> StopEvent:
        await ctx.wait_for_event(HumanResponseEvent, waiter_event=InputRequiredEvent())
        return StopEvent(result=ev.input_event.notes)


async def answered(manager: RuntimeManager, handler_id: str) -> str:
    """The last event of a run that waits for one answer."""
    await manager.send(handler_id, REPLY, None, None)
    return (await ended(manager, handler_id))[1]


async def test_a_retry_after_a_release_finds_its_event_as_the_failed_attempt_left_it(managing: Managing) -> None:
    async with managing(idle_timeout=0.02, sample=Retries(timeout=None)) as manager:
        handler = await manager.start("sample", RunRequest())
        shown, last = await ended(manager, handler.handler_id)
    assert shown.status == "completed", shown.error
    assert '"result":[0,1,2]' in last


async def test_a_step_that_waited_finds_its_event_as_it_left_it_in_another_process(managing: Managing) -> None:
    async with managing(grace=0.0, sample=Waits()) as manager:
        handler = await manager.start("sample", RunRequest())
        await asked(manager, handler.handler_id)
    async with managing(sample=Waits()) as manager:
        assert '"result":["asked","answered"]' in await answered(manager, handler.handler_id)


async def test_who_catches_an_error_finds_the_event_of_the_failed_step_as_it_was_left(managing: Managing) -> None:
    async with managing(grace=0.0, sample=Rescues(timeout=None)) as manager:
        handler = await manager.start("sample", RunRequest())
        await asked(manager, handler.handler_id)
    async with managing(sample=Rescues(timeout=None)) as manager:
        assert '"result":["half done"]' in await answered(manager, handler.handler_id)


async def test_what_cannot_be_kept_of_it_is_named_in_the_step_that_put_it_there(managing: Managing) -> None:
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
        await manager._store.flush()
        with closing(sqlite3.connect(database)) as connection:
            ticks = [data for (data,) in connection.execute("SELECT data FROM ticks")]
    assert sum('"add_event_waiter"' in data for data in ticks) > 1
    assert sum('"held"' in data for data in ticks) == 1
