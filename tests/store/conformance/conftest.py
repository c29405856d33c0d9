from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from workflow_server.store import AbstractWorkflowStore

from .stores import STORES


@pytest.fixture(params=list(STORES))
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[AbstractWorkflowStore]:
    """An open, empty store of each kind."""
    store = STORES[request.param].make(tmp_path)
    await store.open()
    yield store
    await store.close()


@pytest.fixture(params=[name for name, kind in STORES.items() if kind.durable])
def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], AbstractWorkflowStore]:
    """Make stores, not open, that share their data."""
    kind = STORES[request.param]
    return lambda: kind.make(tmp_path)
