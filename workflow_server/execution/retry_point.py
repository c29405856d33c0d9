"""The point at which a run that did not complete is taken up again, found in what the store keeps of it.

The journal is read twice: first to learn how the run ended and when its steps began, then up to the point. All records
before it are kept; steps that were in progress there begin again. The state of that point becomes a snapshot,
with which another run begins.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from workflow_server.execution.codec import Undecodable
from workflow_server.execution.containment import is_cancelled
from workflow_server.execution.earlier_state import check_dated, state_at
from workflow_server.execution.engine import (
    AddWaiter,
    BrokerState,
    EventAttempt,
    InProgressState,
    StartEvent,
    StepWorkerFailed,
    TickStepResult,
    TickTimeout,
    WorkflowTick,
    is_stuck,
)
from workflow_server.execution.exceptions import JournalUnreadable, NothingToRetry, StepNotReached
from workflow_server.execution.journal import Journal
from workflow_server.execution.send_dedup import Item, executions, under_way
from workflow_server.execution.unreadable import unreadable
from workflow_server.execution.workflow import ServedWorkflow
from workflow_server.execution.writer import LARGEST_SNAPSHOT
from workflow_server.records import StoredRun


class RetryTime(NamedTuple):
    """The time of a retry."""

    now: float
    """By the server's clock."""
    since_end: float
    """Seconds since the run ended."""


class RetryPoint(NamedTuple):
    """The state of a run at the point at which it is taken up again."""

    seq: int
    """The last tick that is kept; -1 before the first."""
    snapshot: str
    state: str | None
    """The record of ``ctx.store`` there; None where it is as the workflow declares it."""


async def retry_point(
    served: ServedWorkflow, stored: StoredRun, from_step: str | None, time: RetryTime, *, keeps_keys: bool
) -> RetryPoint:
    """Return the point just before the end of the run, or where ``from_step`` last began. ``keeps_keys``: its steps
    keep their idempotency keys.

    Raises:
        StepNotReached, NothingToRetry, JournalUnreadable: why there is none.
    """
    with _told_as_unreadable():
        point = await _point(served, stored, from_step, time, keeps_keys=keeps_keys)
    if len(point.snapshot) > LARGEST_SNAPSHOT:
        size = f"{len(point.snapshot):,} characters"
        raise JournalUnreadable(f"what it holds takes {size}, more than the store takes at once")
    return point


def first_state(served: ServedWorkflow, stored: StoredRun) -> str | None:
    """Return the record of ``ctx.store`` that a run was given and that never began: one that continues its handler has
    the state of the run before. None where it was given none.

    Raises:
        JournalUnreadable: it cannot be read any more.
    """
    with _told_as_unreadable():
        return state_at(served, stored, -1, set())


@contextmanager
def _told_as_unreadable() -> Iterator[None]:
    try:
        yield
    except (StepNotReached, NothingToRetry, JournalUnreadable):
        raise
    except BaseException as error:
        if is_cancelled(error):
            raise
        # Not what the exception says: that may quote what is stored.
        raise JournalUnreadable(unreadable(error)) from None


async def _point(
    served: ServedWorkflow, stored: StoredRun, from_step: str | None, time: RetryTime, *, keeps_keys: bool
) -> RetryPoint:
    start = _start_of(served, stored)
    read = _Reading(served.journal(stored.run_id, start), stored)
    await read.to_end()
    if from_step is None and read.missing is not None:
        raise Undecodable(f"its journal has no tick {read.missing}; an earlier step may still be named")
    last = read.last
    if from_step is not None:
        last = _beginning(read, from_step)
        check_dated(stored, last)
    attempts = read.attempts_to_drop()
    state = state_at(served, stored, last, attempts.ticks)
    journal = served.journal(stored.run_id, start)
    journal.keys.is_old = stored.code_version is None
    broker = await _replayed(journal, stored, last, attempts.held)
    if from_step is None and stored.status == "failed" and is_stuck(broker):
        raise NothingToRetry
    _renew(journal, broker, attempts.items, time, goes_back=from_step is not None)
    if keeps_keys:
        journal.keys.hand_on(stored.run_id, broker.work_item_seq, _work_items(broker))
    else:
        journal.keys.forget()
    return RetryPoint(last, journal.snapshot(broker), state)


def _start_of(served: ServedWorkflow, stored: StoredRun) -> StartEvent | None:
    """Return the start event, where it can be read; where it is needed and cannot, the journal cannot be read."""
    if stored.start_event is None:
        return None
    try:
        event = served.stored_event(stored.start_event)
    except BaseException as error:
        if is_cancelled(error):
            raise
        return None
    return event if isinstance(event, StartEvent) else None


# -- How it ended, and when its steps began --------------------------------------------------------


@dataclass
class _Attempts:
    """The failed attempts that do not count any more."""

    items: set[Item]
    """The steps that get fresh attempts."""
    ticks: set[int]
    """The ticks of the failures: what the attempts wrote to the state is dropped."""
    held: set[int]
    """Those after which the step had its events as it had left them: it gets them as they were."""


class _Reading:
    """The first reading of a journal."""

    def __init__(self, journal: Journal, stored: StoredRun) -> None:
        self._journal = journal
        self._stored = stored
        self._ended_by: Item | None = None
        """The step whose result ended the run."""
        self._timed_out = False
        self._failures: dict[Item, list[int]] = {}
        self._waits: dict[Item, int] = {}
        """By step: the tick with which it waited last."""
        self._seen: set[Item] = set()
        self._state = journal.restore(stored.snapshot.data if stored.snapshot is not None else None)
        self.last = _first(stored) - 1
        """The last tick before that with which the run ended."""
        self.beginnings: dict[str, int] = {}
        """By step: the tick with which it began last, for an event that it had not begun for before."""
        self.missing: int | None = None
        """A tick that is missing, though later ones are there: it was too large to store, or is lost."""
        self._note_beginnings(skip_attempted=True)

    async def to_end(self) -> None:
        """Read until the run has ended, or until a tick is missing."""
        for tick in self._stored.ticks:
            if tick.seq != self.last + 1:
                self.missing = self.last + 1
                return
            read = self._journal.decode(self._state, tick.data)
            after = self._journal.reduce(self._state, read)
            if self._state.is_running and not after.is_running:
                self._note_end(read)
                return
            self._note_attempt(read, tick.seq)
            self._state, self.last = after, tick.seq
            self._note_beginnings()
            if tick.seq % 64 == 0:
                await asyncio.sleep(0)

    def _note_end(self, tick: WorkflowTick) -> None:
        self._ended_by = self._item_of(tick)
        self._timed_out = isinstance(tick, TickTimeout)

    def _item_of(self, tick: WorkflowTick) -> Item | None:
        if not isinstance(tick, TickStepResult):
            return None
        found = under_way(self._state, tick.invocation_id or "")
        return found[0] if found is not None else None

    def _note_attempt(self, tick: WorkflowTick, seq: int) -> None:
        item = self._item_of(tick)
        if item is None or not isinstance(tick, TickStepResult):
            return
        if any(isinstance(result, StepWorkerFailed) for result in tick.result):
            self._failures.setdefault(item, []).append(seq)
        if any(isinstance(result, AddWaiter) for result in tick.result):
            self._waits[item] = seq

    def _note_beginnings(self, *, skip_attempted: bool = False) -> None:
        for item, execution in executions(self._state):
            if item not in self._seen:
                self._seen.add(item)
                if not (skip_attempted and execution.attempts):
                    self.beginnings[item[0]] = self.last

    def attempts_to_drop(self) -> _Attempts:
        """Return the attempts of the step that failed the run; of all, where something else failed it."""
        if self._ended_by is not None:
            items = {self._ended_by}
        elif self._timed_out or self._stored.status != "failed":
            items = set()
        else:
            items = {item for item, _ in executions(self._state)}
        failures = {seq: item for item in items for seq in self._failures.get(item, ())}
        held = {seq for seq, item in failures.items() if seq > self._waits.get(item, -1)}
        return _Attempts(items, set(failures), held)


def _first(stored: StoredRun) -> int:
    return stored.snapshot.seq + 1 if stored.snapshot is not None else 0


def _beginning(read: _Reading, step: str) -> int:
    if step not in read.beginnings:
        raise StepNotReached(step, ", ".join(sorted(read.beginnings)))
    return read.beginnings[step]


# -- The state at the point ------------------------------------------------------------------------


async def _replayed(journal: Journal, stored: StoredRun, last: int, without_held: set[int]) -> BrokerState:
    state = journal.restore(stored.snapshot.data if stored.snapshot is not None else None)
    for tick in stored.ticks:
        if tick.seq > last:
            break
        state = journal.replay(state, _without_held(tick.data) if tick.seq in without_held else tick.data)
        if tick.seq % 64 == 0:
            await asyncio.sleep(0)
    return state


def _without_held(entry: str) -> str:
    return json.dumps({name: value for name, value in json.loads(entry).items() if name != "held"})


def _renew(journal: Journal, state: BrokerState, fresh: set[Item], time: RetryTime, *, goes_back: bool) -> None:
    """Let the run's clock begin anew, and that of everything in it go on where it stood."""
    stood = time.since_end
    if goes_back and state.last_alive_stamp is not None:
        stood = max(0.0, time.now - state.last_alive_stamp)
    state.elapsed_alive, state.last_alive_stamp = 0.0, None
    for item, attempt in _attempts(state):
        if item in fresh:
            attempt.attempts, attempt.first_attempt_at = 0, time.now
            attempt.last_exception = attempt.last_failed_at = None
        else:
            _postpone(attempt, stood)
    journal.waits.postpone(stood)


def _attempts(state: BrokerState) -> Iterator[tuple[Item, InProgressState | EventAttempt]]:
    for step_id, worker in state.workers.items():
        attempts: list[InProgressState | EventAttempt] = [*worker.in_progress, *worker.queue]
        for attempt in attempts:
            yield (str(step_id), attempt.work_item_id), attempt


def _work_items(state: BrokerState) -> Iterator[str | None]:
    """Yield the ids of the work items that the state holds."""
    for worker in state.workers.values():
        yield from (execution.work_item_id for execution in worker.in_progress)
        yield from (attempt.work_item_id for attempt in worker.queue)
        yield from (waiter.work_item_id for waiter in worker.collected_waiters)


def _postpone(attempt: InProgressState | EventAttempt, seconds: float) -> None:
    if attempt.first_attempt_at is not None:
        attempt.first_attempt_at += seconds
    if attempt.last_failed_at is not None:
        attempt.last_failed_at += seconds
    if isinstance(attempt, EventAttempt) and attempt.not_before is not None:
        attempt.not_before += seconds
