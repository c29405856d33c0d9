"""Units that wait for their commit, gathered into batches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Generator

from workflow_server.errors import StorageError
from workflow_server.store.internal_records import Entries


class Batch:
    """The units of one transaction. It is settled when the outcome of each of them is known."""

    __slots__ = ("_waiting", "is_settled", "units")

    def __init__(self) -> None:
        self.units: list[Unit] = []
        self.is_settled = False
        self._waiting: list[asyncio.Future[None]] = []

    def settled(self) -> asyncio.Future[None]:
        """Return a future for one waiter. Each has its own: a cancelled one takes nothing from the others, and with
        thousands of waiters a shared future with shields around it takes quadratic time."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        return waiter

    def settle(self, error: StorageError | None = None) -> None:
        """Wake all waiters: the units without an error are stored; where ``error`` is given, none of them is.

        The units let go of their records, and the batch of its units: a run holds its last unit as long as it waits.
        """
        self.is_settled = True
        units, self.units = self.units, []
        for unit in units:
            if error is not None and unit.error is None:
                unit.error = error
            if unit.error is None:
                unit.entries = ()
            if unit.answer is not None and not unit.answer.done():
                unit.answer.set_result(None)
        self._wake()

    def refuse(self, error: StorageError) -> int:
        """Take out the units that may be refused, and give them the error; return the number of their records."""
        refused = [unit for unit in self.units if unit.answer is not None]
        self.units = [unit for unit in self.units if unit.answer is None]
        for unit in refused:
            unit.refuse(error)
        return sum(len(unit.entries) for unit in refused)

    def settle_only(self, units: Collection[Unit]) -> None:
        """Settle these of its units; the others stay in the batch, to be stored later."""
        apart = Batch()
        apart.units = [unit for unit in self.units if unit in units]
        self.units = [unit for unit in self.units if unit not in units]
        for unit in apart.units:
            unit.batch = apart
        apart.settle()
        # Waiters of the other units look at their unit, and wait again.
        self._wake()

    def _wake(self) -> None:
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)
        self._waiting.clear()


class Unit:
    """Records that are stored together or not at all; awaiting it returns when they are."""

    __slots__ = ("_wake", "answer", "batch", "entries", "error")

    internal = False

    def __init__(self, entries: Entries, batch: Batch, wake: Callable[[], None]) -> None:
        self.entries = entries
        self.batch = batch
        self.error: StorageError | None = None
        self.answer: asyncio.Future[None] | None = None
        """Set for a unit that may be refused for want of room, and so may be settled before its batch."""
        self._wake = wake

    def refuse(self, error: StorageError) -> None:
        """Settle this unit with an error, before its batch."""
        self.error = error
        if self.answer is not None and not self.answer.done():
            self.answer.set_result(None)

    def __await__(self) -> Generator[object, None, None]:
        while not self.batch.is_settled and self.error is None:
            self._wake()
            yield from (self.answer or self.batch.settled()).__await__()
        if self.error is not None:
            raise self.error


class InternalUnit(Unit):
    """A unit of the store's own records, which no listener hears of."""

    __slots__ = ()

    internal = True
