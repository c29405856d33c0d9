"""The manager: starts, resumes, continues, sends, cancels, subscribes and drains.

What a client is told here is durable before it is told. The work of a request that changes something is owned by the
manager: a client that goes away in the middle leaves nothing half done.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Sequence
from typing import Any, Literal

from workflow_server.errors import (
    CompletedHandlerNotFound,
    ContextRefused,
    HandlerNotFound,
    HandlerNotRunning,
    HandlerRunning,
    KeyReused,
    RunAlreadyEnded,
    RunSuperseded,
    RunSuspended,
    ShuttingDown,
    StorageError,
)
from workflow_server.protocol.handlers import HandlerData, IdempotencyKey, RunRequest
from workflow_server.records import (
    InboxPosted,
    KeyAnswered,
    Record,
    RunEnded,
    RunStarted,
    ServerAlive,
    SnapshotTaken,
    StateReplaced,
    Status,
    StoredAnswer,
)
from workflow_server.runtime.engine import Event, StartEvent, Workflow, WorkflowCancelledEvent, nanoid
from workflow_server.runtime.event_log import EventLog, EventReader, take_queue
from workflow_server.runtime.handlers import from_end, from_start, from_store
from workflow_server.runtime.recovery import Recovery
from workflow_server.runtime.roster import QUEUED, UNREGISTERED, Roster
from workflow_server.runtime.served import ServedWorkflow
from workflow_server.runtime.session import RunSession
from workflow_server.store.abstract import AbstractWorkflowStore, HandlerQuery, PersistentHandler

logger = logging.getLogger(__name__)

ALIVE_INTERVAL = 5.0
"""Seconds between two notes that the server is alive: the most by which a crash can prolong a workflow's timeout."""


class RuntimeManager:
    """All runs of a server. The store is opened before ``resume`` and closed after ``stop``, by its owner."""

    def __init__(
        self,
        store: AbstractWorkflowStore,
        *,
        idle_timeout: float | None = 60.0,
        max_attempts: int = 3,
        accept_context: bool = False,
    ) -> None:
        self._store = store
        self._roster = Roster(store, idle_timeout=idle_timeout)
        self._recovery = Recovery(self._roster, max_attempts=max_attempts)
        self._accept_context = accept_context
        self._outcomes: dict[str, asyncio.Future[RunEnded]] = {}
        self._next_inbox_id = 0
        self._services: list[asyncio.Task[None]] = []

    # -- Life ----------------------------------------------------------------------------------

    def add_workflow(self, name: str, workflow: Workflow, additional_events: Sequence[type[Event]] = ()) -> None:
        """Serve a workflow; see ``Registry.add``."""
        self._roster.registry.add(name, workflow, additional_events)

    def listen(self) -> None:
        """Follow the store's commits; called before the store is opened."""
        self._store.on_commit = self._on_commit
        self._store.on_refused = self._roster.on_refused

    async def resume(self) -> int:
        """Take up every running run; returns how many go on."""
        self._next_inbox_id = self._store.next_inbox_id
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
        self._roster.wake_readers()
        for outcome in self._outcomes.values():
            if not outcome.done():
                outcome.set_exception(ShuttingDown())
                outcome.exception()
        self._outcomes.clear()

    async def stop(self, grace: float) -> None:
        """Let running steps be recorded, for at most ``grace`` seconds; nothing is cancelled: it all goes on at the
        next start."""
        self.close()
        for service in self._services:
            service.cancel()
        await asyncio.gather(*self._services, return_exceptions=True)
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
        self._store.append(ServerAlive(time.time()))

    async def _note_alive(self) -> None:
        while True:
            try:
                await self._store.append(ServerAlive(time.time()))
            except StorageError:
                return
            await asyncio.sleep(ALIVE_INTERVAL)

    # -- Looking -------------------------------------------------------------------------------

    @property
    def problem(self) -> str | None:
        """Why the store cannot commit at present, or None where it can."""
        return self._store.problem

    @property
    def location(self) -> str:
        """What to call the store to a user."""
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
        return self._shown(await self._found(handler_id))

    async def list_handlers(self, statuses: list[Status] | None, workflow_names: list[str] | None) -> list[HandlerData]:
        """The handlers of these statuses and workflows, oldest first; None stands for all."""
        query = HandlerQuery(status_in=statuses, workflow_name_in=workflow_names)
        return [self._shown(handler) for handler in await self._store.query(query)]

    def _shown(self, handler: PersistentHandler) -> HandlerData:
        reason = self._roster.suspended.get(handler.handler_id)
        served = self._roster.registry.find(handler.workflow_name)
        if reason is None and served is not None and served.slots.waits(handler.handler_id):
            reason = QUEUED
        return from_store(handler, reason)

    async def _found(self, handler_id: str) -> PersistentHandler:
        found = await self._store.query(HandlerQuery(handler_id_in=[handler_id]))
        if not found:
            raise HandlerNotFound(handler_id)
        return found[0]

    # -- Starting ------------------------------------------------------------------------------

    async def start(self, workflow_name: str, request: RunRequest) -> HandlerData:
        """Start a run, or continue a completed handler with the next; it is durable when this returns.

        Raises:
            WorkflowNotFound, CompletedHandlerNotFound, HandlerRunning, InvalidEvent, ContextRefused, KeyReused,
            ShuttingDown, StorageFull, StoreUnavailable: why nothing was started.
        """
        return await self._accept(workflow_name, request, waits=False)

    async def _accept(self, workflow_name: str, request: RunRequest, *, waits: bool) -> HandlerData:
        self._check_open()
        served = self.workflow(workflow_name)
        event = served.start_event(request.start_event)
        work = self._start(served, event, request, waits=waits)
        return await self._roster.tasks.run(work, f"start {workflow_name}")

    async def run(self, workflow_name: str, request: RunRequest) -> HandlerData:
        """Start a run and return when it has ended; as ``start`` otherwise.

        Raises:
            ShuttingDown: the server stops first; the run goes on at its next start.
        """
        begun = await self._accept(workflow_name, request, waits=True)
        assert begun.run_id is not None
        outcome = self._outcomes.get(begun.run_id)
        if outcome is None:
            return await self._end_of(begun, begun.run_id)
        return from_end(begun, await asyncio.shield(outcome))

    async def _end_of(self, begun: HandlerData, run_id: str) -> HandlerData:
        """The end of a run that an earlier request started, or that has ended already."""
        outcome = self._outcome(run_id)
        handler = await self.get_handler(begun.handler_id)
        if handler.run_id != run_id:
            raise RunSuperseded(begun.handler_id)
        if handler.status != "running":
            self._outcomes.pop(run_id, None)
            return handler
        self._check_open()
        return from_end(begun, await asyncio.shield(outcome))

    def _outcome(self, run_id: str) -> asyncio.Future[RunEnded]:
        """What is set when the run has ended, durably."""
        return self._outcomes.setdefault(run_id, asyncio.get_running_loop().create_future())

    async def _start(
        self, served: ServedWorkflow, event: StartEvent, request: RunRequest, *, waits: bool
    ) -> HandlerData:
        if request.key is None:
            return await self._begin(served, event, request, waits=waits)
        scope = f"run:{served.name}"
        async with self._roster.key_lock(f"{scope}:{request.key.key}"):
            answer = await self._answer(scope, request.key)
            if answer is not None:
                return HandlerData.model_validate_json(answer.response)
            return await self._begin(served, event, request, waits=waits)

    async def _begin(
        self, served: ServedWorkflow, event: StartEvent, request: RunRequest, *, waits: bool
    ) -> HandlerData:
        handler_id = request.handler_id or nanoid()
        async with self._roster.lock(handler_id):
            self._check_open()
            if request.handler_id is not None:
                log, records = await self._continued(served, request.handler_id)
            else:
                log, records = self._roster.new_log(handler_id), []
            run_id = nanoid()
            records = [record._replace(run_id=run_id) for record in records]
            if request.context is not None:
                records = self._given_context(served, run_id, request.context)
            started = RunStarted(handler_id, served.name, run_id, time.time(), log.next_sequence, served.encode(event))
            answer = from_start(started)
            keys = _answered(f"run:{served.name}", request.key, handler_id, run_id, answer.model_dump_json())
            await self._store.commit(started, *records, *keys)
            log.begin()
            if waits:
                self._outcome(run_id)
            if served.slots.take(handler_id):
                await self._launch(served, started, log, event, fresh=not records)
        return answer

    async def _launch(
        self, served: ServedWorkflow, started: RunStarted, log: EventLog, event: StartEvent, *, fresh: bool
    ) -> None:
        if self._roster.closing.is_set():
            return
        if not fresh:
            self._roster.activate_soon(started.handler_id)
            return
        session = RunSession(self._roster, served, started.handler_id, started.run_id, log, event)
        self._roster.enter(session)
        session.begin()

    async def _continued(
        self, served: ServedWorkflow, handler_id: str
    ) -> tuple[EventLog, list[StateReplaced | SnapshotTaken]]:
        stored = await self._store.load_run(handler_id)
        if stored is None or stored.workflow_name != served.name:
            raise CompletedHandlerNotFound(served.name, handler_id)
        if stored.status == "running":
            raise HandlerRunning(handler_id)
        if stored.status != "completed":
            raise CompletedHandlerNotFound(served.name, handler_id)
        log = await self._roster.log(handler_id)
        if stored.state is None and not stored.patches:
            return log, []
        patches = [json.loads(patch.patch) for patch in stored.patches]
        record = stored.state.data if stored.state is not None else None
        state = served.state_store(record, patches, unattended=_nowhere)
        return log, [StateReplaced("", -1, served.state_record(state))]

    def _given_context(
        self, served: ServedWorkflow, run_id: str, context: dict[str, Any]
    ) -> list[StateReplaced | SnapshotTaken]:
        if not self._accept_context:
            raise ContextRefused
        snapshot, state = served.context_snapshot(context)
        records: list[StateReplaced | SnapshotTaken] = [SnapshotTaken(run_id, -1, snapshot)]
        if state is not None:
            records.append(StateReplaced(run_id, -1, state))
        return records

    async def _answer(self, scope: str, key: IdempotencyKey) -> StoredAnswer | None:
        answer = await self._store.find_answer(scope, key.key)
        if answer is not None and answer.body_hash != key.body_hash:
            raise KeyReused(key.key)
        return answer

    # -- Sending -------------------------------------------------------------------------------

    async def send(self, handler_id: str, event: object, step: str | None, key: IdempotencyKey | None) -> None:
        """Send an event to a running run; it is durable when this returns, and reaches the run exactly once.

        Raises:
            HandlerNotFound, RunAlreadyEnded, RunSuspended, InvalidEvent, UnknownStep, StepRefusesEvent, KeyReused,
            ShuttingDown, StorageFull, StoreUnavailable: why nothing was sent.
        """
        self._check_open()
        await self._roster.tasks.run(self._send(handler_id, event, step, key), f"send to {handler_id}")

    async def _send(self, handler_id: str, event: object, step: str | None, key: IdempotencyKey | None) -> None:
        if key is None:
            await self._post(handler_id, event, step, None)
            return
        scope = f"event:{handler_id}"
        async with self._roster.key_lock(f"{scope}:{key.key}"):
            if await self._answer(scope, key) is None:
                await self._post(handler_id, event, step, key)

    async def _post(self, handler_id: str, event: object, step: str | None, key: IdempotencyKey | None) -> None:
        posting = (event, step, key)
        session = self._roster.sessions.get(handler_id)
        if session is not None and session.task is not None:
            await self._post_to(session.served, handler_id, session.run_id, session.status, posting)
            return
        async with self._roster.lock(handler_id):
            served, run_id = await self._running(handler_id)
            session = self._roster.sessions.get(handler_id)
            if session is not None or served.knows(event):
                status = session.status if session is not None else None
                await self._post_to(served, handler_id, run_id, status, posting)
                return
        # The run may wait for a type that only it names: it is learned when the run is in memory.
        await self._roster.activate(handler_id)
        session = self._roster.sessions.get(handler_id)
        await self._post_to(served, handler_id, run_id, session.status if session is not None else None, posting)

    async def _running(self, handler_id: str) -> tuple[ServedWorkflow, str]:
        handler = await self._found(handler_id)
        if handler.status != "running" or handler.run_id is None:
            raise RunAlreadyEnded(handler_id, handler.status)
        served = self._roster.registry.find(handler.workflow_name)
        if served is None:
            raise RunSuspended(handler_id, UNREGISTERED)
        return served, handler.run_id

    async def _post_to(
        self,
        served: ServedWorkflow,
        handler_id: str,
        run_id: str,
        status: Status | None,
        posting: tuple[object, str | None, IdempotencyKey | None],
    ) -> None:
        event, step, key = posting
        if status is not None:
            raise RunAlreadyEnded(handler_id, status)
        parsed = served.posted_event(event, step)
        posted = InboxPosted(self._next_inbox_id, handler_id, run_id, served.encode(parsed), step)
        self._next_inbox_id += 1
        records: list[Record] = [posted, *_answered(f"event:{handler_id}", key, handler_id, run_id, "{}")]
        self._roster.posted[posted.inbox_id] = parsed
        try:
            await self._store.commit(*records)
        finally:
            del self._roster.posted[posted.inbox_id]

    # -- Ending --------------------------------------------------------------------------------

    async def cancel(self, handler_id: str) -> None:
        """End a running run as cancelled; returns when that is durable, whatever its steps do.

        Raises:
            HandlerNotFound, HandlerNotRunning: there is nothing to cancel.
        """
        await self._roster.tasks.run(self._cancel(handler_id), f"cancel {handler_id}")

    async def _cancel(self, handler_id: str) -> None:
        async with self._roster.lock(handler_id):
            handler = await self._found(handler_id)
            if handler.status != "running" or not await self._end_as_cancelled(handler):
                status = (await self._found(handler_id)).status
                raise HandlerNotRunning(handler_id, status)

    async def _end_as_cancelled(self, handler: PersistentHandler) -> bool:
        """Whether the run was still running. The caller holds the handler's lock."""
        session = self._roster.sessions.get(handler.handler_id)
        if session is not None and session.released and session.task is not None:
            await asyncio.wait([session.task])
            session = None
        if session is not None:
            if session.status is not None:
                await session.settle()
                return False
            await session.cancel()
            return True
        assert handler.run_id is not None
        event = WorkflowCancelledEvent()
        await self._roster.end_offline(handler.handler_id, handler.run_id, handler.workflow_name, event)
        return True

    async def purge(self, handler_id: str) -> None:
        """Delete a handler with all that belongs to it; one that runs is cancelled first.

        Raises:
            HandlerNotFound: there is none.
        """
        await self._roster.tasks.run(self._purge(handler_id), f"purge {handler_id}")

    async def _purge(self, handler_id: str) -> None:
        async with self._roster.lock(handler_id):
            handler = await self._found(handler_id)
            if handler.status == "running":
                await self._end_as_cancelled(handler)
            if not await self._store.delete(HandlerQuery(handler_id_in=[handler_id])):
                raise HandlerNotFound(handler_id)
            self._roster.forget_log(handler_id)

    # -- Subscribing ---------------------------------------------------------------------------

    async def open_cursor(self, handler_id: str, after: int | Literal["now"]) -> EventReader | None:
        """A reader of every event past the cursor (-1: of the current run); None when none is left and none will come.

        Raises:
            HandlerNotFound: there is no such handler.
        """
        log = await self._roster.log(handler_id)
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
        log = await self._roster.log(handler_id)
        reader = await take_queue(log, timeout, self._roster.closing, self._store)
        if log.ended and log.queue_next > log.committed:
            await reader.close()
            return None
        return reader

    # -- Commits -------------------------------------------------------------------------------

    def _on_commit(self, records: Sequence[Record]) -> None:
        for over in self._roster.on_commit(records):
            outcome = self._outcomes.pop(over.run_id, None)
            if outcome is not None and not outcome.done():
                outcome.set_result(over)

    def _check_open(self) -> None:
        if self._roster.closing.is_set():
            raise ShuttingDown


def _answered(scope: str, key: IdempotencyKey | None, handler_id: str, run_id: str, response: str) -> list[KeyAnswered]:
    if key is None:
        return []
    return [KeyAnswered(scope, key.key, handler_id, run_id, key.body_hash, response, time.time())]


def _nowhere(patch: object) -> None:
    raise AssertionError(f"nothing is written to a state that is only read: {patch}")
