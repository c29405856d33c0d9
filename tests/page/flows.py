"""The workflows of the tests of the page."""

from __future__ import annotations

from workflows import Workflow, step
from workflows.events import StartEvent, StopEvent


class Chain(Workflow):
    """One step."""

    @step
    async def begin(self, ev: StartEvent) -> StopEvent:
        """End with what came."""
        return StopEvent(result=ev.model_dump())


chain = Chain()
