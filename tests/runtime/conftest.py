"""Managers on real stores, for the tests of the runtime."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from workflows import Workflow

from workflow_server.runtime.manager import RuntimeManager
from workflow_server.store.sqlite import SqliteWorkflowStore

Managing = Callable[..., AbstractAsyncContextManager[RuntimeManager]]


@pytest.fixture
def managing(tmp_path: Path) -> Managing:
    """Runs a manager of the given workflows over one database file; a second one takes up what the first one left."""

    @asynccontextmanager
    async def manage(
        *, idle_timeout: float | None = None, accept_context: bool = False, grace: float = 5.0, **workflows: Workflow
    ) -> AsyncIterator[RuntimeManager]:
        store = SqliteWorkflowStore(tmp_path / "runs.sqlite3")
        manager = RuntimeManager(store, idle_timeout=idle_timeout, accept_context=accept_context)
        for name, workflow in workflows.items():
            manager.add_workflow(name, workflow)
        manager.listen()
        await store.open()
        await manager.resume()
        try:
            yield manager
        finally:
            await manager.stop(grace)
            await store.close()

    return manage
