"""The list of handlers by pages: one page is in memory, however long the list and however large the results."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from heapq import merge
from itertools import islice

from workflow_server.records import HandlersPage, ListCursor, Status, StoredHandler
from workflow_server.store.sqlite.connection import DAMAGED
from workflow_server.store.sqlite.reads import READS

PAGE = 100
"""The largest number of handlers of a page."""
CHARACTERS = 65_536
"""Characters of results and errors after which a page ends."""


def read_page(
    connection: sqlite3.Connection,
    statuses: Sequence[Status],
    workflow_names: Sequence[str] | None,
    cursor: ListCursor | None,
) -> HandlersPage:
    """Return the handlers after ``cursor``, read in one transaction; at least one where there is one."""
    connection.execute("BEGIN")
    try:
        begun = _begin(connection, statuses) if cursor is None else cursor
        if begun is None:
            return HandlersPage([], None)
        return _read_page(connection, statuses, workflow_names, begun)
    finally:
        connection.execute("ROLLBACK")


def _begin(connection: sqlite3.Connection, statuses: Sequence[Status]) -> ListCursor | None:
    last = [connection.execute(READS["last_handler"], {"status": status}).fetchone() for status in statuses]
    ends = [row for row in last if row is not None]
    return ListCursor(float("-inf"), "", *max(ends)) if ends else None


def _read_page(
    connection: sqlite3.Connection,
    statuses: Sequence[Status],
    workflow_names: Sequence[str] | None,
    cursor: ListCursor,
) -> HandlersPage:
    names = None if workflow_names is None else json.dumps(workflow_names)
    # The index orders the handlers of each status, so that no page sorts the whole list.
    parameters = {**cursor._asdict(), "workflow_names": names, "limit": PAGE}
    ordered = [
        connection.execute(READS["handlers_in_order"], {**parameters, "status": status}).fetchall()
        for status in dict.fromkeys(statuses)
    ]
    handlers: list[StoredHandler] = []
    size = 0
    for at, handler_id, _ in islice(merge(*ordered), PAGE):
        cursor = cursor._replace(at=at, handler_id=handler_id)
        handler = _handler(connection, handler_id)
        handlers.append(handler)
        size += len(handler.result or "") + len(handler.error or "")
        if size >= CHARACTERS:
            break
    ended = len(handlers) == sum(map(len, ordered)) < PAGE
    return HandlersPage(handlers, None if ended else cursor)


def _handler(connection: sqlite3.Connection, handler_id: str) -> StoredHandler:
    row = connection.execute(READS["listed_handler"], {"handler_id": handler_id}).fetchone()
    *_, result, has_result = row
    if result is not None and result.startswith(DAMAGED):
        result = None
    return StoredHandler._make([*row[:-2], result, bool(has_result) and result is None])
