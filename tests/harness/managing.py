"""Managers on real stores, for the tests of runs and their execution."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from workflows import Workflow
from workflows.events import Event

from workflow_server.execution.inbox_limits import InboxLimits
from workflow_server.execution.renaming import Renamed
from workflow_server.runs.manager import RuntimeManager
from workflow_server.runs.retention import RetentionRules
from workflow_server.store.sqlite.store import SqliteWorkflowStore

CONTROL_LOOP = "WORKFLOW_SERVER_CONTROL_LOOP"


def uses_engine_loop() -> bool:
    """Return whether the tests run workflows in the engine's own control loop."""
    return os.environ.get(CONTROL_LOOP) == "engine"


Managing = Callable[..., AbstractAsyncContextManager[RuntimeManager]]


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """The file that ``managing`` serves."""
    return tmp_path / "runs.sqlite3"


@pytest.fixture
def managing(database: Path) -> Managing:
    """Runs a manager of the given workflows over one database file; a second one takes up what the first one left."""

    @asynccontextmanager
    async def manage(
        *,
        idle_timeout: float | None = None,
        accept_context: bool = False,
        accept_handler_ids: bool = False,
        grace: float = 5.0,
        store: SqliteWorkflowStore | None = None,
        additional: Sequence[type[Event]] = (),
        limits: InboxLimits | None = None,
        renamed: Renamed | None = None,
        retention: RetentionRules | None = None,
        **workflows: Workflow,
    ) -> AsyncIterator[RuntimeManager]:
        store = store or SqliteWorkflowStore(database)
        manager = RuntimeManager(
            store,
            idle_timeout=idle_timeout,
            accept_context=accept_context,
            accept_handler_ids=accept_handler_ids,
            engine_loop=uses_engine_loop(),
            limits=limits,
            retention=retention,
        )
        for name, workflow in workflows.items():
            manager.add_workflow(name, workflow, additional, renamed=renamed)
        manager.listen()
        await store.open()
        await manager.resume()
        try:
            yield manager
        finally:
            await manager.stop(grace)
            await store.close()

    return manage
