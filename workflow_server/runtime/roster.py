"""Which runs are in memory, which are not, and how they come and go.

A run that is running in the store is here in one of these ways: it is in memory (``sessions``), it waits for a slot, it
was released until an event or a deadline comes, or it is ``suspended`` with a reason.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from weakref import WeakValueDictionary

from workflow_server.errors import HandlerNotFound, ResumeFailed, StorageError
from workflow_server.records import EventAppended, InboxPosted, Record, RunEnded, StoredRun
from workflow_server.runtime.durable import DurableRuntime
from workflow_server.runtime.engine import Event, StartEvent, StopEvent
from workflow_server.runtime.envelopes import envelope
from workflow_server.runtime.event_log import EventLog
from workflow_server.runtime.locks import KeyedLocks
from workflow_server.runtime.owned import OwnedTasks
from workflow_server.runtime.registry import Registry
from workflow_server.runtime.served import ServedWorkflow
from workflow_server.runtime.session import RunSession, ended
from workflow_server.runtime.wakeups import Wakeups
from workflow_server.store.abstract import AbstractWorkflowStore, HandlerQuery

logger = logging.getLogger(__name__)

UNREGISTERED = "its workflow is not registered on this server"
QUEUED = "it waits for one of the slots of num_concurrent_runs"


class Roster:
    """The runs of a server. All that changes a handler's place here happens under ``lock(handler_id)``."""

    def __init__(self, store: AbstractWorkflowStore, *, idle_timeout: float | None) -> None:
        self.store = store
        self.idle_timeout = idle_timeout
        self.runtime = DurableRuntime()
        self.registry = Registry(self.runtime)
        self.sessions: dict[str, RunSession] = {}
        self.suspended: dict[str, str] = {}
        self.wakeups = Wakeups(self.activate_soon)
        self.lock = KeyedLocks()
        self.key_lock = KeyedLocks()
        """For idempotency keys: apart from the handlers' locks, since clients name both."""
        self.tasks = OwnedTasks()
        self.closing = asyncio.Event()
        """Set when the server stops: streams end, nothing new is taken up."""
        self.posted: dict[int, Event] = {}
        """The events that are being posted, by inbox id."""
        self._loading: dict[str, list[InboxPosted]] = {}
        self._logs: WeakValueDictionary[str, EventLog] = WeakValueDictionary()
        self._log_lock = KeyedLocks()

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
        """Take up a run that is not in memory, if it is running and has or gets a slot."""
        async with self.lock(handler_id):
            if handler_id in self.sessions or handler_id in self.suspended or self.closing.is_set():
                return
            self._loading[handler_id] = []
            try:
                log = await self.log(handler_id)
                stored = await self.store.load_run(handler_id)
                served = self._may_run(stored)
                if stored is not None and served is not None:
                    await self._take_up(stored, served, log, crashed=crashed)
            except HandlerNotFound:
                return
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
        session = RunSession(self, served, stored.handler_id, stored.run_id, log, self._start_of(stored, served))
        self.enter(session)
        # Before anything suspends: what is posted from now on is delivered to the session, after these.
        inbox = [*stored.inbox, *self._loading.pop(stored.handler_id, [])]
        try:
            for posted in inbox:
                session.deliver(posted, self._event_of(posted, served))
            await session.load(stored, crashed=crashed)
        except ResumeFailed as error:
            session.fail(error)
        if session.status is not None:
            await session.settle()
            self.session_over(session)
        elif not self.closing.is_set():
            session.begin()

    def _start_of(self, stored: StoredRun, served: ServedWorkflow) -> StartEvent | None:
        if stored.start_event is None:
            return None
        try:
            event = served.stored_event(stored.start_event)
        except Exception:
            # Without it the journal cannot be read; ``load`` says so of this run.
            logger.exception("The start event of handler %s cannot be read", stored.handler_id)
            return None
        return event if isinstance(event, StartEvent) else None

    def _event_of(self, posted: InboxPosted, served: ServedWorkflow) -> Event:
        event = self.posted.get(posted.inbox_id)
        if event is not None:
            return event
        try:
            return served.stored_event(posted.event)
        except Exception as error:
            raise ResumeFailed(reason=f"a posted event cannot be read: {error}") from error

    # -- Leaving memory ------------------------------------------------------------------------

    def session_over(self, session: RunSession) -> None:
        """The session's task is about to end; all that it wrote is durable."""
        handler_id = session.handler_id
        self.runtime.leave(session)
        if self.sessions.get(handler_id) is session:
            del self.sessions[handler_id]
        self.leave_slot(session.served, handler_id)
        if session.status is not None or not session.released:
            return
        if session.missed_event:
            self.activate_soon(handler_id)
        else:
            self.schedule(handler_id, session.served, session.wake_at, session.alive_since)

    def leave_slot(self, served: ServedWorkflow, handler_id: str) -> None:
        """Give the handler's slot to the next that waits for one."""
        successor = served.slots.give_back(handler_id)
        if successor is not None:
            self.activate_soon(successor)

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
        log = await self.log(handler_id)
        data = envelope(event)
        record = log.append(run_id, data, internal=False)
        await self.store.append(record, ended(handler_id, run_id, event, data))
        self.wakeups.forget(handler_id)
        self.suspended.pop(handler_id, None)
        served = self.registry.find(workflow_name)
        if served is not None:
            self.leave_slot(served, handler_id)

    # -- Logs and commits ----------------------------------------------------------------------

    def new_log(self, handler_id: str) -> EventLog:
        """The log of a handler that is being made."""
        log = EventLog(self.store, handler_id, first=0, last=-1, queue_next=0, ended=False)
        self._logs[handler_id] = log
        return log

    async def log(self, handler_id: str) -> EventLog:
        """The log of a handler; everybody shares one.

        Raises:
            HandlerNotFound: there is no such handler.
        """
        # One at a time: a log that was read must not be older than one that was in use meanwhile.
        async with self._log_lock(handler_id):
            log = self._logs.get(handler_id)
            if log is not None:
                return log
            found = await self.store.query(HandlerQuery(handler_id_in=[handler_id]))
            bounds = await self.store.event_range(handler_id)
            if not found or bounds is None:
                raise HandlerNotFound(handler_id)
            first, last, queue_next = bounds
            over = found[0].status != "running"
            log = EventLog(self.store, handler_id, first=first, last=last, queue_next=queue_next, ended=over)
            self._logs[handler_id] = log
            return log

    def forget_log(self, handler_id: str) -> None:
        """The handler is gone: its readers end."""
        log = self._logs.pop(handler_id, None)
        if log is not None:
            log.end()

    def wake_readers(self) -> None:
        """Let every reader look whether the server stops."""
        for log in list(self._logs.values()):
            log.wake()

    def on_commit(self, records: Sequence[Record]) -> list[RunEnded]:
        """Show what is durable to those who wait for it; returns the runs that have ended."""
        over: list[RunEnded] = []
        for record in records:
            if type(record) is EventAppended:
                log = self._logs.get(record.handler_id)
                if log is not None:
                    log.publish(record)
            elif type(record) is InboxPosted:
                self._deliver(record)
            elif type(record) is RunEnded:
                over.append(record)
                log = self._logs.get(record.handler_id)
                if log is not None:
                    log.end()
        return over

    def _deliver(self, posted: InboxPosted) -> None:
        session = self.sessions.get(posted.handler_id)
        if session is not None and session.run_id == posted.run_id:
            try:
                session.deliver(posted, self._event_of(posted, session.served))
            except ResumeFailed as error:
                session.abort(error)
        elif posted.handler_id in self._loading:
            self._loading[posted.handler_id].append(posted)
        else:
            self.activate_soon(posted.handler_id)

    def on_refused(self, records: Sequence[Record], error: StorageError) -> None:
        """The store can never hold these records: the run that they belong to fails."""
        for session in list(self.sessions.values()):
            if any(getattr(record, "run_id", None) == session.run_id for record in records):
                session.abort(error)


def downtime(previous_alive_at: float | None) -> float:
    """Seconds for which no server was alive before this one."""
    return max(0.0, time.time() - previous_alive_at) if previous_alive_at is not None else 0.0
