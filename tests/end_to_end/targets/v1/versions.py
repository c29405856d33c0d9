"""The first version of a target; ``v2/versions.py`` is the second."""

from __future__ import annotations

from pydantic import BaseModel
from workflows import Context, Workflow, step
from workflows.events import Event, StartEvent, StopEvent

from tests.end_to_end.targets.marking import gate, side_effect


class Draft(Event):
    """The journal of a run names this class."""

    text: str


class Outline(Event):
    """Both versions have it."""

    text: str


class Settings(BaseModel):
    """The state of a run."""

    depth: int = 0


class Kept(Workflow):
    """Is served by both."""

    @step
    async def wait(self, ev: StartEvent) -> StopEvent:
        with side_effect("wait"):
            await gate("kept")
            return StopEvent(result="kept")


class Renamed(Workflow):
    """Has an event whose class the second version does not have."""

    @step
    async def write(self, ev: StartEvent) -> Draft:
        return Draft(text="a draft")

    @step
    async def wait(self, ev: Draft) -> StopEvent:
        with side_effect("wait"):
            await gate("renamed")
            return StopEvent(result=ev.text)


class Restated(Workflow):
    """Has a state that the second version cannot read."""

    @step
    async def write(self, ctx: Context[Settings], ev: StartEvent) -> Outline:
        await ctx.store.set("depth", 3)
        return Outline(text="an outline")

    @step
    async def wait(self, ctx: Context[Settings], ev: Outline) -> StopEvent:
        with side_effect("wait"):
            await gate("restated")
            return StopEvent(result=await ctx.store.get("depth"))


kept = Kept(timeout=None)
withdrawn = Kept(timeout=None)
renamed = Renamed(timeout=None)
restated = Restated(timeout=None)
