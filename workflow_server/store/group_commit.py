"""Group commit: units gather while a transaction runs, and one task stores all that gathered in the next one.

It knows no database; see ``backend`` for what a database has to do.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic
from typing import TypeVar, cast

from workflow_server.errors import (
    CommitUnknown,
    ListenerFailed,
    StorageError,
    StorageFull,
    StoreClosed,
    StoreGone,
    UnitRefused,
)
from workflow_server.records import Record
from workflow_server.store.backend import Backend, FailureKind, Refusals, TransactionError
from workflow_server.store.base import Committed
from workflow_server.store.batch import Batch, InternalUnit, Unit
from workflow_server.store.internal_records import Entries, Entry
from workflow_server.store.listeners import CommitListeners
from workflow_server.store.priority import is_urgent, urgent_units

logger = logging.getLogger(__name__)

T = TypeVar("T")

GATHER = 0.003
"""Seconds for which units gather while nobody waits for them: halves the number of commits."""
GATHER_TURNS = 16
"""Turns of the event loop, at most ``GATHER`` seconds, for which units gather behind a transaction where others wait
already. A step that the transaction let begin hands in its own after eight turns; the two would only compete for the
interpreter. With eight clients this makes 0.57 transactions of a three-step run, in place of 0.98, and takes a quarter
of its CPU time."""

FULL_RETRY = 1.0
"""Seconds between two tries while the disk is full."""


class GroupCommit:
    """Stores units in the order in which they were appended, all that gathered in one transaction.

    ``backoff`` are the seconds to wait before each new try of a transaction that failed. ``listeners`` hear of each
    transaction, ``on_refused`` of each unit that can never be stored; ``on_failure`` is called once, when nothing can
    be stored any more.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        backoff: Sequence[float],
        listeners: CommitListeners,
        on_refused: Callable[[Entries, StorageError], None],
        on_failure: Callable[[StorageError], None],
    ) -> None:
        self.problem: str | None = None
        self.committed = Committed()
        self._backend = backend
        self._backoff = tuple(backoff)
        self._listeners = listeners
        self._on_refused = on_refused
        self._on_failure = on_failure
        self._gathering = Batch()
        self._storing: Batch | None = None
        self._backlog = 0
        self._wanted = asyncio.Event()
        self._wake = self._wanted.set
        self._timer: asyncio.TimerHandle | None = None
        self._closing = asyncio.Event()
        self._look_again = asyncio.Event()
        """Set to end a wait for room."""
        self._failed: StorageError | None = None
        self._takes_units = True
        self._full_until = 0.0
        self._waits_for_room = False
        self._asked: dict[Callable[[], Awaitable[bool]], list[asyncio.Future[bool]]] = {}
        """The work of the backend that is to be done between two transactions, with one future per caller."""
        self._task = asyncio.create_task(self._run(), name="store-writer")

    @property
    def is_open(self) -> bool:
        """Return whether units are still accepted."""
        return self._takes_units

    @property
    def backlog(self) -> int:
        """Return the number of records that wait for their commit."""
        return self._backlog

    def append(self, entries: Entries, *, internal: bool = False) -> Unit:
        """Hand over a unit; never suspends. Awaiting the unit returns when it is durable."""
        batch = self._gathering
        unit = (InternalUnit if internal else Unit)(entries, batch, self._wake)
        if not self._takes_units:
            unit.error = self._failed or StoreClosed()
            return unit
        if not batch.units and self._storing is None:
            self._timer = asyncio.get_running_loop().call_later(GATHER, self._wake)
        batch.units.append(unit)
        self._backlog += len(entries)
        if self._waits_for_room and is_urgent(entries):
            self._look_again.set()
        return unit

    async def commit(self, entries: Entries, *, internal: bool = False) -> None:
        """Store a unit that may be refused: where this raises StorageFull or StoreUnavailable, it never will be."""
        if self._waits_for_room or monotonic() < self._full_until:
            raise StorageFull
        unit = self.append(entries, internal=internal)
        unit.answer = asyncio.get_running_loop().create_future()
        await unit

    def commit_soon(self) -> None:
        """Gather no longer what was appended."""
        self._wanted.set()

    async def flush(self) -> None:
        """Return when all that was appended before is stored."""
        await self.append(())

    async def erase_deleted(self) -> bool:
        """Erase what was deleted before (see ``Backend``); return False where that is not possible at present."""
        return await self._between_transactions(self._backend.erase_deleted)

    async def give_space_back(self) -> bool:
        """Make the database a little smaller (see ``Backend``), when nothing waits for its commit; return False where
        that is not possible, at present or at all."""
        return await self._between_transactions(self._backend.give_space_back)

    async def _between_transactions(self, work: Callable[[], Awaitable[bool]]) -> bool:
        if not self.is_open or self._waits_for_room:
            return False
        asked: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._asked.setdefault(work, []).append(asked)
        self._wanted.set()
        return await asked

    async def close(self) -> None:
        """Store what was handed over and end the task; while the disk is full, what is left is tried once more."""
        self._takes_units = False
        self._closing.set()
        self._look_again.set()
        self._wanted.set()
        await asyncio.wait([self._task])

    # -- The task ------------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            while not (self._closing.is_set() and not self._gathering.units) and self._failed is None:
                await self._wanted.wait()
                self._wanted.clear()
                await self._store_gathered()
                await self._do_asked()
        except BaseException as error:
            self._fail(CommitUnknown(reason=f"the writer ended: {type(error).__name__}: {error}"), cause=error)
            if not isinstance(error, Exception):
                raise
        finally:
            self._refuse_asked()

    async def _do_asked(self) -> None:
        for work in list(self._asked):
            if self._failed is None:
                is_done = await self._guarded(work())
                _answer(self._asked.pop(work, []), is_done is True)
            if self._failed is None:
                await self._guarded(self._backend.maintain())

    async def _store_gathered(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._gathering.units and self._failed is None:
            self._storing, self._gathering = self._gathering, Batch()
            await self._store(self._storing)
            self._storing = None
            if self._failed is None:
                await self._guarded(self._backend.maintain())
            if self._gathering.units:
                await self._gather()

    async def _gather(self) -> None:
        """Let those who heard of the last transaction hand in what follows on it."""
        until = monotonic() + GATHER
        for _ in range(GATHER_TURNS):
            await asyncio.sleep(0)
            if monotonic() >= until:
                break

    async def _store(self, batch: Batch) -> None:
        """Try until the batch is settled."""
        tries = 0
        while batch.units:
            try:
                await self._transact(batch)
            except StoreGone as gone:
                self._fail(gone, cause=gone)
            except TransactionError as failure:
                if failure.kind is FailureKind.FULL:
                    await self._wait_for_room(batch)
                elif failure.kind is FailureKind.UNAVAILABLE and tries < len(self._backoff):
                    self.problem = failure.reason
                    logger.warning("commit failed, trying again: %s", failure.reason)
                    await asyncio.sleep(self._backoff[tries])
                    tries += 1
                elif failure.kind is FailureKind.UNAVAILABLE and any(unit.answer for unit in batch.units):
                    self._backlog -= batch.refuse(failure.storage_error())
                else:
                    self._fail(failure.storage_error(), cause=failure)
            else:
                return
            if self._failed is not None:
                return
        batch.settle()

    async def _transact(self, batch: Batch) -> None:
        """Try once to store the batch; settle it, or leave it as it is."""
        units = batch.units
        payload = [unit.entries for unit in units if unit.entries]
        refusals = await self._counted(self._backend.commit(payload), payload) if payload else {}
        self.problem = None
        self._waits_for_room, self._full_until = False, 0.0
        error = self._show(units, refusals)
        batch.settle()
        self._report(units, error)

    async def _counted(self, transaction: Awaitable[Refusals], units: Sequence[Entries]) -> Refusals:
        """Await a transaction of these units, and count it where it has stored any."""
        begun = monotonic()
        refusals = await transaction
        if len(refusals) < len(units):
            took = monotonic() - begun
            records = sum(map(len, units)) - sum(len(units[place]) for place in refusals)
            self.committed = self.committed.plus(len(units) - len(refusals), took, records)
        return refusals

    def _show(self, units: Sequence[Unit], refusals: Refusals) -> Exception | None:
        """Tell the listeners what was stored, and give the other units their error; return what a listener raised."""
        stored: list[Entry] = []
        places = iter(range(len(units)))
        settled = 0
        for unit in units:
            settled += len(unit.entries)
            if refusals and unit.entries and (reason := refusals.get(next(places))) is not None:
                unit.error = UnitRefused(reason=reason)
            elif not unit.internal:
                stored += unit.entries
        self._backlog -= settled
        return self._listeners.tell(cast("list[Record]", stored)) if stored else None

    def _report(self, units: Sequence[Unit], error: Exception | None) -> None:
        """Report the refused units, and the ``error`` of a listener, which no longer knows what is stored."""
        for unit in units:
            if unit.error is not None:
                self._on_refused(unit.entries, unit.error)
        if error is not None:
            self._fail(ListenerFailed(reason=f"{type(error).__name__}: {error}"), cause=error)

    # -- A full disk ---------------------------------------------------------------------------

    async def _wait_for_room(self, batch: Batch) -> None:
        """Refuse the units that can be refused; let the others wait."""
        full = StorageFull()
        self.problem = str(full)
        self._backlog -= batch.refuse(full) + self._gathering.refuse(full)
        self._full_until = monotonic() + FULL_RETRY
        await self._store_urgent(batch)
        if not batch.units or self._failed is not None:
            self._waits_for_room = False
            return
        if self._closing.is_set():
            self._fail(full, cause=full)
            return
        if not self._waits_for_room:
            logger.error("the disk is full: %d records wait for room", self._backlog)
        self._waits_for_room = True
        self._refuse_asked()
        self._look_again.clear()
        if self._closing.is_set() or urgent_units(self._gathering.units):
            return
        try:
            async with asyncio.timeout(FULL_RETRY):
                await self._look_again.wait()
        except TimeoutError:
            logger.info("checking again whether there is room")

    async def _store_urgent(self, batch: Batch) -> None:
        """Store cancellations and deletions before all else that waits, with the room that was kept for them."""
        units = urgent_units([*batch.units, *self._gathering.units])
        if not units:
            return
        try:
            payload = [unit.entries for unit in units]
            refusals = await self._counted(self._backend.commit_urgent(payload), payload)
        except StoreGone as gone:
            self._fail(gone, cause=gone)
        except TransactionError as failure:
            if failure.kind not in (FailureKind.FULL, FailureKind.UNAVAILABLE):
                self._fail(failure.storage_error(), cause=failure)
        else:
            error = self._show(units, refusals)
            for waiting in (batch, self._gathering):
                waiting.settle_only(frozenset(units))
            self._report(units, error)

    # -- Between transactions, and the end -----------------------------------------------------

    async def _guarded(self, work: Awaitable[T]) -> T | None:
        """Await work of the backend; where it fails, so does the store."""
        try:
            return await work
        except TransactionError as failure:
            self._fail(CommitUnknown(reason=failure.reason), cause=failure)
            return None
        except StoreGone as gone:
            self._fail(gone, cause=gone)
            return None

    def _refuse_asked(self) -> None:
        for waiting in self._asked.values():
            _answer(waiting, False)
        self._asked.clear()

    def _fail(self, error: StorageError, *, cause: BaseException) -> None:
        """Commit nothing any more: tell everybody who waits, and the owner once."""
        if self._failed is not None:
            return
        self._failed = error
        self._takes_units = False
        self.problem = str(error)
        logger.critical("the store has failed: %s", error, exc_info=None if isinstance(error, StoreGone) else cause)
        for batch in (self._storing, self._gathering):
            if batch is not None and not batch.is_settled:
                # The gathered units were not even tried, but nobody may count on them either.
                batch.settle(error)
        self._backlog = 0
        self._on_failure(error)


def _answer(waiting: Sequence[asyncio.Future[bool]], is_done: bool) -> None:
    for asked in waiting:
        if not asked.done():
            asked.set_result(is_done)
