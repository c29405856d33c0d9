"""One run in memory: the engine's loop on one side, what it writes on the other.

All that a transition of the run changes — its tick, its events, its state, its status — is handed to the store without
a suspension in between and so shares a transaction. The next step starts when that is durable, and not before.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Protocol

from workflows.errors import WorkflowCancelledByUser

from workflow_server.errors import ResumeFailed, StepNotRecorded, Unstorable, WorkflowServerError
from workflow_server.execution.barrier import StepBarrier
from workflow_server.execution.begun import BegunWaits
from workflow_server.execution.clock import LONGEST_SLEEP, ServerClock
from workflow_server.execution.containment import cancel as cancel_task
from workflow_server.execution.containment import contained, executing, is_cancelled
from workflow_server.execution.engine import (
    AddWaiter,
    BrokerState,
    Event,
    NamedTask,
    ObservedLoop,
    PendingStart,
    StartEvent,
    StepId,
    StopEvent,
    TickAddEvent,
    TickStepResult,
    TickWaiterTimeout,
    TickWakeup,
    WaitForNextTaskResult,
    WorkerTask,
    WorkflowCancelledEvent,
    WorkflowTick,
    end_tasks,
    in_step,
    new_state,
    pick_highest_priority,
    propagated_tags,
    run_scope,
)
from workflow_server.execution.event_log import EventLog
from workflow_server.execution.failures import indented, told
from workflow_server.execution.inbox import Beginnings, Inbox, PostedEvent
from workflow_server.execution.inbox_limits import InboxLimits
from workflow_server.execution.mailbox import Mailbox
from workflow_server.execution.outcomes import failed_event
from workflow_server.execution.recorder import RunRecorder
from workflow_server.execution.routing import beginning_waits
from workflow_server.execution.state import RecordingStateStore
from workflow_server.execution.unreadable import unreadable
from workflow_server.execution.workflow import ServedWorkflow
from workflow_server.records import InboxHeld, InboxPosted, RunAttempted, RunBegan, RunLoaded, Status, StoredRun
from workflow_server.store.base import AbstractWorkflowStore, Commit

logger = logging.getLogger(__name__)

BACKLOG = 10_000
"""Records that may wait for their commit before a step that publishes events has to wait for it, too."""


class LeftMemory(WorkflowCancelledByUser):
    """The run leaves memory, but does not end. The engine closes the run's trace as for a cancelled one."""


class RunCancelled(WorkflowCancelledByUser):
    """A client has cancelled the run."""


class SessionOwner(Protocol):
    """The part of a session's owner that the session needs."""

    store: AbstractWorkflowStore
    idle_timeout: float | None
    clock: ServerClock
    limits: InboxLimits

    def session_over(self, session: RunSession) -> None:
        """The session's task is about to end; all that it wrote is durable."""

    def post_again(self, session: RunSession, event: Event, step: str | None) -> None:
        """The released run is sent an event by a task that outlived its step."""


class RunSession:
    """A run while it is in memory. It ends (``status`` is set), is released (``released``) or is stopped (neither)."""

    def __init__(
        self,
        owner: SessionOwner,
        served: ServedWorkflow,
        handler_id: str,
        run_id: str,
        log: EventLog,
        start_event: StartEvent | None,
    ) -> None:
        self.handler_id = handler_id
        self.run_id = run_id
        self.served = served
        self.log = log
        self.missed_event = False
        """An event arrived after the run had been released."""
        self.wake_at: float | None = None
        self.alive_since: float | None = None
        self.task: asyncio.Task[None] | None = None
        self.inbox = Inbox()
        self._owner = owner
        self._start_event = start_event
        self._recorder = RunRecorder(owner.store, served, handler_id, run_id, log, start_event, self.inbox)
        self._barrier = StepBarrier(handler_id, self.abort, served.waits.began)
        self.mailbox = Mailbox(self, self.inbox, self._barrier, served.waits, owner.limits.size)
        self._beginnings = Beginnings()
        self._broker: BrokerState | None = None
        self._loop: ObservedLoop | None = None
        self._failure: WorkflowServerError | None = None
        self._delivered = -1
        self._interruptible = self._interrupted = False

    def now(self) -> float:
        """The time by which the run's deadlines are told."""
        return self._owner.clock.now()

    @property
    def status(self) -> Status | None:
        """Return how the run ended, once it has."""
        return self._recorder.status

    @property
    def released(self) -> bool:
        """The run only waits, and has left memory."""
        return self._recorder.released

    @property
    def progressed(self) -> asyncio.Event:
        """Set when a step's result is recorded, and when the session is over."""
        return self._recorder.progressed

    @property
    def state(self) -> RecordingStateStore[Any]:
        """The run's ``ctx.store``."""
        return self._recorder.state

    # -- Coming into memory --------------------------------------------------------------------

    async def load(self, stored: StoredRun, *, crashed: bool) -> None:
        """Take up the run where the store has it. ``crashed``: the process that ran it last died.

        Raises:
            ResumeFailed: its journal or state cannot be read any more.
        """
        try:
            broker = await self._recorder.replay(stored)
        except BaseException as error:
            if is_cancelled(error):
                raise
            # Not what the exception says: that may quote what is stored.
            failure = ResumeFailed(reason=unreadable(error)).with_traceback(error.__traceback__)
            logger.log(logging.ERROR, "Handler %s cannot be resumed", self.handler_id, exc_info=failure)
            raise failure from None
        for worker in broker.workers.values():
            for waiter in worker.collected_waiters:
                self._learn(waiter.waiting_for_event)
        self.mailbox.expect(weight_of(stored))
        self.alive_since = stored.alive_since
        self._broker = broker
        if crashed and any(worker.in_progress for worker in broker.workers.values()):
            self._recorder.attempts += 1
            attempts = self._recorder.attempts
            self._recorder.append(RunAttempted(self.handler_id, self.run_id, attempts, stored.probations))

    def _learn(self, kind: type[Event]) -> None:
        self.served.learn(kind)
        self.served.waits.learn(kind)

    def begin(self) -> None:
        """Start the run's loop. It has its slot."""
        now = self.now()
        if self.alive_since is None:
            self.alive_since = now
            wall = self._owner.clock.read().at
            self._recorder.append(RunBegan(self.handler_id, self.run_id, now, wall))
        else:
            self._recorder.append(RunLoaded(self.handler_id, self.run_id))
            self._catch_up(now)
        self.task = asyncio.create_task(self._run(), name=f"run {self.handler_id}")

    def _catch_up(self, now: float) -> None:
        """Count the time that the run was alive since its last tick: it was released, or its step was interrupted.

        A wakeup that is due for nothing carries the stamp into the journal.
        """
        broker = self._broker
        if broker is None or broker.last_alive_stamp is None or self.alive_since is None:
            return
        missing = (now - self.alive_since) - broker.elapsed_alive
        if missing > 0:
            tick = TickWakeup(due=0.0, stamped_at=broker.last_alive_stamp + missing)
            self.before_tick(tick, broker)
            self.record_tick(tick)
            self._broker = self._recorder.journal.reduce(broker, tick)

    # -- The loop ------------------------------------------------------------------------------

    async def _run(self) -> None:
        tags = {
            "handler_id": self.handler_id,
            "llamaindex.handler_id": self.handler_id,
            "llamaindex.run_id": self.run_id,
        }
        contained.set(contained.get() or self)
        executing.set(None)
        self._interruptible = True
        try:
            if self._interrupted:
                raise asyncio.CancelledError  # noqa: TRY301
            with run_scope(self.run_id, tags):
                broker = self._broker if self._broker is not None else new_state(self.served.workflow)
                start = None if broker.is_running else self._start_event
                await self.served.run_function(broker, start, propagated_tags())
        except WorkflowCancelledByUser:
            logger.debug("Run %s left memory", self.run_id)
        except asyncio.CancelledError:
            # Cancelled by us before its loop began.
            if self._failure is not None:
                self.fail(self._failure)
        except BaseException as error:
            self._ended_by(error)
        finally:
            self._interruptible = False
            self.progressed.set()
            self._loop = None
            await self.settle()
            self._owner.session_over(self)

    @property
    def is_ending(self) -> bool:
        """The steps that still run are cancelled because the run leaves memory."""
        return self._barrier.ending

    def end_steps(self) -> None:
        """The run leaves memory."""
        self._barrier.ending = True

    def left(self) -> BaseException:
        """Return what the loop raises that was cancelled: the run's failure, or why it is none."""
        if self._failure is not None:
            return self._failure
        return RunCancelled() if self.status == "cancelled" else LeftMemory()

    def _ended_by(self, error: BaseException) -> None:
        if self.status is None:
            self.fail(error)
        elif self.status == "failed":
            self._log_failure()

    def _log_failure(self) -> None:
        """Tell, once, how the run failed. What its exceptions say cannot begin a line of the log."""
        ended = self._recorder.ended
        assert ended is not None
        trace = f"\n{indented(ended.traceback)}" if ended.traceback else ""
        logger.error("Run %s of handler %s failed: %s%s", self.run_id, self.handler_id, ended.error, trace)

    async def settle(self) -> None:
        """Return when all that the run wrote is durable, or when the store has failed."""
        await self._recorder.settle()

    def attach(self, loop: ObservedLoop) -> None:
        """Arm the timeouts of the waits that began before; the engine arms only those that begin.

        What was posted before a deadline that has passed comes before it, also when it is delivered after.
        """
        self._loop = loop
        now = self.now()
        for step_id, waiter_id, deadline in self._recorder.journal.waits.open(loop.state):
            if deadline <= now and not self.mailbox.is_empty:
                self.mailbox.put(_wait_timeout(step_id, waiter_id))
            else:
                loop.schedule_tick(_wait_timeout(step_id, waiter_id), at_time=deadline)

    def before_tick(self, tick: WorkflowTick, state: BrokerState) -> None:
        """Look at what the tick finds."""
        if self.inbox.held_events:
            self._beginnings = self.inbox.begin(beginning_waits(tick, state), self.begun)
        self._recorder.journal.before(tick, state)
        if isinstance(tick, TickStepResult):
            self._barrier.taken(tick)
            for item in tick.result:
                if isinstance(item, AddWaiter):
                    self._learn(item.event_type)

    def send_again(self, ticks: list[WorkflowTick], before: BrokerState) -> None:
        """These were on their way to the run when it left memory, or when the process died, in the state ``before``."""
        first = ticks[0] if ticks else None
        if isinstance(first, TickAddEvent) and self._recorder.journal.pulls.had_taken(first.emission, before):
            self.mailbox.was_taken = first
        self.mailbox.put_first(ticks)

    def has_untaken(self, before: float) -> bool:
        """Return whether an event was delivered before this time that the run has not taken yet."""
        return self.inbox.has_untaken(before)

    def record_tick(self, tick: WorkflowTick) -> None:
        """Write the tick, with what goes with it.

        Raises:
            Unstorable: a value of it cannot be kept.
        """
        self._recorder.record_tick(tick)
        # In the same transaction, so that what is given to a wait is given to it also after a crash.
        beginnings, self._beginnings = self._beginnings, Beginnings()
        for posted in beginnings.given:
            self.inbox.hold(posted, held=False)
            self._recorder.append(InboxHeld(posted.record.inbox_id, held=False))
        for posted in beginnings.dropped:
            self.drop(posted)
        self.mailbox.put_first(posted.tick() for posted in beginnings.given)
        self.mailbox.look_again()

    def publish(self, event: Event) -> Commit | None:
        """Write an event to the handler's log; the loop's own terminal event also ends the run. Returns what a step
        has to wait for that publishes faster than the store takes it.

        Raises:
            Unstorable: a value of it is no JSON (where the loop publishes it; a step's run is failed).
        """
        if not self._recorder.is_open:
            return None
        if not in_step():
            if isinstance(event, StopEvent):
                self._recorder.end(event)
            else:
                self._recorder.publish(event)
            return None
        try:
            self._recorder.publish(event)
        except Unstorable as error:
            # The engine only logs what a step's publication raises: the run must not go on without the event.
            self.abort(error)
        except BaseException as error:
            self.abort(StepNotRecorded(reason=told(error)))
        return self._recorder.last if self._owner.store.backlog > BACKLOG else None

    async def next_task(
        self, running: list[NamedTask], pending: list[PendingStart], timeout: float | None
    ) -> WaitForNextTaskResult:
        """Start what is pending — steps when all before them is durable — and wait for the first to finish."""
        if self._loop is not None:
            self._recorder.compact(self._loop.state)
        self._barrier.next_batch()
        started = [self._barrier.start(item, self._recorder.last) for item in pending]
        try:
            completed = await self._first_done([*running, *started], timeout)
        except BaseException:
            self.end_steps()
            # The loop does not know them yet, so nobody else would end them.
            await end_tasks(task.task for task in started)
            raise
        return WaitForNextTaskResult(completed, started)

    async def _first_done(self, named: list[NamedTask], timeout: float | None) -> asyncio.Task[Any] | None:
        if self._barrier.has_drained(named):
            raise LeftMemory
        idle = not any(isinstance(task, WorkerTask) for task in named)
        release_after = self._owner.idle_timeout if idle else None
        may_release = release_after is not None and (timeout is None or timeout > release_after)
        limit = release_after if may_release else None if timeout is None else min(timeout, LONGEST_SLEEP)
        done, _ = await asyncio.wait({task.task for task in named}, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        if done:
            return pick_highest_priority(named, done)
        # Decided here, where nothing else can run: only the mailbox could hold something new.
        if may_release and self.mailbox.is_quiet:
            assert self._loop is not None
            self.wake_at = self._loop.wake_at()
            self._recorder.release(self.wake_at)
            raise LeftMemory
        return None

    # -- What clients posted -------------------------------------------------------------------

    @property
    def broker(self) -> BrokerState:
        """The state of the run's loop."""
        if self._loop is not None:
            return self._loop.state
        return self._broker if self._broker is not None else new_state(self.served.workflow)

    @property
    def begun(self) -> BegunWaits:
        """The types for which the run has waited."""
        return self._recorder.journal.waits.begun

    def keep(self, posted: PostedEvent) -> None:
        """The event is held until a wait for its type begins."""
        if self._recorder.is_open:
            self._recorder.append(InboxHeld(posted.record.inbox_id, held=True))

    def drop(self, posted: PostedEvent) -> None:
        """Tell that nobody takes the event."""
        self._recorder.drop(posted)

    # -- From outside --------------------------------------------------------------------------

    def deliver(self, posted: InboxPosted, event: Event) -> None:
        """Hand a posted event, which is durable, to the run; once, however often it is called."""
        if self.released:
            self.missed_event = True
        if not self._recorder.is_open or posted.inbox_id <= self._delivered:
            return
        self._delivered = posted.inbox_id
        added = self.inbox.add(posted, event, self.now())
        if not added.held:
            self.mailbox.put(added.tick())

    def send(self, tick: WorkflowTick) -> None:
        """Hand the run what one of its own steps sends; a task that outlived its step may send after the release."""
        if not self.released:
            self.mailbox.put(tick)
        elif isinstance(tick, TickAddEvent):
            self._owner.post_again(self, tick.event, str(tick.step_id) if tick.step_id is not None else None)

    def cancel(self) -> Commit:
        """End the run as cancelled, whatever its steps do; what they still publish or write is dropped."""
        commit = self._recorder.end(WorkflowCancelledEvent())
        self._interrupt()
        return commit

    def _interrupt(self) -> None:
        """Cancel the run's task. Not before it has begun, nor where it ends already: it would end without giving back
        what it holds."""
        if self.task is not None and self._interruptible:
            cancel_task(self.task)
        self._interrupted = True

    def abort(self, error: WorkflowServerError) -> None:
        """Fail the run from outside its loop."""
        if self.status is None and self._failure is None:
            self._failure = error
            self._interrupt()

    def fail(self, error: BaseException) -> None:
        """End the run as failed, with the reason and a terminal event."""
        if self.status is None:
            self._recorder.end(failed_event(error))
            self._log_failure()

    def end_again(self, error: WorkflowServerError) -> bool:
        """The run's end cannot be stored: end it as failed, for that reason. False where that was tried before."""
        return self._recorder.end_again(failed_event(error))

    def drain(self) -> None:
        """Start no more steps, and leave memory when those that run have been recorded."""
        self._barrier.draining = True
        if self._barrier.is_clear and self._recorder.is_open:
            self._interrupt()


def weight_of(stored: StoredRun) -> int:
    """Return what the state of a stored run weighs at most."""
    snapshot = len(stored.snapshot.data) if stored.snapshot is not None else 0
    return snapshot + sum(len(tick.data) for tick in stored.ticks)


def _wait_timeout(step_id: StepId, waiter_id: str) -> TickWaiterTimeout:
    return TickWaiterTimeout.model_validate({"step_id": step_id, "waiter_id": waiter_id})
