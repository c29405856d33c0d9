"""Units that wait for their commit, gathered into batches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Generator

from workflow_server.errors import StorageError
from workflow_server.store.sqlite.transaction import Entries


class Batch:
    """All units that one transaction stores. It is settled when the fate of each of them is known."""

    __slots__ = ("_waiting", "is_settled", "units")

    def __init__(self) -> None:
        self.units: list[Unit] = []
        self.is_settled = False
        self._waiting: list[asyncio.Future[None]] = []

    def settled(self) -> asyncio.Future[None]:
        """A future for one who waits. Each has its own: one that goes away takes nothing from the others, and thousands
        may wait (a shared one with shields around it takes quadratic time)."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        return waiter

    def settle(self, error: StorageError | None = None) -> None:
        """The batch is stored, but for units that have an error; with ``error`` nothing of it is."""
        self.is_settled = True
        for unit in self.units:
            if error is not None and unit.error is None:
                unit.error = error
            if unit.answer is not None and not unit.answer.done():
                unit.answer.set_result(None)
        self._wake()

    def settle_only(self, units: Collection[Unit]) -> None:
        """These of its units are stored, or have an error; the others are still to be."""
        apart = Batch()
        apart.units = [unit for unit in self.units if unit in units]
        self.units = [unit for unit in self.units if unit not in units]
        for unit in apart.units:
            unit.batch = apart
        apart.settle()
        # Who waits for one of the others waits again.
        self._wake()

    def _wake(self) -> None:
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)
        self._waiting.clear()


class Unit:
    """Entries that are stored together or not at all; awaited, it returns when they are."""

    __slots__ = ("_wake", "answer", "batch", "entries", "error")

    def __init__(self, entries: Entries, batch: Batch, wake: Callable[[], None]) -> None:
        self.entries = entries
        self.batch = batch
        self.error: StorageError | None = None
        self.answer: asyncio.Future[None] | None = None
        """Of a unit that may be refused for want of room, and so is settled before its batch."""
        self._wake = wake

    def refuse(self, error: StorageError) -> None:
        self.error = error
        if self.answer is not None and not self.answer.done():
            self.answer.set_result(None)

    def __await__(self) -> Generator[object, None, None]:
        while not self.batch.is_settled and self.error is None:
            self._wake()
            yield from (self.answer or self.batch.settled()).__await__()
        if self.error is not None:
            raise self.error
