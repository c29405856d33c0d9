"""The list of handlers by pages: one page is in memory, however long the list and however large the results."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from heapq import merge
from itertools import islice
from typing import Any

from workflow_server.records import HandlersPage, ListCursor, Status, StoredHandler
from workflow_server.store.sqlite.connection import DAMAGED
from workflow_server.store.sqlite.reads import READS

Row = tuple[Any, ...]

PAGE = 512
"""The largest number of handlers of a page: to read one keeps a thread, to write it the event loop for 1 to 2 ms."""
CHARACTERS = 65_536
"""Characters of results and errors after which a page ends."""


def read_page(
    connection: sqlite3.Connection,
    statuses: Sequence[Status],
    workflow_names: Sequence[str] | None,
    cursor: ListCursor | None,
) -> HandlersPage:
    """Return the handlers after ``cursor``, read in one transaction; at least one where there is one."""
    # Without a call of ``text`` for each value, which only a damaged one needs.
    careful, connection.text_factory = connection.text_factory, str
    try:
        return _read_page(connection, statuses, workflow_names, cursor)
    except sqlite3.OperationalError:
        connection.text_factory = careful
        return _read_page(connection, statuses, workflow_names, cursor)
    finally:
        connection.text_factory = careful


def _read_page(
    connection: sqlite3.Connection,
    statuses: Sequence[Status],
    workflow_names: Sequence[str] | None,
    cursor: ListCursor | None,
) -> HandlersPage:
    connection.execute("BEGIN")
    try:
        begun = _begin(connection, statuses) if cursor is None else cursor
        if begun is None:
            return HandlersPage([], None)
        rows = _rows(connection, statuses, workflow_names, begun)
        handlers = _with_results(connection, rows)
    finally:
        connection.execute("ROLLBACK")
    if len(handlers) == len(rows) < PAGE:
        return HandlersPage(handlers, None)
    at, handler_id, *_ = rows[len(handlers) - 1]
    return HandlersPage(handlers, begun._replace(at=at, handler_id=handler_id))


def _begin(connection: sqlite3.Connection, statuses: Sequence[Status]) -> ListCursor | None:
    last = [connection.execute(READS["last_handler"], {"status": status}).fetchone() for status in statuses]
    ends = [row for row in last if row is not None]
    return ListCursor(float("-inf"), "", *max(ends)) if ends else None


def _rows(
    connection: sqlite3.Connection,
    statuses: Sequence[Status],
    workflow_names: Sequence[str] | None,
    cursor: ListCursor,
) -> list[Row]:
    names = None if workflow_names is None else json.dumps(workflow_names)
    # The index orders the handlers of each status, so that no page sorts the whole list, or reads beyond its own end.
    parameters = {**cursor._asdict(), "workflow_names": names, "limit": PAGE}
    ordered = [
        connection.execute(READS["handlers_in_order"], {**parameters, "status": status})
        for status in dict.fromkeys(statuses)
    ]
    rows = list(islice(merge(*ordered), PAGE))
    for unfinished in ordered:
        unfinished.close()
    return rows


def _with_results(connection: sqlite3.Connection, rows: list[Row]) -> list[StoredHandler]:
    ids = json.dumps([row[1] for row in rows])
    handlers: list[StoredHandler] = []
    size = 0
    # The results are read one by one: each may be large.
    results = connection.execute(READS["listed_results"], {"handler_ids": ids})
    for row, (stored, is_damaged) in zip(rows, results, strict=False):
        damaged = bool(is_damaged) or (stored is not None and stored.startswith(DAMAGED))
        handler = StoredHandler._make((*row[1:], None if damaged else stored, damaged))
        handlers.append(handler)
        size += len(handler.result or "") + len(handler.error or "")
        if size >= CHARACTERS:
            break
    results.close()
    return handlers
