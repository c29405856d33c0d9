"""Idempotency keys and the answers that they repeat."""

from __future__ import annotations

import pytest

from tests.store.making import run_ended, run_started
from workflow_server.errors import UnitRefused
from workflow_server.records import (
    KeyAnswered,
    StoredAnswer,
)
from workflow_server.store import AbstractWorkflowStore, HandlerQuery


async def test_an_idempotency_key_keeps_its_first_answer(store: AbstractWorkflowStore) -> None:
    await store.append(run_started("a"), KeyAnswered("run", "k", "a", "a-1", "hash", "{}", 1.0))
    assert await store.find_answer("run", "k") == StoredAnswer("a", "a-1", "hash", "{}")
    assert await store.find_answer("event", "k") is None


async def test_a_second_answer_to_a_key_is_refused_with_its_unit(store: AbstractWorkflowStore) -> None:
    await store.append(run_started("a"), KeyAnswered("run", "k", "a", "a-1", "hash", "{}", 1.0))
    with pytest.raises(UnitRefused):
        await store.append(run_started("b"), KeyAnswered("run", "k", "b", "b-1", "other", "{}", 2.0))
    assert await store.load_run("b") is None
    assert await store.find_answer("run", "k") == StoredAnswer("a", "a-1", "hash", "{}")


async def test_a_key_is_forgotten_with_its_handler(store: AbstractWorkflowStore) -> None:
    await store.append(run_started("a"), KeyAnswered("run", "k", "a", "a-1", "hash", "{}", 1.0), run_ended("a"))
    assert await store.find_answer("run", "k") is not None
    await store.append(run_started("a", run="2"))
    assert await store.find_answer("run", "k") is not None, "it lasts as long as its handler"
    assert await store.delete(HandlerQuery(handler_id_in=["a"])) == 1
    assert await store.find_answer("run", "k") is None
