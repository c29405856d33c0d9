"""The effect of each record on what readers see; the same for a file and for memory."""

from __future__ import annotations

import pytest

from workflow_server.errors import UnitRefused
from workflow_server.records import (
    InboxHeld,
    InboxLoad,
    InboxPosted,
    InboxTaken,
    KeyAnswered,
    QueueAdvanced,
    RunAttempted,
    RunBegan,
    RunLoaded,
    RunReleased,
    ServerAlive,
    SnapshotTaken,
    StatePatched,
    StateReplaced,
    StoredAnswer,
    StoredEvent,
)
from workflow_server.store import HandlerQuery, SqliteWorkflowStore

from .making import event, run_ended, run_started, tick


async def test_a_run_is_read_back_as_it_was_written(any_store: SqliteWorkflowStore) -> None:
    posted = InboxPosted(any_store.next_inbox_id, "a", "a-1", '{"x": 1}', "ask")
    await any_store.append(
        run_started("a"),
        RunBegan("a", "a-1", 1001.5, 1002.5),
        RunAttempted("a", "a-1", 2, 1),
        tick("a", 0, data="t0"),
        StatePatched("a-1", 0, "p0"),
        event("a", 0, data="e0"),
        posted,
    )
    run = await any_store.load_run("a")
    assert run is not None
    assert (run.handler_id, run.workflow_name, run.run_id, run.status) == ("a", "flow", "a-1", "running")
    assert (run.started_at, run.alive_since, run.attempts, run.probations) == (1000.0, 1001.5, 2, 1)
    assert (run.first_sequence, run.last_sequence, run.start_event) == (0, 0, '{"type": "StartEvent"}')
    assert run.ticks == [tick("a", 0, data="t0")]
    assert (run.state, run.patches) == (None, [StatePatched("a-1", 0, "p0")])
    assert (run.snapshot, run.inbox) == (None, [posted])
    assert await any_store.load_run("nobody") is None


async def test_a_snapshot_and_a_full_state_replace_what_came_before_them(any_store: SqliteWorkflowStore) -> None:
    await any_store.append(run_started("a"), *(tick("a", n) for n in range(5)))
    await any_store.append(*(StatePatched("a-1", n, str(n)) for n in range(5)))
    await any_store.append(SnapshotTaken("a-1", 2, "s"), StateReplaced("a-1", 3, "all"))
    await any_store.append(SnapshotTaken("a-1", 3, "s2"))
    run = await any_store.load_run("a")
    assert run is not None
    assert (run.snapshot, [t.seq for t in run.ticks]) == (SnapshotTaken("a-1", 3, "s2"), [4])
    assert (run.state, [p.seq for p in run.patches]) == (StateReplaced("a-1", 3, "all"), [4])


async def test_the_end_of_a_run_removes_its_journal_and_inbox_and_keeps_events_and_state(
    any_store: SqliteWorkflowStore,
) -> None:
    await any_store.append(
        run_started("a"),
        tick("a", 0),
        SnapshotTaken("a-1", -1, "s"),
        StateReplaced("a-1", -1, "state"),
        event("a", 0),
        InboxPosted(1, "a", "a-1", "{}", None),
        RunReleased("a", "a-1", 5.0),
    )
    await any_store.append(run_ended("a"), tick("a", 1))
    run = await any_store.load_run("a")
    assert run is not None
    assert (run.status, run.ticks, run.snapshot, run.inbox) == ("completed", [], None, [])
    assert (run.last_sequence, run.state) == (0, StateReplaced("a-1", -1, "state"))


async def test_the_first_end_of_a_run_decides(any_store: SqliteWorkflowStore) -> None:
    await any_store.append(run_started("a"))
    await any_store.append(run_ended("a", status="cancelled", at=1500.0))
    with pytest.raises(UnitRefused):
        await any_store.append(run_ended("a", status="completed", at=1600.0))
    await any_store.append(RunBegan("a", "a-1", 9999.0, 9999.0))
    (handler,) = await any_store.query(HandlerQuery())
    assert handler.status == "cancelled"
    assert handler.completed_at is not None
    assert handler.completed_at.timestamp() == 1500.0
    assert handler.updated_at == handler.completed_at


async def test_continuing_starts_with_a_clean_record_and_goes_on_with_the_log(any_store: SqliteWorkflowStore) -> None:
    await any_store.append(
        run_started("a"), StatePatched("a-1", 0, "p"), RunAttempted("a", "a-1", 3, 1), event("a", 0), event("a", 1)
    )
    await any_store.append(QueueAdvanced("a", 1), run_ended("a"))
    await any_store.append(
        run_started("a", run="2", at=3000.0, first=2), StateReplaced("a-2", -1, "old"), event("a", 2, run="2")
    )
    run = await any_store.load_run("a")
    assert run is not None
    assert (run.run_id, run.status, run.attempts, run.first_sequence, run.last_sequence) == ("a-2", "running", 0, 2, 2)
    assert (run.state, run.patches, run.alive_since) == (StateReplaced("a-2", -1, "old"), [], None)
    assert await any_store.event_range("a") == (2, 2, 2)
    (handler,) = await any_store.query(HandlerQuery())
    assert (handler.result, handler.error, handler.completed_at) == (None, None, None)
    assert [e.sequence for e in await any_store.read_events("a", -1, 10)] == [0, 1, 2]


async def test_an_event_for_a_run_that_has_ended_is_not_put_into_its_inbox(any_store: SqliteWorkflowStore) -> None:
    await any_store.append(run_started("a"), run_ended("a"))
    with pytest.raises(UnitRefused):
        await any_store.append(InboxPosted(7, "a", "a-1", "{}", None))
    run = await any_store.load_run("a")
    assert run is not None
    assert run.inbox == []


async def test_a_taken_event_leaves_the_inbox(any_store: SqliteWorkflowStore) -> None:
    await any_store.append(run_started("a"), *(InboxPosted(n, "a", "a-1", "{}", None) for n in (1, 2)))
    await any_store.append(InboxTaken(1), tick("a", 0))
    run = await any_store.load_run("a")
    assert run is not None
    assert [posted.inbox_id for posted in run.inbox] == [2]


async def test_running_runs_come_oldest_first_with_what_recovery_needs(any_store: SqliteWorkflowStore) -> None:
    await any_store.append(run_started("late", at=30.0), run_started("early", at=10.0), run_started("over", at=5.0))
    await any_store.append(RunReleased("early", "early-1", 99.5), InboxPosted(1, "late", "late-1", "{}", None))
    await any_store.append(run_ended("over"))
    early, late = await any_store.running_runs()
    assert (early.handler_id, early.released, early.wake_at, early.has_inbox) == ("early", True, 99.5, False)
    assert (late.handler_id, late.released, late.wake_at, late.has_inbox) == ("late", False, None, True)
    await any_store.append(RunLoaded("early", "early-1"))
    loaded = (await any_store.running_runs())[0]
    assert (loaded.released, loaded.wake_at) == (False, None)


async def test_events_are_paged_in_order_past_a_cursor(any_store: SqliteWorkflowStore) -> None:
    await any_store.append(run_started("a"), *(event("a", n, data=str(n)) for n in range(7)))
    assert await any_store.read_events("a", 1, 2) == [StoredEvent(2, False, "2"), StoredEvent(3, False, "3")]
    assert [e.sequence for e in await any_store.read_events("a", 4, 100)] == [5, 6]
    assert [e.sequence for e in await any_store.read_events("a", -1, 100, characters=3)] == [0, 1, 2]
    assert [e.sequence for e in await any_store.read_events("a", -1, 100, characters=0)] == [0]
    assert await any_store.read_events("a", 6, 100) == []
    assert await any_store.read_events("nobody", -1, 100) == []


async def test_the_event_range_of_an_empty_log_ends_before_it_begins(any_store: SqliteWorkflowStore) -> None:
    await any_store.append(run_started("a"))
    assert await any_store.event_range("a") == (0, -1, 0)
    await any_store.append(event("a", 0), event("a", 1), QueueAdvanced("a", 2), QueueAdvanced("a", 1))
    assert await any_store.event_range("a") == (0, 1, 2), "the shared queue never goes back"
    assert await any_store.event_range("nobody") is None


async def test_an_idempotency_key_keeps_its_first_answer(any_store: SqliteWorkflowStore) -> None:
    await any_store.append(run_started("a"), KeyAnswered("run", "k", "a", "a-1", "hash", "{}", 1.0))
    assert await any_store.find_answer("run", "k") == StoredAnswer("a", "a-1", "hash", "{}")
    assert await any_store.find_answer("event", "k") is None


async def test_shifted_clocks_are_not_shifted_again_by_a_start_that_dies(any_store: SqliteWorkflowStore) -> None:
    await any_store.append(ServerAlive(100.0), run_started("a"), RunBegan("a", "a-1", 50.0, 50.0))
    await any_store.append(run_started("b"), RunBegan("b", "b-1", 50.0, 50.0), run_ended("b"))
    await any_store.shift_clocks(30.0)
    a, b = await any_store.load_run("a"), await any_store.load_run("b")
    assert a is not None
    assert b is not None
    assert (a.alive_since, b.alive_since) == (80.0, 50.0)


async def test_reopening_finds_all_of_it_and_the_last_sign_of_life(path: object) -> None:
    store = SqliteWorkflowStore(str(path))
    await store.open()
    assert (store.last_alive, store.next_inbox_id) == (None, 1)
    await store.append(run_started("a"), tick("a", 0), ServerAlive(100.0), InboxPosted(41, "a", "a-1", "{}", None))
    await store.shift_clocks(7.0)
    store.append(event("a", 0))
    await store.close()
    await store.close()
    await store.open()
    assert store.last_alive is not None
    assert (store.last_alive.at, store.next_inbox_id) == (107.0, 42)
    run = await store.load_run("a")
    assert run is not None
    assert (run.last_sequence, len(run.ticks)) == (0, 1)
    await store.close()


async def test_an_event_that_comes_after_its_runs_end_is_refused_and_nothing_beside_it(
    any_store: SqliteWorkflowStore,
) -> None:
    await any_store.append(run_started("a"), event("a", 0), run_ended("a"))
    await any_store.append(run_started("b"))
    late = any_store.append(event("a", 1))
    beside = any_store.append(event("b", 0))
    unknown = any_store.append(event("a", 1, run="2"))
    for refused in (late, unknown):
        with pytest.raises(UnitRefused):
            await refused
    await beside
    assert [e.sequence for e in await any_store.read_events("a", -1, 10)] == [0]
    assert [e.sequence for e in await any_store.read_events("b", -1, 10)] == [0]
    await any_store.append(run_started("a", run="2", first=1), event("a", 1, run="2"))
    assert [e.sequence for e in await any_store.read_events("a", -1, 10)] == [0, 1]


async def test_a_run_never_ends_before_it_began_whatever_the_wall_clock_says(any_store: SqliteWorkflowStore) -> None:
    await any_store.append(run_started("a", at=5000.0), RunBegan("a", "a-1", 5000.0, 1400.0))
    await any_store.append(run_ended("a", at=1500.0))
    (handler,) = await any_store.query(HandlerQuery())
    assert handler.started_at == handler.completed_at == handler.updated_at


async def test_queued_runs_come_in_the_order_in_which_they_were_asked_for(any_store: SqliteWorkflowStore) -> None:
    """The wall clock was set back between the two."""
    await any_store.append(run_started("first", at=5000.0)._replace(requested_at=5000.0))
    await any_store.append(run_started("second", at=1400.0)._replace(requested_at=5001.0))
    assert [run.handler_id for run in await any_store.running_runs()] == ["first", "second"]


async def test_what_waits_in_an_inbox_is_counted_and_named_and_what_is_held_is_no_reason_to_take_a_run_up(
    any_store: SqliteWorkflowStore,
) -> None:
    early = InboxPosted(1, "a", "a-1", "{}", None, "flows.Reply", 7, early=True, hold=True)
    await any_store.append(run_started("a"), early, InboxPosted(2, "a", "a-1", "{}", "ask", "flows.Item", 3))
    assert await any_store.inbox_load("a-1") == InboxLoad(waiting=1, early=1, size=10)
    assert await any_store.untaken_events("a-1") == [("flows.Reply", None), ("flows.Item", "ask")]
    await any_store.append(InboxHeld(1, held=True), InboxTaken(2))
    run = await any_store.load_run("a")
    assert run is not None
    assert run.inbox == [early._replace(held=True)]
    assert [(run.has_inbox, run.held_events) for run in await any_store.running_runs()] == [(False, 1)]
    await any_store.append(InboxHeld(1, held=False))
    assert [(run.has_inbox, run.held_events) for run in await any_store.running_runs()] == [(True, 0)]
