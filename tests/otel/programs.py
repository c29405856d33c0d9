"""A workflow for programs that tests run."""

from __future__ import annotations

from workflows import Workflow, step
from workflows.events import StartEvent, StopEvent


class Says(Workflow):
    """Ends at once."""

    @step
    async def say(self, ev: StartEvent) -> StopEvent:
        return StopEvent()


says = Says()
