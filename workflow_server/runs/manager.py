"""The manager: resumes, looks, cancels, subscribes and drains; what starts and what sends stand beside it.

What a client is told here is durable before it is told. The work of a request that changes something is owned by the
manager: a client that goes away in the middle leaves nothing half done.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from functools import partial
from typing import Literal

from workflow_server.concurrency import map_cooperatively
from workflow_server.errors import HandlerNotFound, StorageError, UnitRefused
from workflow_server.execution.blocking import LoopWatch
from workflow_server.execution.containment import TaskContainment
from workflow_server.execution.engine import Event, Workflow, WorkflowCancelledEvent, rescue_of
from workflow_server.execution.event_log import EventReader, take_queue
from workflow_server.execution.inbox_limits import InboxLimits
from workflow_server.execution.workflow import ServedWorkflow
from workflow_server.protocol.handlers import HandlerData, IdempotencyKey, ListedHandler, RunRequest
from workflow_server.records import (
    STATUSES,
    ListCursor,
    Record,
    Status,
)
from workflow_server.runs.exceptions import HandlerNotRunning
from workflow_server.runs.recovery import Recovery
from workflow_server.runs.roster import Roster
from workflow_server.runs.sending import Sending
from workflow_server.runs.starting import Starting
from workflow_server.runs.views import find_handler, listed, shown
from workflow_server.store.base import AbstractWorkflowStore, HandlerQuery

logger = logging.getLogger(__name__)

ALIVE_INTERVAL = 5.0
"""Seconds between two notes that the server is alive: the most by which a crash can prolong a workflow's timeout."""
CLOCK_INTERVAL = 1.0
CLOCK_SET = 0.5
"""Seconds after which it is looked whether the wall clock was set, by more than so many: the note is then taken anew,
since a crash must not make a downtime of it."""


class RuntimeManager:
    """All runs of a server. The store is opened before ``resume`` and closed after ``stop``, by its owner."""

    def __init__(
        self,
        store: AbstractWorkflowStore,
        *,
        idle_timeout: float | None = 60.0,
        max_attempts: int = 3,
        accept_context: bool = False,
        accept_handler_ids: bool = False,
        limits: InboxLimits | None = None,
    ) -> None:
        self._store = store
        self._roster = Roster(store, idle_timeout=idle_timeout, limits=limits or InboxLimits())
        self._recovery = Recovery(self._roster, max_attempts=max_attempts)
        self._starting = Starting(self._roster, accept_context=accept_context, accept_handler_ids=accept_handler_ids)
        self._sending = Sending(self._roster)
        self._services: list[asyncio.Task[None]] = []
        self._containment: TaskContainment | None = None
        self._unsubscribe: Callable[[], None] | None = None
        self._watch: LoopWatch | None = None

    # -- Life ----------------------------------------------------------------------------------

    def add_workflow(self, name: str, workflow: Workflow, additional_events: Sequence[type[Event]] = ()) -> None:
        """Serve a workflow; see ``Registry.add``."""
        self._roster.registry.add(name, workflow, additional_events)

    def listen(self) -> None:
        """Follow the store's commits, and contain what steps do to the event loop; called before the store is opened.

        Where ``stop`` is not called, ``release`` undoes it.
        """
        self._containment = TaskContainment.enter(rescue_of)
        self._unsubscribe = self._store.subscribe(self._on_commit)
        self._store.on_refused = self._on_refused

    async def resume(self) -> int:
        """Resume every running run; return how many proceed."""
        self._watch = LoopWatch()
        self._watch.start()
        self._roster.next_inbox_id = self._store.next_inbox_id
        resumed = await self._recovery.resume(crashed=not self._store.stopped_cleanly)
        for name, service in {
            "wake released runs": self._roster.wakeups.run(),
            "note that the server is alive": self._note_alive(),
            "probe suspect runs": self._recovery.probe(),
        }.items():
            self._services.append(asyncio.create_task(service, name=name))
        return resumed

    def close(self) -> None:
        """Accept nothing new, and end the streams: their readers come back with their cursors."""
        self._roster.closing.set()
        self._roster.logs.wake()
        self._starting.close()

    async def stop(self, grace: float) -> None:
        """Let running steps be recorded, for at most ``grace`` seconds; nothing is cancelled: it all goes on at the
        next start. Where it was cancelled itself, it may be called again."""
        self.close()
        for service in self._services:
            service.cancel()
        await asyncio.gather(*self._services, return_exceptions=True)
        self._recovery.stop()
        sessions = list(self._roster.sessions.values())
        for session in sessions:
            session.drain()
        tasks = [session.task for session in sessions if session.task is not None]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=grace)
            for task in late:
                logger.warning("%s was still in a step: it begins that step anew at the next start", task.get_name())
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=1.0)
        await self._roster.tasks.finish(timeout=1.0)
        self.release()
        if self._services:
            # Without a resume no clock was moved past the downtime: the next start has to know of it.
            self._store.append(self._roster.clock.read())

    def release(self) -> None:
        """Give the event loop back, and hear of no more commits."""
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
        if self._watch is not None:
            self._watch.stop()
            self._watch = None
        if self._containment is not None:
            self._containment.leave()
            self._containment = None

    async def _note_alive(self) -> None:
        clock = self._roster.clock
        while True:
            noted = clock.read()
            try:
                await self._store.append(noted)
            except StorageError:
                return
            for _ in range(round(ALIVE_INTERVAL / CLOCK_INTERVAL)):
                await asyncio.sleep(CLOCK_INTERVAL)
                if abs(clock.read().ahead - noted.ahead) > CLOCK_SET:
                    break

    # -- Looking -------------------------------------------------------------------------------

    @property
    def problem(self) -> str | None:
        """Return why the store cannot commit at present, or None where it can."""
        return self._store.problem

    @property
    def location(self) -> str:
        """Return what to call the store to a user."""
        return self._store.location

    def workflow_names(self) -> list[str]:
        """The names of the workflows, in the order in which they were added."""
        return self._roster.registry.names()

    def workflow(self, name: str) -> ServedWorkflow:
        """The workflow of this name.

        Raises:
            WorkflowNotFound: there is none.
        """
        return self._roster.registry.get(name)

    async def get_handler(self, handler_id: str) -> HandlerData:
        """The handler.

        Raises:
            HandlerNotFound: there is none.
        """
        return shown(self._roster, await find_handler(self._roster, handler_id))

    async def list_handlers(self, statuses: list[Status] | None, workflow_names: list[str] | None) -> list[HandlerData]:
        """The handlers of these statuses and workflows, oldest first; None stands for all."""
        query = HandlerQuery(status_in=statuses, workflow_name_in=workflow_names)
        return await map_cooperatively(partial(shown, self._roster), await self._store.query(query))

    async def handler_pages(
        self, statuses: list[Status] | None, workflow_names: list[str] | None
    ) -> AsyncGenerator[list[ListedHandler], None]:
        """The same handlers page by page: one page at a time is in memory, and no result is parsed."""
        cursor: ListCursor | None = None
        while True:
            stored, cursor = await self._store.list_page(
                STATUSES if statuses is None else statuses, workflow_names, cursor
            )
            handlers = [listed(self._roster, handler) for handler in stored]
            # Who takes the page may empty it while it is written: of a page, nothing else is held here.
            del stored
            yield handlers
            if cursor is None:
                return

    # -- Starting and sending ------------------------------------------------------------------

    async def start(self, workflow_name: str, request: RunRequest) -> HandlerData:
        """Start a run; see ``Starting.start``."""
        return await self._starting.start(workflow_name, request)

    async def run(self, workflow_name: str, request: RunRequest) -> HandlerData:
        """Start a run and return when it has ended; see ``Starting.run``."""
        return await self._starting.run(workflow_name, request)

    async def send(
        self, handler_id: str, event: object, step: str | None, key: IdempotencyKey | None, *, hold: bool = False
    ) -> None:
        """Send an event to a running run; see ``Sending.send``."""
        await self._sending.send(handler_id, event, step, key, hold=hold)

    # -- Ending --------------------------------------------------------------------------------

    async def cancel(self, handler_id: str) -> None:
        """End a running run as cancelled; returns when that is durable, whatever its steps do.

        Raises:
            HandlerNotFound, HandlerNotRunning: there is nothing to cancel.
        """
        await self._roster.tasks.run(self._cancel(handler_id), f"cancel {handler_id}")

    async def _cancel(self, handler_id: str) -> None:
        async with self._roster.lock(handler_id):
            status = await self._end_as_cancelled(handler_id)
            if status is not None:
                raise HandlerNotRunning(handler_id, status)

    async def _end_as_cancelled(self, handler_id: str) -> Status | None:
        """End the handler's run; returns the status of one that had ended before. The caller holds its lock."""
        session = await self._roster.running_session(handler_id)
        if session is not None:
            try:
                await session.cancel()
            except UnitRefused:
                # The run's end by this reason is not to be: what the store has instead is told.
                await session.settle()
            else:
                return None
        handler = await find_handler(self._roster, handler_id)
        if handler.status != "running":
            return handler.status
        assert handler.run_id is not None
        event = WorkflowCancelledEvent()
        await self._roster.end_offline(handler_id, handler.run_id, handler.workflow_name, event)
        return None

    async def purge(self, handler_id: str) -> None:
        """Delete a handler with all that belongs to it; one that runs is cancelled first.

        Raises:
            HandlerNotFound: there is none.
        """
        await self._roster.tasks.run(self._purge(handler_id), f"purge {handler_id}")

    async def _purge(self, handler_id: str) -> None:
        async with self._roster.lock(handler_id):
            await self._end_as_cancelled(handler_id)
            if not await self._store.delete(HandlerQuery(handler_id_in=[handler_id])):
                raise HandlerNotFound(handler_id)
            self._roster.logs.forget(handler_id)

    # -- Subscribing ---------------------------------------------------------------------------

    async def open_cursor(self, handler_id: str, after: int | Literal["now"]) -> EventReader | None:
        """A reader of every event past the cursor (-1: of the current run); None when none is left and none will come.

        Raises:
            HandlerNotFound: there is no such handler.
        """
        log = await self._roster.logs.get(handler_id)
        if after == "now":
            after = log.committed
        elif after < 0:
            after = log.first - 1
        if log.ended and after >= log.committed:
            return None
        # A cursor past the end was not given out by this log: what follows the end is all that can come.
        return EventReader(log, min(after, log.committed), self._roster.closing)

    async def open_queue(self, handler_id: str, timeout: float) -> EventReader | None:
        """The reader of the handler's shared queue; None when none is left and none will come.

        Raises:
            HandlerNotFound: there is no such handler.
            QueueTaken: another reader held the queue for ``timeout`` seconds.
        """
        log = await self._roster.logs.get(handler_id)
        reader = await take_queue(log, timeout, self._roster.closing, self._roster.logs)
        if log.ended and log.queue_next > log.committed:
            await reader.close()
            return None
        return reader

    # -- Commits -------------------------------------------------------------------------------

    def _on_commit(self, records: Sequence[Record]) -> None:
        for over in self._roster.on_commit(records):
            self._starting.ended(over)

    def _on_refused(self, records: Sequence[Record], error: StorageError) -> None:
        for run_id in self._roster.on_refused(records, error):
            self._starting.lost(run_id, error)
