"""The workflows of a soak test: those that are started in numbers, and one that counts what the server itself holds."""

from __future__ import annotations

import asyncio
import gc
import threading

from workflows import Workflow, step
from workflows.events import StartEvent, StopEvent

from tests.end_to_end.targets.flows import asks, gated, sums, three_steps

__all__ = ["asks", "census", "gated", "sums", "three_steps"]


class Census(Workflow):
    """Counts tasks and threads, when all that is no longer needed is gone."""

    @step
    async def count(self, ev: StartEvent) -> StopEvent:
        gc.collect()
        return StopEvent(result={"tasks": len(asyncio.all_tasks()), "threads": threading.active_count()})


census = Census(timeout=None)
