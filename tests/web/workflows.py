"""The workflows that the tests serve."""

from __future__ import annotations

from typing import Any

from workflows import Context, Workflow, step
from workflows.events import Event, StartEvent, StopEvent


class Counted(Event):
    """One of the events that ``Count`` publishes."""

    n: int
    text: str = ""


class CountTo(StartEvent):
    """The number to count to, and the word to say each time."""

    n: int = 3
    text: str = ""


class CountedAll(StopEvent):
    """The count when it stopped."""

    total: int


class Count(Workflow):
    """Publishes ``n`` events and ends with an event of its own type."""

    @step
    async def count(self, ctx: Context, ev: CountTo) -> CountedAll:
        for n in range(ev.n):
            ctx.write_event_to_stream(Counted(n=n, text=ev.text))
        return CountedAll(total=ev.n)


class Echo(Workflow):
    """Ends with the fields that it was started with, in a plain StopEvent."""

    @step
    async def echo(self, ev: StartEvent) -> StopEvent:
        fields: dict[str, Any] = dict(ev.items())
        return StopEvent(result=fields)


class Asked(Event):
    """The question of ``Ask``."""


class Answered(Event):
    """The answer to it."""

    text: str


class Ask(Workflow):
    """Publishes a question and runs until it is answered."""

    @step
    async def ask(self, ctx: Context, ev: StartEvent) -> StopEvent:
        ctx.write_event_to_stream(Asked())
        answer = await ctx.wait_for_event(Answered, timeout=None)
        return StopEvent(result=answer.text)


class Fail(Workflow):
    """Fails."""

    @step
    async def fail(self, ev: StartEvent) -> StopEvent:
        raise ValueError("the step failed")
