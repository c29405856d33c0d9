"""One run in memory: the engine's loop on one side, the store on the other.

All that a transition of the run changes — its tick, its events, its state, its status — is handed to the store without
a suspension in between and so shares a transaction. The next step starts when that is durable, and not before.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from typing import Any, Protocol

from workflows.errors import WorkflowCancelledByUser

from workflow_server.errors import ResumeFailed, StepNotRecorded, StorageError, Unstorable, WorkflowServerError
from workflow_server.records import (
    InboxPosted,
    InboxTaken,
    Record,
    RunAttempted,
    RunBegan,
    RunEnded,
    RunLoaded,
    RunReleased,
    SnapshotTaken,
    StatePatched,
    StateReplaced,
    Status,
    StoredRun,
    TickAppended,
)
from workflow_server.runtime.engine import (
    AddWaiter,
    BrokerState,
    Event,
    InternalDispatchEvent,
    NamedTask,
    ObservedLoop,
    PendingStart,
    PendingWorker,
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
    WorkflowFailedEvent,
    WorkflowTick,
    WorkflowTimedOutEvent,
    in_step,
    new_state,
    pick_highest_priority,
    propagated_tags,
    run_scope,
)
from workflow_server.runtime.envelopes import envelope
from workflow_server.runtime.event_log import EventLog
from workflow_server.runtime.journal import Journal
from workflow_server.runtime.patches import Patch
from workflow_server.runtime.served import ServedWorkflow
from workflow_server.runtime.state import RecordingStateStore
from workflow_server.store.abstract import AbstractWorkflowStore, Commit

logger = logging.getLogger(__name__)

SNAPSHOT_TICKS = 256
"""Ticks after which a snapshot replaces the journal: replay was measured at 89 µs a tick."""
STATE_PATCHES = 256
STATE_PATCH_CHARACTERS = 65_536
"""Patches after which the state is written in full, whichever is reached first."""
BACKLOG = 10_000
"""Records that may wait for their commit before a step that publishes events has to wait for it, too."""


class LeftMemory(WorkflowCancelledByUser):
    """The run leaves memory, but does not end. The engine closes the run's trace as for a cancelled one."""


class SessionOwner(Protocol):
    """What a session needs of the manager."""

    store: AbstractWorkflowStore
    idle_timeout: float | None

    def session_over(self, session: RunSession) -> None:
        """The session's task is about to end; all that it wrote is durable."""


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
        self.status: Status | None = None
        self.released = False
        self.missed_event = False
        """An event arrived after the run had been released."""
        self.wake_at: float | None = None
        self.alive_since: float | None = None
        self.attempts = 0
        self.progressed = asyncio.Event()
        """Set when a step's result is recorded, and when the session is over."""
        self.task: asyncio.Task[None] | None = None
        self.mailbox: asyncio.Queue[WorkflowTick] = asyncio.Queue()
        self._owner = owner
        self._store = owner.store
        self._start_event = start_event
        self._journal = Journal(served.workflow, run_id, served.serializer, start_event)
        self._broker: BrokerState | None = None
        self._loop: ObservedLoop | None = None
        self._commit: Commit | None = None
        self._failure: WorkflowServerError | None = None
        self._posted: dict[int, tuple[Event, int]] = {}
        self._delivered = -1
        self._draining = False
        self._unrecorded = 0
        """Steps that have begun and whose result has not been taken."""
        self._parked: set[asyncio.Task[Any]] = set()
        self._next_tick = 0
        self._snapshot_at = SNAPSHOT_TICKS
        self._next_patch = 0
        self._patches = 0
        self._patch_characters = 0
        self.state = self._state_store(None, [])

    # -- Coming into memory --------------------------------------------------------------------

    async def load(self, stored: StoredRun, *, crashed: bool) -> None:
        """Take up the run where the store has it. ``crashed``: the process that ran it last died.

        Raises:
            ResumeFailed: its journal or state cannot be read any more.
        """
        try:
            broker = self._journal.restore(stored.snapshot.data if stored.snapshot is not None else None)
            self._next_tick = stored.snapshot.seq + 1 if stored.snapshot is not None else 0
            for tick in stored.ticks:
                if tick.seq != self._next_tick:
                    raise ValueError(f"the journal has no tick {self._next_tick}")  # noqa: TRY301
                broker = self._journal.replay(broker, tick.data)
                self._next_tick += 1
                if self._next_tick % 64 == 0:
                    await asyncio.sleep(0)
            self.state = self._state_store(stored.state, stored.patches)
        except Exception as error:
            logger.exception("Run %s of handler %s cannot be resumed", self.run_id, self.handler_id)
            raise ResumeFailed(reason=f"{type(error).__name__}: {error}") from error
        for worker in broker.workers.values():
            for waiter in worker.collected_waiters:
                self.served.learn(waiter.waiting_for_event)
        self.alive_since = stored.alive_since
        self.attempts = stored.attempts
        self._snapshot_at = (stored.snapshot.seq + 1 if stored.snapshot is not None else 0) + SNAPSHOT_TICKS
        self._broker = broker
        if crashed and _has_running_steps(broker):
            self.attempts += 1
            self._append(RunAttempted(self.handler_id, self.run_id, self.attempts, stored.probations))

    def begin(self) -> None:
        """Start the run's loop. It has its slot."""
        now = time.time()
        if self.alive_since is None:
            self.alive_since = now
            self._append(RunBegan(self.handler_id, self.run_id, now))
        else:
            self._append(RunLoaded(self.handler_id, self.run_id))
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
            self._broker = self._journal.reduce(broker, tick)

    def _state_store(self, record: StateReplaced | None, patches: list[StatePatched]) -> RecordingStateStore[Any]:
        if patches or record is not None:
            self._next_patch = (patches[-1].seq if patches else record.seq if record else -1) + 1
        self._patches = len(patches)
        self._patch_characters = sum(len(patch.patch) for patch in patches)
        return self.served.state_store(
            record.data if record is not None else None,
            [json.loads(patch.patch) for patch in patches],
            unattended=self._write_unattended,
        )

    # -- The loop ------------------------------------------------------------------------------

    async def _run(self) -> None:
        tags = {"handler_id": self.handler_id, "llamaindex.run_id": self.run_id}
        try:
            with run_scope(self.run_id, tags):
                broker = self._broker if self._broker is not None else new_state(self.served.workflow)
                start = None if broker.is_running else self._start_event
                await self.served.run_function(broker, start, propagated_tags())
        except LeftMemory:
            logger.debug("Run %s left memory", self.run_id)
        except asyncio.CancelledError:
            # Cancelled by us: because the run is over, because it failed outside its loop, or to stop.
            if self._failure is not None:
                self.fail(self._failure)
        except Exception as error:
            self._ended_by(error)
        finally:
            self.progressed.set()
            self._loop = None
            await self.settle()
            self._owner.session_over(self)

    def _ended_by(self, error: Exception) -> None:
        if self.status is None:
            self.fail(error)
        elif self.status == "failed":
            logger.info("Run %s of handler %s failed: %s", self.run_id, self.handler_id, error)

    async def settle(self) -> None:
        """Return when all that the run wrote is durable, or when the store has failed."""
        if self._commit is None:
            return
        try:
            await self._commit
        except StorageError as error:
            logger.error("Run %s: %s", self.run_id, error)  # noqa: TRY400 the store logged the cause

    def attach(self, loop: ObservedLoop) -> None:
        """Arm the timeouts of the waits that began before; the engine arms only those that begin.

        What was posted before a deadline that has passed comes before it, also when it is delivered after.
        """
        self._loop = loop
        now = time.time()
        for step_id, waiter_id, deadline in self._journal.waits.open(loop.state):
            if deadline <= now and not self.mailbox.empty():
                self.mailbox.put_nowait(_wait_timeout(step_id, waiter_id))
            else:
                loop.schedule_tick(_wait_timeout(step_id, waiter_id), at_time=deadline)

    def before_tick(self, tick: WorkflowTick, state: BrokerState) -> None:
        """Look at what the tick finds."""
        self._journal.before(tick, state)
        if isinstance(tick, TickStepResult):
            self._unrecorded -= 1
            for item in tick.result:
                if isinstance(item, AddWaiter):
                    self.served.learn(item.event_type)

    def record_tick(self, tick: WorkflowTick) -> None:
        """Hand the tick to the store, with what goes with it.

        Raises:
            Unstorable: a value of it is no JSON.
        """
        if not self._is_written:
            return
        entry = self._journal.encode(tick)
        if entry is None:
            return
        records: list[Record] = [TickAppended(self.run_id, self._next_tick, entry)]
        self._next_tick += 1
        if isinstance(tick, TickStepResult):
            patch = self.state.take(tick.invocation_id)
            if patch:
                records.append(self._patched(patch))
            self._note_progress(records)
        elif isinstance(tick, TickAddEvent):
            posted = self._posted.pop(id(tick.event), None)
            if posted is not None:
                records.append(InboxTaken(posted[1]))
        self._append(*records)

    def _note_progress(self, records: list[Record]) -> None:
        self.progressed.set()
        if self.attempts:
            self.attempts = 0
            records.append(RunAttempted(self.handler_id, self.run_id, 0, 0))

    async def publish(self, event: Event) -> None:
        """Write an event to the handler's log; the loop's own terminal event also ends the run.

        Raises:
            Unstorable: a value of it is no JSON (where the loop publishes it; a step's run is failed).
        """
        if not self._is_written:
            return
        by_step = in_step()
        try:
            data = envelope(event)
        except Unstorable as error:
            if not by_step:
                raise
            # The engine only logs what a step's publication raises: the run must not go on without the event.
            self.abort(error)
            return
        if isinstance(event, StopEvent) and not by_step:
            self._end(event, data)
            return
        self._append(self.log.append(self.run_id, data, internal=isinstance(event, InternalDispatchEvent)))
        if by_step and self._store.backlog > BACKLOG and self._commit is not None:
            await self._commit

    async def next_task(
        self, running: list[NamedTask], pending: list[PendingStart], timeout: float | None
    ) -> WaitForNextTaskResult:
        """Start what is pending — steps when all before them is durable — and wait for the first to finish."""
        self._compact()
        commit = self._commit
        started = [self._start(item, commit) for item in pending]
        named = [*running, *started]
        try:
            completed = await self._first_done(named, timeout)
        except BaseException:
            # The loop does not know them yet, so nobody else would end them.
            await _cancel(started)
            raise
        return WaitForNextTaskResult(completed, started)

    async def _first_done(self, named: list[NamedTask], timeout: float | None) -> asyncio.Task[Any] | None:
        idle = not any(isinstance(task, WorkerTask) for task in named)
        if self._draining and all(task.task in self._parked for task in named if isinstance(task, WorkerTask)):
            raise LeftMemory
        release_after = self._owner.idle_timeout if idle else None
        may_release = release_after is not None and (timeout is None or timeout > release_after)
        limit = release_after if may_release else timeout
        done, _ = await asyncio.wait({task.task for task in named}, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        if done:
            return pick_highest_priority(named, done)
        # Decided here, where nothing else can run: only the mailbox could hold something new.
        if may_release and self.mailbox.empty():
            self._release()
            raise LeftMemory
        return None

    def _start(self, item: PendingStart, commit: Commit | None) -> NamedTask:
        name = f"{self.handler_id} {item.key}"
        if not (self._draining and isinstance(item, PendingWorker)):
            return item.start(asyncio.create_task(self._started(item, commit), name=name))
        # Known as parked before the loop looks: nothing would make it look again.
        item.coro.close()
        task = asyncio.create_task(self._park(), name=name)
        self._parked.add(task)
        return item.start(task)

    async def _started(self, item: PendingStart, commit: Commit | None) -> Any:
        if not isinstance(item, PendingWorker):
            return await item.coro
        try:
            if commit is not None:
                await commit
            if self._draining:
                await self._park()
        except BaseException:
            item.coro.close()
            raise
        self._unrecorded += 1
        try:
            return await item.coro
        except BaseException as error:
            self._unrecorded -= 1
            if isinstance(error, Exception):
                # A step's own errors are part of its result. This one is not, and the engine would only log it.
                self.abort(StepNotRecorded(reason=f"{type(error).__name__}: {error}"))
            raise

    async def _park(self) -> None:
        """Never return: this step begins at the next start of the server."""
        current = asyncio.current_task()
        assert current is not None
        self._parked.add(current)
        await asyncio.get_running_loop().create_future()

    # -- From outside --------------------------------------------------------------------------

    def deliver(self, posted: InboxPosted, event: Event) -> None:
        """Hand a posted event, which is durable, to the run; once, however often it is called."""
        if self.released:
            self.missed_event = True
        if self.released or self.status is not None or posted.inbox_id <= self._delivered:
            return
        self._delivered = posted.inbox_id
        self._posted[id(event)] = (event, posted.inbox_id)
        step_id = StepId.root(posted.step) if posted.step is not None else None
        self.mailbox.put_nowait(TickAddEvent(event=event, step_id=step_id))

    def cancel(self) -> Commit:
        """End the run as cancelled, whatever its steps do; what they still publish or write is dropped."""
        event = WorkflowCancelledEvent()
        commit = self._end(event, envelope(event))
        if self.task is not None:
            self.task.cancel()
        return commit

    def abort(self, error: WorkflowServerError) -> None:
        """Fail the run from outside its loop."""
        if self.status is None and self._failure is None:
            self._failure = error
            if self.task is not None:
                self.task.cancel()

    def fail(self, error: BaseException) -> None:
        """End the run as failed, with the reason and a terminal event."""
        if self.status is None:
            logger.error("Run %s of handler %s failed: %s", self.run_id, self.handler_id, error)
            event = failed_event(error)
            self._end(event, envelope(event))

    def drain(self) -> None:
        """Start no more steps, and leave memory when those that run have been recorded."""
        self._draining = True
        if self.task is not None and not self._unrecorded:
            self.task.cancel()

    # -- Records -------------------------------------------------------------------------------

    @property
    def _is_written(self) -> bool:
        """Whether what happens here is still the run's. What a task that outlived its step does after the run has ended
        or left memory is not: the run may be in memory again, elsewhere."""
        return self.status is None and not self.released

    def _end(self, event: StopEvent, data: str) -> Commit:
        self.status = terminal_status(event)
        record = self.log.append(self.run_id, data, internal=False)
        return self._append(record, ended(self.handler_id, self.run_id, event, data))

    def _release(self) -> None:
        assert self._loop is not None
        self.released = True
        self.wake_at = self._loop.wake_at()
        self._append(RunReleased(self.handler_id, self.run_id, self.wake_at))

    def _append(self, *records: Record) -> Commit:
        self._commit = self._store.append(*records)
        return self._commit

    def _patched(self, patch: Patch) -> StatePatched:
        record = StatePatched(self.run_id, self._next_patch, json.dumps(patch))
        self._next_patch += 1
        self._patches += 1
        self._patch_characters += len(record.patch)
        return record

    def _write_unattended(self, patch: Patch) -> None:
        if self._is_written:
            self._append(self._patched(patch))

    def _compact(self) -> None:
        if self.status is not None or self._loop is None:
            return
        if self._next_tick >= self._snapshot_at:
            data = self._journal.snapshot(self._loop.state)
            self._append(SnapshotTaken(self.run_id, self._next_tick - 1, data))
            # A large state is written less often, but never so rarely that a resume is slow.
            self._snapshot_at = self._next_tick + min(max(SNAPSHOT_TICKS, len(data) // 100), 4 * SNAPSHOT_TICKS)
        if self._patches >= STATE_PATCHES or self._patch_characters >= STATE_PATCH_CHARACTERS:
            data = self.served.state_record(self.state)
            self._append(StateReplaced(self.run_id, self._next_patch - 1, data))
            self._patches = 0
            # A large state may gather patches of its own size before it is written again.
            self._patch_characters = -len(data)


def failed_event(error: BaseException) -> WorkflowFailedEvent:
    """The terminal event of a run that failed outside its steps."""
    text = _storable(str(error))
    exception = error if isinstance(error, Exception) and text == str(error) else RuntimeError(text)
    return WorkflowFailedEvent(step_name="<runtime>", exception=exception)


def terminal_status(event: StopEvent) -> Status:
    """The status that this terminal event ends a run with."""
    if isinstance(event, WorkflowCancelledEvent):
        return "cancelled"
    return "failed" if isinstance(event, (WorkflowFailedEvent, WorkflowTimedOutEvent)) else "completed"


def ended(handler_id: str, run_id: str, event: StopEvent, data: str) -> RunEnded:
    """The record of a run that ends with this event, whose envelope is ``data``."""
    status = terminal_status(event)
    result = data if status == "completed" else None
    return RunEnded(handler_id, run_id, status, _error_of(event), result, time.time())


def _error_of(event: StopEvent) -> str | None:
    if isinstance(event, WorkflowFailedEvent):
        return _storable(str(event.exception)) or type(event.exception).__name__
    if isinstance(event, WorkflowTimedOutEvent):
        active = f", while these steps were running: {', '.join(event.active_steps)}" if event.active_steps else ""
        return f"Operation timed out after {event.timeout} seconds{active}"
    return None


def _storable(message: str) -> str:
    """A message may hold what is no Unicode; the reason must be told all the same."""
    return message.encode("utf-8", "backslashreplace").decode()


def _has_running_steps(broker: BrokerState) -> bool:
    return any(worker.in_progress for worker in broker.workers.values())


def _wait_timeout(step_id: StepId, waiter_id: str) -> TickWaiterTimeout:
    return TickWaiterTimeout.model_validate({"step_id": step_id, "waiter_id": waiter_id})


async def _cancel(tasks: list[NamedTask]) -> None:
    for task in tasks:
        task.task.cancel()
    await asyncio.gather(*(task.task for task in tasks), return_exceptions=True)
