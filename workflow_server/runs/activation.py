"""Loading runs into memory, for an event, a deadline or a slot, and putting them back when they only wait.

A fault of one run does not affect others: a run that does not fit the code is suspended, and one that the store could
not read is tried again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial

from workflow_server.concurrency import TaskTracker
from workflow_server.errors import HandlerNotFound, ResumeFailed, UnitRefused
from workflow_server.execution.engine import Event, StopEvent, WorkflowCancelledEvent
from workflow_server.execution.envelopes import envelope
from workflow_server.execution.inbox import InboxRecords, unhandled
from workflow_server.execution.interface import Surroundings
from workflow_server.execution.outcomes import ended, failed_event
from workflow_server.execution.registry import Registry
from workflow_server.execution.session import RunSession
from workflow_server.execution.standing import Doing
from workflow_server.execution.unreadable import why_suspended
from workflow_server.execution.workflow import ServedWorkflow
from workflow_server.history import Note, noted
from workflow_server.log_context import begin_run
from workflow_server.records import HistoryNoted, InboxPosted, Record, Status, StoredRun
from workflow_server.runs.admission import Admission
from workflow_server.runs.events import EventLogs
from workflow_server.runs.restoring import restore, told_as_unfit
from workflow_server.runs.run import Run
from workflow_server.runs.states import UNREGISTERED, Retry, RunState
from workflow_server.runs.table import RunTable
from workflow_server.runs.timers import Timers
from workflow_server.runs.views import find_handler
from workflow_server.tracing import RunTrace

logger = logging.getLogger(__name__)

FIRST_RETRY = 1.0
LONGEST_RETRY = 60.0
"""Seconds after which a run is tried again that could not be read; they double with each failure in a row."""


class Activation:
    """Brings runs into memory, and takes them out of it."""

    def __init__(
        self, surroundings: Surroundings, registry: Registry, table: RunTable, logs: EventLogs, closing: asyncio.Event
    ) -> None:
        self.timers: Timers[Run] = Timers(self.load_soon, surroundings.clock)
        self.admission = Admission()
        self.inbox_records = InboxRecords()
        self.tasks = TaskTracker()
        self._surroundings = surroundings
        self._registry = registry
        self._runtime = registry.runtime
        self._store = surroundings.store
        self._table = table
        self._logs = logs
        self._closing = closing
        table.wake = self.load_soon

    # -- Coming into memory --------------------------------------------------------------------

    def enter(self, run: Run, session: RunSession) -> None:
        """Let a run begin that has its slot, in this session, which is its first."""
        self._runtime.enter(session)
        run.attach(session)
        run.hand_over(())
        run.begin()

    def load_soon(self, run: Run) -> None:
        """Load a run that is in the store only, in a task of its own."""
        self.timers.forget(run)
        if not self._closing.is_set():
            self.tasks.spawn(self.load(run), f"activate {run.handler_id}")

    async def load(self, run: Run, *, crashed: bool = False, stored: StoredRun | None = None) -> None:
        """Load a run that is in the store only, if it still is and has or gets a slot.

        ``stored``: what the store has of it, where that was read since it got its slot, and nobody reads its events.
        """
        begin_run(run.handler_id, run.run_id)
        async with self._table.lock(run.handler_id):
            if self._closing.is_set() or run.session is not None or not self._is_admitted(run):
                return
            await self._load_admitted(run, stored, crashed=crashed)

    async def load_suspended(self, run: Run, by: str | None) -> None:
        """Load a run that is suspended, if it has or gets a slot. The caller holds its lock. ``by``: the name of the
        token that asked for it."""
        asked = noted(run.handler_id, run.run_id, Note("retried", reason="it was suspended"), by=by)
        if self.admission.admit(run):
            await self._load_admitted(run, None, crashed=False, asked=asked)
        else:
            self._store.append(asked)

    async def _load_admitted(
        self, run: Run, stored: StoredRun | None, *, crashed: bool, asked: HistoryNoted | None = None
    ) -> None:
        self.timers.forget(run)
        previous, run.retry = run.retry, None
        crashed = crashed or (previous is not None and previous.crashed)
        try:
            await self._load(run, stored, crashed=crashed, asked=asked)
        except HandlerNotFound:
            run.end()
            self.leave(run)
        except Exception:
            delay = FIRST_RETRY if previous is None else min(2 * previous.delay, LONGEST_RETRY)
            logger.exception("Handler %s could not be loaded; the next try is in %g s", run.handler_id, delay)
            self._put_back(run, Retry(delay, crashed))

    def _put_back(self, run: Run, retry: Retry) -> None:
        if not run.has_ended:
            run.release()
            run.retry = retry
            self.timers.schedule(run, self._surroundings.clock.now() + retry.delay)
            self._table.touch(run)
        self.leave(run)

    def _is_admitted(self, run: Run) -> bool:
        if run.state in {RunState.RELEASED, RunState.QUEUED}:
            self._table.touch(run)
            return self.admission.admit(run)
        return run.state is RunState.LOADING

    async def _load(self, run: Run, stored: StoredRun | None, *, crashed: bool, asked: HistoryNoted | None) -> None:
        if stored is not None:
            log = self._logs.of(stored)
        else:
            log = await self._logs.get(run.handler_id)
            stored = await self._store.load_run(run.handler_id)
        if stored is None or stored.run_id != run.run_id or stored.status != "running":
            run.end()
            self.leave(run)
            return
        began = time.time()
        try:
            with told_as_unfit():
                await restore(run, stored, self._surroundings, log, crashed=crashed, made=partial(self._attach, run))
                run.hand_over(stored.inbox)
                if not run.has_ended and not self._closing.is_set():
                    if asked is not None:
                        self._store.append(asked)
                    run.begin()
                    has_begun_before = stored.alive_since is not None
                    if self._surroundings.tracing is not None and run.traced is not None and has_begun_before:
                        self._surroundings.tracing.resumed(run.traced, began, crashed=crashed)
        except ResumeFailed as error:
            if not run.has_ended:
                self._suspend(run, error)
                return
        if run.has_ended:
            await run.settle()
            self.left(run)

    def _attach(self, run: Run, session: RunSession) -> None:
        self._runtime.enter(session)
        run.attach(session)

    def _suspend(self, run: Run, error: ResumeFailed) -> None:
        """Leave a run in the store that does not fit the code: nothing loads it again before the next start."""
        reason = why_suspended(error)
        name = f"; it is stored as '{error.stored_name}'" if error.stored_name else ""
        logger.warning("Handler %s is suspended: %s%s", run.handler_id, reason, name)
        logger.debug("Handler %s cannot be loaded", run.handler_id, exc_info=error)
        self.suspend(run, reason)
        self.leave(run)

    async def peek(self, run: Run) -> RunSession | None:
        """Look at a run that is not in memory, which also learns the types that it waits for: only its journal may
        name them. The caller holds its lock."""
        log = await self._logs.get(run.handler_id)
        stored = await self._store.load_run(run.handler_id)
        if stored is None:
            return None
        try:
            return await restore(run, stored, self._surroundings, log)
        except ResumeFailed as error:
            # It is suspended, or will be when it is loaded; until then it takes what its workflow declares.
            logger.debug("What handler %s waits for cannot be told: %s", run.handler_id, error)
            return None

    # -- Leaving memory ------------------------------------------------------------------------

    def left(self, run: Run) -> None:
        """Take a run out of memory whose session is over, and of which all that was written is durable."""
        session = run.session
        missed = self.leave(run)
        if run.has_ended or session is None:
            return
        if missed:
            self.load_soon(run)
        elif not session.writer.is_open:
            self.sleep(run, session.wake_at, session.alive_since)

    def leave(self, run: Run) -> bool:
        """Forget the run's session, and give its slot to the next; returns whether it is to be loaded again at once."""
        if run.session is not None:
            self._runtime.leave(run.run_id)
        missed = run.leave()
        current = self._table.get(run.handler_id)
        if run.has_ended:
            self._table.remove(run)
        # A handler that was continued keeps its slot; after a purge, its id may be that of another workflow's run.
        if current is None or current is run or current.served is not run.served:
            successor = self.admission.leave(run)
            if successor is not None:
                self.load_soon(successor)
        return missed

    def sleep(self, run: Run, wake_at: float | None, alive_since: float | None) -> None:
        """Wake a released run at its own deadline or its workflow's timeout, whichever is first."""
        times = [] if wake_at is None else [wake_at]
        timeout = run.workflow.timeout
        if timeout is not None and alive_since is not None:
            times.append(alive_since + timeout)
        if times:
            self.timers.schedule(run, min(times))

    async def end_offline(self, run: Run, event: StopEvent, *, why: Note | None = None, by: str | None = None) -> None:
        """End a run that is not in memory. The caller holds its lock. ``why``: an entry of its history for that, and
        ``by`` the name of the token that asked for it."""
        log = await self._logs.get(run.handler_id)
        data = envelope(event)
        untaken = [envelope(unhandled(posted)) for posted in await self._store.untaken_events(run.run_id)]
        records: list[Record] = [] if why is None else [log.note(run.run_id, why, by=by)]
        records += [log.append(run.run_id, told, internal=False) for told in [*untaken, data]]
        await self._store.append(*records, ended(run.handler_id, run.run_id, event, data))
        self.timers.forget(run)
        run.end()
        self.leave(run)

    def fail_soon(self, run: Run, error: ResumeFailed) -> None:
        """Fail a run that is not in memory, in a task of its own."""
        self.tasks.spawn(self._fail(run, error), f"fail {run.handler_id}")

    async def _fail(self, run: Run, error: ResumeFailed) -> None:
        async with self._table.lock(run.handler_id):
            if run.is_released and run.session is None:
                logger.error("Run %s of handler %s failed: %s", run.run_id, run.handler_id, error)
                await self.end_offline(run, failed_event(error))

    async def cancel(self, handler_id: str, *, by: str | None = None) -> Status | None:
        """End the handler's run as cancelled, durably; returns the status of one that had ended before. The caller
        holds its lock. ``by``: the name of the token that asked for it."""
        run = self._table.get(handler_id)
        if run is None or not run.can_cancel:
            run = await self.settled(handler_id)
        # Where it is being released, its release may wait for room on the disk, and a cancellation does not.
        if run is not None and run.can_cancel:
            try:
                await run.cancel(by)
            except UnitRefused:
                # The run's end by this reason is not to be: what the store has instead is told.
                await run.settle()
            else:
                return None
        handler = await find_handler(self._store, handler_id)
        if handler.status != "running" or handler.run_id is None:
            return handler.status
        run = run or self.adopt(handler_id, handler.run_id, handler.workflow_name)
        await self.end_offline(run, WorkflowCancelledEvent(), why=Note("cancel_requested"), by=by)
        return None

    # -- The handler's run ---------------------------------------------------------------------

    async def settled(self, handler_id: str) -> Run | None:
        """Return the handler's run, where it has one that goes on, when it is active or not in memory and nothing in
        between. The caller holds the handler's lock.

        The store's record of a run that is not active is valid as long as the lock is held: no run comes into memory
        without the lock, and a run that has ended or left memory is stored as it was left. So call this first and read
        the store second: between a run's end and its commit, the store still shows it as running.

        Raises:
            StorageError: what the run wrote last is not stored, for want of room, say.
        """
        run = self._table.get(handler_id)
        if run is not None and not run.is_active:
            if run.session is not None:
                # Its last records may wait for room on the disk, but not the holder of its lock: a deletion needs that.
                await self._store.commit()
            # About to begin, over but for a step that does not heed its end, or about to leave memory.
            await run.settle()
        return run if run is None or not run.has_ended else None

    def workflow(self, name: str) -> ServedWorkflow | None:
        """Return the workflow of this name; None where it is not registered."""
        return self._registry.find(name)

    def adopt(
        self,
        handler_id: str,
        run_id: str,
        workflow_name: str,
        *,
        held_events: int = 0,
        trace: RunTrace | None = None,
        left_as: Doing | None = None,
    ) -> Run:
        """Take a run into the table that is running in the store."""
        served = self._registry.find(workflow_name)
        run = Run(self, handler_id, run_id, served, held_events=held_events, trace=trace, left_as=left_as)
        self._table.add(run)
        if run.served is None:
            self.suspend(run, UNREGISTERED)
        return run

    def suspend(self, run: Run, reason: str) -> None:
        """Keep a run in the store for this reason, which its handler shows and its history keeps."""
        run.suspend(reason)
        self._store.append(noted(run.handler_id, run.run_id, Note("suspended", reason=reason)))

    def footprint(self) -> dict[str, int]:
        """Return what is held for runs and requests beside the table."""
        return {
            "tasks": len(self.tasks),
            "timers": len(self.timers),
            "slots and places in line": len(list(self.admission)),
            "sessions": self._runtime.sessions,
        }

    # -- Tasks that outlived their step --------------------------------------------------------

    def send_late(self, run: Run, event: Event, step: str | None) -> None:
        """Post the event of such a task to its run, which was released: it is loaded for it."""
        posted = self.inbox_records.of(run, event, step)
        self.tasks.spawn(self._send_late(run, posted), f"send to {run.handler_id}")

    async def _send_late(self, run: Run, posted: InboxPosted) -> None:
        async with self._table.lock(run.handler_id):
            # One that was cancelled meanwhile takes nothing more.
            if not run.has_ended:
                # Numbered anew, as the last: a run drops what comes behind a later number.
                self._store.append(self.inbox_records.renumbered(posted))
