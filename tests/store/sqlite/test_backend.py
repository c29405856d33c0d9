"""Group commit on SQLite: order, sharing, full disks, tries, and who waits for what."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Sequence

import pytest

from tests.store.failing import failing, fill_up, make_room
from tests.store.fault_injection import BEGIN, HookedStore, Written
from tests.store.making import event, run_started, tick
from workflow_server.errors import CommitUnknown, StorageFull, StoreUnavailable
from workflow_server.store import group_commit
from workflow_server.store.batch import Unit


class Gate:
    """A hook that holds the writer's thread at ``moment`` until it is opened."""

    def __init__(self, moment: str) -> None:
        self.reached = asyncio.Event()
        self._moment = moment
        self._opened = threading.Event()
        self._loop = asyncio.get_running_loop()

    def __call__(self, moment: str, records: Sequence[Written]) -> None:
        if moment == self._moment:
            self._loop.call_soon_threadsafe(self.reached.set)
            self._opened.wait(30)

    def open(self) -> None:
        self._opened.set()


async def test_fifty_concurrent_committers_share_a_few_transactions(store: HookedStore) -> None:
    before = store.committed.transactions
    await asyncio.gather(*(store.commit(run_started(f"h{n}")) for n in range(50)))
    assert store.committed.transactions - before <= 3
    assert len(await store.running_runs()) == 50


async def test_a_waiter_goes_on_after_its_commit_and_the_listener(store: HookedStore) -> None:
    order: list[str] = []
    store.subscribe(lambda _: order.append("listener"))
    gate = Gate("inside commit")
    store.hook = gate
    waiting = asyncio.ensure_future(store.append(run_started("a")))
    await gate.reached.wait()
    assert await store.load_run("a") is None, "readers see only what is committed"
    assert not waiting.done()
    gate.open()
    await waiting
    order.append("waiter")
    assert order == ["listener", "waiter"]
    assert await store.load_run("a") is not None


async def test_the_next_batch_gathers_while_a_commit_runs(store: HookedStore) -> None:
    gate = Gate("before commit")
    store.hook = gate
    before = store.committed.transactions
    first = asyncio.ensure_future(store.append(run_started("a")))
    await gate.reached.wait()
    store.hook = None
    others = [asyncio.ensure_future(store.append(tick("a", n))) for n in range(20)]
    await asyncio.sleep(0)
    gate.open()
    await asyncio.gather(first, *others)
    assert store.committed.transactions - before == 2


async def test_a_cancelled_waiter_takes_nothing_back_and_harms_nobody(store: HookedStore) -> None:
    gate = Gate("inside commit")
    store.hook = gate
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


async def test_a_cancelled_waiter_leaves_the_others_of_its_commit(store: HookedStore) -> None:
    gate = Gate("inside commit")
    store.hook = gate
    handles = [store.append(run_started(name)) for name in ("a", "b")]
    cancelled, beside = (asyncio.ensure_future(handle) for handle in handles)
    await gate.reached.wait()
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    gate.open()
    await beside
    await handles[0]


async def test_flush_waits_for_all_that_was_handed_over(store: HookedStore) -> None:
    store.append(run_started("a"))
    await store.flush()
    assert await store.load_run("a") is not None
    before = store.committed.transactions
    await store.flush()
    assert store.committed.transactions == before, "with nothing to store there is nothing to commit"


async def test_a_full_disk_refuses_new_work_and_keeps_the_rest(
    store: HookedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "FULL_RETRY", 0.05)
    await store.append(run_started("a"))
    await fill_up(store)
    kept = [asyncio.ensure_future(store.append(event("a", n, data="x" * 20_000))) for n in range(3)]
    with pytest.raises(StorageFull):
        await store.commit(run_started("b"))
    assert store.problem is not None
    assert "full" in store.problem
    with pytest.raises(StorageFull):
        await store.commit(run_started("c"))
    late = asyncio.ensure_future(store.append(event("a", 3)))
    assert await store.load_run("a") is not None, "reads go on"
    assert not any(waiting.done() for waiting in kept)
    await make_room(store)
    await asyncio.gather(*kept, late)
    assert store.problem is None
    assert [stored.sequence for stored in await store.read_events("a", -1, 10)] == [0, 1, 2, 3]
    assert await store.load_run("b") is None, "what was refused is never stored"
    await store.commit(run_started("d"))


async def test_new_work_that_gathered_meanwhile_is_refused_at_once(
    store: HookedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "FULL_RETRY", 3600.0)
    await store.append(run_started("a"))
    loop, reached, go = asyncio.get_running_loop(), asyncio.Event(), threading.Event()
    full = failing(sqlite3.SQLITE_FULL, times=1)

    def hook(moment: str, records: Sequence[Written]) -> None:
        loop.call_soon_threadsafe(reached.set)
        go.wait(30)
        full(moment, records)

    store.hook = hook
    kept = asyncio.ensure_future(store.append(event("a", 0)))
    await reached.wait()
    gathered = asyncio.ensure_future(store.commit(run_started("b")))
    await asyncio.sleep(0)
    go.set()
    with pytest.raises(StorageFull):
        await gathered
    assert not kept.done()
    await store.close()
    await kept


async def test_a_full_disk_recovers_with_the_next_work_that_fits(
    store: HookedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "FULL_RETRY", 0.0)
    await fill_up(store)
    with pytest.raises(StorageFull):
        await store.commit(run_started("a"), event("a", 0, data="x" * 20_000))
    assert store.problem is not None
    await make_room(store)
    await store.commit(run_started("a"))
    assert store.problem is None


async def test_closing_with_a_full_disk_says_what_was_not_stored(
    failing_store: tuple[HookedStore, list[BaseException]],
) -> None:
    store, failures = failing_store
    await store.append(run_started("a"))
    await fill_up(store)
    waiting = asyncio.ensure_future(store.append(event("a", 0, data="x" * 20_000)))
    with pytest.raises(StorageFull):
        await store.commit(run_started("b"))
    await store.close()
    with pytest.raises(StorageFull):
        await waiting
    assert len(failures) == 1


async def test_a_failed_commit_is_retried_and_the_problem_shown(store: HookedStore) -> None:
    problems: list[str | None] = []
    fails = failing(sqlite3.SQLITE_CANTOPEN, times=2)

    def noting(moment: str, records: Sequence[Written]) -> None:
        if moment == BEGIN:
            problems.append(store.problem)
        fails(moment, records)

    store.hook = noting
    await store.commit(run_started("a"))
    assert problems[0] is None
    assert problems[1] is not None
    assert store.problem is None
    assert await store.load_run("a") is not None


async def test_after_the_last_try_new_work_is_refused(store: HookedStore) -> None:
    store.hook = failing(sqlite3.SQLITE_BUSY, times=3)
    with pytest.raises(StoreUnavailable):
        await store.commit(run_started("a"))
    await store.commit(run_started("b"))
    assert [run.handler_id for run in await store.running_runs()] == ["b"]


async def test_after_the_last_try_of_other_work_the_store_fails_once(
    failing_store: tuple[HookedStore, list[BaseException]],
) -> None:
    store, failures = failing_store
    store.hook = failing(sqlite3.SQLITE_BUSY)
    waiting = store.append(run_started("a"))
    with pytest.raises(StoreUnavailable):
        await store.commit(run_started("b"))
    with pytest.raises(StoreUnavailable):
        await waiting
    store.hook = None
    with pytest.raises(StoreUnavailable):
        await store.append(run_started("c"))
    assert len(failures) == 1


@pytest.mark.parametrize(
    ("code", "at"),
    [
        (sqlite3.SQLITE_IOERR_FSYNC, "inside commit"),
        (sqlite3.SQLITE_IOERR_WRITE, "inside commit"),
        (sqlite3.SQLITE_CORRUPT, "inside commit"),
        (sqlite3.SQLITE_ERROR, "after commit"),
    ],
)
async def test_an_unknown_outcome_is_told_to_all_and_ends_the_store(
    failing_store: tuple[HookedStore, list[BaseException]], code: int, at: str
) -> None:
    store, failures = failing_store
    store.hook = failing(code, at=at)
    waiting = store.append(run_started("a"))
    refusable = asyncio.ensure_future(store.commit(run_started("b")))
    with pytest.raises(CommitUnknown):
        await waiting
    with pytest.raises(CommitUnknown):
        await refusable
    store.hook = None
    with pytest.raises(CommitUnknown):
        await store.commit(run_started("c"))
    assert [type(failure) for failure in failures] == [CommitUnknown]
    assert store.problem is not None


async def test_a_stored_unit_holds_none_of_what_was_stored_with_it(store: HookedStore) -> None:
    """A run holds its last unit for as long as it waits."""
    first, last = store.append(run_started("a")), store.append(run_started("b"))
    await last
    assert isinstance(first, Unit)
    assert isinstance(last, Unit)
    assert last.batch is first.batch
    assert last.batch.units == []
    assert (first.entries, last.entries) == ((), ())
