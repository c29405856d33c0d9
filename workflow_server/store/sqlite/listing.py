"""The list of handlers by pages: one page is in memory, however long the list and however large the results."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from heapq import merge
from itertools import product
from operator import itemgetter
from typing import Any

from workflow_server.protocol.phrases import HEAD, summary_of
from workflow_server.records import HandlerCount, HandlersPage, ListCursor, ListFilter, Status, StoredHandler, end_of
from workflow_server.store.sqlite.connection import DAMAGED
from workflow_server.store.sqlite.reads import READS
from workflow_server.store.sqlite.rows import tags_of

Row = tuple[Any, ...]
Place = tuple[float, str]

PAGE = 512
"""The largest number of handlers of a page: to read one keeps a thread, to write it the event loop for 1 to 2 ms."""
CHARACTERS = 65_536
"""Characters of results and errors after which a page ends."""
READ = 5_000
"""The largest number of handlers that are looked at for a page; that takes 5 ms."""
MERGED = 64
"""The largest number of orders that are merged: beyond it, handlers are read by their status, and their workflow is
compared."""

_FIRST = (float("-inf"), "")
_LAST = (float("inf"), "")
_BEHIND_ALL_IDS = "\U0010ffff"


def read_page(
    connection: sqlite3.Connection,
    wanted: ListFilter,
    cursor: ListCursor | None,
    limit: int,
    *,
    with_results: bool,
    with_now: bool = False,
) -> HandlersPage:
    """Return the next handlers of the list, read in one transaction; see ``AbstractWorkflowStore.list_page``."""
    # Without a call of ``text`` for each value, which only a damaged one needs.
    careful, connection.text_factory = connection.text_factory, str
    how = {"with_results": with_results, "with_now": with_now}
    try:
        return _read_page(connection, wanted, cursor, limit, **how)
    except sqlite3.OperationalError:
        connection.text_factory = careful
        return _read_page(connection, wanted, cursor, limit, **how)
    finally:
        connection.text_factory = careful


def _read_page(
    connection: sqlite3.Connection,
    wanted: ListFilter,
    cursor: ListCursor | None,
    limit: int,
    *,
    with_results: bool,
    with_now: bool,
) -> HandlersPage:
    connection.execute("BEGIN")
    try:
        wanted = _of_ended(connection, wanted) if wanted.is_of_ended else wanted
        begun = _begin(connection, wanted) if cursor is None else cursor
        if begun is None:
            return HandlersPage([], None)
        rows, place = _rows(connection, wanted, _within(begun, wanted), limit)
        handlers = _with_results(connection, rows) if with_results else [_without_result(row) for row in rows]
        if with_now:
            handlers = present_of(connection, handlers)
    finally:
        connection.execute("ROLLBACK")
    if len(handlers) < len(rows):
        place = rows[len(handlers) - 1][:2]
    return HandlersPage(handlers, _at(begun, place))


def _at(begun: ListCursor, place: Place | None) -> ListCursor | None:
    return None if place is None else begun._replace(at=place[0], handler_id=place[1])


# -- The part of the list that is read -------------------------------------------------------------


def _begin(connection: sqlite3.Connection, wanted: ListFilter) -> ListCursor | None:
    if wanted.newest_first:
        # Handlers that are started later would come before its beginning.
        return ListCursor(*_LAST, *_FIRST)
    last = [connection.execute(READS["last_handler"], {"status": status}).fetchone() for status in wanted.statuses]
    ends = [row for row in last if row is not None]
    return ListCursor(*_FIRST, *max(ends)) if ends else None


def _of_ended(connection: sqlite3.Connection, wanted: ListFilter) -> ListFilter:
    """Return the list of those that have ended; where few ended within the bounds, these are named."""
    statuses = [status for status in wanted.statuses if status != "running"]
    after, before = (wanted.ended_after, wanted.ended_before)
    bounds = {"after": _FIRST[0] if after is None else after, "before": _LAST[0] if before is None else before}
    named: set[str] = set()
    for status in dict.fromkeys(statuses):
        query = {**bounds, "status": status, "limit": READ + 1 - len(named)}
        named.update(handler_id for (handler_id,) in connection.execute(READS["ended_between"], query))
    if len(named) > READ:
        return wanted._replace(statuses=statuses)
    ids = frozenset(named) if wanted.handler_ids is None else wanted.handler_ids & named
    return wanted._replace(statuses=statuses, handler_ids=ids)


def _within(begun: ListCursor, wanted: ListFilter) -> ListCursor:
    """Return the part of the list from this place on that lies within the bounds of the start."""
    place, end = (begun.at, begun.handler_id), (begun.end_at, begun.end_id)
    after = _FIRST if wanted.started_after is None else (wanted.started_after, _BEHIND_ALL_IDS)
    before = _LAST if wanted.started_before is None else (wanted.started_before, "")
    if wanted.newest_first:
        return ListCursor(*min(place, before), *max(end, after))
    return ListCursor(*max(place, after), *min(end, before))


def _rows(
    connection: sqlite3.Connection, wanted: ListFilter, part: ListCursor, limit: int
) -> tuple[list[Row], Place | None]:
    """Return the next rows that belong to the list, and the place up to which it was read; None at its end."""
    ordered = list(_in_order(connection, wanted, part))
    belongs = _condition(wanted)
    rows: list[Row] = []
    place: Place | None = None
    try:
        in_order: Iterable[Row] = merge(*ordered, key=itemgetter(0, 1), reverse=wanted.newest_first)
        for number, row in enumerate(in_order):
            if len(rows) == limit or number == READ:
                return rows, place
            place = row[:2]
            if belongs(row):
                rows.append(row)
        return rows, None
    finally:
        for unfinished in ordered:
            unfinished.close()


def _in_order(connection: sqlite3.Connection, wanted: ListFilter, part: ListCursor) -> Iterator[sqlite3.Cursor]:
    """Yield what has to be merged: an index orders the handlers of each status, of each workflow and of each tag. Few
    that are named are sorted."""
    direction = "reverse" if wanted.newest_first else "order"
    place = part._asdict()
    statuses = dict.fromkeys(wanted.statuses)
    names = dict.fromkeys(wanted.workflow_names or ())
    if wanted.handler_ids is not None and len(wanted.handler_ids) <= READ:
        ids = json.dumps(list(wanted.handler_ids))
        yield connection.execute(READS[f"named_in_{direction}"], {**place, "handler_ids": ids})
    elif wanted.tags:
        yield connection.execute(READS[f"tagged_in_{direction}"], {**place, "tag": wanted.tags[0]})
    elif wanted.workflow_names is None or len(statuses) * len(names) > MERGED:
        for status in statuses:
            yield connection.execute(READS[f"handlers_in_{direction}"], {**place, "status": status})
    else:
        for status, name in product(statuses, names):
            parameters = {**place, "status": status, "workflow_name": name}
            yield connection.execute(READS[f"handlers_of_workflow_in_{direction}"], parameters)


def _condition(wanted: ListFilter) -> Callable[[Row], bool]:
    """Return whether a row belongs to the list, as far as the index that it was found by does not say so."""
    statuses = frozenset(wanted.statuses)
    names = None if wanted.workflow_names is None else frozenset(wanted.workflow_names)
    tags = frozenset(wanted.tags)
    versions = frozenset(wanted.code_versions)
    ids = wanted.handler_ids
    text = None if wanted.text is None else wanted.text.casefold()

    def belongs(row: Row) -> bool:
        _, handler_id, name, status, run_id, error, *_, version, stored_tags = row
        if status not in statuses or (names is not None and name not in names):
            return False
        if (versions and version not in versions) or (ids is not None and handler_id not in ids):
            return False
        own_tags = tags_of(stored_tags) if (tags or text is not None) and stored_tags else ()
        if not tags.issubset(own_tags):
            return False
        if text is None:
            return True
        return any(part and text in part.casefold() for part in (handler_id, run_id, name, error, *own_tags))

    if not wanted.is_of_ended:
        return belongs
    return lambda row: belongs(row) and wanted.has_ended(_ended_at(row))


def _ended_at(row: Row) -> float:
    started_at, updated_at, completed_at = row[6:9]
    return end_of(completed_at, updated_at, started_at)


# -- Results ---------------------------------------------------------------------------------------


def _without_result(row: Row) -> StoredHandler:
    return _handler(row, None, damaged=False)


def _handler(row: Row, result: str | None, *, damaged: bool) -> StoredHandler:
    *fields, tags = row[1:]
    # Only what is JSON may stand in the JSON of a list.
    checked = None if tags is None else json.dumps(tags_of(tags), ensure_ascii=False, separators=(",", ":"))
    return StoredHandler._make((*fields, checked, result, damaged, None, None))


def _with_results(connection: sqlite3.Connection, rows: list[Row]) -> list[StoredHandler]:
    ids = json.dumps([row[1] for row in rows])
    handlers: list[StoredHandler] = []
    size = 0
    # The results are read one by one: each may be large.
    results = connection.execute(READS["listed_results"], {"handler_ids": ids})
    for row, (stored, is_damaged) in zip(rows, results, strict=False):
        damaged = bool(is_damaged) or (stored is not None and stored.startswith(DAMAGED))
        handler = _handler(row, None if damaged else stored, damaged=damaged)
        handlers.append(handler)
        size += len(handler.result or "") + len(handler.error or "")
        if size >= CHARACTERS:
            break
    results.close()
    return handlers


# -- The present -----------------------------------------------------------------------------------


def present_of(connection: sqlite3.Connection, handlers: list[StoredHandler]) -> list[StoredHandler]:
    """Return the handlers, or the first of them, with where they stand and with their results in a phrase."""
    found: list[StoredHandler] = []
    size = 0
    ids = json.dumps([handler.handler_id for handler in handlers])
    rows = connection.execute(READS["listed_present"], {"handler_ids": ids})
    for handler, (standing, result) in zip(handlers, rows, strict=False):
        found.append(handler._replace(standing=standing, summary=_summary(connection, result)))
        size += len(standing or "")
        if size >= CHARACTERS:
            break
    rows.close()
    return found


def _summary(connection: sqlite3.Connection, payload: int | None) -> str | None:
    """Return the result in this row in a phrase. Only its first bytes are read: a column would be read whole."""
    if payload is None:
        return None
    with connection.blobopen("payloads", "result", payload, readonly=True) as result:
        return summary_of(result.read(HEAD), is_whole=len(result) <= HEAD)


# -- Counts ----------------------------------------------------------------------------------------


def count_handlers(connection: sqlite3.Connection) -> list[HandlerCount]:
    """Return the number of handlers of each workflow and status, without those that are being purged."""
    counts: Counter[tuple[str, Status]] = Counter()
    connection.execute("BEGIN")
    try:
        for name, status, count in connection.execute(READS["handler_counts"]):
            counts[name, status] += count
        for name, status, count in connection.execute(READS["purging_counts"]):
            counts[name, status] -= count
    finally:
        connection.execute("ROLLBACK")
    return [HandlerCount(*key, counts[key]) for key in sorted(counts) if counts[key]]
