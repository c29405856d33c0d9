"""The records that the store itself writes beside the records of runs, in the same order and by the same writer."""

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
    """The whole contents of ``ctx.store`` of a run, as they were given: no earlier patch counts."""

    run_id: str
    data: str


class ClocksShifted(NamedTuple):
    """The clocks of all running runs stood still for this long."""

    seconds: float


class PurgeMarked(NamedTuple):
    """These handlers (a JSON list) are to be seen no more, and their rows to go."""

    handler_ids: str


class PurgeSliced(NamedTuple):
    """Another slice of the marked handlers' rows goes: at most so many rows of each kind."""

    events: int
    ticks: int
    patches: int
    handlers: int


Maintenance = HandlerReplaced | StateGiven | ClocksShifted | PurgeMarked | PurgeSliced


class MigrationApplied(NamedTuple):
    """The schema has this number now."""

    number: int
    name: str
    sha256: str
    applied_at: float


class ServerStarted(NamedTuple):
    """The database is in use: until it is closed cleanly, a stop was none."""


class ServerStopped(NamedTuple):
    """The database was closed cleanly."""


Lifecycle = MigrationApplied | ServerStarted | ServerStopped
"""Entries that opening and closing write, each in a transaction of its own."""

Entry = Record | Maintenance | Lifecycle
"""Everything that is written."""

MAINTENANCE: frozenset[type[Entry]] = frozenset((HandlerReplaced, StateGiven, ClocksShifted, PurgeMarked, PurgeSliced))
