"""Units: stored in order, whole or not at all, and told to listeners before anybody who waits goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence

import pytest

from tests.store.making import event, run_started, tick
from workflow_server.errors import ListenerFailed, StorageError, StoreClosed, UnitRefused
from workflow_server.records import Record
from workflow_server.store import AbstractWorkflowStore
from workflow_server.store.base import Commit


async def sequences(store: AbstractWorkflowStore, handler_id: str) -> list[int]:
    return [stored.sequence for stored in await store.read_events(handler_id, -1, 100_000)]


# -- Order and durability ------------------------------------------------------------------------


async def test_units_appended_without_a_pause_share_a_commit_in_order(store: AbstractWorkflowStore) -> None:
    heard: list[list[Record]] = []
    store.subscribe(lambda records: heard.append(list(records)))
    records: list[Record] = [run_started("a"), *(event("a", n) for n in range(3000))]
    for record in records:
        commit = store.append(record)
    await commit
    assert heard == [records]
    assert await sequences(store, "a") == list(range(3000))


async def test_units_of_many_tasks_are_each_stored(store: AbstractWorkflowStore) -> None:
    await asyncio.gather(*(store.commit(run_started(f"h{n}")) for n in range(50)))
    assert len(await store.running_runs()) == 50


async def test_what_was_committed_is_counted(store: AbstractWorkflowStore) -> None:
    before = store.committed
    stored = [store.append(run_started(name), event(name, 0)) for name in ("a", "b")]
    await stored[-1]
    with pytest.raises(UnitRefused):
        await store.append(event("nobody", 0))
    after = store.committed
    assert (after.transactions - before.transactions, after.units - before.units) == (1, 2)
    assert after.records - before.records == 4
    assert after.seconds > before.seconds


async def test_appends_become_durable_with_nobody_waiting(store: AbstractWorkflowStore) -> None:
    committed = asyncio.Event()
    store.subscribe(lambda _: committed.set())
    store.append(run_started("a"))
    assert store.backlog == 1
    await committed.wait()
    assert store.backlog == 0
    assert await store.load_run("a") is not None


async def test_reads_see_only_what_is_committed(store: AbstractWorkflowStore) -> None:
    commit = store.append(run_started("a"), event("a", 0))
    assert (await store.load_run("a") is None) == (store.backlog > 0)
    await commit
    assert await sequences(store, "a") == [0]


async def test_flush_returns_when_all_that_was_appended_is_stored(store: AbstractWorkflowStore) -> None:
    store.append(run_started("a"))
    await store.flush()
    assert await store.load_run("a") is not None
    heard: list[Sequence[Record]] = []
    store.subscribe(heard.append)
    await store.flush()
    assert heard == [], "with nothing to store there is nothing to commit"


async def test_cancelling_a_waiter_takes_nothing_back(store: AbstractWorkflowStore) -> None:
    waiting = [asyncio.ensure_future(store.commit(run_started(name))) for name in "ab"]
    await asyncio.sleep(0)
    appended = asyncio.ensure_future(store.append(tick("a", 0)))
    waiting[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting[0]
    await asyncio.gather(waiting[1], appended)
    run = await store.load_run("a")
    assert run is not None
    assert len(run.ticks) == 1


async def test_a_unit_may_be_awaited_often_and_late(store: AbstractWorkflowStore) -> None:
    commit = store.append(run_started("a"))
    await asyncio.gather(store.flush(), store.flush())
    await commit
    await commit


async def test_cancelled_reads_leave_the_store_usable(store: AbstractWorkflowStore) -> None:
    await store.append(run_started("a"))
    for _ in range(20):
        reading = asyncio.ensure_future(store.load_run("a"))
        await asyncio.sleep(0)
        reading.cancel()
    runs = await asyncio.gather(*(store.load_run("a") for _ in range(20)))
    assert all(run is not None for run in runs)


# -- Listeners -----------------------------------------------------------------------------------


async def test_all_listeners_hear_before_a_waiter_goes_on(store: AbstractWorkflowStore) -> None:
    order: list[str] = []
    store.subscribe(lambda _: order.append("first"))
    store.subscribe(lambda _: order.append("second"))

    async def wait(commit: Commit | Coroutine[None, None, None]) -> None:
        await commit
        order.append("waiter")

    waiting = [asyncio.create_task(wait(store.append(run_started(name)))) for name in "ab"]
    refusable = asyncio.create_task(wait(store.commit(run_started("c"))))
    await asyncio.gather(*waiting, refusable)
    assert order == ["first", "second", "waiter", "waiter", "waiter"]


async def test_a_listener_that_left_hears_nothing_more(store: AbstractWorkflowStore) -> None:
    left: list[Record] = []
    stays: list[Record] = []
    leave = store.subscribe(left.extend)
    store.subscribe(stays.extend)
    await store.append(run_started("a"))
    leave()
    leave()
    await store.append(event("a", 0))
    assert (left, stays) == ([run_started("a")], [run_started("a"), event("a", 0)])


async def test_a_listener_that_raises_loses_no_commit(store: AbstractWorkflowStore) -> None:
    failures: list[BaseException] = []
    heard: list[Record] = []

    def raises(_: Sequence[Record]) -> None:
        raise LookupError("a bug above the store")

    store.on_failure = failures.append
    store.subscribe(heard.extend)
    store.subscribe(raises)
    store.subscribe(heard.extend)
    await store.append(run_started("a"))
    assert heard == [run_started("a")] * 2, "one listener kept others from hearing"
    assert await store.load_run("a") is not None
    with pytest.raises(ListenerFailed, match="LookupError: a bug above the store"):
        await store.append(run_started("b"))
    assert [type(failure) for failure in failures] == [ListenerFailed], "it was passed over in silence"
    assert store.problem is not None


# -- Refusals ------------------------------------------------------------------------------------

UNSTORABLE: dict[str, Callable[[], Record]] = {
    "too large an integer": lambda: tick("a", 1 << 70),
    "a lone surrogate": lambda: tick("a", 9, data="\ud800"),
    "a type that is no column": lambda: tick("a", 9, data=object()),  # type: ignore[arg-type]
    "a sequence given twice": lambda: event("a", 0),
    "a handler that is not there": lambda: event("nobody", 0),
    "a run that is not there": lambda: tick("nobody", 0),
}


@pytest.mark.parametrize("unstorable", UNSTORABLE.values(), ids=UNSTORABLE)
async def test_a_unit_that_cannot_be_stored_is_refused_alone(
    store: AbstractWorkflowStore, unstorable: Callable[[], Record]
) -> None:
    refused: list[tuple[list[Record], StorageError]] = []
    committed: list[Record] = []
    store.on_refused = lambda records, error: refused.append((list(records), error))
    await store.append(run_started("a"), event("a", 0))
    store.subscribe(committed.extend)
    bad = unstorable()
    before = store.append(tick("a", 0))
    culprit = store.append(event("a", 1), bad)
    after = store.append(tick("a", 1), event("a", 2))
    await before
    await after
    with pytest.raises(UnitRefused):
        await culprit
    assert [records for records, _ in refused] == [[event("a", 1), bad]]
    assert committed == [tick("a", 0), tick("a", 1), event("a", 2)]
    assert await sequences(store, "a") == [0, 2], "a unit was cut"
    assert (store.problem, store.backlog) == (None, 0)


async def test_a_refused_unit_is_reported_with_nobody_waiting(store: AbstractWorkflowStore) -> None:
    reported: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    store.on_refused = lambda records, error: reported.set_result((list(records), type(error)))
    refused = event("nobody", 0)
    store.append(refused)
    assert await asyncio.wait_for(reported, 10) == ([refused], UnitRefused)


# -- Closing -------------------------------------------------------------------------------------


async def test_close_stores_what_was_appended_and_refuses_the_rest(store: AbstractWorkflowStore) -> None:
    heard: list[Record] = []
    store.subscribe(heard.extend)
    store.append(run_started("a"))
    await store.close()
    assert heard == [run_started("a")]
    with pytest.raises(StoreClosed):
        await store.append(run_started("b"))
    with pytest.raises(StoreClosed):
        await store.commit(run_started("b"))
    with pytest.raises(StoreClosed):
        await store.load_run("a")
    await store.close()
    assert store.problem is not None
