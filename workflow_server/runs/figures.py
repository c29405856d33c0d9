"""The figures of a server: sums over what it has done since its start, and the state in which it is now."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import NamedTuple

from workflow_server.execution.sums import Lags, StepSums
from workflow_server.records import EventAppended, InboxPosted, Record, RunEnded, RunStarted, Status
from workflow_server.runs.run import Run
from workflow_server.runs.states import RunState
from workflow_server.store.base import COMMIT_LIMITS, Committed, Sizes

logger = logging.getLogger(__name__)

UNREGISTERED = ""
"""Stands for the name of a workflow that is not registered: such names come from the database, and have no bound."""


_OF_RUNS = {RunStarted, RunEnded}


class RunSums:
    """Sums over what is committed: a listener of the store. ``run_of`` finds the run of a handler."""

    def __init__(self, run_of: Callable[[str], Run | None]) -> None:
        self.started: Counter[str] = Counter()
        """Runs by workflow; each run of a handler counts."""
        self.ended: Counter[tuple[str, Status]] = Counter()
        """Runs by workflow and status."""
        self.published = 0
        self.posted = 0
        self._run_of = run_of

    def on_commit(self, records: Sequence[Record]) -> None:
        """Add what is durable now."""
        try:
            self._add(records)
        except Exception:
            # An error of a listener ends the store, and these are only numbers.
            logger.exception("the figures lack a commit")

    def _add(self, records: Sequence[Record]) -> None:
        numbers = Counter(map(type, records))
        self.published += numbers[EventAppended]
        self.posted += numbers[InboxPosted]
        if not numbers.keys() & _OF_RUNS:
            return
        for record in records:
            if type(record) is RunStarted:
                self.started[record.workflow_name] += 1
            elif type(record) is RunEnded:
                run = self._run_of(record.handler_id)
                served = None if run is None else run.served
                self.ended[UNREGISTERED if served is None else served.name, record.status] += 1


class Figures(NamedTuple):
    """All figures at one moment."""

    is_ready: bool
    resume_seconds: float | None
    """The time that it took to resume the runs at the start; None before."""
    runs: Mapping[str, int]
    """The runs that go on, by what they do."""
    sums: RunSums
    steps: Mapping[str, Mapping[str, StepSums]]
    """By workflow and step, of all that are registered."""
    committed: Committed
    backlog: int
    """Records that wait for their commit."""
    sizes: Sizes | None
    lag: Lags | None
    """The time by which the event loop was late; None while the server does not run."""
    swept: int
    """Handlers that retention has deleted."""
    started_at: float | None
    """The time of the start, by the wall clock; None before it."""
    resumed: int | None
    suspended_at_start: int | None
    """The runs that went on at the start, and those that had a reason not to; None before."""
    commit_limits: tuple[float, ...] = COMMIT_LIMITS
    """Seconds: the bounds of ``committed.within``."""


RUNNING, WAITING, RELEASED, QUEUED, SUSPENDED = ("running", "waiting", "released", "queued", "suspended")
"""A run is in a step or about to be, waits in memory, waits outside of it, waits for a slot of
``num_concurrent_runs``, or does not go on."""


def standings(runs: Sequence[Run]) -> dict[str, int]:
    """Return how many of these runs do what. A run that is released and about to leave memory counts as released; one
    whose end is on its way to the store does not count."""
    # By identity, because hashing a member of an enumeration takes longer than all else: there may be 100,000 runs.
    numbers = Counter(map(id, map(attrgetter("state"), runs)))
    idle = sum(run.session.is_idle for run in runs if run.session is not None and run.is_active)
    return {
        RUNNING: numbers[id(RunState.LOADING)] + numbers[id(RunState.ACTIVE)] - idle,
        WAITING: idle,
        RELEASED: numbers[id(RunState.RELEASED)],
        QUEUED: numbers[id(RunState.QUEUED)],
        SUSPENDED: numbers[id(RunState.SUSPENDED)],
    }
