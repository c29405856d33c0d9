"""The refusal of values that cannot be stored: its step, its place, and the code that sees it."""

from __future__ import annotations

import asyncio
import threading

import pytest
from workflows import Context, Workflow, catch_error, step
from workflows.events import Event, HumanResponseEvent, StartEvent, StepFailedEvent, StopEvent
from workflows.retry_policy import retry_policy, stop_after_attempt, wait_fixed

from tests.harness.managing import Managing
from workflow_server.errors import Unstorable
from workflow_server.protocol.handlers import RunRequest


class Handed(Event):
    """Holds what cannot be stored."""


async def write(ctx: Context, way: str, lock: threading.Lock) -> None:
    if way in {"set", "handled"}:
        await ctx.store.set("lock", lock)
    if way == "edited":
        async with ctx.store.edit_state() as state:
            state["lock"] = lock
    if way == "changed in place":
        locks: list[threading.Lock] = []
        await ctx.store.set("locks", locks)
        locks.append(lock)


async def hand_on(ctx: Context, way: str, lock: threading.Lock) -> None:
    if way == "sent":
        ctx.send_event(Handed(lock=lock))
    if way == "published":
        ctx.write_event_to_stream(Handed(lock=lock))
    if way == "awaited":
        await ctx.wait_for_event(HumanResponseEvent, requirements={"lock": lock})


class Handing(Workflow):
    """Hands a lock on, in a step that is tried twice and whose failure is caught."""

    def __init__(self) -> None:
        super().__init__(timeout=None)
        self.tries = 0

    @step(retry_policy=retry_policy(wait=wait_fixed(0), stop=stop_after_attempt(2)))
    async def hand(self, ctx: Context, ev: StartEvent) -> Handed | StopEvent:
        self.tries += 1
        lock, way = threading.Lock(), ev.get("way")
        try:
            await write(ctx, way, lock)
        except Unstorable:
            if way != "handled":
                raise
            return StopEvent(result=["handled", await ctx.store.get("lock", None)])
        if way == "returned":
            return Handed(lock=lock)
        if way in {"sent", "published", "awaited"}:
            try:
                await hand_on(ctx, way, lock)
            except Unstorable:
                return StopEvent(result="the step saw it")
            await asyncio.sleep(30)
        return StopEvent()

    @step
    async def take(self, ev: Handed) -> StopEvent:
        return StopEvent()

    @catch_error(for_steps=["hand"])
    async def caught(self, ev: StepFailedEvent) -> StopEvent:
        return StopEvent(result=[type(ev.exception).__name__, ev.attempts])


@pytest.mark.parametrize("way", ["set", "edited"])
async def test_what_the_state_refuses_is_a_failure_of_its_step(managing: Managing, way: str) -> None:
    async with managing(handing=Handing()) as manager:
        handler = await manager.run("handing", RunRequest(start_event={"way": way}))
    assert handler.result is not None
    assert handler.result.value == {"result": ["Unstorable", 2]}


async def test_a_step_that_handles_the_states_refusal_goes_on(managing: Managing) -> None:
    async with managing(handing=Handing()) as manager:
        handler = await manager.run("handing", RunRequest(start_event={"way": "handled"}))
    assert handler.result is not None
    assert handler.result.value == {"result": ["handled", None]}


@pytest.mark.parametrize("way", ["returned", "sent", "published", "awaited", "changed in place"])
async def test_what_is_handed_on_and_cannot_be_stored_ends_the_run(managing: Managing, way: str) -> None:
    handing = Handing()
    async with managing(handing=handing) as manager:
        handler = await manager.run("handing", RunRequest(start_event={"way": way}))
    assert handler.status == "failed"
    assert handler.error is not None
    assert "lock" in handler.error
    assert handler.error.endswith(" (in step hand)")
    assert handing.tries == 1
