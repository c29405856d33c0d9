"""Group commit: order, sharing, and who waits for what."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import aiosqlite
import pytest

from workflow_server.errors import StoreClosed
from workflow_server.records import Record
from workflow_server.store import SqliteWorkflowStore
from workflow_server.store.sqlite.connection import run_on
from workflow_server.store.sqlite.transaction import Entries

from .making import event, run_started, tick


class Gate:
    """A fault that holds the writer's thread at ``point`` until it is opened."""

    def __init__(self, point: str) -> None:
        self.reached = asyncio.Event()
        self._point = point
        self._opened = threading.Event()
        self._loop = asyncio.get_running_loop()

    def __call__(self, point: str, units: Sequence[Entries]) -> None:
        if point == self._point:
            self._loop.call_soon_threadsafe(self.reached.set)
            self._opened.wait(30)

    def open(self) -> None:
        self._opened.set()


async def test_fifty_concurrent_committers_share_a_few_transactions(store: SqliteWorkflowStore) -> None:
    before = store.transactions
    await asyncio.gather(*(store.commit(run_started(f"h{n}")) for n in range(50)))
    assert store.transactions - before <= 3
    assert len(await store.running_runs()) == 50


async def test_what_is_appended_without_a_pause_is_one_transaction_in_order(store: SqliteWorkflowStore) -> None:
    seen: list[list[Record]] = []
    store.on_commit = lambda records: seen.append(list(records))
    records: list[Record] = [run_started("a"), *(event("a", n) for n in range(3000))]
    for record in records:
        handle = store.append(record)
    await handle
    assert seen == [records]


async def test_appends_become_durable_with_nobody_waiting(store: SqliteWorkflowStore) -> None:
    committed = asyncio.Event()
    store.on_commit = lambda _: committed.set()
    store.append(run_started("a"))
    assert store.backlog == 1
    await committed.wait()
    assert store.backlog == 0
    assert await store.load_run("a") is not None


async def test_a_waiter_goes_on_only_after_its_commit_and_after_the_listener(store: SqliteWorkflowStore) -> None:
    order: list[str] = []
    store.on_commit = lambda _: order.append("listener")
    gate = Gate("inside commit")
    store.fault = gate
    waiting = asyncio.ensure_future(store.append(run_started("a")))
    await gate.reached.wait()
    assert await store.load_run("a") is None, "readers see only what is committed"
    assert not waiting.done()
    gate.open()
    await waiting
    order.append("waiter")
    assert order == ["listener", "waiter"]
    assert await store.load_run("a") is not None


async def test_the_next_batch_gathers_while_a_commit_runs(store: SqliteWorkflowStore) -> None:
    gate = Gate("before commit")
    store.fault = gate
    before = store.transactions
    first = asyncio.ensure_future(store.append(run_started("a")))
    await gate.reached.wait()
    store.fault = None
    others = [asyncio.ensure_future(store.append(tick("a", n))) for n in range(20)]
    await asyncio.sleep(0)
    gate.open()
    await asyncio.gather(first, *others)
    assert store.transactions - before == 2


async def test_a_cancelled_waiter_takes_nothing_back_and_harms_nobody(store: SqliteWorkflowStore) -> None:
    gate = Gate("inside commit")
    store.fault = gate
    cancelled = asyncio.ensure_future(store.commit(run_started("a")))
    await gate.reached.wait()
    beside = asyncio.ensure_future(store.append(tick("a", 0)))
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    gate.open()
    await beside
    run = await store.load_run("a")
    assert run is not None
    assert len(run.ticks) == 1


async def test_a_cancelled_waiter_leaves_those_who_wait_for_the_same_commit(store: SqliteWorkflowStore) -> None:
    gate = Gate("inside commit")
    store.fault = gate
    handles = [store.append(run_started(name)) for name in ("a", "b")]
    cancelled, beside = (asyncio.ensure_future(handle) for handle in handles)
    await gate.reached.wait()
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    gate.open()
    await beside
    await handles[0]


async def test_a_cancelled_read_leaves_its_connection_usable(store: SqliteWorkflowStore) -> None:
    await store.append(run_started("a"))
    for _ in range(20):
        reading = asyncio.ensure_future(store.load_run("a"))
        await asyncio.sleep(0)
        reading.cancel()
    runs = await asyncio.gather(*(store.load_run("a") for _ in range(20)))
    assert all(run is not None for run in runs)


async def test_flush_waits_for_all_that_was_handed_over(store: SqliteWorkflowStore) -> None:
    store.append(run_started("a"))
    await store.flush()
    assert await store.load_run("a") is not None
    before = store.transactions
    await store.flush()
    assert store.transactions == before, "with nothing to store there is nothing to commit"


async def test_close_commits_what_was_handed_over_and_refuses_what_comes_later(store: SqliteWorkflowStore) -> None:
    store.append(run_started("a"))
    await store.close()
    with pytest.raises(StoreClosed):
        await store.append(run_started("b"))
    with pytest.raises(StoreClosed):
        await store.commit(run_started("b"))
    with pytest.raises(StoreClosed):
        await store.load_run("a")
    await store.open()
    assert [run.handler_id for run in await store.running_runs()] == ["a"]


async def test_a_store_that_was_never_closed_does_not_keep_its_process_alive(path: Path) -> None:
    script = (
        "import asyncio, sys\nfrom workflow_server.store import SqliteWorkflowStore\n"
        "async def main():\n    store = SqliteWorkflowStore(sys.argv[1])\n    await store.open()\n    print('open')\n"
        "    return store\nstore = asyncio.run(main())\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "ignore", "-c", script, str(path), stdout=asyncio.subprocess.PIPE
    )
    assert (await process.communicate())[0] == b"open\n"


async def test_aiosqlite_still_runs_a_function_on_the_thread_of_its_connection() -> None:
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
