"""Records of a store's own, written in order with the records of runs and by the same group commit."""

from __future__ import annotations

from typing import NamedTuple

from workflow_server.records import Record, Status


class HandlerReplaced(NamedTuple):
    """A handler's record was given as a whole."""

    handler_id: str
    workflow_name: str
    run_id: str | None
    status: Status
    error: str | None
    result: str | None
    started_at: float | None
    updated_at: float | None
    completed_at: float | None


class StateGiven(NamedTuple):
    """The whole contents of ``ctx.store`` of a run were given: no earlier patch counts."""

    run_id: str
    data: str


class ClocksShifted(NamedTuple):
    """The clocks of all running runs stood still for this long."""

    seconds: float


class PurgeMarked(NamedTuple):
    """A deletion: these handlers (a JSON list) are hidden from now on, and their rows are to be removed."""

    handler_ids: str


class PurgeSliced(NamedTuple):
    """One step of a deletion: at most so many rows of each kind of the marked handlers are removed."""

    events: int
    older_events: int
    history: int
    ticks: int
    patches: int
    handlers: int


InternalRecord = HandlerReplaced | StateGiven | ClocksShifted | PurgeMarked | PurgeSliced

Entry = Record | InternalRecord
"""Anything that group commit stores."""

Entries = tuple[Entry, ...]
"""The records of one unit: stored together or not at all."""
