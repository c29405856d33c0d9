"""Event logs: pages in order, and an end after which nothing follows."""

from __future__ import annotations

import pytest

from tests.store.making import event, run_ended, run_started
from workflow_server.errors import UnitRefused
from workflow_server.records import (
    QueueAdvanced,
    StoredEvent,
)
from workflow_server.store import AbstractWorkflowStore


async def test_events_are_paged_in_order_past_a_cursor(store: AbstractWorkflowStore) -> None:
    await store.append(run_started("a"), *(event("a", n, data=str(n)) for n in range(7)))
    assert await store.read_events("a", 1, 2) == [
        StoredEvent(2, False, "2", 1500.0),
        StoredEvent(3, False, "3", 1500.0),
    ]
    assert [e.sequence for e in await store.read_events("a", 4, 100)] == [5, 6]
    assert [e.sequence for e in await store.read_events("a", -1, 100, characters=3)] == [0, 1, 2]
    assert [e.sequence for e in await store.read_events("a", -1, 100, characters=0)] == [0]
    assert await store.read_events("a", 6, 100) == []
    assert await store.read_events("nobody", -1, 100) == []


async def test_the_event_range_of_an_empty_log_ends_before_it_begins(store: AbstractWorkflowStore) -> None:
    await store.append(run_started("a"))
    assert await store.event_range("a") == (0, -1, 0, None)
    await store.append(event("a", 0), event("a", 1), QueueAdvanced("a", 2), QueueAdvanced("a", 1))
    assert await store.event_range("a") == (0, 1, 2, 1500.0), "the shared queue never goes back"
    assert await store.event_range("nobody") is None


async def test_each_event_has_its_time_and_the_log_that_of_the_last(store: AbstractWorkflowStore) -> None:
    times = [1_500.25, 1_500.25, 1_795_807_200.123456]
    await store.append(run_started("a"), *(event("a", n, at=at) for n, at in enumerate(times)))
    assert [e.time for e in await store.read_events("a", -1, 10)] == times
    extent, run = await store.event_range("a"), await store.load_run("a")
    assert extent is not None
    assert run is not None
    assert extent.last_time == run.last_time == times[-1]


async def test_an_event_after_the_end_of_its_run_is_refused_alone(
    store: AbstractWorkflowStore,
) -> None:
    await store.append(run_started("a"), event("a", 0), run_ended("a"))
    await store.append(run_started("b"))
    late = store.append(event("a", 1))
    beside = store.append(event("b", 0))
    unknown = store.append(event("a", 1, run="2"))
    for refused in (late, unknown):
        with pytest.raises(UnitRefused):
            await refused
    await beside
    assert [e.sequence for e in await store.read_events("a", -1, 10)] == [0]
    assert [e.sequence for e in await store.read_events("b", -1, 10)] == [0]
    await store.append(run_started("a", run="2", first=1), event("a", 1, run="2"))
    assert [e.sequence for e in await store.read_events("a", -1, 10)] == [0, 1]
