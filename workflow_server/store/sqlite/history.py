"""The history of a handler by pages: the events of its log, and the entries that stand beside them, in one order."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from heapq import merge
from operator import itemgetter
from typing import Any

from workflow_server.records import EVENT, START, HistoryPage, HistoryPlace, StoredEntry
from workflow_server.store.sqlite.connection import DAMAGED
from workflow_server.store.sqlite.reads import READS

CHARACTERS = 2_000_000
"""Characters of events after which a page ends: those of an event that is cut count, too, as it is read."""
WHOLE = 10_000
"""The longest event that is read whole where values are not asked for: the rest of an entry is in there."""
_ANY_LENGTH = 1 << 62
_LAST = 1 << 62

Found = tuple[HistoryPlace, StoredEntry, int]
"""An entry with its place, and the characters that were read for it."""


def read_history(
    connection: sqlite3.Connection,
    handler_id: str,
    after: HistoryPlace | None,
    limit: int,
    *,
    newest_first: bool,
    with_values: bool,
) -> HistoryPage | None:
    """Return the entries behind a place, read in one transaction; see ``AbstractWorkflowStore.read_history``."""
    connection.execute("BEGIN")
    try:
        one = {"handler_id": handler_id, "with_values": with_values}
        start = connection.execute(READS["history_start"], one).fetchone()
        if start is None:
            return None
        if after is None:
            after = HistoryPlace(_LAST if newest_first else -_LAST, 0)
        # Backwards, an event comes after the entries that stand behind it.
        past = after.sequence + (newest_first and after.place != EVENT)
        # One more than asked for tells whether any are left.
        query = {"handler_id": handler_id, "limit": limit + 1}
        about_events = {"sequence": past, "whole": _ANY_LENGTH if with_values else WHOLE}
        about_entries = {**after._asdict(), "with_values": with_values}
        name_of = "{}_back" if newest_first else "{}"
        with (
            closing(connection.execute(READS[name_of.format("history_events")], {**query, **about_events})) as events,
            closing(connection.execute(READS[name_of.format("history_entries")], {**query, **about_entries})) as noted,
        ):
            begun = [found for found in (_start(start),) if (found[0] < after if newest_first else found[0] > after)]
            sources = (map(_event, events), map(_entry, noted), begun)
            entries, following = _page(merge(*sources, key=itemgetter(0), reverse=newest_first), limit)
            return HistoryPage(start[0], entries, following)
    finally:
        connection.execute("ROLLBACK")


def _page(found: Iterable[Found], limit: int) -> tuple[list[StoredEntry], HistoryPlace | None]:
    page: list[StoredEntry] = []
    size = 0
    for _, entry, characters in found:
        if page and (len(page) == limit or size >= CHARACTERS):
            return page, page[-1].place
        page.append(entry)
        size += characters
    return page, None


def _start(row: tuple[Any, ...]) -> Found:
    _, sequence, run_id, time, by, data = row
    place = HistoryPlace(sequence, START)
    return place, StoredEntry(place, run_id, time, "started", by, data), len(data or "")


def _event(row: tuple[Any, ...]) -> Found:
    sequence, run_id, time, internal, took, length, data, is_whole = row
    place, text = HistoryPlace(sequence, EVENT), data.removeprefix(DAMAGED)
    is_whole = bool(is_whole) and text == data
    return place, StoredEntry(place, run_id, time, None, None, text, bool(internal), took, is_whole), length


def _entry(row: tuple[Any, ...]) -> Found:
    sequence, number, run_id, time, kind, by, data = row
    place = HistoryPlace(sequence, number)
    return place, StoredEntry(place, run_id, time, kind, by, data), len(data or "")
