"""Cancelling and deleting many handlers: those of one page of a list.

A client goes on with the page behind it. One page at a time is bounded in time and memory, and what was done to a page
stays done, whatever happens to the next.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import NamedTuple

from workflow_server.errors import HandlerNotFound
from workflow_server.records import ListCursor, ListFilter
from workflow_server.runs.activation import Activation
from workflow_server.runs.events import EventLogs
from workflow_server.runs.table import RunTable
from workflow_server.store.base import AbstractWorkflowStore, HandlerQuery

AT_ONCE = 32
"""Runs that are cancelled side by side: each may take half a second, where its steps do not heed it."""


class Page(NamedTuple):
    """The handlers of a page of a list that something was done to, or would be, and where the next page begins."""

    handler_ids: list[str]
    cursor: ListCursor | None


class BulkActions:
    """Acts on the handlers of lists. A handler that has changed since the list was read is looked at again."""

    def __init__(self, store: AbstractWorkflowStore, table: RunTable, activation: Activation, logs: EventLogs) -> None:
        self._store = store
        self._table = table
        self._activation = activation
        self._logs = logs

    async def find(self, wanted: ListFilter, cursor: ListCursor | None, limit: int) -> Page:
        """Return the handlers of the next page."""
        handlers, following = await self._store.list_page(wanted, cursor, limit, with_results=False)
        return Page([handler.handler_id for handler in handlers], following)

    async def cancel(self, wanted: ListFilter, cursor: ListCursor | None, limit: int) -> Page:
        """Cancel the runs of the next page that are still running.

        Raises:
            StorageError: one of them could not be cancelled; others may have been.
        """
        found = await self.find(wanted._replace(statuses=("running",)), cursor, limit)
        slots = asyncio.Semaphore(AT_ONCE)

        async def cancelled(handler_id: str) -> bool:
            async with slots, self._table.lock(handler_id):
                try:
                    return await self._activation.cancel(handler_id) is None
                except HandlerNotFound:
                    return False

        outcomes = await asyncio.gather(*map(cancelled, found.handler_ids), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        over = [handler_id for handler_id, is_over in zip(found.handler_ids, outcomes, strict=True) if is_over]
        return Page(over, found.cursor)

    async def purge(self, wanted: ListFilter, cursor: ListCursor | None, limit: int) -> Page:
        """Delete the handlers of the next page, with all that belongs to them. Those that run are cancelled first, if
        running ones are wanted; else they are left.

        Raises:
            StorageError: they could not be deleted; some may have been cancelled.
        """
        may_run = "running" in wanted.statuses
        found = await self.find(wanted, cursor, limit)
        async with AsyncExitStack() as locks:
            # In one order, so that two callers do not wait for each other.
            for handler_id in sorted(found.handler_ids):
                await locks.enter_async_context(self._table.lock(handler_id))
            gone = [handler_id for handler_id in found.handler_ids if may_run or not self._goes_on(handler_id)]
            for handler_id in gone:
                if self._goes_on(handler_id):
                    await self._activation.cancel(handler_id)
            if gone:
                await self._store.delete(HandlerQuery(handler_id_in=gone))
            for handler_id in gone:
                self._logs.forget(handler_id)
        return Page(gone, found.cursor)

    def _goes_on(self, handler_id: str) -> bool:
        run = self._table.get(handler_id)
        return run is not None and not run.has_ended
