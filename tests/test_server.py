"""The life of a WorkflowServer as its users see it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.store.fault_injection import HookedStore, Written
from workflow_server.errors import ServerStopped, StorageFull
from workflow_server.server import WorkflowServer
from workflow_server.settings import Settings
from workflow_server.store.internal_records import ClocksShifted
from workflow_server.store.sqlite.store import SqliteWorkflowStore
from workflow_server.web.state import WebSettings


async def test_a_stopped_server_is_not_started_again_a_new_one_is(tmp_path: Path) -> None:
    path = tmp_path / "runs.sqlite3"
    server = WorkflowServer(workflow_store=SqliteWorkflowStore(path))
    await server.stop()
    await server.start()
    await server.start()
    await server.stop()
    await server.stop()
    with pytest.raises(ServerStopped, match="Create a new one"):
        await server.start()
    async with WorkflowServer(workflow_store=SqliteWorkflowStore(path)).contextmanager() as other:
        assert other.workflow_names == []


async def test_a_cancelled_start_leaves_the_database_to_the_next_server(tmp_path: Path) -> None:
    path = tmp_path / "runs.sqlite3"
    for turns in range(12):
        server = WorkflowServer(workflow_store=SqliteWorkflowStore(path))
        starting = asyncio.create_task(server.start(), name="start")
        for _ in range(turns):
            await asyncio.sleep(0.001)
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        if not starting.cancelled():
            await server.stop()
        async with WorkflowServer(workflow_store=SqliteWorkflowStore(path)).contextmanager():
            """It got in."""


async def test_a_cancelled_stop_goes_on_and_the_next_waits_for_it(tmp_path: Path) -> None:
    path = tmp_path / "runs.sqlite3"
    for turns in range(6):
        server = await WorkflowServer(workflow_store=SqliteWorkflowStore(path)).start()
        stopping = asyncio.create_task(server.stop(), name="stop")
        for _ in range(turns):
            await asyncio.sleep(0)
        stopping.cancel()
        await asyncio.gather(stopping, return_exceptions=True)
        await server.stop()
        async with WorkflowServer(workflow_store=SqliteWorkflowStore(path)).contextmanager():
            """It got in."""


async def test_a_start_without_room_says_so_and_gives_everything_back(tmp_path: Path) -> None:
    def full(moment: str, records: Sequence[Written]) -> None:
        if moment == "before commit" and any(type(record) is ClocksShifted for record in records):
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error

    store = HookedStore(tmp_path / "server.db")
    store.hook = full
    with pytest.raises(StorageFull):
        async with asyncio.timeout(20):
            await WorkflowServer(workflow_store=store).start()
    again = SqliteWorkflowStore(tmp_path / "server.db")
    await again.open()
    await again.close()


@pytest.mark.parametrize("name", WebSettings.model_fields)
def test_a_setting_of_the_web_layer_has_the_default_of_the_setting(name: str) -> None:
    assert WebSettings.model_fields[name].default == Settings.model_fields[name].default
