"""Workflows on which the official clients are tried."""

from __future__ import annotations

from workflows import Context, Workflow, step
from workflows.events import Event, HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent


class Greeting(StartEvent):
    """Whom to greet."""

    name: str = "nobody"


class Progress(Event):
    """Published on the way."""

    percent: int


class Greet(Workflow):
    """Publishes its progress, counts its runs, and greets."""

    @step
    async def greet(self, ctx: Context, ev: Greeting) -> StopEvent:
        if ev.name == "trouble":
            raise ValueError("nobody greets trouble")
        for percent in (0, 50, 100):
            ctx.write_event_to_stream(Progress(percent=percent))
        times = await ctx.store.get("times", default=0) + 1
        await ctx.store.set("times", times)
        return StopEvent(result=f"Hello {ev.name}, {times}")


class Approve(Workflow):
    """Asks a human."""

    @step
    async def ask(self, ev: StartEvent) -> InputRequiredEvent:
        return InputRequiredEvent()

    @step
    async def decide(self, ev: HumanResponseEvent) -> StopEvent:
        return StopEvent(result=ev.get("response"))


greet = Greet(timeout=None)
approve = Approve(timeout=None)
