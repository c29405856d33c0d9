"""Workflows whose results follow from what they were given, and which show in their log what ran again."""

from __future__ import annotations

import asyncio

from workflows import Context, Workflow, step
from workflows.events import Event, HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent


class Begin(StartEvent):
    number: int
    size: int = 3
    slow: bool = False
    """True if the second step takes its time, where there is time."""


class Began(Event):
    """A step has begun; for readers only."""

    place: int


class Next(Event):
    place: int


class Question(InputRequiredEvent):
    number: int


class Answer(HumanResponseEvent):
    text: str


async def began(ctx: Context, place: int) -> int:
    """Tell readers, and count in the state."""
    ctx.write_event_to_stream(Began(place=place))
    async with ctx.store.edit_state() as state:
        state["count"] = state.get("count", 0) + 1
        state["notes"] = [*state.get("notes", []), "x" * 40]
        return int(state["count"])


class Chain(Workflow):
    """Steps one after the other; its result counts those of earlier runs of the handler, too."""

    pause = 0.0
    """Seconds that a slow step takes."""

    @step
    async def first(self, ctx: Context, ev: Begin) -> Next:
        await ctx.store.set("size", ev.size)
        await ctx.store.set("number", ev.number)
        await ctx.store.set("slow", ev.slow)
        await began(ctx, 0)
        return Next(place=1)

    @step
    async def further(self, ctx: Context, ev: Next) -> Next | StopEvent:
        count = await began(ctx, ev.place)
        if ev.place == 1 and await ctx.store.get("slow"):
            await asyncio.sleep(Chain.pause)
        if ev.place + 1 < await ctx.store.get("size"):
            return Next(place=ev.place + 1)
        return StopEvent(result=[await ctx.store.get("number"), count])


class Spread(Workflow):
    """Items side by side, joined at the end."""

    @step
    async def split(self, ev: Begin) -> list[Next]:
        return [Next(place=place) for place in range(ev.size)]

    @step(num_workers=3)
    async def work(self, ctx: Context, ev: Next) -> Answer:
        await began(ctx, ev.place)
        await asyncio.sleep(0.001)
        return Answer(text=str(ev.place))

    @step
    async def join(self, ctx: Context, items: list[Answer]) -> StopEvent:
        return StopEvent(result=[sorted(item.text for item in items), await ctx.store.get("count")])


class Asks(Workflow):
    """Waits for an answer, and gives it back."""

    @step
    async def ask(self, ctx: Context, ev: Begin) -> Question:
        await began(ctx, 0)
        return Question(number=ev.number)

    @step
    async def take(self, ctx: Context, ev: Answer) -> StopEvent:
        return StopEvent(result=[ev.text, await began(ctx, 1)])


class Worked(Event):
    """The work that comes before the question is done."""

    number: int


class AsksLater(Workflow):
    """Works before it waits, so that its answer is there first."""

    @step
    async def work(self, ctx: Context, ev: Begin) -> Worked:
        await began(ctx, 0)
        await asyncio.sleep(0.1)
        return Worked(number=ev.number)

    @step
    async def ask(self, ctx: Context, ev: Worked) -> StopEvent:
        answer = await ctx.wait_for_event(Answer, waiter_event=Question(number=ev.number), timeout=None)
        return StopEvent(result=[answer.text, 1])


class Fails(Workflow):
    """Fails for good."""

    @step
    async def broken(self, ev: Begin) -> StopEvent:
        raise ValueError(f"broken {ev.number}")


WORKFLOWS: dict[str, type[Workflow]] = {
    "chain": Chain,
    "spread": Spread,
    "asks": Asks,
    "asks_later": AsksLater,
    "fails": Fails,
}
