"""The entries of a run's history that follow from its ticks: attempts that fail, and waits that begin and end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from workflow_server.execution.engine import (
    AddWaiter,
    BrokerState,
    EmissionKey,
    StepWorkerFailed,
    TickAddEvent,
    TickStepResult,
    TickWaiterTimeout,
    WorkflowTick,
)
from workflow_server.execution.failures import told, user_traceback
from workflow_server.execution.routing import answered_waits
from workflow_server.execution.standing import requirements_told
from workflow_server.execution.waits import WaitKey, Waits, find_waiter
from workflow_server.history import Note

NOTHING: Sequence[Note] = ()


class Noting:
    """Notes what the ticks of one run mean for its history. ``behind``: see ``ServerClock.behind``."""

    def __init__(self, waits: Waits, behind: Callable[[], float]) -> None:
        self._waits = waits
        self._behind = behind
        self._traceback: str | None = None
        """That of the attempt that failed last: a step that fails the same way again need not repeat it."""

    def of_result(self, tick: TickStepResult, state: BrokerState, took: float | None) -> Sequence[Note]:
        """Return the entries of a result that is about to be reduced into ``state``, and of which the waits have been
        told. ``took``: seconds of the execution."""
        return list(self._of_result(tick, state, took))

    def of_event(self, tick: WorkflowTick, state: BrokerState) -> Sequence[Note]:
        """Return the entries of any other tick that is about to be reduced into ``state``, where something is waited
        for."""
        if isinstance(tick, TickWaiterTimeout):
            return list(self._of_timeout(tick, state))
        if isinstance(tick, TickAddEvent) and (tick.emission is None or _is_new(state, tick.emission)):
            event, kind = tick.event, type(tick.event).__name__
            return [
                Note("wait_answered", key[0], kind, duration=self._waited(key, tick.stamped_at))
                for key in answered_waits(state, event)
            ]
        return NOTHING

    def _of_result(self, tick: TickStepResult, state: BrokerState, took: float | None) -> Iterator[Note]:
        step = str(tick.step_id)
        for item in tick.result:
            if isinstance(item, StepWorkerFailed):
                yield self._failed(item, tick, _attempt(tick, state), took)
            elif isinstance(item, AddWaiter) and find_waiter(state, (step, item.waiter_id)) is None:
                key = (step, item.waiter_id)
                yield Note(
                    "wait_began",
                    step,
                    item.event_type.__name__,
                    until=self._by_wall_clock(self._waits.deadlines.get(key)),
                    requirements=requirements_told(item.requirements) or None,
                    question=self._waits.questions.get(key),
                )

    def _failed(self, item: StepWorkerFailed, tick: TickStepResult, attempt: int | None, took: float | None) -> Note:
        delay = None if item.retry_decision is None else item.retry_decision.delay
        until = None if delay is None else self._by_wall_clock(item.failed_at + delay)
        traceback: str | None = user_traceback(item.exception)
        if traceback == self._traceback:
            traceback = None
        else:
            self._traceback = traceback
        step, event, error = str(tick.step_id), type(tick.event).__name__, told(item.exception)
        return Note("attempt_failed", step, event, attempt, took, until, error, traceback or None)

    def _of_timeout(self, tick: TickWaiterTimeout, state: BrokerState) -> Iterator[Note]:
        key = (str(tick.step_id), tick.waiter_id)
        waiter = find_waiter(state, key)
        if waiter is not None and waiter.resolved_event is None:
            kind = waiter.waiting_for_event.__name__
            yield Note("wait_timed_out", key[0], kind, duration=self._waited(key, tick.stamped_at))

    def _waited(self, key: WaitKey, now: float | None) -> float | None:
        since = self._waits.since.get(key)
        return None if since is None or now is None else max(0.0, now - since)

    def _by_wall_clock(self, time: float | None) -> float | None:
        return None if time is None else time + self._behind()


def _attempt(tick: TickStepResult, state: BrokerState) -> int | None:
    worker = state.workers.get(tick.step_id)
    for execution in worker.in_progress if worker is not None else ():
        if execution.invocation_id == tick.invocation_id:
            return execution.attempts + 1
    return None


def _is_new(state: BrokerState, key: EmissionKey) -> bool:
    """Return whether the event of this key is taken, by the engine's rule: it is on its way, or its step still runs and
    has not sent it before."""
    if key in state.deliveries:
        return True
    return any(
        execution.invocation_id == key.invocation_id and key.index not in execution.received
        for worker in state.workers.values()
        for execution in worker.in_progress
    )
