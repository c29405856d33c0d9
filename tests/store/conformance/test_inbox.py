"""Inboxes: posted events, until their run takes them."""

from __future__ import annotations

import pytest

from tests.store.making import run_ended, run_started, tick
from workflow_server.errors import UnitRefused
from workflow_server.records import (
    InboxHeld,
    InboxLoad,
    InboxPosted,
    InboxTaken,
)
from workflow_server.store import AbstractWorkflowStore


async def test_nothing_is_posted_to_a_run_that_has_ended(store: AbstractWorkflowStore) -> None:
    await store.append(run_started("a"), run_ended("a"))
    with pytest.raises(UnitRefused):
        await store.append(InboxPosted(7, "a", "a-1", "{}", None))
    run = await store.load_run("a")
    assert run is not None
    assert run.inbox == []


async def test_a_taken_event_leaves_the_inbox(store: AbstractWorkflowStore) -> None:
    await store.append(run_started("a"), *(InboxPosted(n, "a", "a-1", "{}", None) for n in (1, 2)))
    await store.append(InboxTaken(1), tick("a", 0))
    run = await store.load_run("a")
    assert run is not None
    assert [posted.inbox_id for posted in run.inbox] == [2]


async def test_an_inbox_is_counted_and_a_held_event_resumes_no_run(
    store: AbstractWorkflowStore,
) -> None:
    early = InboxPosted(1, "a", "a-1", "{}", None, "flows.Reply", 7, early=True, hold=True)
    await store.append(run_started("a"), early, InboxPosted(2, "a", "a-1", "{}", "ask", "flows.Item", 3))
    assert await store.inbox_load("a-1") == InboxLoad(waiting=1, early=1, size=10)
    assert await store.untaken_events("a-1") == [("flows.Reply", None), ("flows.Item", "ask")]
    await store.append(InboxHeld(1, held=True), InboxTaken(2))
    run = await store.load_run("a")
    assert run is not None
    assert run.inbox == [early._replace(held=True)]
    assert [(run.has_inbox, run.held_events) for run in await store.running_runs()] == [(False, 1)]
    await store.append(InboxHeld(1, held=False))
    assert [(run.has_inbox, run.held_events) for run in await store.running_runs()] == [(True, 0)]
