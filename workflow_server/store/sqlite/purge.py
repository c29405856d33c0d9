"""Purging: the rows of deleted handlers are removed in slices, until nothing of them is left in database and log."""

from __future__ import annotations

import asyncio
import logging

from workflow_server.errors import StorageError
from workflow_server.store.base import Commit
from workflow_server.store.group_commit import GroupCommit
from workflow_server.store.sqlite import reads
from workflow_server.store.sqlite.readers import ReaderPool

logger = logging.getLogger(__name__)

EMPTYING_RETRY = 1.0
"""Seconds until the next try to empty a log that another program reads; doubled after each try."""
LONGEST_RETRY = 60.0
"""Seconds between two tries, at most."""


class Purge:
    """Removes the rows of the handlers that are marked as deleted.

    SQLite overwrites what is deleted (``secure_delete``); the log's copies go when the log is emptied.
    """

    def __init__(self, writer: GroupCommit, readers: ReaderPool) -> None:
        self._writer = writer
        self._readers = readers
        self._task: asyncio.Task[None] | None = None
        self._emptying: asyncio.Task[None] | None = None

    def start(self, marking: Commit | None = None) -> asyncio.Task[None]:
        """Remove the marked handlers once ``marking`` is committed and the purges before are done."""
        self._task = asyncio.create_task(self._run(marking, self._task), name="store-purge")
        return self._task

    async def finished(self) -> None:
        """Return when the last purge has ended, also where it failed."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def stop(self) -> None:
        """Leave the rest to the next start."""
        tasks = [task for task in (self._task, self._emptying) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, marking: Commit | None, previous: asyncio.Task[None] | None) -> None:
        try:
            if marking is not None:
                await marking
            if previous is not None:
                await asyncio.wait([previous])
            while part := await self._readers.read(reads.next_purge):
                await self._writer.append((part,), internal=True)
            await self._empty_log()
        except StorageError as error:
            logger.warning("a deletion was interrupted (%s): the next start finishes it", error)
            raise

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
