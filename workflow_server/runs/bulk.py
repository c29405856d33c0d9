"""Cancelling, retrying and deleting many handlers: those of one page of a list.

A client goes on with the page behind it. One page at a time is bounded in time and memory, and what was done to a page
stays done, whatever happens to the next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import AsyncExitStack
from typing import NamedTuple

from workflow_server.errors import HandlerNotFound, RequestRefused
from workflow_server.protocol.handlers import RetryRequest
from workflow_server.records import ListCursor, ListFilter, NowState, Status
from workflow_server.runs.activation import Activation
from workflow_server.runs.events import EventLogs
from workflow_server.runs.exceptions import RunNotOver, RunSucceeded, RunSuperseded
from workflow_server.runs.now import handlers_now, now_of
from workflow_server.runs.retrying import Retrier
from workflow_server.runs.table import RunTable
from workflow_server.store.base import AbstractWorkflowStore, HandlerQuery

AT_ONCE = 32
"""Runs that are cancelled side by side: each may take half a second, where its steps do not heed it."""


RETRIED_AT_ONCE = 4
"""Runs that are retried side by side: what is kept of each is in memory meanwhile."""


class Page(NamedTuple):
    """The handlers of a page of a list that something was done to, or would be, and where the next page begins."""

    handler_ids: list[str]
    cursor: ListCursor | None


class RetriedPage(NamedTuple):
    """The handlers of a page of a list whose runs were retried, why others were not, and where the next page begins."""

    handler_ids: list[str]
    """With fork, those of the new handlers."""
    refused: dict[str, str]
    """The reasons, by the handlers' ids."""
    cursor: ListCursor | None


class _Listed(NamedTuple):
    """A handler as it was listed."""

    run_id: str | None
    status: Status


class BulkActions:
    """Acts on the handlers of lists.

    A list is read without locks: whatever is done to a handler is done only where it still has the run that was listed,
    and still belongs to the list. With ``states``, the list is only of running
    runs that do one of these.
    """

    def __init__(
        self,
        store: AbstractWorkflowStore,
        table: RunTable,
        activation: Activation,
        logs: EventLogs,
        retrier: Retrier,
    ) -> None:
        self._store = store
        self._table = table
        self._activation = activation
        self._logs = logs
        self._retrier = retrier

    async def find(
        self, wanted: ListFilter, cursor: ListCursor | None, limit: int, *, states: Collection[NowState] = ()
    ) -> Page:
        """Return the handlers of the next page."""
        listed, following = await self._listed(wanted, cursor, limit, states)
        return Page(list(listed), following)

    async def _listed(
        self, wanted: ListFilter, cursor: ListCursor | None, limit: int, states: Collection[NowState]
    ) -> tuple[dict[str, _Listed], ListCursor | None]:
        """Return the handlers of the next page."""
        if states:
            wanted = wanted._replace(handler_ids=await handlers_now(self._table, states))
        page = await self._store.list_page(wanted, cursor, limit, with_results=False)
        return {one.handler_id: _Listed(one.run_id, one.status) for one in page.handlers}, page.cursor

    async def cancel(
        self,
        wanted: ListFilter,
        cursor: ListCursor | None,
        limit: int,
        *,
        states: Collection[NowState] = (),
        by: str | None = None,
    ) -> Page:
        """Cancel the runs of the next page that are still running. ``by``: the name of the client's token.

        Raises:
            StorageError: one of them could not be cancelled; others may have been.
        """
        listed, following = await self._listed(wanted._replace(statuses=("running",)), cursor, limit, states)
        slots = asyncio.Semaphore(AT_ONCE)

        async def cancelled(handler_id: str) -> bool:
            async with slots, self._table.lock(handler_id):
                run = self._table.get(handler_id)
                if run is None or run.run_id != listed[handler_id].run_id:
                    return False
                if states and now_of(run) not in states:
                    return False
                try:
                    return await self._activation.cancel(handler_id, by=by) is None
                except HandlerNotFound:
                    return False

        outcomes = await asyncio.gather(*map(cancelled, listed), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        over = [handler_id for handler_id, is_over in zip(listed, outcomes, strict=True) if is_over]
        return Page(over, following)

    async def retry(
        self,
        wanted: ListFilter,
        cursor: ListCursor | None,
        limit: int,
        request: RetryRequest,
        *,
        states: Collection[NowState] = (),
    ) -> RetriedPage:
        """Retry the runs of the next page, as far as they are as they were listed and can be retried.

        Raises:
            StorageError, ShuttingDown: one of them could not be retried; others may have been.
        """
        listed, following = await self._listed(wanted, cursor, limit, states)
        slots = asyncio.Semaphore(RETRIED_AT_ONCE)

        async def retried(handler_id: str) -> str | RequestRefused | None:
            async with slots:
                try:
                    return (await self._retrier.retry(handler_id, request, run_id=listed[handler_id].run_id)).handler_id
                except (HandlerNotFound, RunNotOver, RunSucceeded, RunSuperseded):
                    # It has changed since it was listed.
                    return None
                except RequestRefused as error:
                    return error

        outcomes = await asyncio.gather(*map(retried, listed), return_exceptions=True)
        done: list[str] = []
        refused: dict[str, str] = {}
        for handler_id, outcome in zip(listed, outcomes, strict=True):
            if isinstance(outcome, RequestRefused):
                refused[handler_id] = str(outcome)
            elif isinstance(outcome, BaseException):
                raise outcome
            elif outcome is not None:
                done.append(outcome)
        return RetriedPage(done, refused, following)

    async def purge(
        self, wanted: ListFilter, cursor: ListCursor | None, limit: int, *, states: Collection[NowState] = ()
    ) -> Page:
        """Delete the handlers of the next page, with all that belongs to them. Those that run are cancelled first, if
        running ones are wanted; else they are left.

        Raises:
            StorageError: they could not be deleted; some may have been cancelled.
        """
        listed, following = await self._listed(wanted, cursor, limit, states)
        async with AsyncExitStack() as locks:
            # In one order, so that two callers do not wait for each other.
            for handler_id in sorted(listed):
                await locks.enter_async_context(self._table.lock(handler_id))
            # From now on no other run begins in them. Reading the page again shows the changes of before.
            now, _ = await self._listed(wanted, cursor, limit, states)
            gone = [
                handler_id
                for handler_id, before in listed.items()
                if now.get(handler_id) == before and await self._is_over(handler_id, before.status, wanted)
            ]
            if gone:
                await self._store.delete(HandlerQuery(handler_id_in=gone))
            for handler_id in gone:
                self._logs.forget(handler_id)
        return Page(gone, following)

    async def _is_over(self, handler_id: str, status: Status, wanted: ListFilter) -> bool:
        """Return whether the handler's run has ended as it is wanted; one that is listed as running is cancelled."""
        run = self._table.get(handler_id)
        if status != "running":
            return run is None or run.has_ended
        # It may have ended by itself just now, with a result that nobody has seen.
        ended = None if run is None else await self._activation.cancel(handler_id)
        return run is not None and (ended is None or ended in wanted.statuses)
