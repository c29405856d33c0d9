"""The runs that are in memory, those that are not, and how they come and go.

A run that is running in the store is here in one of these ways: it is in memory (``sessions``), it waits for a slot, it
was released until an event or a deadline comes, or it is ``suspended`` with a reason.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import NamedTuple

from workflow_server.concurrency import KeyedLock, TaskTracker
from workflow_server.errors import HandlerNotFound, ResumeFailed, ShuttingDown, StorageError, WorkflowServerError
from workflow_server.execution.clock import ServerClock
from workflow_server.execution.durable import DurableRuntime
from workflow_server.execution.engine import Event, StartEvent, StopEvent
from workflow_server.execution.envelopes import envelope
from workflow_server.execution.event_log import EventLog, EventLogs
from workflow_server.execution.inbox import event_type, unhandled
from workflow_server.execution.inbox_limits import InboxLimits, Postings
from workflow_server.execution.outcomes import ended, failed_event
from workflow_server.execution.registry import Registry
from workflow_server.execution.session import RunSession
from workflow_server.execution.unreadable import unreadable
from workflow_server.execution.workflow import ServedWorkflow
from workflow_server.records import EventAppended, InboxPosted, QueueAdvanced, Record, RunEnded, StoredRun
from workflow_server.runs.timers import Wakeups
from workflow_server.store.base import AbstractWorkflowStore

logger = logging.getLogger(__name__)

UNREGISTERED = "its workflow is not registered on this server"
QUEUED = "it waits for one of the slots of num_concurrent_runs"

FIRST_RETRY = 1.0
LONGEST_RETRY = 60.0
"""Seconds after which a run is tried again that could not be read; they double with each failure in a row."""


class _Retry(NamedTuple):
    """A run that could not be read, and is to be tried again."""

    delay: float
    crashed: bool
    """The process that ran it last died."""


class Roster:
    """The runs of a server. All that changes a handler's place here happens under ``lock(handler_id)``."""

    def __init__(self, store: AbstractWorkflowStore, *, idle_timeout: float | None, limits: InboxLimits) -> None:
        self.store = store
        self.idle_timeout = idle_timeout
        self.limits = limits
        self.logs = EventLogs(store)
        self.clock = ServerClock()
        self.runtime = DurableRuntime(self.clock)
        self.registry = Registry(self.runtime)
        self.sessions: dict[str, RunSession] = {}
        self.suspended: dict[str, str] = {}
        self.wakeups = Wakeups(self.activate_soon, self.clock)
        self.lock = KeyedLock()
        self.key_lock = KeyedLock()
        """For idempotency keys: apart from the handlers' locks, since clients name both."""
        self.tasks = TaskTracker()
        self.closing = asyncio.Event()
        """Set when the server stops: streams end, nothing new is taken up."""
        self.next_inbox_id = 0
        """Set when the store is open."""
        self.postings = Postings()
        self._held: dict[str, int] = {}
        """Number of held events of each handler whose run is not in memory."""
        self._retries: dict[str, _Retry] = {}
        self._loading: dict[str, list[InboxPosted]] = {}

    def check_open(self) -> None:
        """Go on only where new work is accepted.

        Raises:
            ShuttingDown: the server stops.
        """
        if self.closing.is_set():
            raise ShuttingDown

    # -- Coming into memory --------------------------------------------------------------------

    def enter(self, session: RunSession) -> None:
        """The session is the handler's run from now on."""
        self.sessions[session.handler_id] = session
        self.runtime.enter(session)

    def activate_soon(self, handler_id: str) -> None:
        """Take up a run that is not in memory."""
        self.wakeups.forget(handler_id)
        if not self.closing.is_set():
            self.tasks.spawn(self.activate(handler_id), f"activate {handler_id}")

    async def activate(self, handler_id: str, *, crashed: bool = False) -> None:
        """Take up a run that is not in memory, if it is running and has or gets a slot.

        What is wrong with this run stays with it: it is failed, or, where the store could not be read, tried again.
        """
        async with self.lock(handler_id):
            session = self.sessions.get(handler_id)
            if session is not None and session.status is not None:
                # It is over but for a step that does not heed its end: the handler may have been continued since.
                await session.settle()
                session = None
            if session is not None or handler_id in self.suspended or self.closing.is_set():
                return
            previous = self._retries.pop(handler_id, None)
            crashed = crashed or (previous is not None and previous.crashed)
            try:
                await self._load(handler_id, crashed=crashed)
            except HandlerNotFound:
                self._leave_slots(handler_id)
            except Exception:
                delay = FIRST_RETRY if previous is None else min(2 * previous.delay, LONGEST_RETRY)
                logger.exception("Handler %s could not be resumed; next attempt in %g s", handler_id, delay)
                self._retries[handler_id] = _Retry(delay, crashed)
                self.wakeups.schedule(handler_id, self.clock.now() + delay)
                self._leave_slots(handler_id)

    async def _load(self, handler_id: str, *, crashed: bool) -> None:
        self._loading[handler_id] = []
        try:
            log = await self.logs.get(handler_id)
            stored = await self.store.load_run(handler_id)
            served = self._may_run(stored)
            if stored is not None and served is not None:
                await self._take_up(stored, served, log, crashed=crashed)
        finally:
            self._loading.pop(handler_id, None)

    def _may_run(self, stored: StoredRun | None) -> ServedWorkflow | None:
        if stored is None or stored.status != "running":
            return None
        served = self.registry.find(stored.workflow_name)
        if served is None:
            self.suspended[stored.handler_id] = UNREGISTERED
            return None
        return served if served.slots.take(stored.handler_id) else None

    async def _take_up(self, stored: StoredRun, served: ServedWorkflow, log: EventLog, *, crashed: bool) -> None:
        session: RunSession | None = None
        try:
            start = self._start_of(stored, served)
            session = RunSession(self, served, stored.handler_id, stored.run_id, log, start)
            self.enter(session)
            # Before anything suspends: what is posted from now on is delivered to the session, after these.
            inbox = [*stored.inbox, *self._loading.pop(stored.handler_id, [])]
            for posted in inbox:
                session.deliver(posted, self._event_of(posted, served))
            await session.load(stored, crashed=crashed)
            if start is None and not stored.ticks and (stored.snapshot is None or stored.snapshot.seq < 0):
                raise ResumeFailed(reason="its start event cannot be read")  # noqa: TRY301
            if session.status is None and not self.closing.is_set():
                session.begin()
        except StorageError:
            if session is not None:
                self.session_over(session)
            raise
        except Exception as error:
            if not isinstance(error, ResumeFailed):
                # Not what the exception says: that may quote what is stored.
                error = ResumeFailed(reason=unreadable(error)).with_traceback(error.__traceback__)
                logger.log(logging.ERROR, "Handler %s cannot be resumed", stored.handler_id, exc_info=error)
            if session is None:
                await self.end_offline(stored.handler_id, stored.run_id, stored.workflow_name, failed_event(error))
                return
            session.fail(error)
        if session.status is not None:
            await session.settle()
            self.session_over(session)

    async def peek(self, handler_id: str, served: ServedWorkflow) -> RunSession | None:
        """A look at a run that is not in memory, which also learns the types that it waits for: only its journal may
        name them. The caller holds its lock."""
        log = await self.logs.get(handler_id)
        stored = await self.store.load_run(handler_id)
        if stored is None:
            return None
        try:
            session = RunSession(self, served, handler_id, stored.run_id, log, self._start_of(stored, served))
            await session.load(stored, crashed=False)
        except ResumeFailed as error:
            # It is failed when it is taken up; until then it takes what its workflow declares.
            logger.warning("What handler %s waits for cannot be told: %s", handler_id, error)
            return None
        return session

    def _start_of(self, stored: StoredRun, served: ServedWorkflow) -> StartEvent | None:
        event: Event | None = None
        try:
            if stored.start_event is not None:
                event = served.stored_event(stored.start_event)
        except BaseException as error:
            # Where it is needed, the run fails when it is taken up.
            reason = unreadable(error)
            logger.error("The start event of handler %s cannot be read: %s", stored.handler_id, reason)  # noqa: TRY400
        return event if isinstance(event, StartEvent) else None

    def _event_of(self, posted: InboxPosted, served: ServedWorkflow) -> Event:
        event = self.postings.event(posted.inbox_id)
        if event is not None:
            return event
        try:
            return served.stored_event(posted.event)
        except BaseException as error:
            raise ResumeFailed(reason=f"a posted event cannot be read: {unreadable(error)}") from None

    async def running_session(self, handler_id: str) -> RunSession | None:
        """The session of a run that goes on in memory. The caller holds the handler's lock.

        Where there is none, what the store says of the run holds as long as the lock is held: no run comes into memory
        without it, and one that has ended or left memory is stored as it was left. So this comes first, and the store
        is asked second: between a run's end and its commit, the store still shows it as running.
        """
        session = self.sessions.get(handler_id)
        if session is None or (session.status is None and not session.released):
            return session
        if session.released and session.task is not None:
            await asyncio.wait([session.task])
        # Over but for a step that does not heed its end, or about to leave memory.
        await session.settle()
        return None

    # -- Leaving memory ------------------------------------------------------------------------

    def session_over(self, session: RunSession) -> None:
        """The session's task is about to end; all that it wrote is durable."""
        handler_id = session.handler_id
        self.runtime.leave(session)
        if self.sessions.get(handler_id) is not session:
            # The handler was continued meanwhile: its place and its slot are the next run's.
            return
        del self.sessions[handler_id]
        self.leave_slot(session.served, handler_id)
        if session.status is not None:
            return
        self.note_held(handler_id, session.inbox.held_events)
        if not session.released:
            return
        if session.missed_event:
            self.activate_soon(handler_id)
        else:
            self.schedule(handler_id, session.served, session.wake_at, session.alive_since)

    def posting(
        self, served: ServedWorkflow, handler_id: str, run_id: str, event: Event, step: str | None
    ) -> InboxPosted:
        """The record of an event for a run, with the next place in the inbox."""
        data = served.encode(event)
        size = len(data.encode("utf-8", "surrogatepass"))
        posted = InboxPosted(self.next_inbox_id, handler_id, run_id, data, step, event_type(event), size)
        self.next_inbox_id += 1
        return posted

    def post_again(self, session: RunSession, event: Event, step: str | None) -> None:
        """A task that outlived its step sends to its run, which has left memory: the run is taken up for it."""
        posted = self.posting(session.served, session.handler_id, session.run_id, event, step)
        self.tasks.spawn(self._post_late(posted), f"send to {session.handler_id}")

    async def _post_late(self, posted: InboxPosted) -> None:
        async with self.lock(posted.handler_id):
            stored = await self.store.load_run(posted.handler_id)
            # One that was cancelled meanwhile takes nothing more.
            if stored is not None and stored.run_id == posted.run_id and stored.status == "running":
                self.store.append(posted)

    def note_held(self, handler_id: str, number: int) -> None:
        """So many events are held by a run that is not in memory."""
        self._held.pop(handler_id, None)
        if number:
            self._held[handler_id] = number

    def held_events(self, handler_id: str) -> int:
        """Return how many events are held by a handler's run."""
        session = self.sessions.get(handler_id)
        if session is not None and session.task is not None and session.status is None:
            return session.inbox.held_events
        return self._held.get(handler_id, 0)

    def leave_slot(self, served: ServedWorkflow, handler_id: str) -> None:
        """Give the handler's slot to the next that waits for one."""
        successor = served.slots.give_back(handler_id)
        if successor is not None:
            self.activate_soon(successor)

    def _leave_slots(self, handler_id: str) -> None:
        """Give the handler's slot back, though what its workflow is could not be read."""
        for name in self.registry.names():
            self.leave_slot(self.registry.get(name), handler_id)

    def schedule(
        self, handler_id: str, served: ServedWorkflow, wake_at: float | None, alive_since: float | None
    ) -> None:
        """Wake a released run at its own deadline or its workflow's timeout, whichever is first."""
        times = [] if wake_at is None else [wake_at]
        if served.timeout is not None and alive_since is not None:
            times.append(alive_since + served.timeout)
        if times:
            self.wakeups.schedule(handler_id, min(times))

    async def end_offline(self, handler_id: str, run_id: str, workflow_name: str, event: StopEvent) -> None:
        """End a run that is not in memory. The caller holds its lock."""
        log = await self.logs.get(handler_id)
        data = envelope(event)
        untaken = [envelope(unhandled(posted)) for posted in await self.store.untaken_events(run_id)]
        records = [log.append(run_id, told, internal=False) for told in [*untaken, data]]
        await self.store.append(*records, ended(handler_id, run_id, event, data))
        self.wakeups.forget(handler_id)
        self._retries.pop(handler_id, None)
        self.suspended.pop(handler_id, None)
        served = self.registry.find(workflow_name)
        if served is not None:
            self.leave_slot(served, handler_id)

    # -- Commits -------------------------------------------------------------------------------

    def on_commit(self, records: Sequence[Record]) -> list[RunEnded]:
        """Show what is durable to those who wait for it; returns the runs that have ended."""
        over: list[RunEnded] = []
        for record in records:
            if type(record) is EventAppended:
                log = self.logs.in_use(record.handler_id)
                if log is not None:
                    log.publish(record)
            elif type(record) is InboxPosted:
                self.postings.delivered(record.inbox_id)
                self._deliver(record)
            elif type(record) is QueueAdvanced:
                self.logs.queue_advanced(record)
            elif type(record) is RunEnded:
                over.append(record)
                self._held.pop(record.handler_id, None)
                log = self.logs.in_use(record.handler_id)
                if log is not None:
                    log.end()
        return over

    def _deliver(self, posted: InboxPosted) -> None:
        session = self.sessions.get(posted.handler_id)
        if session is not None and session.run_id == posted.run_id:
            try:
                session.deliver(posted, self._event_of(posted, session.served))
            except ResumeFailed as error:
                _abort(session, error)
        elif posted.handler_id in self._loading:
            self._loading[posted.handler_id].append(posted)
        else:
            self.activate_soon(posted.handler_id)

    def on_refused(self, records: Sequence[Record], error: StorageError) -> list[str]:
        """The store can never hold these records: the run that they belong to fails. Returns the runs of which not
        even that can be stored."""
        for record in reversed(records):
            if type(record) is EventAppended:
                log = self.logs.in_use(record.handler_id)
                if log is not None:
                    log.take_back(record)
        if any(type(record) is InboxPosted for record in records):
            # Who sent it is told; the run is not to blame.
            return []
        lost: list[str] = []
        for session in list(self.sessions.values()):
            of_this_run = [record for record in records if getattr(record, "run_id", None) == session.run_id]
            if not any(type(record) is RunEnded for record in of_this_run):
                if of_this_run:
                    _abort(session, error)
            elif not session.end_again(error):
                lost.append(session.run_id)
        return lost


def _abort(session: RunSession, error: WorkflowServerError) -> None:
    """Fail the run from outside its loop, wherever it stands."""
    if session.released:
        # It is on its way out, and what it wrote must settle: it fails when it is taken up again.
        session.missed_event = True
    elif session.task is None:
        session.fail(error)
    else:
        session.abort(error)
