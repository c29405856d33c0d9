"""Work that must be finished once it was begun, whoever waits for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

logger = logging.getLogger(__name__)

T = TypeVar("T")


class OwnedTasks:
    """Tasks with an owner: they outlive a caller that is cancelled, and ``finish`` awaits them all."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    async def run(self, work: Coroutine[Any, Any, T], name: str) -> T:
        """Do the work and return what it returns; a caller that is cancelled leaves it running."""
        task = self._start(work, name)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            # Nobody is left to be told how it ends.
            task.add_done_callback(_log_failure)
            raise

    def spawn(self, work: Coroutine[Any, Any, object], name: str) -> None:
        """Do the work; what it raises is logged."""
        self._start(work, name).add_done_callback(_log_failure)

    async def finish(self, timeout: float) -> None:
        """Wait for all work, and after ``timeout`` seconds cancel what is left."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _log_failure(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and task.exception() is not None:
        logger.error("%s failed", task.get_name(), exc_info=task.exception())
