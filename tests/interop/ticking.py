"""The workflow whose live stream the consumers read: events with pauses between them, in which heartbeats come."""

from __future__ import annotations

import asyncio
import math
import time

from workflows import Context, Workflow, step
from workflows.events import Event, StartEvent, StopEvent

from workflow_server import WorkflowServer


class Begin(StartEvent):
    """Number of events, and the pause after each, in seconds."""

    count: int = 5
    pause: float = 0.5


class Tick(Event):
    """One of them: ``at`` is when it was published, ``text`` holds what some readers take for the end of a line."""

    n: int
    at: float
    text: str = 'a\u2028b\x85c é {["\n'
    loss: float = math.nan


class Ticking(Workflow):
    """Publishes ticks."""

    @step
    async def tick(self, ctx: Context, ev: Begin) -> StopEvent:
        for n in range(ev.count):
            ctx.write_event_to_stream(Tick(n=n, at=time.time()))
            await asyncio.sleep(ev.pause)
        return StopEvent(result="over")


server = WorkflowServer()
server.add_workflow("ticking", Ticking(timeout=None))
