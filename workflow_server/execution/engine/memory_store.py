"""The engine's store of a run's state in memory, made without its constructor."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from workflows.context.state_store import DictState, InMemoryStateStore, _InMemoryStateStorage, _live_record


def fill_memory_store(store: InMemoryStateStore[Any], state: BaseModel) -> None:
    """Make a new store hold this state, as its constructor does.

    That also looks whether its storage is durable, by the methods of a protocol, which takes 20 microseconds for each
    run. The storage in memory never is.
    """
    storage = _InMemoryStateStorage(_live_record(state))
    vars(store).update(_FRESH, _memory_storage=storage, _storage=storage, state_type=type(state))


_FRESH = vars(InMemoryStateStore(DictState()))
"""The attributes of a new store; those that are not replaced are the same for all."""
