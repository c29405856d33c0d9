"""The workflows that hostile clients attack: typed and general start events, a human's answer, failures, large
results."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from workflows import Context, Workflow, step
from workflows.events import Event, HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent


class CountTo(StartEvent):
    """The number to count to, and the word to say each time."""

    n: Annotated[int, Field(ge=0, le=20)] = 2
    text: str = ""


class Counted(Event):
    """One of those that ``Count`` publishes."""

    n: int
    text: str


class Question(InputRequiredEvent):
    """The question that ``Approve`` asks."""

    about: str


class Decision(HumanResponseEvent):
    """The answer to it."""

    approved: bool
    reason: str = ""


class CountedAll(StopEvent):
    """The count when it stopped."""

    total: int


class Count(Workflow):
    """Publishes events, and ends with one of its own type."""

    @step
    async def count(self, ctx: Context, ev: CountTo) -> CountedAll:
        for n in range(ev.n):
            ctx.write_event_to_stream(Counted(n=n, text=ev.text))
        return CountedAll(total=ev.n)


class Approve(Workflow):
    """Runs until a human has decided."""

    @step
    async def ask(self, ev: StartEvent) -> Question:
        return Question(about=str(ev.get("about", "")))

    @step
    async def decide(self, ev: Decision) -> StopEvent:
        return StopEvent(result={"approved": ev.approved, "reason": ev.reason})


class Echo(Workflow):
    """Ends with the fields that it was started with."""

    @step
    async def echo(self, ev: StartEvent) -> StopEvent:
        return StopEvent(result=dict(ev.items()))


class Fail(Workflow):
    """Fails."""

    @step
    async def fail(self, ev: StartEvent) -> StopEvent:
        raise ValueError("the step failed")


class Large(Workflow):
    """Ends with a result of so many bytes."""

    @step
    async def make(self, ev: StartEvent) -> StopEvent:
        return StopEvent(result="x" * int(ev.get("size", 1)))


def impatient() -> dict[str, Workflow]:
    """Those that end by themselves, soon, whatever is sent to them or not."""
    return {"count": Count(), "echo": Echo(), "fail": Fail(), "approve": Approve(timeout=0.7)}


count = Count(timeout=None)
approve = Approve(timeout=None)
echo = Echo(timeout=None)
fail = Fail(timeout=None)
large = Large(timeout=None)
smuggled = Echo(timeout=None)
"""Nobody starts it but by a request that hides in another."""
