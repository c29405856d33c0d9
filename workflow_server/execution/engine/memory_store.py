"""The engine's store of a run's state in memory, without its constructor and its lock's generator."""

from __future__ import annotations

import asyncio
from typing import Any

from pydantic import BaseModel
from workflows.context.state_store import DictState, InMemoryStateStore, StateRecord, _InMemoryStateStorage

from workflow_server.execution.engine.made import model

VALUES = "_data"
"""The private attribute of ``DictState`` that holds its values."""


def fill_memory_store(store: InMemoryStateStore[Any], state: BaseModel) -> None:
    """Make a new store hold this state, as its constructor does.

    That also looks whether its storage is durable, by the methods of a protocol, which takes 20 microseconds for each
    run. The storage in memory never is.
    """
    storage = _InMemoryStateStorage(_record(state))
    vars(store).update(_FRESH, _memory_storage=storage, _storage=storage, state_type=type(state))


_FRESH = vars(InMemoryStateStore(DictState()))
"""The attributes of a new store; those that are not replaced are the same for all."""


def put_state(store: InMemoryStateStore[Any], state: BaseModel) -> None:
    """Make the store hold another state, as its ``_write_state`` does. The caller has its lock."""
    storage = store._memory_storage
    held = storage._record
    if held is None or type(held.data) is not type(state):
        storage._record = _record(state)
    else:
        # It is the storage's own: whoever asks for it gets a copy.
        vars(held)["data"] = state


def _record(state: BaseModel) -> StateRecord:
    kind = type(state)
    return model(StateRecord, {"data": state, "state_type": kind.__name__, "state_module": kind.__module__})


def dict_state(values: dict[str, Any]) -> DictState:
    """Return a dictionary state that holds these values, and takes over the dictionary."""
    return model(DictState, {}, {VALUES: values})


def values_of(state: DictState) -> dict[str, Any]:
    """Return the values of a dictionary state, which its own methods look up by way of pydantic's attributes."""
    values: dict[str, Any] = (state.__pydantic_private__ or {})[VALUES]
    return values


def free_lock(store: InMemoryStateStore[Any]) -> asyncio.Lock | None:
    """Return the lock for which the store's writers wait in line; None while one of them has it."""
    lock = store._lock
    return lock._lock if lock._holder is None else None
