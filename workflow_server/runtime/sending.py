"""Sending events to runs, whether they are in memory or not."""

from __future__ import annotations

from workflow_server.errors import RunAlreadyEnded, RunSuspended, UnitRefused
from workflow_server.protocol.handlers import IdempotencyKey
from workflow_server.records import Record
from workflow_server.runtime.handlers import find_handler
from workflow_server.runtime.idempotency import answered, earlier_answer
from workflow_server.runtime.roster import UNREGISTERED, Roster
from workflow_server.runtime.served import ServedWorkflow


class Sending:
    """What clients send."""

    def __init__(self, roster: Roster) -> None:
        self._roster = roster
        self._store = roster.store

    async def send(self, handler_id: str, event: object, step: str | None, key: IdempotencyKey | None) -> None:
        """Send an event to a running run; it is durable when this returns, and reaches the run exactly once.

        Raises:
            HandlerNotFound, RunAlreadyEnded, RunSuspended, InvalidEvent, UnknownStep, StepRefusesEvent, KeyReused,
            ShuttingDown, StorageFull, StoreUnavailable: why nothing was sent.
        """
        self._roster.check_open()
        await self._roster.tasks.run(self._send(handler_id, event, step, key), f"send to {handler_id}")

    async def _send(self, handler_id: str, event: object, step: str | None, key: IdempotencyKey | None) -> None:
        if key is None:
            await self._post(handler_id, event, step, None)
            return
        scope = f"event:{handler_id}"
        async with self._roster.key_lock(f"{scope}:{key.key}"):
            if await earlier_answer(self._store, scope, key) is None:
                await self._post(handler_id, event, step, key)

    async def _post(self, handler_id: str, event: object, step: str | None, key: IdempotencyKey | None) -> None:
        posting = (event, step, key)
        session = self._roster.sessions.get(handler_id)
        if session is not None and session.task is not None and session.status is None:
            await self._post_to(session.served, handler_id, session.run_id, posting)
            return
        async with self._roster.lock(handler_id):
            session = await self._roster.running_session(handler_id)
            served, run_id = await self._running(handler_id)
            if session is None and not served.knows(event):
                await self._roster.learn(handler_id, served)
            await self._post_to(served, handler_id, run_id, posting)

    async def _running(self, handler_id: str) -> tuple[ServedWorkflow, str]:
        handler = await find_handler(self._roster, handler_id)
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
        posting: tuple[object, str | None, IdempotencyKey | None],
    ) -> None:
        event, step, key = posting
        parsed = served.posted_event(event, step)
        posted = self._roster.posting(served, handler_id, run_id, parsed, step)
        records: list[Record] = [posted, *answered(f"event:{handler_id}", key, handler_id, run_id, "{}")]
        self._roster.posted[posted.inbox_id] = parsed
        try:
            await self._store.commit(*records)
        except UnitRefused:
            # The run has ended before this, or the handler is gone: that says so.
            await self._running(handler_id)
            raise
        finally:
            del self._roster.posted[posted.inbox_id]
