"""Purging: the rows of deleted handlers are removed in slices, until nothing of them is left in database and log."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from time import monotonic
from typing import NamedTuple

from workflow_server.errors import StorageError
from workflow_server.store.base import Commit
from workflow_server.store.group_commit import GroupCommit
from workflow_server.store.sqlite import reads
from workflow_server.store.sqlite.readers import ReaderPool
from workflow_server.store.sqlite.space import give_back, is_worth_it

logger = logging.getLogger(__name__)

EMPTYING_RETRY = 1.0
"""Seconds until the next try to empty a log that another program reads; doubled after each try."""
LONGEST_RETRY = 60.0
"""Seconds between two tries, at most."""
QUIET = 1.0
"""Seconds without a deletion after which the log is emptied and space is given back: deletions come in rows."""


class Pace(NamedTuple):
    """The size of the slices of a deletion, in bytes and rows, and the rest after one beside which others wrote, in
    multiples of its time."""

    size: int
    rows: int
    rest: float


EAGER = Pace(reads.PURGE_SIZE, reads.PURGE_ROWS, 0.0)
"""Somebody waits for it."""
GENTLE = Pace(1 << 16, 250, 2.0)
"""It is done beside all else: a slice takes about as long as a commit of others, and takes place between those."""


class Purge:
    """Removes the rows of the handlers that are marked as deleted.

    SQLite overwrites what is deleted (``secure_delete``); the log's copies go when the log is emptied, and the
    room when it is given back.
    """

    def __init__(self, writer: GroupCommit, readers: ReaderPool) -> None:
        self._writer = writer
        self._readers = readers
        self._task: asyncio.Task[None] | None = None
        self._awaited = 0
        """Purges that somebody waits for."""
        self._emptying: asyncio.Task[None] | None = None
        self._tidying: asyncio.Task[None] | None = None
        self._log_is_due = False

    def start(self, marking: Commit | None = None, *, gently: bool = False) -> asyncio.Task[None]:
        """Remove the marked handlers once ``marking`` is committed and the purges before are done.

        ``gently``: beside all else, unless somebody waits for another purge; the log is emptied some time later, and a
        failure is only logged.
        """
        self._awaited += not gently
        work = self._run(marking, self._task, gently=gently)
        self._task = asyncio.create_task(work, name="store-purge")
        return self._task

    async def finished(self) -> None:
        """Return when the last purge has ended, also where it failed."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def stop(self) -> None:
        """Leave the rest to the next start."""
        tasks = [task for task in (self._task, self._emptying, self._tidying) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, marking: Commit | None, previous: asyncio.Task[None] | None, *, gently: bool) -> None:
        try:
            if marking is not None:
                await marking
            if previous is not None:
                await asyncio.wait([previous])
            await self._remove()
            if gently:
                self._log_is_due = True
            else:
                await self._empty_log()
            if gently or await self._readers.read(is_worth_it):
                self.tidy()
        except StorageError as error:
            logger.warning("a deletion was interrupted (%s): the next start finishes it", error)
            if not gently:
                raise
        finally:
            self._awaited -= not gently

    async def _remove(self) -> None:
        while True:
            pace = EAGER if self._awaited else GENTLE
            part = await self._readers.read(partial(reads.next_purge, size=pace.size, most=pace.rows))
            if part is None:
                return
            begun, before = monotonic(), self._writer.committed.units
            await self._writer.append((part,), internal=True)
            if self._writer.committed.units > before + 1:
                # Others write, too: the next slices leave room for them.
                await asyncio.sleep(pace.rest * (monotonic() - begun))

    async def _empty_log(self) -> None:
        if not await self._writer.erase_deleted() and (self._emptying is None or self._emptying.done()):
            logger.info("deleted content stays in the write-ahead log until no other program reads that log")
            self._emptying = asyncio.create_task(self._keep_trying(), name="store-empty-log")

    async def _keep_trying(self) -> None:
        # A backup may read the log for long, and no deletion waits for that.
        delay = EMPTYING_RETRY
        while self._writer.is_open:
            await asyncio.sleep(delay)
            if await self._writer.erase_deleted():
                return
            delay = min(2 * delay, LONGEST_RETRY)

    # -- After purges --------------------------------------------------------------------------

    def tidy(self) -> None:
        """Give free space back and empty the log, once nothing more is deleted."""
        if self._tidying is None or self._tidying.done():
            self._tidying = asyncio.create_task(self._tidy(), name="store-tidy")

    async def _tidy(self) -> None:
        try:
            done = False
            while not done:
                last = self._task
                await self.finished()
                await asyncio.sleep(QUIET)
                done = last is self._task and await self._tidied() and last is self._task
        except StorageError as error:
            logger.info("free space of the database is not given back now: %s", error)

    async def _tidied(self) -> bool:
        gave = await give_back(self._writer, self._readers)
        if gave or self._log_is_due:
            self._log_is_due = False
            await self._empty_log()
        return not self._log_is_due
