"""Units that wait for their commit, gathered into batches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator

from workflow_server.errors import StorageError
from workflow_server.store.transaction import Entries


class Batch:
    """All units that one transaction stores. ``settled`` is set when the fate of each of them is known."""

    __slots__ = ("_settled", "is_settled", "units")

    def __init__(self) -> None:
        self.units: list[Unit] = []
        self.is_settled = False
        self._settled: asyncio.Future[None] | None = None

    def settled(self) -> asyncio.Future[None]:
        # Made only when somebody waits: most units are waited for by nobody.
        if self._settled is None:
            self._settled = asyncio.get_running_loop().create_future()
        return self._settled

    def settle(self, error: StorageError | None = None) -> None:
        """The batch is stored, but for units that have an error; with ``error`` nothing of it is."""
        self.is_settled = True
        for unit in self.units:
            if error is not None and unit.error is None:
                unit.error = error
            if unit.answer is not None and not unit.answer.done():
                unit.answer.set_result(None)
        if self._settled is not None:
            self._settled.set_result(None)


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
        if not self.batch.is_settled and self.error is None:
            self._wake()
            # Shielded: the future is shared, and a caller that goes away takes nothing back.
            yield from asyncio.shield(self.answer or self.batch.settled()).__await__()
        if self.error is not None:
            raise self.error
