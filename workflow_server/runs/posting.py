"""Posting events to runs, whether they are in memory or not."""

from __future__ import annotations

from typing import NamedTuple

from workflow_server.errors import TooManyEvents, UnitRefused
from workflow_server.execution.engine import Event
from workflow_server.execution.interface import Surroundings
from workflow_server.history import Note, noted
from workflow_server.protocol.handlers import IdempotencyKey
from workflow_server.records import HistoryNoted, InboxPosted
from workflow_server.runs.activation import Activation
from workflow_server.runs.events import EventLogs
from workflow_server.runs.exceptions import RunAlreadyEnded, RunSuspended
from workflow_server.runs.idempotency import answered
from workflow_server.runs.run import Run
from workflow_server.runs.states import UNREGISTERED
from workflow_server.runs.table import RunTable
from workflow_server.runs.views import find_handler


class Message(NamedTuple):
    """An event that a client asks to be given to a run."""

    event: object
    step: str | None
    hold: bool
    key: IdempotencyKey | None
    by: str | None = None
    """The name of the client's token, where it has one."""


class Postbox:
    """Puts what clients post into the inboxes of runs, as far as there is room."""

    def __init__(self, surroundings: Surroundings, table: RunTable, logs: EventLogs, activation: Activation) -> None:
        self._store = surroundings.store
        self._limits = surroundings.limits
        self._tracing = surroundings.tracing
        self._table = table
        self._logs = logs
        self._activation = activation

    async def post(self, handler_id: str, message: Message) -> None:
        """Post it; it is durable when this returns, and reaches the run exactly once."""
        run = self._table.get(handler_id)
        if run is not None and run.is_active:
            await self._post_to(run, message)
            return
        async with self._table.lock(handler_id):
            run = await self._running(handler_id)
            if run.is_active:
                await self._post_to(run, message)
            else:
                await self._post_outside(run, message)

    async def _post_to(self, run: Run, message: Message) -> None:
        posted, event = self._parse(run, message)
        try:
            self._limits.check(run.inbox_load, posted)
        except TooManyEvents:
            if not run.waits_for(event):
                raise
            self._limits.for_answers().check(run.inbox_load, posted)
        await self._commit(run, posted, event, message)

    async def _post_outside(self, run: Run, message: Message) -> None:
        """Post to a run that is not in memory. The caller holds its lock."""
        if not run.workflow.knows(message.event):
            await self._activation.peek(run)
        posted, event = self._parse(run, message)
        load = await self._store.inbox_load(run.run_id)
        try:
            self._limits.check(load, posted)
        except TooManyEvents:
            # Only asked where it matters: it takes a replay.
            session = await self._activation.peek(run)
            if session is None or not session.is_answer(event):
                raise
            self._limits.for_answers().check(load, posted)
        await self._commit(run, posted, event, message)

    async def _running(self, handler_id: str) -> Run:
        """Return the handler's run, which is active or not in memory. The caller holds its lock."""
        run = await self._activation.settled(handler_id)
        if run is None:
            handler = await find_handler(self._store, handler_id)
            if handler.status != "running" or handler.run_id is None:
                raise RunAlreadyEnded(handler_id, handler.status)
            run = self._activation.adopt(handler_id, handler.run_id, handler.workflow_name)
        if run.served is None:
            raise RunSuspended(handler_id, UNREGISTERED)
        return run

    def _parse(self, run: Run, message: Message) -> tuple[InboxPosted, Event]:
        event = run.workflow.posted_event(message.event, message.step)
        posted = self._activation.inbox_records.of(run, event, message.step)
        return posted._replace(early=not run.workflow.accepts(event), hold=message.hold), event

    async def _commit(self, run: Run, posted: InboxPosted, event: Event, message: Message) -> None:
        key = message.key
        answer = [] if key is None else [answered(f"event:{run.handler_id}", key, posted, "{}")]
        sent = self._sent(run, posted, message.by)
        if self._tracing is not None and run.traced is not None:
            self._tracing.link(run.traced)
        try:
            with run.posting(posted, event):
                await self._store.commit(posted, sent, *answer)
        except UnitRefused:
            # The run has ended before this, or the handler is gone: that is told instead.
            handler = await find_handler(self._store, run.handler_id)
            if handler.status != "running":
                raise RunAlreadyEnded(run.handler_id, handler.status) from None
            raise

    def _sent(self, run: Run, posted: InboxPosted, by: str | None) -> HistoryNoted:
        note = Note("event_sent", posted.step, posted.event_type.rpartition(".")[2] or None)
        log = self._logs.in_use(run.handler_id)
        return noted(run.handler_id, run.run_id, note, by=by) if log is None else log.note(run.run_id, note, by=by)
