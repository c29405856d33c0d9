"""Workflows whose runs stand at different places of the list."""

from __future__ import annotations

import os
from pathlib import Path

from workflows import Context, Workflow, step
from workflows.events import Event, HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent

from tests.end_to_end.targets.marking import GATES, gate


class Question(InputRequiredEvent):
    """Asked of a human."""

    question: str


class Answer(HumanResponseEvent):
    """Given by a human."""

    name: str


class Asking(Workflow):
    """It asks, and waits."""

    @step
    async def ask(self, ctx: Context, ev: StartEvent) -> StopEvent:
        """End with who answered."""
        question = Question(question=str(ev.get("question", "Go on?")) * int(ev.get("times", 1)))
        answer = await ctx.wait_for_event(Answer, waiter_event=question)
        return StopEvent(result=f"answered by {answer.name}")


class Query(Event):
    """One of several, side by side."""


class Found(Event):
    """The end of one."""


class Searching(Workflow):
    """Three steps run side by side until their gate is open."""

    @step
    async def plan(self, ev: StartEvent) -> list[Query]:
        """Begin three."""
        return [Query(), Query(), Query()]

    @step(num_workers=3)
    async def search(self, ev: Query) -> Found:
        """Wait at the gate."""
        await gate("search")
        return Found()

    @step
    async def close(self, ev: list[Found]) -> StopEvent:
        """End with their number."""
        return StopEvent(result=f"{len(ev)} found")


class Importing(Workflow):
    """It fails until its gate is open."""

    @step
    async def read_row(self, ev: StartEvent) -> StopEvent:
        """Read a row that may have no such column."""
        rows = {"customer": 4711} if _is_mended() else {}
        return StopEvent(result=f"imported {rows['customer']}")


class Greeting(Workflow):
    """It ends at once."""

    @step
    async def greet(self, ev: StartEvent) -> StopEvent:
        """Greet."""
        return StopEvent(result=f"Hello, {ev.get('name', 'world')}!")


def _is_mended() -> bool:
    return (Path(os.environ[GATES]) / "mended").exists()


asking = Asking(timeout=None)
searching = Searching(timeout=None)
importing = Importing()
greeting = Greeting()
