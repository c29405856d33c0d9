"""Concurrency beyond asyncio's own: work that outlives its caller, a lock for each key, long work in slices."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar
from weakref import WeakValueDictionary

logger = logging.getLogger(__name__)

SLICE = 200
"""Items that are worked on in one go; a handler takes about 50 µs."""

T = TypeVar("T")
Told = TypeVar("Told")
Item = TypeVar("Item")
Made = TypeVar("Made")


async def run_to_completion(work: Coroutine[Any, Any, T], name: str) -> T:
    """Do the work and return its result, also where the caller is cancelled meanwhile.

    The cancellation, however often it comes, is raised when the work has ended: what runs on a connection's thread
    goes on anyway, and what it holds must be given back first.
    """
    task = asyncio.create_task(work, name=name)
    cancellation: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancellation = error
    if cancellation is None:
        return task.result()
    if not task.cancelled() and task.exception() is not None:
        logger.info("%s failed, and nobody waits for it any more", name, exc_info=task.exception())
    raise cancellation


class TaskTracker:
    """Tasks with an owner: they outlive a caller that is cancelled, and ``finish`` awaits them all."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    async def run(self, work: Coroutine[Any, Any, T], name: str) -> T:
        """Do the work and return its result; a caller that is cancelled leaves it running."""
        return await self.result_of(work, name, asyncio.Future.set_result)

    def result_of(
        self, work: Coroutine[Any, Any, T], name: str, tell: Callable[[asyncio.Future[Told], T], object]
    ) -> asyncio.Future[Told]:
        """Do the work; returns a future for one caller, who may cancel it, of what the work raises. ``tell`` is called
        with it and the work's result, and sees to it that the future is set, now or later."""
        caller: asyncio.Future[Told] = asyncio.get_running_loop().create_future()

        def ended(task: asyncio.Task[T]) -> None:
            self._tasks.discard(task)
            if caller.done():
                # Nobody is left to be told how it ends.
                _log_failure(task)
            elif task.cancelled():
                caller.cancel()
            elif (error := task.exception()) is not None:
                caller.set_exception(error)
            else:
                tell(caller, task.result())

        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(ended)
        return caller

    def spawn(self, work: Coroutine[Any, Any, object], name: str) -> None:
        """Do the work; what it raises is logged."""
        self._start(work, name).add_done_callback(_log_failure)

    def __len__(self) -> int:
        return len(self._tasks)

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


class KeyedLock:
    """One lock a key: ``async with lock(key)`` excludes everybody else with the same key."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def __call__(self, key: str) -> asyncio.Lock:
        lock = self._locks.get(key)
        if lock is None:
            lock = self._locks[key] = asyncio.Lock()
        return lock

    def locked(self) -> int:
        """Return how many of the locks are held."""
        return sum(lock.locked() for lock in self._locks.values())


async def map_cooperatively(make: Callable[[Item], Made], items: Sequence[Item]) -> list[Made]:
    """Return ``make(item)`` for each item, in order; other tasks have their turn after each slice of items."""
    made: list[Made] = []
    for start in range(0, len(items), SLICE):
        if start:
            await asyncio.sleep(0)
        made += map(make, items[start : start + SLICE])
    return made


def _log_failure(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and task.exception() is not None:
        logger.error("%s failed", task.get_name(), exc_info=task.exception())
