"""Idempotency keys: what was answered once is answered again."""

from __future__ import annotations

import time

from workflow_server.errors import KeyReused
from workflow_server.protocol.handlers import IdempotencyKey
from workflow_server.records import KeyAnswered, StoredAnswer
from workflow_server.store.base import AbstractWorkflowStore


async def earlier_answer(store: AbstractWorkflowStore, scope: str, key: IdempotencyKey) -> StoredAnswer | None:
    """Return what the key was answered with before; the caller holds the key's lock.

    Raises:
        KeyReused: it came with another body.
    """
    answer = await store.find_answer(scope, key.key)
    if answer is not None and answer.body_hash != key.body_hash:
        raise KeyReused
    return answer


def answered(scope: str, key: IdempotencyKey | None, handler_id: str, run_id: str, response: str) -> list[KeyAnswered]:
    """The record of the first answer, where there is a key."""
    if key is None:
        return []
    return [KeyAnswered(scope, key.key, handler_id, run_id, key.body_hash, response, time.time())]
