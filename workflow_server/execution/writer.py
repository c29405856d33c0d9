"""The records that a run writes, in order: its journal, its events, its state, its inbox and its end."""

from __future__ import annotations

import asyncio
import json
import logging
import weakref
from collections.abc import Coroutine, Sequence
from typing import Any

from workflows.events import StepState, StepStateChanged

from workflow_server.errors import StorageError, Unstorable, WorkflowServerError
from workflow_server.execution.codec import text_of
from workflow_server.execution.containment import DONE, harmless
from workflow_server.execution.engine import (
    BrokerState,
    Event,
    InternalDispatchEvent,
    StartEvent,
    StepWorkerFailed,
    StopEvent,
    TickAddEvent,
    TickStepResult,
    UnhandledEvent,
    WorkflowCancelledEvent,
    WorkflowTick,
    has_failed_attempts,
    is_retried,
    running_step,
)
from workflow_server.execution.envelopes import envelope
from workflow_server.execution.failures import indented
from workflow_server.execution.inbox import Inbox, PostedEvent, unhandled
from workflow_server.execution.interface import EventSink, RecordSink, RunOwner
from workflow_server.execution.noting import NOTHING
from workflow_server.execution.outcomes import ended, failed_event
from workflow_server.execution.patches import Json, Patch
from workflow_server.execution.state import RecordingStateStore
from workflow_server.history import Note
from workflow_server.records import (
    InboxHeld,
    InboxTaken,
    Record,
    RunAttempted,
    RunEnded,
    RunReleased,
    SnapshotTaken,
    StatePatched,
    StateReplaced,
    StoredRun,
    TickAppended,
)
from workflow_server.store.base import Commit

logger = logging.getLogger(__name__)

SNAPSHOT_TICKS = 256
"""Ticks after which a snapshot replaces the journal: replay was measured at 89 µs a tick."""
LARGEST_SNAPSHOT = 900_000_000
"""Characters: a value of SQLite holds 10^9 bytes. While the state is larger, the journal goes on without a snapshot."""
BACKLOG = 10_000
"""Records that may wait for their commit before a step that publishes events has to wait for it, too."""
WAITING_LIMITS = 3
"""Limits beyond the first up to which compaction waits while a failed step is to begin again."""
STATE_PATCHES = 256
STATE_PATCH_CHARACTERS = 65_536
"""Patches after which the state is written in full, whichever is reached first."""


class RunWriter:
    """Hands the store what happens in a run. Nothing here suspends but ``settle``, so that what belongs to one
    transition shares a transaction. After the run has ended or was released, nothing more is taken: what a task
    that outlived its step still does is not the run's, which may be in memory again."""

    def __init__(self, run: RunOwner, store: RecordSink, log: EventSink, start_event: StartEvent | None) -> None:
        self.is_open = True
        """The run has neither ended nor been released: what happens here is still its own."""
        self.ended: RunEnded | None = None
        """The record of its end, once it has ended."""
        self.attempts = 0
        """Deaths of the process in a step of this run since its last recorded result."""
        self._has_progressed = False
        self._progressed: asyncio.Event | None = None
        self.last: Commit | None = None
        """The commit of what was written last."""
        self.took: float | None = None
        """Seconds of the execution whose result was taken last."""
        self.notes: Sequence[Note] = NOTHING
        """The entries of the history that belong to the tick which is recorded next."""
        self.inbox = Inbox()
        self.journal = run.workflow.journal(run.run_id, start_event)
        self._run = run
        self._run_id = run.run_id
        self._store = store
        self._log = log
        self._took_posted = False
        """The tick that was recorded last took an event that a client posted."""
        self._next_tick = 0
        self._snapshot_at = SNAPSHOT_TICKS
        self._next_patch = 0
        self._patches = 0
        self._patch_characters = 0
        self._ended_again = False
        self._wrote_nothing = False
        """The tick that was recorded last is that of a failed attempt, which had not written to the state."""
        self._state: RecordingStateStore[Any] | None = None
        if run.workflow.has_typed_state:
            # Its defaults may depend on the time at which the run began.
            self._state = self._state_store(None, [])

    @property
    def state(self) -> RecordingStateStore[Any]:
        """Return the run's ``ctx.store``; a dictionary is made when a step first asks for it."""
        if self._state is None:
            self._state = self._state_store(None, [])
        return self._state

    @property
    def progressed(self) -> asyncio.Event:
        """Return what is set when a step's result is recorded. It is made for the few runs that are asked for it."""
        if self._progressed is None:
            self._progressed = asyncio.Event()
        if self._has_progressed:
            self._progressed.set()
        return self._progressed

    def note_progress(self) -> None:
        """Note that a step's result is recorded, or that the session is over."""
        self._has_progressed = True
        if self._progressed is not None:
            self._progressed.set()

    def go_on(self, stored: StoredRun, next_tick: int) -> None:
        """Go on where the store has the run; its next tick gets this number.

        Raises:
            Exception: its state cannot be read.
        """
        self._next_tick = next_tick
        self._snapshot_at = (stored.snapshot.seq + 1 if stored.snapshot is not None else 0) + SNAPSHOT_TICKS
        self._state = self._state_store(stored.state, stored.patches)
        self.attempts = stored.attempts

    def blame(self, probations: int) -> None:
        """Note that the process died while a step of the run was under way."""
        self.attempts += 1
        self.append(RunAttempted(self._run.handler_id, self._run_id, self.attempts, probations))

    def _state_store(self, record: StateReplaced | None, patches: list[StatePatched]) -> RecordingStateStore[Any]:
        if patches or record is not None:
            self._next_patch = (patches[-1].seq if patches else record.seq if record else -1) + 1
        self._patches = len(patches)
        self._patch_characters = sum(len(patch.patch) for patch in patches)
        data = record.data if record is not None else None
        # The defaults of a class may change with the code: patches of its state follow on a record of it in full.
        self._has_base = bool(patches) or record is not None or not self._run.workflow.has_typed_state
        tree, is_legacy = self._run.workflow.state_tree(data, [json.loads(patch.patch) for patch in patches])
        if is_legacy:
            # No patch of today's fits on what was written then.
            self.append(self._replaced(tree))
        # A writer and its state are not to keep each other alive.
        itself = weakref.ref(self)
        return self._run.workflow.state_store(tree, unattended=lambda patch: _write(itself(), patch))

    def write_to(self, store: RecordSink) -> None:
        """Hand what follows to this store: that of the start, which is stored, has nothing more to do with it."""
        self._store = store

    def append(self, *records: Record) -> Commit:
        """Hand one unit to the store."""
        self.last = self._store.append(*records)
        return self.last

    def record_tick(self, tick: WorkflowTick) -> None:
        """Write the tick, with what goes with it.

        Raises:
            Unstorable: a value of it cannot be kept.
        """
        self._took_posted = False
        if not self.is_open:
            return
        try:
            entry = self.journal.encode(tick)
            patch = self._written_by(tick) if isinstance(tick, TickStepResult) else None
        except Unstorable as error:
            error.step = self._source()
            raise
        if entry is None:
            return
        records: list[Record] = [TickAppended(self._run_id, self._next_tick, entry)]
        self._next_tick += 1
        self._wrote_nothing = False
        if isinstance(tick, TickStepResult):
            if patch:
                records.append(self._patched(patch))
            else:
                self._wrote_nothing = _is_failure(tick)
            self._note_progress(records)
        elif isinstance(tick, TickAddEvent):
            posted = self.inbox.take(tick.event)
            if posted is not None:
                self._took_posted = True
                records.append(InboxTaken(posted.record.inbox_id))
        if self.notes:
            records += [self._log.note(self._run_id, note) for note in self.notes]
        self.append(*records)

    def _written_by(self, result: TickStepResult) -> Patch | None:
        if self._state is None:
            return None
        return self._state.take(result.invocation_id, begins_again=is_retried(result))

    def _source(self) -> str | None:
        """Return the step whose value cannot be stored: the one that runs, or that made what the loop takes."""
        return running_step() or self.journal.source

    def _note_progress(self, records: list[Record]) -> None:
        self.note_progress()
        if self.attempts:
            self.attempts = 0
            records.append(RunAttempted(self._run.handler_id, self._run_id, 0, 0))

    def publish(self, event: Event) -> None:
        """Write an event to the handler's log.

        Raises:
            Unstorable: a value of it is no JSON.
        """
        data = self._envelope(event)
        # The client that posted the event has to see that nobody takes it.
        seen = self._took_posted and isinstance(event, UnhandledEvent)
        internal = isinstance(event, InternalDispatchEvent) and not seen
        is_end = type(event) is StepStateChanged and event.step_state is StepState.NOT_RUNNING
        self.append(self._log.append(self._run_id, data, internal=internal, took=self.took if is_end else None))

    def _envelope(self, event: Event) -> str:
        try:
            return envelope(event)
        except Unstorable as error:
            error.step = self._source()
            raise

    def keep(self, posted: PostedEvent) -> None:
        """Hold the event that a client posted until a wait for its type begins."""
        self._hold(posted, held=True)

    def give(self, posted: PostedEvent) -> None:
        """Hold the event no longer: a wait begins that takes it."""
        self._hold(posted, held=False)

    def _hold(self, posted: PostedEvent, *, held: bool) -> None:
        self.inbox.hold(posted, held=held)
        if self.is_open:
            self.append(InboxHeld(posted.record.inbox_id, held=held))

    def drop(self, posted: PostedEvent) -> None:
        """Tell that nobody takes the event that a client posted."""
        if self.is_open:
            self.append(*self._dropped(posted))

    def _dropped(self, posted: PostedEvent) -> list[Record]:
        self.inbox.take(posted.event)
        told = envelope(unhandled(posted.record))
        return [InboxTaken(posted.record.inbox_id), self._log.append(self._run_id, told, internal=False)]

    def note(self, note: Note, *records: Record) -> Commit:
        """Write an entry of the run's history, in one unit with what it is about."""
        return self.append(*records, self._log.note(self._run_id, note))

    def cancel(self, by: str | None = None) -> Commit:
        """End the run as cancelled, as a client asks; ``by``: the name of its token."""
        return self.end(WorkflowCancelledEvent(), self._log.note(self._run_id, Note("cancel_requested"), by=by))

    def end(self, event: StopEvent, *before: Record) -> Commit:
        """Write the terminal event, after what tells of the events that nobody took, and the status that follows from
        it.

        Raises:
            Unstorable: a value of it is no JSON.
        """
        data = self._envelope(event)
        self.ended = ended(self._run.handler_id, self._run_id, event, data)
        self.is_open = False
        records = [*before, *(record for posted in self.inbox.untaken() for record in self._dropped(posted))]
        records.append(self._log.append(self._run_id, data, internal=False))
        commit = self.append(*records, self.ended)
        self._run.end()
        return commit

    def fail(self, error: BaseException) -> None:
        """End the run as failed, unless it has ended already, and log how it failed."""
        if self.ended is None:
            self.end(failed_event(error))
        ended = self.ended
        if ended is not None and ended.status == "failed":
            # Indented, so that the text of its exceptions cannot begin a line of the log.
            trace = f"\n{indented(ended.traceback)}" if ended.traceback else ""
            logger.error("Run %s of handler %s failed: %s%s", self._run_id, ended.handler_id, ended.error, trace)

    def end_again(self, error: WorkflowServerError) -> bool:
        """End the run as failed, since its end could not be stored. False where that was done before."""
        if self._ended_again:
            return False
        self._ended_again = True
        self.end(failed_event(error))
        return True

    def release(self, wake_at: float | None, standing: str, note: Note) -> None:
        """Note that the run only waits, and leaves memory; ``standing``: see ``Standing.to_json``."""
        self.is_open = False
        self.note(note, RunReleased(self._run.handler_id, self._run_id, wake_at, standing))
        self._run.release()

    def _patched(self, patch: Patch) -> StatePatched | StateReplaced:
        if not self._has_base:
            return self._replaced(self.state.durable)
        record = StatePatched(self._run_id, self._next_patch, text_of(patch), self._next_tick - 1)
        self._next_patch += 1
        self._patches += 1
        self._patch_characters += len(record.patch)
        return record

    def _replaced(self, tree: Json) -> StateReplaced:
        self._has_base = True
        data = self._run.workflow.state_record(tree)
        self._patches = 0
        # A large state may gather patches of its own size before it is written again.
        self._patch_characters = -len(data)
        return StateReplaced(self._run_id, self._next_patch - 1, data, self._next_tick - 1)

    def _write_unattended(self, patch: Patch) -> None:
        if not self.is_open:
            return
        records: list[Record] = [self._patched(patch)]
        if self._wrote_nothing:
            # A retry leaves out the first change with the tick of a failed attempt, unless one of them is empty.
            records.append(self._patched([]))
            self._wrote_nothing = False
        self.append(*records)

    def compact(self, broker: BrokerState) -> None:
        """Let a snapshot stand for many ticks of the journal, and a full record for many patches of the state."""
        if not self.is_open:
            return
        ticks = self._next_tick - self._snapshot_at
        if ticks >= 0 and self._may_compact(ticks, SNAPSHOT_TICKS, broker):
            data = self.journal.snapshot(broker)
            if len(data) <= LARGEST_SNAPSHOT:
                self.append(SnapshotTaken(self._run_id, self._next_tick - 1, data))
            # A large state is written less often, but never so rarely that a resume is slow.
            self._snapshot_at = self._next_tick + min(max(SNAPSHOT_TICKS, len(data) // 100), 4 * SNAPSHOT_TICKS)
        patches, characters = self._patches - STATE_PATCHES, self._patch_characters - STATE_PATCH_CHARACTERS
        if (patches >= 0 and self._may_compact(patches, STATE_PATCHES, broker)) or (
            characters >= 0 and self._may_compact(characters, STATE_PATCH_CHARACTERS, broker)
        ):
            self.append(self._replaced(self.state.durable))

    def _may_compact(self, beyond: int, limit: int, broker: BrokerState) -> bool:
        """Return whether so much beyond a limit is to be compacted.

        While a failed step is to begin again, four times the limit may gather: the retry of a run leaves out what its
        failed attempts wrote, which can be told from the rest only until then.
        """
        return beyond >= WAITING_LIMITS * limit or not has_failed_attempts(broker)

    def pace(self) -> Coroutine[Any, Any, None]:
        """Return what a step awaits that has published an event: where it is faster than the store, its commit."""
        return DONE if self.last is None or self._store.backlog <= BACKLOG else durable(self.last)

    async def settle(self) -> None:
        """Return when all that the run wrote is durable, or when the store has failed."""
        settled: Commit | None = None
        # Again where something was written meanwhile: an end instead of one that could not be stored.
        while self.last is not None and self.last is not settled:
            settled = self.last
            try:
                await settled
            except StorageError as error:
                logger.error("Run %s: %s", self._run_id, error)  # noqa: TRY400 the store logged the cause


@harmless
async def durable(commit: Commit | None) -> None:
    """Return when the commit is; at once where there is none."""
    if commit is not None:
        await commit


def _is_failure(tick: TickStepResult) -> bool:
    return any(isinstance(result, StepWorkerFailed) for result in tick.result)


def _write(writer: RunWriter | None, patch: Patch) -> None:
    """Write a patch, unless the writer is gone."""
    if writer is not None:
        writer._write_unattended(patch)
