"""Workflows whose meaning is time, in a process whose wall clock is ahead by the number in the file $WALL_CLOCK."""

from __future__ import annotations

import os
import time
from pathlib import Path

from workflows import Context, Workflow, catch_error, step
from workflows.events import Event, InputRequiredEvent, StartEvent, StepFailedEvent, StopEvent
from workflows.retry_policy import retry_policy, stop_after_attempt, wait_fixed

_FILE = Path(os.environ["WALL_CLOCK"])
_real = time.time


def _set() -> float:
    return _real() + float(_FILE.read_text())


time.time = _set

DELAY = 8.0


class Question(InputRequiredEvent):
    """Published when a wait begins."""


class Answer(Event):
    """The event that ends a wait."""


class Waits(Workflow):
    """Waits for ``seconds``."""

    @step
    async def ask(self, ctx: Context, ev: StartEvent) -> StopEvent:
        try:
            await ctx.wait_for_event(Answer, waiter_event=Question(), timeout=ev.get("seconds"))
        except TimeoutError:
            return StopEvent(result="timed out")
        return StopEvent(result="answered")


class Retries(Workflow):
    """Fails twice, and ends with what it was told of the times by the wall clock."""

    @step(retry_policy=retry_policy(wait=wait_fixed(DELAY), stop=stop_after_attempt(2)))
    async def flaky(self, ctx: Context, ev: StartEvent) -> Answer:
        info = ctx.retry_info()
        if info.retry_number:
            assert info.last_failed_at is not None
            since = time.time() - info.last_failed_at.timestamp()
            await ctx.store.set("told", [info.elapsed_seconds, since])
        raise ConnectionError("not yet")

    @step
    async def go_on(self, ev: Answer) -> StopEvent:
        return StopEvent()

    @catch_error
    async def failed(self, ctx: Context, ev: StepFailedEvent) -> StopEvent:
        told = [] if ev.attempts < 2 else [ev.elapsed_seconds, time.time() - ev.failed_at.timestamp()]
        return StopEvent(result=[*await ctx.store.get("told", []), *told])


waits = Waits(timeout=None)
retries = Retries(timeout=None)
alive_for_eight_seconds = Waits(timeout=DELAY)
