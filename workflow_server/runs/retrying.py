"""Retrying runs that failed, were cancelled or timed out.

A retry is the start of another run, which begins with the state of the earlier one at the point at which it is taken up
again: in the same handler, or in a new one beside it. From its commit on it is a run like any other.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack

from workflow_server.errors import HandlerNotFound, ShuttingDown
from workflow_server.execution.codec import text_of
from workflow_server.execution.exceptions import JournalUnreadable, UnknownStep
from workflow_server.execution.interface import Surroundings
from workflow_server.execution.retry_point import RetryTime, first_state, retry_point
from workflow_server.execution.workflow import ServedWorkflow
from workflow_server.history import Note
from workflow_server.protocol.handlers import HandlerData, RetryRequest
from workflow_server.records import (
    HandlerTagged,
    KeyAnswered,
    Record,
    RunStarted,
    SnapshotTaken,
    StateReplaced,
    StoredRun,
)
from workflow_server.runs.activation import Activation
from workflow_server.runs.continuing import Continuing
from workflow_server.runs.events import EventLogs
from workflow_server.runs.exceptions import (
    HandlerExists,
    HandlerIdBesideNoFork,
    HandlerIdRefused,
    JournalNotKept,
    RunNotOver,
    RunSucceeded,
    RunSuperseded,
    RunSuspended,
)
from workflow_server.runs.idempotency import answered
from workflow_server.runs.quota import RunQuota
from workflow_server.runs.run import Run
from workflow_server.runs.starting import Starter
from workflow_server.runs.states import UNREGISTERED, RunState
from workflow_server.runs.suspension import resume_suspended
from workflow_server.runs.table import RunTable
from workflow_server.runs.views import find_handler, from_start, shown
from workflow_server.store.base import PersistentHandler
from workflow_server.store.ids import new_handler_id, new_run_id
from workflow_server.tracing import RunTrace

FIRST_EVENTS = 100
"""Events of a run among which that of its first step is, if a step has begun: it is published with the first tick."""


class Retrier:
    """Starts the runs that take up others again."""

    def __init__(
        self,
        surroundings: Surroundings,
        table: RunTable,
        logs: EventLogs,
        activation: Activation,
        starter: Starter,
        continuing: Continuing,
        quota: RunQuota,
        closing: asyncio.Event,
    ) -> None:
        self._store = surroundings.store
        self._clock = surroundings.clock
        self._tracing = surroundings.tracing
        self._table = table
        self._logs = logs
        self._activation = activation
        self._starter = starter
        self._continuing = continuing
        self._quota = quota
        self._closing = closing

    async def retry(self, handler_id: str, request: RetryRequest, *, run_id: str | None = None) -> HandlerData:
        """Retry the handler's run; the new one is durable when this returns, with the answer to the request's key.

        ``run_id``: the run that is meant, None for whichever is the handler's.

        Raises:
            WorkflowServerError: why nothing was started; see ``RuntimeManager.retry``.
        """
        if request.handler_id is not None and not request.fork:
            raise HandlerIdBesideNoFork
        new_id = handler_id
        if request.fork:
            new_id = request.handler_id or new_handler_id()
        async with AsyncExitStack() as locks:
            # In one order, so that two callers do not wait for each other.
            for name in sorted({handler_id, new_id}):
                await locks.enter_async_context(self._table.lock(name))
            if self._closing.is_set():
                raise ShuttingDown
            if request.handler_id is not None:
                await self._check_new(request.handler_id)
            run = self._table.get(handler_id)
            if run is not None and run.state is RunState.SUSPENDED and not request.fork and request.from_step is None:
                return await self._resume(run, request)
            return await self._retry(handler_id, new_id, request, run_id)

    async def _resume(self, run: Run, request: RetryRequest) -> HandlerData:
        """Try again to load a run that does not fit the code; it is the same run, and its tags stay."""
        await resume_suspended(self._activation, run, by=request.by)
        answer = shown(self._table, await find_handler(self._store, run.handler_id))
        if request.key is not None:
            scope, key, response = f"retry:{run.handler_id}", request.key, answer.model_dump_json()
            await self._store.commit(
                KeyAnswered(scope, key.key, run.handler_id, run.run_id, key.body_hash, response, time.time())
            )
        return answer

    async def _check_new(self, handler_id: str) -> None:
        if not self._continuing.accepts_ids:
            raise HandlerIdRefused
        if not await self._continuing.is_new(handler_id):
            raise HandlerExists(handler_id)

    async def _retry(self, handler_id: str, new_id: str, request: RetryRequest, run_id: str | None) -> HandlerData:
        handler, stored = await self._over(handler_id)
        if run_id is not None and stored.run_id != run_id:
            raise RunSuperseded(handler_id)
        served = self._activation.workflow(stored.workflow_name)
        if served is None:
            raise RunSuspended(handler_id, UNREGISTERED)
        new_run = new_run_id()
        first = await self._first_records(served, handler, stored, request, new_run)
        is_fork = new_id != handler_id
        log = self._logs.new(new_id) if is_fork else await self._logs.get(handler_id)
        context = None if self._tracing is None else self._tracing.context()
        started = RunStarted(
            new_id,
            served.name,
            new_run,
            time.time(),
            log.next_sequence,
            stored.start_event,
            self._clock.now(),
            request.by,
            served.code_version,
            context,
        )
        tags = handler.tags if request.tags is None else request.tags
        if tags != handler.tags or is_fork:
            first.append(HandlerTagged(new_id, text_of(list(tags))))
        answer = from_start(started, tags)
        note = Note("retried", step=request.from_step, reason=f"a fork of {handler_id}" if is_fork else None)
        first.append(log.note(new_run, note, by=request.by))
        if request.key is not None:
            # It lasts as long as the handler that is retried: the id may be another's when that is gone.
            of = started._replace(handler_id=handler_id)
            first.append(answered(f"retry:{handler_id}", request.key, of, answer.model_dump_json()))
        with self._quota.place(new_run):
            try:
                await self._store.commit(started, *first)
            except BaseException:
                if is_fork:
                    self._logs.forget(new_id)
                raise
            trace = RunTrace.of(context, started.started_at)
            self._starter.launch(Run(self._activation, new_id, new_run, served, trace=trace), log, None)
        return answer

    async def _over(self, handler_id: str) -> tuple[PersistentHandler, StoredRun]:
        """Return the handler, and what is stored of its run, which is over. The caller holds the handler's lock.

        Raises:
            HandlerNotFound, RunNotOver, RunSucceeded: there is nothing to retry.
        """
        run = await self._activation.settled(handler_id)
        stored = await self._store.load_run(handler_id)
        if stored is None:
            raise HandlerNotFound(handler_id)
        if run is not None or stored.status == "running":
            raise RunNotOver(handler_id)
        if stored.status == "completed":
            raise RunSucceeded(handler_id)
        return await find_handler(self._store, handler_id), stored

    async def _first_records(
        self,
        served: ServedWorkflow,
        handler: PersistentHandler,
        stored: StoredRun,
        request: RetryRequest,
        run_id: str,
    ) -> list[Record]:
        """Return the records with which the new run begins.

        Raises:
            UnknownStep: the workflow has no such step.
            Conflict: it cannot begin with what is kept of the old one.
        """
        if request.from_step is not None and request.from_step not in served.step_names:
            raise UnknownStep(served.name, request.from_step, ", ".join(sorted(served.step_names)))
        if not stored.ticks and stored.snapshot is None:
            await self._check_never_began(stored)
            if request.from_step is None:
                state = first_state(served, stored)
                return [] if state is None else [StateReplaced(run_id, -1, state)]
        over_for = 0.0 if handler.completed_at is None else time.time() - handler.completed_at.timestamp()
        at = RetryTime(self._clock.now(), max(0.0, over_for))
        point = await retry_point(served, stored, request.from_step, at, keeps_keys=not request.fork)
        first: list[Record] = [SnapshotTaken(run_id, point.seq, point.snapshot)]
        if point.state is not None:
            first.append(StateReplaced(run_id, -1, point.state))
        return first

    async def _check_never_began(self, stored: StoredRun) -> None:
        """Check that no step of a run without a journal has ever begun: then it is started anew.

        Raises:
            JournalNotKept: one has begun.
            JournalUnreadable: there is no start event either.
        """
        events = await self._store.read_events(stored.handler_id, stored.first_sequence - 1, FIRST_EVENTS)
        if any(event.internal for event in events):
            raise JournalNotKept(stored.handler_id)
        if stored.start_event is None:
            raise JournalUnreadable("nothing is kept of it")
