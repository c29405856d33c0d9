"""A durable store that is opened again."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.store.making import event, run_ended, run_started, tick
from workflow_server.records import InboxPosted, RunBegan, ServerAlive
from workflow_server.store import AbstractWorkflowStore, HandlerQuery

MakeStore = Callable[[], AbstractWorkflowStore]


async def test_reopening_finds_all_records_and_the_last_sign_of_life(make_store: MakeStore) -> None:
    store = make_store()
    await store.open()
    assert (store.last_alive, store.next_inbox_id, store.stopped_cleanly) == (None, 1, True)
    alive = ServerAlive(100.0, 3.0, 50.0, "boot")
    await store.append(run_started("a"), tick("a", 0), alive, InboxPosted(41, "a", "a-1", "{}", None))
    store.append(event("a", 0))
    await store.close()
    await store.close()
    await store.open()
    assert (store.last_alive, store.next_inbox_id, store.stopped_cleanly) == (alive, 42, True)
    run = await store.load_run("a")
    assert run is not None
    assert (run.last_sequence, len(run.ticks), len(run.inbox)) == (0, 1, 1)
    await store.close()


async def test_shifted_clocks_are_not_shifted_again(make_store: MakeStore) -> None:
    """The sign of life that the downtime is measured by moves along."""
    store = make_store()
    await store.open()
    await store.append(ServerAlive(100.0, uptime=50.0), run_started("a"), RunBegan("a", "a-1", 60.0, 60.0))
    await store.shift_clocks(7.0)
    await store.close()
    await store.open()
    assert store.last_alive is not None
    assert (store.last_alive.at, store.last_alive.uptime) == (107.0, 57.0)
    run = await store.load_run("a")
    assert run is not None
    assert run.alive_since == 67.0
    await store.close()


async def test_listeners_stay_subscribed_when_the_store_is_reopened(make_store: MakeStore) -> None:
    store = make_store()
    heard: list[object] = []
    store.subscribe(heard.extend)
    for name in "ab":
        await store.open()
        await store.append(run_started(name))
        await store.close()
    assert heard == [run_started("a"), run_started("b")]


async def test_a_store_is_opened_once(make_store: MakeStore) -> None:
    store = make_store()
    await store.open()
    with pytest.raises(RuntimeError, match="is open"):
        await store.open()
    await store.append(run_started("a"), run_ended("a"))
    assert await store.delete(HandlerQuery()) == 1
    await store.close()
