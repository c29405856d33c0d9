"""The workflows of the scripted session, in a server that checkpoints often, so that a short session has several."""

from __future__ import annotations

import asyncio
from typing import Any

from workflows import Context, Workflow, step
from workflows.events import Event, HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent

from workflow_server.store.sqlite import checkpoint

checkpoint.COMMITS = 12


class Counted(Event):
    """The count so far."""

    n: int
    text: str = ""


class Count(Workflow):
    """Counts its runs in the state, which those that continue it find."""

    @step
    async def count(self, ctx: Context, ev: StartEvent) -> StopEvent:
        n = await ctx.store.get("n", default=0) + 1
        await ctx.store.set("n", n)
        ctx.write_event_to_stream(Counted(n=n))
        return StopEvent(result={"label": ev.get("label"), "n": n})


class Question(InputRequiredEvent):
    """Asks for texts."""


class Answer(HumanResponseEvent):
    """A text, or that there are no more."""

    text: str = ""
    last: bool = False


class Inbox(Workflow):
    """Takes texts as they come, until the last one; its result are all that it took."""

    @step
    async def ask(self, ctx: Context, ev: StartEvent) -> Question:
        await ctx.store.set("label", ev.get("label"))
        return Question()

    @step
    async def take(self, ctx: Context, ev: Answer) -> StopEvent | None:
        if not ev.last:
            await ctx.store.set("texts", [*await ctx.store.get("texts", default=[]), ev.text])
            return None
        result: dict[str, Any] = {
            "label": await ctx.store.get("label"),
            "texts": await ctx.store.get("texts", default=[]),
        }
        return StopEvent(result=result)


class Flood(Workflow):
    """Writes 3 MB in 3 s."""

    @step
    async def flood(self, ctx: Context, ev: StartEvent) -> StopEvent:
        for n in range(100):
            ctx.write_event_to_stream(Counted(n=n, text="x" * 30_000))
            await asyncio.sleep(0.03)
        return StopEvent(result=ev.get("label"))


count = Count(timeout=None)
inbox = Inbox(timeout=None)
flood = Flood(timeout=None)
