"""Clients that wait for the end of a run."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import AbstractContextManager
from itertools import chain
from typing import Any

from workflow_server.errors import ShuttingDown, StorageError, WorkflowServerError
from workflow_server.records import RunEnded


class EndWaiters:
    """One future per waiter, so that one that goes away takes nothing from the others."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Future[RunEnded]]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def end_of(self, run_id: str) -> RunEnd:
        """Return a context in which the end of the run, once it is durable, is told."""
        return RunEnd(self._waiting, run_id)

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


class RunEnd(AbstractContextManager["RunEnd"]):
    """One wait for the end of a run, which is told in ``future``."""

    __slots__ = ("_run_id", "_waiting", "future")

    def __init__(self, waiting: dict[str, set[asyncio.Future[RunEnded]]], run_id: str) -> None:
        self._waiting = waiting
        self._run_id = run_id
        self.future: asyncio.Future[RunEnded] = asyncio.get_running_loop().create_future()

    def __enter__(self) -> RunEnd:
        self._waiting.setdefault(self._run_id, set()).add(self.future)
        return self

    def __exit__(self, *_: object) -> None:
        waiting = self._waiting[self._run_id]
        waiting.discard(self.future)
        if not waiting:
            del self._waiting[self._run_id]

    def tell(self, other: asyncio.Future[Any]) -> None:
        """Let another future be set in place of ``future``, at once where the end was told already."""
        past, self.future = self.future, other
        if not past.done():
            # Nothing is there any more once the context was left.
            waiting = self._waiting.get(self._run_id, set())
            waiting.discard(past)
            waiting.add(other)
        elif (error := past.exception()) is not None:
            other.set_exception(error)
        else:
            other.set_result(past.result())
