"""Waits and look-ups that tests of runs share."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from workflow_server.protocol.handlers import HandlerData
from workflow_server.runs.manager import RuntimeManager
from workflow_server.runs.states import RunState


async def until(condition: Callable[[], bool]) -> None:
    """Return when the condition holds."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 runs have no event for a test
            await asyncio.sleep(0.005)


def in_memory(manager: RuntimeManager, handler_id: str) -> bool:
    """Return whether the handler's run is in memory."""
    run = manager.runs.get(handler_id)
    return run is not None and run.session is not None


async def released(manager: RuntimeManager, handler_id: str) -> None:
    """Return when the run is not in memory."""
    await until(lambda: not in_memory(manager, handler_id))


async def cancel(manager: RuntimeManager, handler_id: str) -> None:
    """Cancel a run that is in memory, and return when its task has ended."""
    run = manager.runs.get(handler_id)
    assert run is not None
    task = run.task
    assert task is not None
    await manager.cancel(handler_id)
    await task


async def asked(manager: RuntimeManager, handler_id: str) -> None:
    """Return when the run has published its question."""
    reader = await manager.open_cursor(handler_id, -1)
    assert reader is not None
    while page := await reader.next_page(20):
        if any("InputRequiredEvent" in event.data for event in page):
            return
    raise AssertionError("the run did not ask")


async def ended(manager: RuntimeManager, handler_id: str) -> tuple[HandlerData, str]:
    """The handler when its run has ended, and its last event."""
    reader = await manager.open_cursor(handler_id, -1)
    assert reader is not None
    last = ""
    while page := await reader.next_page(20):
        last = page[-1].data
    return await manager.get_handler(handler_id), last


async def suspended(manager: RuntimeManager, handler_id: str) -> str:
    """Return why the run is suspended, when it is."""
    run = manager.runs.get(handler_id)
    assert run is not None
    await until(lambda: run.state is RunState.SUSPENDED)
    shown = await manager.get_handler(handler_id)
    assert (shown.status, shown.error) == ("running", None)
    assert shown.suspended is not None
    return shown.suspended


def damage(database: Path, statement: str, *parameters: object) -> None:
    """Change what a server that has stopped left behind."""
    with closing(sqlite3.connect(database)) as connection, connection:
        assert connection.execute(statement, parameters).rowcount > 0
