"""The connections that only read."""

from __future__ import annotations

import asyncio

import pytest

from tests.store.fault_injection import HookedStore
from tests.store.making import run_started
from workflow_server.store import SqliteWorkflowStore


async def test_readers_cannot_write(store: SqliteWorkflowStore) -> None:
    assert store._database.readers is not None
    with pytest.raises(Exception, match="readonly"):
        await store._database.readers.read(lambda sqlite: sqlite.execute("DELETE FROM handlers"))


async def test_a_cancelled_read_leaves_its_connection_usable(store: HookedStore) -> None:
    await store.append(run_started("a"))
    for _ in range(20):
        reading = asyncio.ensure_future(store.load_run("a"))
        await asyncio.sleep(0)
        reading.cancel()
    runs = await asyncio.gather(*(store.load_run("a") for _ in range(20)))
    assert all(run is not None for run in runs)
