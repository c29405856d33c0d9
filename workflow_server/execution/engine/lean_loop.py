"""A control loop for durable runs that does what the engine's own does with fewer tasks and suspensions.

It is driven by the ends of steps: one task a step, none for what the run is sent, and none for what it publishes. It
takes ticks in the order in which the engine's loop would take them (``tests/execution`` compares the two), and leaves
all that is rare to that loop's own methods.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from heapq import heappop, heappush
from typing import Any, cast

from workflows.events import Event, StopEvent
from workflows.runtime.types.commands import CommandPublishEvent, CommandQueueEvent, CommandRunWorker
from workflows.runtime.types.internal_state import InProgressState
from workflows.runtime.types.results import (
    RetryAttempt,
    SentEvent,
    StepFunctionResult,
    StepWorkerFailed,
    StepWorkerResult,
)
from workflows.runtime.types.ticks import (
    STAMPED_TICK_TYPES,
    TickIdleCheck,
    TickSessionStart,
    TickStepResult,
    TickTimeout,
    WorkflowTick,
)

from workflow_server.execution.containment import harmless
from workflow_server.execution.engine.live_state import live
from workflow_server.execution.engine.loop import ObservedLoop
from workflow_server.execution.engine.loop_host import LoopHost
from workflow_server.execution.engine.made import event_added, event_delivered, frozen, model, step_ended
from workflow_server.execution.engine.reducing import reduce_live
from workflow_server.store.base import Commit

logger = logging.getLogger(__name__)


class LeanLoop(ObservedLoop):
    """The control loop of one run. Its methods are called in the run's own task, its callbacks by the event loop."""

    observer: LoopHost

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.state = live(self.state)
        self._context = contextvars.copy_context()
        self._events = asyncio.get_running_loop()
        self._to_start: list[CommandRunWorker] = []
        self._batch = 0
        """The number of the present turn of the loop; steps are known by the turn in which they were started."""
        self._started = 0
        """Number of the steps that were started so far."""
        self._ended: list[tuple[int, int, TickStepResult]] = []
        """The results of steps that the loop has not taken yet: a heap, in the order in which the steps were started,
        and with the turns in which that was."""
        self._taken: WorkflowTick | None = None
        """A tick that was sent, out of the mailbox: the loop takes it next, unless the result of a step comes first."""
        self._asked = 1
        """The turn since which the loop waits for what is sent; as in the engine, steps that it started later come
        after that."""
        self._taking: asyncio.Task[None] | None = None
        """Waits for steps that stand at the barrier, to take a tick after them."""
        self._will_look = self._is_over = False
        self._waker: asyncio.Future[bool] | None = None
        self._due: float | None = None
        """The time, by the event loop's clock, at which the present wait ends; None for a wait without end."""
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        """The time at which the timer goes off: then or earlier. It outlasts a wait that ends before, since the next
        one is likely to last longer."""

    # -- The loop ------------------------------------------------------------------------------

    async def run(self, start_event: Event | None = None, start_with_timeout: bool = True) -> StopEvent:
        """Run until the run has ended; see the engine's method of this name."""
        self._begin(start_event, start_with_timeout=start_with_timeout)
        self.observer.listen(self._look_soon)
        try:
            while True:
                result = await self._take_ticks()
                if result is not None:
                    return result
                self._start_steps()
                await self._next_tick()
                # For what steps send in tasks of their own.
                await asyncio.sleep(0)
        finally:
            self._is_over = True
            self.observer.listen(None)
            if self._timer is not None:
                self._timer.cancel()
            if self._taking is not None:
                self._taking.cancel()
            await self.cleanup_tasks()

    def _begin(self, start_event: Event | None, *, start_with_timeout: bool) -> None:
        now = self.observer.now()
        self.tick_buffer.insert(0, model(TickSessionStart, {"type": "session_start", "stamped_at": now}))
        if start_event is not None:
            self.tick_buffer.append(event_added(start_event))
        timeout = self.workflow._timeout
        if start_with_timeout and timeout is not None:
            # Counted while the run is alive only.
            left = max(0.0, timeout - self.state.elapsed_alive)
            tick = TickTimeout(timeout=timeout)
            if left <= 0:
                self.tick_buffer.insert(1, tick)
            else:
                self.schedule_tick(tick, at_time=now + left)

    async def _take_ticks(self) -> StopEvent | None:
        """Take all ticks that have gathered; returns the event that ends the run, if one does."""
        now = self.observer.now()
        if self.scheduled_wakeups:
            self.tick_buffer += self.pop_due_ticks(now)
        while self.tick_buffer:
            tick = self.tick_buffer.pop(0)
            if isinstance(tick, TickIdleCheck):
                if self.tick_buffer:
                    self.tick_buffer.append(tick)
                    continue
                self._idle_check_pending = False
            result = await self._reduce(tick, now)
            if result is not None:
                return result
        return None

    async def _next_tick(self) -> None:
        """Wait for the result of a step, for a tick that was sent, or until something is due."""
        if self.observer.has_sent:
            self._look_soon()
        is_due = False
        if self._ended or self._taken is not None:
            if self._may_get_more:
                await asyncio.sleep(0)
        else:
            is_due = not await self._woken()
            # A result or a tick that came in the same turn as the time ran out comes first.
            if is_due and not self._ended and self._taken is None:
                self.observer.rested()
                return
        if not is_due and self._may_get_more:
            await asyncio.sleep(0)
        ended = self._next_result()
        if ended is not None:
            await self._take_result(ended)
        elif self._taken is not None:
            self.tick_buffer.append(self._taken)
            self._taken, self._asked = None, self._batch + 1

    @property
    def _may_get_more(self) -> bool:
        """Return whether the next turn of the event loop may bring more to take.

        The engine's loop goes on two turns after a step ended, and takes what has ended until then in the order in
        which it was started: a step that begins to wait ends one turn later than it could.
        """
        return bool(self.worker_tasks) or self._taken is not None or self.observer.has_sent

    def _next_result(self) -> TickStepResult | None:
        """Return the result that the loop takes next, None where a tick that was sent comes before it."""
        if not self._ended:
            return None
        _, batch, _ = self._ended[0]
        if self._taken is not None and self._asked < self._batch and batch == self._batch:
            return None
        return heappop(self._ended)[2]

    async def _take_result(self, result: TickStepResult) -> None:
        if any(type(item) is StepWorkerResult and isinstance(item.result, StopEvent) for item in result.result):
            # Nothing is published any more by those that still run.
            await self.cleanup_tasks()
        self.tick_buffer.append(result)

    async def _woken(self) -> bool:
        """Wait to be woken; returns whether that was for something other than the time."""
        timeout = self.next_wakeup_timeout(self.observer.now()) if self.scheduled_wakeups else None
        limit = self.observer.rest(self.worker_tasks, timeout)
        waker: asyncio.Future[bool] = self._events.create_future()
        self._waker = waker
        self._due = None
        if limit is not None:
            self._wake_at(self._events.time() + limit)
        try:
            return await waker
        finally:
            self._waker = None

    def _wake_at(self, due: float) -> None:
        """Wake the loop at this time, unless it is woken before."""
        self._due = due
        if self._timer is not None:
            if self._timer_at <= due:
                return
            self._timer.cancel()
        self._timer_at = due
        self._timer = self._events.call_at(due, self._time_is_up, context=self._context)

    def _time_is_up(self) -> None:
        self._timer = None
        if self._waker is None or self._due is None:
            return
        if self._timer_at < self._due:
            self._wake_at(self._due)
        else:
            self._wake(False)

    def _wake(self, for_something: bool = True) -> None:
        if self._waker is not None and not self._waker.done():
            self._waker.set_result(for_something)

    # -- Ticks ---------------------------------------------------------------------------------

    async def _reduce(self, tick: WorkflowTick, now: float) -> StopEvent | None:
        if isinstance(tick, STAMPED_TICK_TYPES) and tick.stamped_at is None:
            _stamp(tick, now)
        before, buffered = self.state, len(self.tick_buffer)
        self.observer.before_tick(tick, before)
        self.state, commands = reduce_live(before, tick, now, self.observer.run_id)
        self.observer.record(tick)
        for command in commands:
            # Of no class with subclasses.
            if type(command) is CommandPublishEvent:
                self.observer.publish(command.event)
            elif type(command) is CommandRunWorker:
                self._to_start.append(command)
            elif type(command) is CommandQueueEvent:
                self.tick_buffer.append(event_delivered(command))
            else:
                result = await self.process_command(command)
                if result is not None:
                    return result
        if isinstance(tick, TickSessionStart):
            self._send_again(buffered, before)
        return None

    def run_worker(self, command: CommandRunWorker) -> None:
        """Start a step when all ticks that have gathered are taken."""
        self._to_start.append(command)

    async def cleanup_tasks(self) -> None:
        """Cancel the steps that still run; see ``ObservedLoop``."""
        self._to_start.clear()
        if self.worker_tasks:
            await super().cleanup_tasks()
        else:
            self.observer.end_steps()

    # -- Ticks that are sent -------------------------------------------------------------------

    def _look_soon(self) -> None:
        if not self._will_look and self._taken is None and self._taking is None:
            self._will_look = True
            self._events.call_soon(self._look, context=self._context)

    def _look(self) -> None:
        self._will_look = False
        if self._is_over or self._taken is not None or self._taking is not None:
            return
        self._taken = self.observer.take()
        if self._taken is not None:
            self._wake()
        elif self.observer.has_sent:
            self._taking = self._events.create_task(self._take_after_steps())

    @harmless
    async def _take_after_steps(self) -> None:
        self._taken = await self.observer.receive()
        if self._taken is not None:
            self._taking = None
            self._wake()

    # -- Steps ---------------------------------------------------------------------------------

    def _start_steps(self) -> None:
        commit = self.observer.compact(self.state)
        gate = self.observer.gate
        batch = self._batch = gate.next_batch()
        for command in self._to_start:
            step = str(command.step_id)
            name = f"{self.observer.handler_id} {step}:{command.id}"
            self._started += 1
            work = self._execute(command, step, commit, batch, self._started)
            self.worker_tasks.add(gate.start(step, name, work, commit))
        self._to_start.clear()

    @harmless
    async def _execute(
        self, command: CommandRunWorker, step: str, commit: Commit | None, batch: int, place: int
    ) -> None:
        gate = self.observer.gate
        try:
            try:
                number = await gate.enter(step, commit, batch)
            except Exception:
                # The run is failed, with this as its reason; or its start was refused, and nothing is left of it.
                return
            try:
                result = await self._result(command, step)
            except BaseException as error:
                gate.give_up(number, error)
                raise
            heappush(self._ended, (place, batch, gate.leave(number, result, batch)))
            self._wake()
        except Exception:
            # The run is failed, with this as its reason.
            logger.exception("Step %s of handler %s ended without a result", step, self.observer.handler_id)
        finally:
            self.worker_tasks.discard(cast("asyncio.Task[Any]", asyncio.current_task()))

    async def _result(self, command: CommandRunWorker, step: str) -> TickStepResult:
        """Execute a step, and return what it ended with."""
        worker = self._in_progress(command)
        output = await self.step_workers[step](
            state=worker.shared_state,
            step_name=step,
            event=command.event,
            workflow=self.workflow,
            bound_events=command.bound_events,
            retry=frozen(
                RetryAttempt,
                retry_number=worker.attempts,
                first_attempt_at=worker.first_attempt_at,
                last_exception=worker.last_exception,
                last_failed_at=worker.last_failed_at,
                recovery_counts=dict(worker.recovery_counts),
            ),
        )
        sends = [item for item in output if isinstance(item, SentEvent)]
        results: list[StepFunctionResult] = [item for item in output if not isinstance(item, SentEvent)]
        if any(isinstance(item, StepWorkerFailed) for item in results):
            results = self._stamp_retry_decisions(command.step_id, command.invocation_namespace, worker, results)
        return step_ended(command, results, sends)

    def _in_progress(self, command: CommandRunWorker) -> InProgressState:
        broker = self._broker_for_namespace(command.invocation_namespace)
        for execution in () if broker is None else broker.workers[command.step_id].in_progress:
            if execution.invocation_id == command.invocation_id:
                return execution
        raise RuntimeError(f"{command.invocation_id} is not in progress")


def _stamp(tick: WorkflowTick, now: float) -> None:
    """Give a tick of this run, which nobody else holds, its time."""
    tick.__dict__["stamped_at"] = now
    tick.model_fields_set.add("stamped_at")
