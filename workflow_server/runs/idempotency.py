"""Idempotency keys: what was answered once is answered again."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from workflow_server.concurrency import KeyedLock
from workflow_server.errors import KeyReused
from workflow_server.protocol.handlers import IdempotencyKey
from workflow_server.records import InboxPosted, KeyAnswered, RunStarted, StoredAnswer
from workflow_server.store.base import AbstractWorkflowStore


class IdempotencyKeys:
    """The keys that requests came with, each locked while one of its requests is answered."""

    def __init__(self, store: AbstractWorkflowStore) -> None:
        self._store = store
        self._lock = KeyedLock()
        """Apart from the handlers' locks, since clients name both."""

    def locked(self) -> int:
        """Return for how many keys a request is being answered."""
        return self._lock.locked()

    @asynccontextmanager
    async def earlier_answer(self, scope: str, key: IdempotencyKey) -> AsyncIterator[StoredAnswer | None]:
        """Yield what the key was answered with before; nobody else answers it meanwhile.

        Raises:
            KeyReused: it came with another body.
        """
        async with self._lock(f"{scope}:{key.key}"):
            answer = await self._store.find_answer(scope, key.key)
            if answer is not None and answer.body_hash != key.body_hash:
                raise KeyReused
            yield answer


def answered(scope: str, key: IdempotencyKey, done: RunStarted | InboxPosted, response: str) -> KeyAnswered:
    """Return the record of the first answer to a request with this key."""
    return KeyAnswered(scope, key.key, done.handler_id, done.run_id, key.body_hash, response, time.time())
