from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from workflow_server.store import MemoryWorkflowStore, SqliteWorkflowStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "server.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteWorkflowStore]:
    store = SqliteWorkflowStore(path, persistence_backoff=(0.01, 0.02))
    await store.open()
    yield store
    await store.close()


@pytest.fixture(params=["file", "memory"])
async def any_store(request: pytest.FixtureRequest, path: Path) -> AsyncIterator[SqliteWorkflowStore]:
    store = SqliteWorkflowStore(path) if request.param == "file" else MemoryWorkflowStore()
    await store.open()
    yield store
    await store.close()
