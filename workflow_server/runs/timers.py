"""One scheduler for the deadlines of all runs that have left memory."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from typing import Generic, Protocol, TypeVar

from workflow_server.execution.clock import LONGEST_SLEEP, ServerClock

SPARE = 64
"""Outdated times that may stay in the heap, beside as many as there are times: a run that is loaded and released over
and over would let it grow."""


class Sleeper(Protocol):
    """A run, as far as its timer goes."""

    wake_at: float | None
    """The time of its timer; set by ``Timers`` alone."""


T = TypeVar("T", bound=Sleeper)


class Timers(Generic[T]):
    """Calls ``wake`` with a run when its time has come."""

    def __init__(self, wake: Callable[[T], None], clock: ServerClock) -> None:
        self._wake = wake
        self._clock = clock
        self._number = count()
        self._heap: list[tuple[float, int, T]] = []
        self._armed = 0
        self._earlier = asyncio.Event()

    def __len__(self) -> int:
        """Return how many runs have a timer."""
        return self._armed

    def schedule(self, run: T, at: float) -> None:
        """Wake the run at this time of the server's clock, instead of any time set before."""
        self._armed += run.wake_at is None
        run.wake_at = at
        heapq.heappush(self._heap, (at, next(self._number), run))
        if self._heap[0][0] == at:
            self._earlier.set()
        if len(self._heap) > 2 * self._armed + SPARE:
            self._drop_outdated()

    def _drop_outdated(self) -> None:
        current = {id(run): (at, number, run) for at, number, run in self._heap if run.wake_at == at}
        self._heap = list(current.values())
        heapq.heapify(self._heap)

    def forget(self, run: T) -> None:
        """Do not wake the run."""
        self._armed -= run.wake_at is not None
        run.wake_at = None

    async def run(self) -> None:
        """Wake runs until cancelled."""
        while True:
            self._earlier.clear()
            now = self._clock.now()
            while self._heap and self._heap[0][0] <= now:
                at, _, run = heapq.heappop(self._heap)
                if run.wake_at == at:
                    self.forget(run)
                    self._wake(run)
            delay = min(self._heap[0][0] - now, LONGEST_SLEEP) if self._heap else None
            with suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._earlier.wait()
