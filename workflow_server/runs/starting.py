"""Starting runs, continuing completed handlers, and telling those who wait for a run how it ended."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

from workflow_server.errors import ShuttingDown, StorageError, WorkflowServerError
from workflow_server.execution.engine import StartEvent, nanoid
from workflow_server.execution.event_log import EventLog
from workflow_server.execution.session import RunSession
from workflow_server.execution.unreadable import unreadable
from workflow_server.execution.workflow import ServedWorkflow
from workflow_server.protocol.handlers import HandlerData, RunRequest
from workflow_server.records import RunEnded, RunStarted, SnapshotTaken, StateReplaced
from workflow_server.runs.exceptions import (
    CompletedHandlerNotFound,
    ContextBesideHandler,
    ContextRefused,
    HandlerBeingDeleted,
    HandlerRunning,
    InvalidHandlerId,
    RunSuperseded,
    StateUnreadable,
)
from workflow_server.runs.idempotency import answered, earlier_answer
from workflow_server.runs.roster import Roster
from workflow_server.runs.views import find_handler, from_end, from_start, shown

_HANDLER_ID = re.compile(r"[A-Za-z0-9._~-]{1,128}", re.ASCII)


class Starting:
    """The starts that clients ask for."""

    def __init__(self, roster: Roster, *, accept_context: bool, accept_handler_ids: bool) -> None:
        self._roster = roster
        self._store = roster.store
        self._accept_context = accept_context
        self._accept_handler_ids = accept_handler_ids
        self._outcomes: dict[str, set[asyncio.Future[RunEnded]]] = {}
        """Those who wait for the end of a run, by its id."""

    def ended(self, over: RunEnded) -> None:
        """The end of a run is durable."""
        for outcome in self._outcomes.get(over.run_id, ()):
            if not outcome.done():
                outcome.set_result(over)

    def lost(self, run_id: str, error: StorageError) -> None:
        """The end of a run can never be stored."""
        self._fail(self._outcomes.get(run_id, ()), error)

    def close(self) -> None:
        """Tell those who wait for a run that they will not hear of it."""
        self._fail(chain.from_iterable(self._outcomes.values()), ShuttingDown())

    @staticmethod
    def _fail(outcomes: Iterable[asyncio.Future[RunEnded]], error: WorkflowServerError) -> None:
        for outcome in outcomes:
            if not outcome.done():
                outcome.set_exception(error)
                outcome.exception()

    @contextmanager
    def _outcome(self, run_id: str) -> Iterator[asyncio.Future[RunEnded]]:
        """Yield a future that is set when the run has ended, durably. Each who waits has one of its own: who goes away,
        or finds the end in the store, takes nothing from the others."""
        outcome: asyncio.Future[RunEnded] = asyncio.get_running_loop().create_future()
        waiting = self._outcomes.setdefault(run_id, set())
        waiting.add(outcome)
        try:
            yield outcome
        finally:
            waiting.discard(outcome)
            if not waiting:
                del self._outcomes[run_id]

    async def start(self, workflow_name: str, request: RunRequest) -> HandlerData:
        """Start a run, or continue a completed handler with the next; it is durable when this returns.

        Raises:
            WorkflowNotFound, CompletedHandlerNotFound, HandlerRunning, HandlerBeingDeleted, InvalidHandlerId,
            StateUnreadable, InvalidEvent, ContextRefused, ContextBesideHandler, KeyReused, ShuttingDown, StorageFull,
            StoreUnavailable: why nothing was started.
        """
        return await self._accept(workflow_name, request, nanoid())

    async def _accept(self, workflow_name: str, request: RunRequest, run_id: str) -> HandlerData:
        self._roster.check_open()
        served = self._roster.registry.get(workflow_name)
        event = served.start_event(request.start_event)
        work = self._start(served, event, request, run_id)
        return await self._roster.tasks.run(work, f"start {workflow_name}")

    async def run(self, workflow_name: str, request: RunRequest) -> HandlerData:
        """Start a run and return when it has ended; as ``start`` otherwise.

        Raises:
            ShuttingDown: the server stops first; the run goes on at its next start.
        """
        run_id = nanoid()
        with self._outcome(run_id) as outcome:
            begun = await self._accept(workflow_name, request, run_id)
            if begun.run_id == run_id:
                return from_end(begun, await outcome)
        assert begun.run_id is not None
        return await self._end_of(begun, begun.run_id)

    async def _end_of(self, begun: HandlerData, run_id: str) -> HandlerData:
        """The end of a run that an earlier request started, or that has ended already."""
        with self._outcome(run_id) as outcome:
            handler = await find_handler(self._roster, begun.handler_id)
            if handler.run_id != run_id:
                raise RunSuperseded(begun.handler_id)
            if handler.status != "running":
                return shown(self._roster, handler)
            self._roster.check_open()
            return from_end(begun, await outcome)

    async def _start(self, served: ServedWorkflow, event: StartEvent, request: RunRequest, run_id: str) -> HandlerData:
        if request.key is None:
            return await self._begin(served, event, request, run_id)
        scope = f"run:{served.name}"
        async with self._roster.key_lock(f"{scope}:{request.key.key}"):
            answer = await earlier_answer(self._store, scope, request.key)
            if answer is not None:
                return HandlerData.model_validate_json(answer.response)
            return await self._begin(served, event, request, run_id)

    async def _begin(self, served: ServedWorkflow, event: StartEvent, request: RunRequest, run_id: str) -> HandlerData:
        handler_id = request.handler_id or nanoid()
        records: list[StateReplaced | SnapshotTaken] = []
        async with self._roster.lock(handler_id):
            self._roster.check_open()
            if request.handler_id is None or await self._is_new(request.handler_id):
                log = self._roster.logs.new(handler_id)
            elif request.context is not None:
                raise ContextBesideHandler
            else:
                log, records = await self._continued(served, request.handler_id)
            records = [record._replace(run_id=run_id) for record in records]
            if request.context is not None:
                records = self._given_context(served, run_id, request.context)
            place, now = log.next_sequence, self._roster.clock.now()
            started = RunStarted(handler_id, served.name, run_id, time.time(), place, served.encode(event), now)
            answer = from_start(started)
            keys = answered(f"run:{served.name}", request.key, handler_id, run_id, answer.model_dump_json())
            await self._store.commit(started, *records, *keys)
            log.begin()
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

    async def _is_new(self, handler_id: str) -> bool:
        """Return whether a client has chosen this id for a new handler. The caller holds the handler's lock."""
        if not self._accept_handler_ids or await self._store.event_range(handler_id) is not None:
            return False
        if not _HANDLER_ID.fullmatch(handler_id) or handler_id in {".", ".."}:
            raise InvalidHandlerId
        if await self._store.is_being_deleted(handler_id):
            raise HandlerBeingDeleted(handler_id)
        return True

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
        log = await self._roster.logs.get(handler_id)
        if stored.state is None and not stored.patches:
            return log, []
        record = stored.state.data if stored.state is not None else None
        try:
            tree, _ = served.state_tree(record, [json.loads(patch.patch) for patch in stored.patches])
            served.state_store(tree, unattended=_nowhere)
        except BaseException as error:
            raise StateUnreadable(handler_id, unreadable(error)) from None
        return log, [StateReplaced("", -1, served.state_record(tree))]

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


def _nowhere(patch: object) -> None:
    raise AssertionError(f"nothing is written to a state that is only read: {patch}")
