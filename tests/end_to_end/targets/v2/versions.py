"""The second version: one workflow is withdrawn, an event class is gone, a state has another shape."""

from __future__ import annotations

from pydantic import BaseModel
from workflows import Context, Workflow, step
from workflows.events import Event, StartEvent, StopEvent

from tests.end_to_end.targets.marking import gate, side_effect


class Outline(Event):
    """The new name of what was a draft."""

    text: str


class Settings(BaseModel):
    """The state of a run, of another shape."""

    depth: list[str] = []
    owner: str = "nobody"


class Kept(Workflow):
    """Is served by both."""

    @step
    async def wait(self, ev: StartEvent) -> StopEvent:
        with side_effect("wait"):
            await gate("kept")
            return StopEvent(result="kept")


class Renamed(Workflow):
    """Its event has a new name."""

    @step
    async def write(self, ev: StartEvent) -> Outline:
        return Outline(text="an outline")

    @step
    async def wait(self, ev: Outline) -> StopEvent:
        with side_effect("wait"):
            await gate("renamed")
            return StopEvent(result=ev.text)


class Restated(Workflow):
    """Its state has another shape."""

    @step
    async def write(self, ctx: Context[Settings], ev: StartEvent) -> Outline:
        return Outline(text="an outline")

    @step
    async def wait(self, ctx: Context[Settings], ev: Outline) -> StopEvent:
        with side_effect("wait"):
            await gate("restated")
            return StopEvent(result=await ctx.store.get("depth"))


kept = Kept(timeout=None)
renamed = Renamed(timeout=None)
restated = Restated(timeout=None)
