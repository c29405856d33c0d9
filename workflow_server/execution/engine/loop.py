"""The engine's control loop as a durable run drives it: observed, on the run's own clock, and ended in bounded time."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Iterable
from contextvars import ContextVar
from typing import Any, Protocol

from workflows.events import StopEvent
from workflows.runtime.control_loop.runner import _ControlLoopRunner, _stamp_tick
from workflows.runtime.types.internal_state import BrokerState, InProgressState
from workflows.runtime.types.results import RetryDecision, StepFunctionResult, StepWorkerFailed
from workflows.runtime.types.step_id import StepId
from workflows.runtime.types.ticks import TickSessionStart, TickTimeout, TickWaiterTimeout, WorkflowTick

from workflow_server.execution.containment import interrupted

STUBBORN = 0.5
"""Seconds that steps get to react to their cancellation when their run ends; the engine's own intended limit."""


MANY_WAKEUPS = 1_000
"""Ticks to come up to which none is forgotten. A run that waits over and over for 2,000 s, as is the default, had as
many to come as it had waited."""


class LoopObserver(Protocol):
    """The calls by which the engine's loop keeps a durable run informed."""

    handler_id: str

    @property
    def run_id(self) -> str:
        """Return the run's id."""
        ...

    def earlier_name(self, step: str) -> str:
        """Return the name that a step had when the run came to it, if it was renamed since."""

    def attach(self, loop: ObservedLoop) -> None:
        """Take the loop, which has been made and runs next."""

    def before_tick(self, tick: WorkflowTick, state: BrokerState) -> None:
        """Note a tick, stamped with its time, that is about to be reduced into this state."""

    def begun_in(self, work_item_id: str | None) -> str:
        """Return the id of the run in which a work item began: of this one, or of one that it retries."""
        ...

    def named(self, work_item_id: str | None) -> str | None:
        """Return the name of a work item in idempotency keys."""
        ...

    def now(self) -> float:
        """Return the time by which the run's deadlines are measured, in seconds."""

    def send_again(self, ticks: list[WorkflowTick], before: BrokerState) -> None:
        """Deliver ticks again that were on their way when the run left memory or the process died, in state
        ``before``."""

    def has_untaken(self, before: float) -> bool:
        """Return whether an event that was sent before this time is still to be taken."""

    @property
    def is_ending(self) -> bool:
        """Return whether the run is leaving memory, so that the loop cancels its steps."""
        ...

    def end_steps(self) -> None:
        """Note that the run leaves memory: the steps that still run are cancelled next."""

    def left(self) -> BaseException:
        """Return the exception that a cancelled loop raises: the reason for which the run leaves memory."""


running_loop: ContextVar[ObservedLoop | None] = ContextVar("running_loop", default=None)
"""The loop of the durable run that the caller belongs to."""


class ObservedLoop(_ControlLoopRunner):
    """The engine's control loop, with its state in sight."""

    observer: LoopObserver
    most_wakeups = MANY_WAKEUPS
    """Ticks to come after which those of waits that are over are looked for."""

    async def cleanup_tasks(self) -> None:
        """Cancel the steps that still run, and abandon those that ignore it.

        The engine's own limit of half a second does not hold: it waits for a step that swallows its cancellation.
        """
        self.observer.end_steps()
        self.worker_tasks -= await end_tasks(self.worker_tasks)
        await super().cleanup_tasks()

    def _stamp_retry_decisions(
        self,
        step_id: StepId,
        invocation_namespace: tuple[str, ...],
        worker: InProgressState | None,
        results: list[StepFunctionResult],
    ) -> list[StepFunctionResult]:
        # The engine dates failures by the wall clock, and computes retry delays and limits from those dates.
        now = self.observer.now()
        results = [
            item.model_copy(update={"failed_at": now}) if isinstance(item, StepWorkerFailed) else item
            for item in results
        ]
        try:
            return super()._stamp_retry_decisions(step_id, invocation_namespace, worker, results)
        except BaseException as error:
            return undecided(results, worker, interrupted(error))

    async def _process_tick(self, tick: WorkflowTick) -> StopEvent | None:
        # Stamped before the engine does, so that the observer and the journal read the same time.
        tick = _stamp_tick(tick, await self.adapter.get_now())
        self.observer.before_tick(tick, self.state)
        buffered, before = len(self.tick_buffer), self.state
        result = await super()._process_tick(tick)
        if isinstance(tick, TickSessionStart):
            self._send_again(buffered, before)
        return result

    def _send_again(self, buffered: int, before: BrokerState) -> None:
        """Send what is in the buffer from this place on: events that steps had sent, and that the run had not taken in
        the state ``before``. They come after the steps that begin again: that was their order."""
        resent, self.tick_buffer = self.tick_buffer[buffered:], self.tick_buffer[:buffered]
        self.observer.send_again(resent, before)

    def schedule_tick(self, tick: WorkflowTick, at_time: float) -> None:
        """Take the tick at this time. Where very many are to come, those of waits that are over are forgotten: they
        change nothing."""
        super().schedule_tick(tick, at_time)
        if len(self.scheduled_wakeups) > self.most_wakeups:
            last = {
                (step_id, waiter.waiter_id)
                for step_id, worker in self.state.workers.items()
                for waiter in worker.collected_waiters
            }
            self.scheduled_wakeups = [
                entry
                for entry in self.scheduled_wakeups
                if entry[2] is tick
                or not isinstance(entry[2], TickWaiterTimeout)
                or entry[2].invocation_namespace
                or (entry[2].step_id, entry[2].waiter_id) in last
            ]
            heapq.heapify(self.scheduled_wakeups)
            self.most_wakeups = 2 * len(self.scheduled_wakeups) + MANY_WAKEUPS

    def pop_due_ticks(self, now: float) -> list[WorkflowTick]:
        """Return the ticks that are due, but no timeout of a wait while events sent before it are still to be taken."""
        if not self.scheduled_wakeups or self.scheduled_wakeups[0][0] > now:
            return []
        held = [
            entry
            for entry in self.scheduled_wakeups
            if entry[0] <= now and isinstance(entry[2], TickWaiterTimeout) and self.observer.has_untaken(entry[0])
        ]
        if not held:
            return super().pop_due_ticks(now)
        self.scheduled_wakeups = [entry for entry in self.scheduled_wakeups if entry not in held]
        heapq.heapify(self.scheduled_wakeups)
        due = super().pop_due_ticks(now)
        for entry in held:
            heapq.heappush(self.scheduled_wakeups, entry)
        return due

    def wake_at(self) -> float | None:
        """Return the time of the next retry or wait timeout, None when there is none.

        The workflow's own timeout does not count: its clock stands still while the server is down.
        """
        times = [at for at, _, tick in self.scheduled_wakeups if not isinstance(tick, TickTimeout)]
        return min(times, default=None)


async def end_tasks(tasks: Iterable[asyncio.Task[Any]]) -> set[asyncio.Task[Any]]:
    """Cancel these tasks, and return those that have not ended after ``STUBBORN`` seconds."""
    waiting = set(tasks)
    for task in waiting:
        task.cancel()
    if not waiting:
        return waiting
    _, stubborn = await asyncio.wait(waiting, timeout=STUBBORN)
    for task in stubborn:
        # Nobody awaits it any more: retrieve its exception, so that asyncio does not log it as lost.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
    return stubborn


def undecided(
    results: list[StepFunctionResult], worker: InProgressState | None, error: Exception
) -> list[StepFunctionResult]:
    """Return the results of a step whose retry policy failed: no further attempt, and the policy's error as reason."""
    stopped: list[StepFunctionResult] = []
    for result in results:
        if isinstance(result, StepWorkerFailed) and result.retry_decision is None:
            error.__cause__ = error.__cause__ or result.exception
            first = worker.first_attempt_at if worker is not None else None
            decision = {"retry_decision": RetryDecision(delay=None), "first_attempt_at": first, "exception": error}
            result = result.model_copy(update=decision)
        stopped.append(result)
    return stopped
