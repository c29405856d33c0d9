"""Connections and their threads."""

# Nothing else runs on the loop of these tests.
from __future__ import annotations

import asyncio
import sys
import threading
from pathlib import Path

import aiosqlite
import pytest

from tests.harness.runs import until
from workflow_server.store.sqlite.connection import connect, run_on

from .files import made


async def test_a_cancelled_connection_ends_its_thread(path: Path) -> None:
    await made(path)
    threads = threading.active_count()
    for turns in range(4):
        connecting = asyncio.create_task(connect(path), name="connect")
        for _ in range(turns):
            await asyncio.sleep(0)
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
    await until(lambda: threading.active_count() <= threads)


async def test_a_store_left_open_does_not_keep_its_process_alive(path: Path) -> None:
    script = (
        "import asyncio, sys\nfrom workflow_server.store import SqliteWorkflowStore\n"
        "async def main():\n    store = SqliteWorkflowStore(sys.argv[1])\n    await store.open()\n    print('open')\n"
        "    return store\nstore = asyncio.run(main())\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "ignore", "-c", script, str(path), stdout=asyncio.subprocess.PIPE
    )
    assert (await process.communicate())[0] == b"open\n"


async def test_aiosqlite_runs_a_function_on_its_connections_thread() -> None:
    connection = await aiosqlite.connect(":memory:")
    try:
        threads = {await run_on(connection, lambda _: threading.get_ident()) for _ in range(3)}
        assert len(threads) == 1
        assert threading.get_ident() not in threads
        assert await run_on(connection, lambda sqlite: sqlite.execute("SELECT 7").fetchone()) == (7,)
        with pytest.raises(ZeroDivisionError):
            await run_on(connection, lambda _: 1 // 0)
    finally:
        await connection.close()
