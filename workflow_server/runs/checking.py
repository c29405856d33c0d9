"""Checking stored runs against the code, by loading each as a start does; no step runs, and nothing is written."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import NamedTuple

from workflow_server.errors import ResumeFailed
from workflow_server.execution.engine import Event
from workflow_server.execution.interface import Surroundings
from workflow_server.execution.registry import Registry
from workflow_server.execution.unreadable import why_suspended
from workflow_server.execution.workflow import ServedWorkflow
from workflow_server.history import Note, noted
from workflow_server.records import EventAppended, HistoryNoted, Record, StoredRun
from workflow_server.runs.restoring import restore, told_as_unfit
from workflow_server.runs.run import Run
from workflow_server.runs.states import UNREGISTERED
from workflow_server.store.base import Commit


class Misfit(NamedTuple):
    """A run that a start with this code would suspend."""

    handler_id: str
    workflow_name: str
    run_id: str
    code_version: str | None
    """The version of the code with which it was started."""
    reason: str
    stored_name: str | None
    """The qualified name of what the code no longer has, where that is the reason."""


async def misfits(runs: Iterable[StoredRun], registry: Registry, surroundings: Surroundings) -> list[Misfit]:
    """Return the runs that a start with this code would suspend, in their order."""
    found: list[Misfit] = []
    for stored in runs:
        served = registry.find(stored.workflow_name)
        ids = stored.handler_id, stored.workflow_name, stored.run_id, stored.code_version
        if served is None:
            found.append(Misfit(*ids, UNREGISTERED, None))
            continue
        error = await _misfit(stored, served, surroundings)
        if error is not None:
            found.append(Misfit(*ids, why_suspended(error), error.stored_name))
    return found


async def _misfit(stored: StoredRun, served: ServedWorkflow, surroundings: Surroundings) -> ResumeFailed | None:
    run = Run(_Host(), stored.handler_id, stored.run_id, served)
    run.load()
    try:
        with told_as_unfit():
            await restore(run, stored, surroundings, _Log(stored), sink=_Sink(), made=run.attach)
            run.hand_over(stored.inbox)
    except ResumeFailed as error:
        return error
    return None


class _Host:
    """The server of a run that does not begin."""

    def left(self, run: Run) -> None:
        """Do nothing: it never is in memory."""

    def send_late(self, run: Run, event: Event, step: str | None) -> None:
        """Do nothing: it has no tasks."""


class _Sink:
    """Takes what a run writes while it is restored, and keeps nothing of it."""

    backlog = 0

    def append(self, *records: Record) -> Commit:  # noqa: ARG002
        """Take records."""
        return self

    def __await__(self) -> Generator[object, None, None]:
        """Return at once."""
        yield from ()


class _Log:
    """Takes what a run publishes, and keeps nothing of it."""

    def __init__(self, stored: StoredRun) -> None:
        self._handler_id = stored.handler_id
        self._sequence = stored.last_sequence

    def append(self, run_id: str, data: str, *, internal: bool, took: float | None = None) -> EventAppended:
        """Take an event."""
        self._sequence += 1
        return EventAppended(self._handler_id, self._sequence, run_id, internal, data, 0.0, took)

    def note(self, run_id: str, note: Note, *, by: str | None = None) -> HistoryNoted:
        """Take an entry of the history."""
        return noted(self._handler_id, run_id, note, by=by, after_sequence=self._sequence)
