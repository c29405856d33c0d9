"""The life of a WorkflowServer as its users see it."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.harness.spawning import clean_environment
from workflow_server.errors import ServerStopped, StorageFull
from workflow_server.server import WorkflowServer
from workflow_server.store.sqlite.maintenance import ClocksShifted
from workflow_server.store.sqlite.store import SqliteWorkflowStore


async def test_a_server_that_was_stopped_is_not_started_again_and_a_new_one_is(tmp_path: Path) -> None:
    path = tmp_path / "runs.sqlite3"
    server = WorkflowServer(workflow_store=SqliteWorkflowStore(path))
    await server.stop()
    await server.start()
    await server.start()
    await server.stop()
    await server.stop()
    with pytest.raises(ServerStopped, match="Make a new one"):
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


async def test_a_stop_that_was_cancelled_goes_on_and_the_next_one_returns_when_it_is_done(tmp_path: Path) -> None:
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


def test_an_interpreter_without_docstrings_is_refused_in_words(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-OO", "-c", "from workflow_server.server import WorkflowServer; WorkflowServer()"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=clean_environment(),
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("workflow_server.errors.SettingsError: Python runs with -OO")


async def test_a_start_for_which_there_is_no_room_any_more_says_so_and_gives_everything_back(tmp_path: Path) -> None:
    def full(point: str, units: Sequence[Sequence[object]]) -> None:
        if point == "before commit" and any(type(entry) is ClocksShifted for unit in units for entry in unit):
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error

    store = SqliteWorkflowStore(tmp_path / "server.db")
    store.fault = full
    with pytest.raises(StorageFull):
        async with asyncio.timeout(20):
            await WorkflowServer(workflow_store=store).start()
    again = SqliteWorkflowStore(tmp_path / "server.db")
    await again.open()
    await again.close()
