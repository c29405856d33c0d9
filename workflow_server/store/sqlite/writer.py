"""The writer: one task that alone touches the write connection, and commits in groups."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Sequence
from time import monotonic

import aiosqlite

from workflow_server.errors import (
    CommitUnknown,
    StorageError,
    StorageFull,
    StoreClosed,
    StoreGone,
    StoreUnavailable,
    UnitRefused,
)
from workflow_server.store.sqlite.ballast import Reserve
from workflow_server.store.sqlite.batch import Batch, Unit
from workflow_server.store.sqlite.checkpoint import Checkpointer
from workflow_server.store.sqlite.connection import run_on
from workflow_server.store.sqlite.file_guard import Presence
from workflow_server.store.sqlite.maintenance import Entry
from workflow_server.store.sqlite.priority import is_urgent, urgent_units
from workflow_server.store.sqlite.transaction import (
    Entries,
    Fault,
    Refusals,
    TransactionError,
    Verdict,
    commit_units,
    describe,
)

logger = logging.getLogger(__name__)

GATHER = 0.003
"""Seconds for which appends gather while nobody waits for them: halves the number of commits."""

FULL_RETRY = 1.0
"""Seconds between two tries while the disk is full."""


class GroupCommitWriter:
    """Stores units in the order in which they were appended, all that gathered in one transaction.

    ``on_commit`` gets the entries of each transaction; ``on_refused`` each unit that can never be stored;
    ``on_failure`` is called once, when nothing can be stored any more.
    """

    def __init__(
        self,
        connection: aiosqlite.Connection,
        checkpointer: Checkpointer,
        presence: Presence | None,
        reserve: Reserve,
        *,
        backoff: Sequence[float],
        on_commit: Callable[[list[Entry]], None],
        on_refused: Callable[[Entries, StorageError], None],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self.fault: Fault | None = None
        self.problem: str | None = None
        self.transactions = 0
        self._connection = connection
        self._checkpointer = checkpointer
        self._presence = presence
        self._reserve = reserve
        self._backoff = tuple(backoff)
        self._on_commit = on_commit
        self._on_refused = on_refused
        self._on_failure = on_failure
        self._gathering = Batch()
        self._storing: Batch | None = None
        self._backlog = 0
        self._wanted = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._closing = asyncio.Event()
        self._look_again = asyncio.Event()
        """Set where there is a reason not to wait for room any longer."""
        self._failed: StorageError | None = None
        self._full_until = 0.0
        self._waits_for_room = False
        self._emptying: list[asyncio.Future[bool]] = []
        """One for each who waits until nothing of what was deleted is left in the log."""
        self._task = asyncio.create_task(self._run(), name="store-writer")

    @property
    def is_open(self) -> bool:
        """Return whether anything is committed any more."""
        return self._failed is None and not self._closing.is_set()

    @property
    def backlog(self) -> int:
        """Return how many entries wait for their commit."""
        return self._backlog

    def append(self, entries: Entries) -> Unit:
        """Hand over a unit; never suspends. Await it for its commit."""
        batch = self._gathering
        unit = Unit(entries, batch, self._wanted.set)
        if self._failed is not None or self._closing.is_set():
            unit.error = self._failed or StoreClosed()
            return unit
        if not batch.units and self._storing is None:
            self._timer = asyncio.get_running_loop().call_later(GATHER, self._wanted.set)
        batch.units.append(unit)
        self._backlog += len(entries)
        if self._waits_for_room and is_urgent(entries):
            self._look_again.set()
        return unit

    async def commit(self, entries: Entries) -> None:
        """Store a unit that may be refused: where it raises StorageFull or StoreUnavailable, it never will be."""
        if self._waits_for_room or monotonic() < self._full_until:
            raise StorageFull
        unit = self.append(entries)
        unit.answer = asyncio.get_running_loop().create_future()
        await unit

    async def flush(self) -> None:
        """Return when all that was appended before is stored."""
        await self.append(())

    async def empty_log(self) -> bool:
        """Return when nothing of what was deleted before is left in the log; False where that cannot be at present."""
        if self._failed is not None or self._closing.is_set() or self._waits_for_room:
            return False
        asked: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._emptying.append(asked)
        self._wanted.set()
        return await asked

    async def close(self) -> None:
        """Store what was handed over and end the task; while the disk is full, what is left is tried once more."""
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
                if self._emptying and self._failed is None:
                    await self._empty_log()
        except BaseException as error:
            self._fail(CommitUnknown(reason=f"the writer ended: {describe(error)}"), cause=error)
            if not isinstance(error, Exception):
                raise
        finally:
            self._answer_emptying(emptied=False)

    async def _store_gathered(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._gathering.units and self._failed is None:
            self._storing, self._gathering = self._gathering, Batch()
            await self._store(self._storing)
            self._storing = None
            if self._failed is None and self._checkpointer.is_due():
                await self._checkpoint()

    async def _store(self, batch: Batch) -> None:
        tries = 0
        while batch.units:
            try:
                await self._transact(batch)
            except StoreGone as gone:
                self._fail(gone, cause=gone)
            except TransactionError as failure:
                if failure.verdict is Verdict.FULL:
                    await self._wait_for_room(batch)
                elif failure.verdict is Verdict.UNAVAILABLE and tries < len(self._backoff):
                    self.problem = failure.reason
                    logger.warning("commit failed, trying again: %s", failure.reason)
                    await asyncio.sleep(self._backoff[tries])
                    tries += 1
                elif failure.verdict is Verdict.UNAVAILABLE and any(unit.answer for unit in batch.units):
                    self._refuse_refusable(batch, StoreUnavailable(reason=failure.reason))
                else:
                    self._fail(_failure(failure), cause=failure)
            else:
                return
            if self._failed is not None:
                return
        batch.settle()

    async def _transact(self, batch: Batch) -> None:
        """One try to store the batch; it settles the batch, or leaves it as it is."""
        units = batch.units
        payload = [unit.entries for unit in units if unit.entries]
        refusals = await run_on(self._connection, lambda sqlite: self._write(sqlite, payload)) if payload else {}
        self.problem = None
        self._waits_for_room, self._full_until = False, 0.0
        self._show(units, refusals)
        batch.settle()
        self._tell_refused(units)

    def _write(self, sqlite: sqlite3.Connection, payload: Sequence[Entries]) -> Refusals:
        """On the connection's thread: commit, and see that it was committed to where the next start looks."""
        refusals = commit_units(sqlite, payload, self.fault)
        if self._presence is not None:
            self._presence.check()
        if self.problem is not None:
            self._reserve.fill()
        return refusals

    def _show(self, units: Sequence[Unit], refusals: Refusals) -> None:
        """Hand on what was stored, and give the others their error."""
        stored: list[Entry] = []
        places = iter(range(len(units)))
        for unit in units:
            self._backlog -= len(unit.entries)
            refusal = refusals.get(next(places)) if unit.entries else None
            if refusal is None:
                stored.extend(unit.entries)
            else:
                unit.error = UnitRefused(reason=describe(refusal))
        if stored:
            self.transactions += 1
            self._checkpointer.count_commit()
            self._on_commit(stored)

    def _tell_refused(self, units: Sequence[Unit]) -> None:
        for unit in units:
            if unit.error is not None:
                self._on_refused(unit.entries, unit.error)

    async def _wait_for_room(self, batch: Batch) -> None:
        """The disk is full: those who can be refused are, the others wait."""
        full = StorageFull()
        self.problem = str(full)
        self._refuse_refusable(batch, full)
        self._refuse_refusable(self._gathering, full)
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
        self._answer_emptying(emptied=False)
        self._look_again.clear()
        if self._closing.is_set() or urgent_units(self._gathering.units):
            return
        try:
            async with asyncio.timeout(FULL_RETRY):
                await self._look_again.wait()
        except TimeoutError:
            logger.info("trying again whether there is room")

    async def _store_urgent(self, batch: Batch) -> None:
        """Store what a client ends or deletes into the room that was kept for it, before all else that waits."""
        units = urgent_units([*batch.units, *self._gathering.units])
        if not units:
            return
        payload = [unit.entries for unit in units]
        try:
            refusals = await run_on(self._connection, lambda sqlite: self._write_with_reserve(sqlite, payload))
        except StoreGone as gone:
            self._fail(gone, cause=gone)
        except TransactionError as failure:
            if failure.verdict not in (Verdict.FULL, Verdict.UNAVAILABLE):
                self._fail(_failure(failure), cause=failure)
        else:
            self._show(units, refusals)
            for waiting in (batch, self._gathering):
                waiting.settle_only(frozenset(units))
            self._tell_refused(units)

    def _write_with_reserve(self, sqlite: sqlite3.Connection, payload: Sequence[Entries]) -> Refusals:
        # Where the database can take what the log holds, the log begins anew, in the room that it takes up already. Not
        # with the reserve: what others have written would use it up.
        self._checkpointer.run(sqlite)
        self._reserve.give()
        # Nor what is only overwritten: where there is no room, that it is deleted comes first.
        sqlite.execute("PRAGMA secure_delete = FAST")
        try:
            return self._write(sqlite, payload)
        finally:
            sqlite.execute("PRAGMA secure_delete = ON")
            self._reserve.fill()

    def _refuse_refusable(self, batch: Batch, error: StorageError) -> None:
        for unit in batch.units:
            if unit.answer is not None:
                self._backlog -= len(unit.entries)
                unit.refuse(error)
        batch.units = [unit for unit in batch.units if unit.answer is None]

    async def _checkpoint(self) -> None:
        try:
            await run_on(self._connection, self._fold_log)
        except TransactionError as failure:
            self._fail(CommitUnknown(reason=failure.reason), cause=failure)

    def _fold_log(self, sqlite: sqlite3.Connection) -> None:
        self._checkpointer.run(sqlite)
        self._reserve.fill()

    async def _empty_log(self) -> None:
        try:
            emptied = await run_on(self._connection, self._checkpointer.empty)
        except TransactionError as failure:
            self._fail(CommitUnknown(reason=failure.reason), cause=failure)
            emptied = False
        self._answer_emptying(emptied=emptied)

    def _answer_emptying(self, *, emptied: bool) -> None:
        for asked in self._emptying:
            if not asked.done():
                asked.set_result(emptied)
        self._emptying.clear()

    def _fail(self, error: StorageError, *, cause: BaseException) -> None:
        """Nothing is ever committed again: tell everybody who waits, and the owner once."""
        if self._failed is not None:
            return
        self._failed = error
        self.problem = str(error)
        # Where a file is gone, it does not matter which line of ours saw it.
        logger.critical("the store has failed: %s", error, exc_info=None if isinstance(error, StoreGone) else cause)
        for batch in (self._storing, self._gathering):
            if batch is not None and not batch.is_settled:
                # What only gathered was not tried: but nobody may count on it either.
                batch.settle(error)
        self._backlog = 0
        self._on_failure(error)


def _failure(failure: TransactionError) -> StorageError:
    if failure.verdict is Verdict.UNKNOWN:
        return CommitUnknown(reason=failure.reason)
    return StoreUnavailable(reason=failure.reason)
