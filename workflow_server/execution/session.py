"""One run in memory, as the engine's loop and its steps see it: their adapter, and the loop's observer.

All that a transition of the run changes — its tick, its events, its state, its status — is handed to the store without
a suspension in between and so shares a transaction. The next step starts when that is durable, and not before.
"""

from __future__ import annotations

import asyncio
import logging
import time
import weakref
from collections.abc import Callable, Collection, Coroutine
from typing import Any

from workflows.errors import WorkflowCancelledByUser

from workflow_server.errors import EventNotTaken, StepNotRecorded, Unstorable
from workflow_server.execution.barrier import StepBarrier
from workflow_server.execution.clock import LONGEST_SLEEP
from workflow_server.execution.containment import DONE, contained, executing, harmless, is_cancelled
from workflow_server.execution.engine import (
    AddWaiter,
    BrokerState,
    Event,
    ObservedLoop,
    StartEvent,
    StateStore,
    StepWorkerFailed,
    StopEvent,
    TickAddEvent,
    TickStepResult,
    WorkflowTick,
    enter_run,
    in_step,
    just_ended,
    new_state,
)
from workflow_server.execution.engine_driven import EngineDriven
from workflow_server.execution.failures import told
from workflow_server.execution.interface import EventSink, RecordSink, RunOwner, Surroundings
from workflow_server.execution.mailbox import Mailbox
from workflow_server.execution.noting import NOTHING, Noting
from workflow_server.execution.outcomes import LeftMemory, RunCancelled
from workflow_server.execution.resuming import missed_time, replay
from workflow_server.execution.routing import answers
from workflow_server.execution.standing import Doing, Standing, doing_of, standing_of
from workflow_server.execution.step_spans import StepSpans
from workflow_server.execution.waits import all_waiters
from workflow_server.execution.writer import RunWriter, durable
from workflow_server.history import Note
from workflow_server.log_context import begin_run
from workflow_server.records import InboxPosted, RunBegan, RunLoaded, StoredRun
from workflow_server.store.base import Commit

logger = logging.getLogger(__name__)


class RunSession(EngineDriven):
    """A run while it is in memory: the adapter of its steps, and the host of its loop."""

    def __init__(
        self,
        run: RunOwner,
        surroundings: Surroundings,
        log: EventSink,
        start_event: StartEvent | None,
        sink: RecordSink | None = None,
    ) -> None:
        self.alive_since: float | None = None
        self.wake_at: float | None = None
        self.handler_id = run.handler_id
        self.writer = RunWriter(run, sink or surroundings.store, log, start_event)
        self._run = run
        self._surroundings = surroundings
        self._start_event = start_event
        tracing, traced = surroundings.tracing, run.traced
        self._spans = None if tracing is None or traced is None else tracing.run(traced)
        spans = None if self._spans is None else StepSpans(self._spans)
        self._gate = StepBarrier(run, run.workflow.waits.began, run.workflow.step_sums, spans)
        # By a weak reference, so that no session waits for the garbage collector when its run is over.
        itself, limit = weakref.proxy(self), surroundings.limits.size
        self._mailbox = Mailbox(itself, self.writer, self._gate, run.workflow.waits, limit)
        self._noting = Noting(self.writer.journal.waits, surroundings.clock.behind)
        self._resumed_after = "restart"
        self._broker: BrokerState | None = None
        self._loop: ObservedLoop | None = None
        self._may_release = False
        self._rested_at = -1
        """The number of ticks that its loop had been given when it began to wait; -1 while it does not wait."""
        self._left_as: Standing | None = None
        self._suspected: int | None = None
        """Its deaths in quarantine, where the process died while one of its steps was under way."""

    @property
    def run_id(self) -> str:
        """Return the run's id: the same before and after a crash."""
        return self._run.run_id

    def begun_in(self, work_item_id: str | None) -> str:
        """Return the id of the run in which a work item began: of this one, or of one that it retries."""
        return self.writer.journal.keys.run_of(work_item_id, self.run_id)

    def named(self, work_item_id: str | None) -> str | None:
        """Return the name of a work item in idempotency keys."""
        return self.writer.journal.keys.name_of(work_item_id)

    def now(self) -> float:
        """Return the time by which the run's deadlines are told."""
        return self._surroundings.clock.now()

    @property
    def broker(self) -> BrokerState:
        """Return the state of the run's loop."""
        if self._loop is not None:
            return self._loop.state
        if self._broker is None:
            self._broker = new_state(self._run.workflow.workflow)
        return self._broker

    def standing(self) -> Standing:
        """Return where the run stands."""
        if self._left_as is not None:
            return self._left_as
        waits, awaited = self.writer.journal.waits, self._run.workflow.awaited
        return standing_of(self.broker, waits, awaited, self._gate.running, is_resting=self._is_resting)

    @property
    def doing(self) -> Doing:
        """Return what the run does, in a word: of a hundred thousand runs it is asked at once."""
        if self._left_as is not None:
            return self._left_as.doing
        waits, awaited = self.writer.journal.waits, self._run.workflow.awaited
        return doing_of(self.broker, waits, awaited, is_resting=self._is_resting)

    @property
    def _is_resting(self) -> bool:
        return self._rested_at == self._mailbox.given and self._mailbox.is_empty

    # -- Its task ------------------------------------------------------------------------------

    async def resume(self, stored: StoredRun, *, crashed: bool) -> None:
        """Go on where the store has the run. ``crashed``: the process that ran it last died.

        Raises:
            ResumeFailed: its journal or state cannot be read any more.
        """
        self.writer.journal.keys.is_old = stored.code_version is None
        self._broker, weight = await replay(self.writer, stored)
        for _, waiter in all_waiters(self._broker):
            self._run.workflow.learn(waiter.waiting_for_event)
        self._mailbox.expect(weight)
        self.alive_since = stored.alive_since
        if stored.released:
            self._resumed_after = "release"
        elif crashed:
            self._resumed_after = "crash"
        if crashed and any(worker.in_progress for worker in self._broker.workers.values()):
            self._suspected = stored.probations

    def begin(self) -> None:
        """Write that the run is alive: its task, which calls ``execute``, is about to begin."""
        if self._suspected is not None:
            # Not before: a run that cannot begin, which nothing may come of, dies of no step.
            self.writer.blame(self._suspected)
        now = self.now()
        if self.alive_since is None:
            self.alive_since = now
            self.writer.append(RunBegan(self.handler_id, self.run_id, now, self._surroundings.clock.read().at))
            return
        note = Note("resumed", reason=self._resumed_after, since=self._down_since())
        self.writer.note(note, RunLoaded(self.handler_id, self.run_id))
        tick = None if self._broker is None else missed_time(self._broker, now - self.alive_since)
        if tick is not None and self._broker is not None:
            self.before_tick(tick, self._broker)
            self.writer.record_tick(tick)
            self._broker = self.writer.journal.reduce(self._broker, tick)

    def _down_since(self) -> float | None:
        last = None if self._resumed_after == "release" else self._surroundings.store.last_alive
        # The clock may have been set back meanwhile.
        return None if last is None else min(last.at, time.time())

    async def execute(self) -> None:
        """Return when the run has ended or leaves memory.

        Raises:
            BaseException: the run fails with it; a CancelledError where the task was cancelled before its loop began.
        """
        ids = {"llamaindex.handler_id": self.handler_id, "llamaindex.run_id": self.run_id}
        contained.set(contained.get() or self)
        executing.set(None)
        begin_run(self.handler_id, self.run_id)
        if self._spans is not None:
            self._spans.enter()
        try:
            enter_run(self.run_id, {"handler_id": self.handler_id, **ids})
            start = None if self.broker.is_running else self._start_event
            await self._run.workflow.run_function(self.broker, start)
        except WorkflowCancelledByUser:
            logger.debug("Run %s left memory", self.run_id)
        finally:
            self._loop = None

    # -- From outside --------------------------------------------------------------------------

    def is_answer(self, event: Event) -> bool:
        """Return whether the event answers a wait that is open."""
        return answers(self.broker, event)

    def deliver(self, posted: InboxPosted, event: Event) -> None:
        """Hand a posted event, which is durable, to the run; once, however often it is called."""
        if self.writer.is_open:
            self._mailbox.deliver(posted, event, self.now())

    @property
    def is_idle(self) -> bool:
        """Return whether no step runs or is about to: the run only waits."""
        return self._gate.is_empty

    def drain(self) -> bool:
        """Start no more steps; returns whether none runs, so that the run can leave memory at once. Otherwise it does
        when those that run have been recorded."""
        self._gate.draining = True
        return self._gate.is_clear

    def earlier_name(self, step: str) -> str:
        """Return the name that a step had when the run came to it, if it was renamed since."""
        return self.writer.journal.earlier_names.get(step, step)

    # -- The observer of the loop --------------------------------------------------------------

    def attach(self, loop: ObservedLoop) -> None:
        """Arm the timeouts of the waits that began before; the engine arms only those that begin.

        Events that were posted before a deadline come before it, also if they are delivered after it has passed.
        """
        self._loop = loop
        now = self.now()
        for tick, deadline in self.writer.journal.waits.timeouts(loop.state):
            if deadline <= now and not self._mailbox.is_empty:
                self._mailbox.put(tick)
            else:
                loop.schedule_tick(tick, at_time=deadline)

    def before_tick(self, tick: WorkflowTick, state: BrokerState) -> None:
        """Look at what the tick finds."""
        self._rested_at = -1
        self._mailbox.before(tick, state)
        self.writer.journal.before(tick, state)
        self.writer.notes = NOTHING
        if isinstance(tick, TickStepResult):
            took = self.writer.took = self._gate.taken(tick)
            if not just_ended(tick) and any(isinstance(item, (AddWaiter, StepWorkerFailed)) for item in tick.result):
                self._look_at(tick, state, took)
        elif self.writer.journal.waits.since:
            self.writer.notes = self._noting.of_event(tick, state)

    def _look_at(self, tick: TickStepResult, state: BrokerState, took: float | None) -> None:
        """Look at an execution that did not just end: it waits, or it has failed."""
        for item in tick.result:
            if isinstance(item, AddWaiter):
                self._run.workflow.learn(item.event_type)
        self.writer.notes = self._noting.of_result(tick, state, took)

    def send_again(self, ticks: list[WorkflowTick], before: BrokerState) -> None:
        """Send again what was on its way to the run; see ``Mailbox.send_again``."""
        self._mailbox.send_again(ticks, before)

    def has_untaken(self, before: float) -> bool:
        """Return whether an event was delivered before this time that the run has not taken yet."""
        return self.writer.inbox.has_untaken(before)

    @property
    def is_ending(self) -> bool:
        """Return whether the steps that still run are cancelled because the run leaves memory."""
        return self._gate.ending

    def end_steps(self) -> None:
        """Note that the run leaves memory: the steps that still run are cancelled next."""
        self._gate.ending = True

    def left(self) -> BaseException:
        """Return the exception of a cancelled loop: the run's failure, or the reason why it did not fail."""
        ended = self.writer.ended
        was_cancelled = ended is not None and ended.status == "cancelled"
        return self._run.failure or (RunCancelled() if was_cancelled else LeftMemory())

    # -- The adapter of its steps ------------------------------------------------------------------

    def get_state_store(self, namespace: tuple[str, ...] = ()) -> StateStore[Any] | None:
        """Return the run's ``ctx.store``."""
        return None if namespace else self.writer.state

    @harmless
    async def send_event(self, tick: WorkflowTick) -> None:
        """Hand the run what one of its own steps sends; a task that outlived its step may send after the release."""
        if self.writer.is_open or self.writer.ended is not None:
            self._mailbox.put(tick)
        elif isinstance(tick, TickAddEvent):
            self._run.send_late(tick.event, str(tick.step_id) if tick.step_id is not None else None)

    def write_to_event_stream(self, event: Event) -> Coroutine[Any, Any, None]:
        """Publish an event to the handler's log: at once, and not when the engine's task for it has its turn. A step
        that publishes faster than the store takes it waits for that."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            # In a thread, where the engine finds no loop for it either.
            return durable(None)
        if not self.writer.is_open:
            return DONE
        if not in_step():
            self.publish(event)
            return DONE
        self._publish(event)
        return self.writer.pace()

    def _publish(self, event: Event) -> None:
        """Write an event of a step. The engine only logs what this raises, and the run must not go on without it."""
        try:
            self.writer.publish(event)
        except Unstorable as error:
            self._run.abort(error)
        except BaseException as error:
            self._run.abort(StepNotRecorded(reason=told(error)))

    def publish(self, event: Event) -> None:
        """Write an event that the loop publishes; a terminal one ends the run."""
        if not self.writer.is_open:
            return
        if isinstance(event, StopEvent):
            self.writer.end(event)
        else:
            self.writer.publish(event)

    # -- The host of its loop ------------------------------------------------------------------

    def listen(self, listener: Callable[[], None] | None) -> None:
        """Call this from now on when there may be a tick to take."""
        self._mailbox.listener = listener

    def take(self) -> WorkflowTick | None:
        """Return the next tick of the mailbox; None where there is none, or where it waits for steps."""
        try:
            return self._mailbox.take()
        except BaseException as error:
            self._run.abort(EventNotTaken(reason=told(error)))
            return None

    @property
    def has_sent(self) -> bool:
        """Return whether the mailbox holds anything."""
        return not self._mailbox.is_empty

    async def receive(self) -> WorkflowTick | None:
        """Return the next tick of the mailbox, when the run is to take it; None where that has failed the run."""
        try:
            return await self._mailbox.get()
        except BaseException as error:
            if is_cancelled(error):
                raise
            self._run.abort(EventNotTaken(reason=told(error)))
            return None

    def record(self, tick: WorkflowTick) -> None:
        """Journal the tick."""
        self.writer.record_tick(tick)
        self._mailbox.after()

    def compact(self, state: BrokerState) -> Commit | None:
        """Let a snapshot replace a long journal; returns the commit of all that was written."""
        self.writer.journal.forget()
        self.writer.compact(state)
        return self.writer.last

    def rest(self, steps: Collection[asyncio.Task[Any]], timeout: float | None) -> float | None:
        """Return for how many seconds the loop may wait, at most until the run is to leave memory.

        Raises:
            LeftMemory: the server stops, and no step has begun.
        """
        if self._gate.has_drained(steps):
            raise LeftMemory
        self._rested_at = self._mailbox.given
        release_after = self._surroundings.idle_timeout if not steps else None
        self._may_release = release_after is not None and (timeout is None or timeout > release_after)
        return release_after if self._may_release else None if timeout is None else min(timeout, LONGEST_SLEEP)

    def rested(self) -> None:
        """Release the run, where it was idle for long enough.

        Raises:
            LeftMemory: it leaves memory.
        """
        # Decided here, where nothing else can run: only the mailbox could hold something new.
        if self._may_release and self._mailbox.is_quiet:
            assert self._loop is not None
            self.wake_at = self._loop.wake_at()
            self._left_as = self.standing()
            until = None if self.wake_at is None else self.wake_at + self._surroundings.clock.behind()
            self.writer.release(self.wake_at, self._left_as.to_json(), Note("released", until=until))
            raise LeftMemory
