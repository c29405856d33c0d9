"""Clients that wait for the end of a run."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain

from workflow_server.errors import ShuttingDown, StorageError, WorkflowServerError
from workflow_server.records import RunEnded


class EndWaiters:
    """One future per waiter, so that one that goes away takes nothing from the others."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Future[RunEnded]]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    @contextmanager
    def end_of(self, run_id: str) -> Iterator[asyncio.Future[RunEnded]]:
        """Yield a future that is set when the run has ended, durably."""
        end: asyncio.Future[RunEnded] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(run_id, set())
        waiting.add(end)
        try:
            yield end
        finally:
            waiting.discard(end)
            if not waiting:
                del self._waiting[run_id]

    def ended(self, over: RunEnded) -> None:
        """Tell that the end of a run is durable."""
        for end in self._waiting.get(over.run_id, ()):
            if not end.done():
                end.set_result(over)

    def lost(self, run_id: str, error: StorageError) -> None:
        """Tell that the end of a run can never be stored."""
        self._fail(self._waiting.get(run_id, ()), error)

    def close(self) -> None:
        """Tell all of them that they will not hear of it: the server stops."""
        self._fail(chain.from_iterable(self._waiting.values()), ShuttingDown())

    @staticmethod
    def _fail(ends: Iterable[asyncio.Future[RunEnded]], error: WorkflowServerError) -> None:
        for end in ends:
            if not end.done():
                end.set_exception(error)
                end.exception()
