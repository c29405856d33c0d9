"""Sending events to runs, whether they are in memory or not."""

from __future__ import annotations

from typing import NamedTuple

from workflow_server.errors import TooManyEvents, UnitRefused
from workflow_server.execution.engine import Event
from workflow_server.execution.routing import answers
from workflow_server.execution.session import RunSession
from workflow_server.execution.workflow import ServedWorkflow
from workflow_server.protocol.handlers import IdempotencyKey
from workflow_server.records import InboxPosted, Record
from workflow_server.runs.exceptions import RunAlreadyEnded, RunSuspended
from workflow_server.runs.idempotency import answered, earlier_answer
from workflow_server.runs.roster import UNREGISTERED, Roster
from workflow_server.runs.views import find_handler


class _Posting(NamedTuple):
    """An event that a client asks to be given to a run."""

    event: object
    step: str | None
    hold: bool
    key: IdempotencyKey | None


class Sending:
    """The posting of events by clients."""

    def __init__(self, roster: Roster) -> None:
        self._roster = roster
        self._store = roster.store

    async def send(
        self, handler_id: str, event: object, step: str | None, key: IdempotencyKey | None, *, hold: bool
    ) -> None:
        """Send an event to a running run; it is durable when this returns, and reaches the run exactly once. With
        ``hold``, what nobody takes now is kept until the next wait for its type begins.

        Raises:
            HandlerNotFound, RunAlreadyEnded, RunSuspended, InvalidEvent, UnknownStep, StepRefusesEvent, TooManyWaiting,
            TooManyHeld, KeyReused, ShuttingDown, StorageFull, StoreUnavailable: why nothing was sent.
        """
        self._roster.check_open()
        posting = _Posting(event, step, hold, key)
        await self._roster.tasks.run(self._send(handler_id, posting), f"send to {handler_id}")

    async def _send(self, handler_id: str, posting: _Posting) -> None:
        key = posting.key
        if key is None:
            await self._post(handler_id, posting)
            return
        scope = f"event:{handler_id}"
        async with self._roster.key_lock(f"{scope}:{key.key}"):
            if await earlier_answer(self._store, scope, key) is None:
                await self._post(handler_id, posting)

    async def _post(self, handler_id: str, posting: _Posting) -> None:
        session = self._roster.sessions.get(handler_id)
        if session is not None and session.task is not None and session.status is None:
            posted, event = self._parse(session.served, handler_id, session.run_id, posting)
            self._check_room_of(session, posted, event)
            await self._store_posted(posted, event, posting.key)
            return
        async with self._roster.lock(handler_id):
            await self._post_from_outside(handler_id, posting)

    async def _post_from_outside(self, handler_id: str, posting: _Posting) -> None:
        """Post to a run that is not in memory, or was not a moment ago. The caller holds its lock."""
        session = await self._roster.running_session(handler_id)
        served, run_id = await self._running(handler_id)
        if session is None and not served.knows(posting.event):
            await self._roster.peek(handler_id, served)
        posted, event = self._parse(served, handler_id, run_id, posting)
        if session is not None and not session.released:
            self._check_room_of(session, posted, event)
        else:
            await self._check_room_outside(served, posted, event)
        await self._store_posted(posted, event, posting.key)

    async def _running(self, handler_id: str) -> tuple[ServedWorkflow, str]:
        handler = await find_handler(self._roster, handler_id)
        if handler.status != "running" or handler.run_id is None:
            raise RunAlreadyEnded(handler_id, handler.status)
        served = self._roster.registry.find(handler.workflow_name)
        if served is None:
            raise RunSuspended(handler_id, UNREGISTERED)
        return served, handler.run_id

    def _parse(
        self, served: ServedWorkflow, handler_id: str, run_id: str, posting: _Posting
    ) -> tuple[InboxPosted, Event]:
        event = served.posted_event(posting.event, posting.step)
        posted = self._roster.posting(served, handler_id, run_id, event, posting.step)
        return posted._replace(early=not served.accepts(event), hold=posting.hold), event

    def _check_room_of(self, session: RunSession, posted: InboxPosted, event: Event) -> None:
        load = session.inbox.load.plus(self._roster.postings.load(posted.run_id))
        limits = self._roster.limits
        try:
            limits.check(load, posted)
        except TooManyEvents:
            if not answers(session.broker, event):
                raise
            limits.for_answers().check(load, posted)

    async def _check_room_outside(self, served: ServedWorkflow, posted: InboxPosted, event: Event) -> None:
        load = await self._store.inbox_load(posted.run_id)
        limits = self._roster.limits
        try:
            limits.check(load, posted)
        except TooManyEvents:
            # Only asked where it matters: it takes a replay.
            session = await self._roster.peek(posted.handler_id, served)
            if session is None or not answers(session.broker, event):
                raise
            limits.for_answers().check(load, posted)

    async def _store_posted(self, posted: InboxPosted, event: Event, key: IdempotencyKey | None) -> None:
        scope = f"event:{posted.handler_id}"
        records: list[Record] = [posted, *answered(scope, key, posted.handler_id, posted.run_id, "{}")]
        try:
            with self._roster.postings.posting(posted, event):
                await self._store.commit(*records)
        except UnitRefused:
            # The run has ended before this, or the handler is gone: that says so.
            await self._running(posted.handler_id)
            raise
