"""Priority on a full disk: cancellations and deletions are stored first, with what their handlers wrote before them."""

from __future__ import annotations

import json
from collections.abc import Sequence

from workflow_server.records import RunEnded
from workflow_server.store.batch import Unit
from workflow_server.store.internal_records import Entries, Entry, PurgeMarked, PurgeSliced


def is_urgent(entries: Entries) -> bool:
    """Return whether a unit cancels or deletes something: a client may do so because the disk is full."""
    return any(
        isinstance(entry, (PurgeMarked, PurgeSliced)) or (isinstance(entry, RunEnded) and entry.status == "cancelled")
        for entry in entries
    )


def urgent_units(units: Sequence[Unit]) -> list[Unit]:
    """Return the urgent units, in order, and those before them that concern the same handlers.

    So the event log of a handler has no gap.
    """
    found: list[Unit] = []
    names: set[str] = set()
    for unit in reversed(units):
        concerned = _names(unit)
        if not is_urgent(unit.entries) and names.isdisjoint(concerned):
            continue
        # A deletion names the handler alone, some records of its run name only the run.
        names |= concerned
        found.append(unit)
    found.reverse()
    return found


def _names(unit: Unit) -> set[str]:
    """Return the ids of the handlers and runs that a unit concerns."""
    return {name for entry in unit.entries for name in _names_of(entry)}


def _names_of(entry: Entry) -> list[str]:
    if isinstance(entry, PurgeMarked):
        handler_ids: list[str] = json.loads(entry.handler_ids)
        return handler_ids
    names = (getattr(entry, "handler_id", None), getattr(entry, "run_id", None))
    return [name for name in names if isinstance(name, str)]
