"""One scheduler for the deadlines of all runs that have left memory."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from contextlib import suppress

from workflow_server.execution.clock import LONGEST_SLEEP, ServerClock

SPARE = 64
"""Outdated times that may stay in the heap, beside as many as there are times: a run that is loaded and released over
and over would let it grow."""


class Wakeups:
    """Calls ``wake`` with a handler's id when its time has come."""

    def __init__(self, wake: Callable[[str], None], clock: ServerClock) -> None:
        self._wake = wake
        self._clock = clock
        self._times: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []
        self._earlier = asyncio.Event()

    def schedule(self, handler_id: str, at: float) -> None:
        """Wake the handler at this time of the server's clock, instead of any time set before."""
        self._times[handler_id] = at
        heapq.heappush(self._heap, (at, handler_id))
        if self._heap[0] == (at, handler_id):
            self._earlier.set()
        if len(self._heap) > 2 * len(self._times) + SPARE:
            self._drop_outdated()

    def _drop_outdated(self) -> None:
        self._heap = [(at, handler_id) for handler_id, at in self._times.items()]
        heapq.heapify(self._heap)

    def forget(self, handler_id: str) -> None:
        """Do not wake the handler."""
        self._times.pop(handler_id, None)

    async def run(self) -> None:
        """Wake handlers until cancelled."""
        while True:
            self._earlier.clear()
            now = self._clock.now()
            while self._heap and self._heap[0][0] <= now:
                at, handler_id = heapq.heappop(self._heap)
                if self._times.get(handler_id) == at:
                    del self._times[handler_id]
                    self._wake(handler_id)
            delay = min(self._heap[0][0] - now, LONGEST_SLEEP) if self._heap else None
            with suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._earlier.wait()
