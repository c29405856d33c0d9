"""Handlers as clients see them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic_core import to_json

from workflow_server.errors import HandlerNotFound
from workflow_server.execution.engine.made import model
from workflow_server.protocol.events import read_result
from workflow_server.protocol.handlers import HandlerData, ListedHandler, NowData
from workflow_server.records import ListCursor, ListFilter, RunEnded, RunStarted, Status, StoredHandler
from workflow_server.runs.run import Run
from workflow_server.runs.table import RunTable
from workflow_server.store.base import AbstractWorkflowStore, HandlerQuery, PersistentHandler, from_timestamp


async def find_handler(store: AbstractWorkflowStore, handler_id: str) -> PersistentHandler:
    """Return the handler of this id.

    Raises:
        HandlerNotFound: there is none.
    """
    found = await store.query(HandlerQuery(handler_id_in=[handler_id]))
    if not found:
        raise HandlerNotFound(handler_id)
    return found[0]


def shown(table: RunTable, handler: PersistentHandler) -> HandlerData:
    """Return the handler, with why its run does not go on at present and how many posted events are held for it."""
    run = table.get(handler.handler_id)
    data = from_store(handler, _why_suspended(run, handler.status))
    return data.model_copy(update={"held_events": run.held_events if run is not None else 0})


def _why_suspended(run: Run | None, status: Status) -> str | None:
    return run.suspended if run is not None and status == "running" else None


Now = Callable[[StoredHandler], NowData]

WITH_NOW = 50
"""Handlers whose present is told at once, which takes 2 ms."""


def listed(table: RunTable, page: Sequence[StoredHandler], now: Now | None = None) -> list[ListedHandler]:
    """Return the handlers as they stand in a list; ``now`` tells the present of each, where that is wanted."""
    if not page:
        return []
    times = _as_json([at for handler in page for at in (handler.started_at, handler.updated_at)])
    return [
        _listed(table, handler, started_at, updated_at, now)
        for handler, started_at, updated_at in zip(page, times[::2], times[1::2], strict=True)
    ]


def _listed(
    table: RunTable, handler: StoredHandler, started_at: str, updated_at: str, now: Now | None
) -> ListedHandler:
    # A run that has ended was updated last when it ended.
    is_last = handler.completed_at == handler.updated_at
    times = started_at, updated_at, updated_at if is_last else _as_json([handler.completed_at])[0]
    run = table.get(handler.handler_id) if handler.status == "running" else None
    present = None if now is None else now(handler)
    if run is None:
        return ListedHandler.of(handler, times, None, 0, present)
    return ListedHandler.of(handler, times, run.suspended, run.held_events, present)


def _as_json(times: Sequence[float | None]) -> list[str]:
    """Return the times as JSON. Written all at once, each takes a third of what ``isoformat`` does."""
    try:
        read = [None if time is None else datetime.fromtimestamp(time, UTC) for time in times]
    except (OverflowError, ValueError, OSError):
        read = [from_timestamp(time) for time in times]
    return to_json(read).decode()[1:-1].replace("Z", "+00:00").split(",")


async def listed_pages(
    store: AbstractWorkflowStore, table: RunTable, wanted: ListFilter
) -> AsyncGenerator[list[ListedHandler], None]:
    """Yield the handlers of a list page by page; no page is empty, but for that of an empty list."""
    cursor: ListCursor | None = None
    is_empty = True
    while True:
        stored, cursor = await store.list_page(wanted, cursor)
        handlers = listed(table, stored)
        # The caller may empty the page while writing it, so nothing of it is held here.
        del stored
        if handlers or (is_empty and cursor is None):
            is_empty = False
            yield handlers
        if cursor is None:
            return


async def listed_page(
    store: AbstractWorkflowStore,
    table: RunTable,
    wanted: ListFilter,
    cursor: ListCursor | None,
    limit: int,
    *,
    with_results: bool,
    now: Now | None = None,
) -> tuple[list[ListedHandler], ListCursor | None]:
    """Return the next page of a list, and where the one after it begins."""
    if now is None:
        stored, following = await store.list_page(wanted, cursor, limit, with_results=with_results)
        return listed(table, stored), following
    stored, following = await store.list_page(wanted, cursor, limit, with_results=with_results, with_now=True)
    handlers: list[ListedHandler] = []
    for start in range(0, len(stored), WITH_NOW):
        if start:
            # Others have their turn: to tell the present of each takes longer than all else.
            await asyncio.sleep(0)
        handlers += listed(table, stored[start : start + WITH_NOW], now)
    return handlers, following


def from_store(handler: PersistentHandler, suspended: str | None) -> HandlerData:
    """Return the handler as it stands in the store."""
    return HandlerData(
        handler_id=handler.handler_id,
        workflow_name=handler.workflow_name,
        run_id=handler.run_id,
        error=handler.error,
        result=handler.result,
        status=handler.status,
        started_at=iso(handler.started_at) or "",
        updated_at=iso(handler.updated_at),
        completed_at=iso(handler.completed_at),
        suspended=suspended,
        code_version=handler.code_version,
        tags=handler.tags,
    )


def from_start(started: RunStarted, tags: Sequence[str] = ()) -> HandlerData:
    """Return the handler, which has these tags, as its run begins."""
    at = iso(datetime.fromtimestamp(started.started_at, UTC)) or ""
    return model(
        HandlerData,
        {
            **_NEW,
            "handler_id": started.handler_id,
            "workflow_name": started.workflow_name,
            "run_id": started.run_id,
            "started_at": at,
            "updated_at": at,
            "code_version": started.code_version,
            "tags": list(tags),
        },
    )


def from_end(before: HandlerData, over: RunEnded) -> HandlerData:
    """Return the handler as its run ends. The wall clock may have been set back since it began."""
    ended_at = datetime.fromtimestamp(over.ended_at, UTC)
    at = iso(max(ended_at, datetime.fromisoformat(before.started_at)))
    result, unreadable = read_result(over.result)
    error = over.error if unreadable is None else unreadable
    changes = {"status": over.status, "error": error, "result": result, "updated_at": at, "completed_at": at}
    # A copy by pydantic takes three times as long.
    return model(HandlerData, {**vars(before), **changes, "suspended": None})


_NEW: dict[str, Any] = vars(
    HandlerData(
        handler_id="",
        workflow_name="",
        run_id=None,
        error=None,
        result=None,
        status="running",
        started_at="",
        updated_at=None,
        completed_at=None,
    )
)
"""The fields of a handler whose run begins, in their order, which is that of its JSON."""


def iso_time(timestamp: float | None) -> str | None:
    """Return a time in seconds since the epoch as clients read it."""
    return iso(from_timestamp(timestamp))


def iso(time: datetime | None) -> str | None:
    """Return a time as clients read it."""
    return time.astimezone(UTC).isoformat() if time is not None else None
