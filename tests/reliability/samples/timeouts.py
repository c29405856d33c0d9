"""The end of a run from outside: its timeout, and its cancellation."""

from __future__ import annotations

import asyncio

from workflows import Context, Workflow, step
from workflows.events import StartEvent, StopEvent
from workflows.retry_policy import retry_policy, stop_never, wait_fixed

from .sample import Cancel, Part, Progress, Question, Reply, Sample, begin


class Slow(Workflow):
    """A step takes longer than the run may. It has to begin in that time on a busy machine, too."""

    def __init__(self) -> None:
        super().__init__(timeout=3.0)

    @step
    async def first(self, ev: StartEvent) -> Part:
        begin("first")
        return Part(n=1)

    @step
    async def second(self, ctx: Context, ev: Part) -> StopEvent:
        label = begin("second")
        ctx.write_event_to_stream(Progress(by=label))
        await asyncio.sleep(30)
        return StopEvent(result="too late")


class WaitsTooLong(Workflow):
    """A wait takes longer than the run may."""

    def __init__(self) -> None:
        super().__init__(timeout=1.0)

    @step
    async def ask(self, ctx: Context, ev: StartEvent) -> StopEvent:
        begin("ask")
        await ctx.wait_for_event(Reply, waiter_event=Question(about="q1"), timeout=None)
        return StopEvent(result="answered")


class TriesTooLong(Workflow):
    """Retries take longer than the run may."""

    def __init__(self) -> None:
        super().__init__(timeout=1.0)

    @step(retry_policy=retry_policy(wait=wait_fixed(3_600), stop=stop_never()))
    async def attempt(self, ev: StartEvent) -> StopEvent:
        begin("attempt")
        raise ConnectionError("down")


class Unlimited(Workflow):
    """A run without a timeout."""

    def __init__(self) -> None:
        super().__init__(timeout=None)

    @step
    async def only(self, ev: StartEvent) -> StopEvent:
        begin("only")
        return StopEvent(result="done")


class CancelledInStep(Workflow):
    """Is cancelled while a step runs, which may clean up but not go on."""

    @step
    async def work(self, ctx: Context, ev: StartEvent) -> StopEvent:
        label = begin("work")
        ctx.write_event_to_stream(Progress(by=label))
        await asyncio.sleep(30)
        return StopEvent(result="too late")


class CancelledInWait(Workflow):
    """Is cancelled while it waits."""

    @step
    async def ask(self, ev: StartEvent) -> Question:
        begin("ask")
        return Question(about="q1")

    @step
    async def answer(self, ev: Reply) -> StopEvent:
        begin("answer")
        return StopEvent(result="answered")


SAMPLES = {
    "timed_out": Sample(Slow, "3.0", status="failed"),
    "timed_out_in_wait": Sample(WaitsTooLong, "1.0", status="failed"),
    "timed_out_in_retry": Sample(TriesTooLong, "1.0", status="failed"),
    "unlimited": Sample(Unlimited, "done"),
    "cancelled_in_step": Sample(CancelledInStep, "", status="cancelled", reactions={"Progress": lambda _: [Cancel()]}),
    "cancelled_in_wait": Sample(CancelledInWait, "", status="cancelled", reactions={"Question": lambda _: [Cancel()]}),
}
