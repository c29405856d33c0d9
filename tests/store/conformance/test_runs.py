"""Runs: each record and what readers see of it."""

from __future__ import annotations

import pytest

from tests.store.making import event, run_ended, run_started, tick
from workflow_server.errors import UnitRefused
from workflow_server.records import (
    InboxPosted,
    QueueAdvanced,
    Record,
    RunAttempted,
    RunBegan,
    RunLoaded,
    RunReleased,
    SnapshotTaken,
    StatePatched,
    StateReplaced,
    Status,
)
from workflow_server.store import AbstractWorkflowStore, HandlerQuery


async def test_a_run_is_read_back_as_it_was_written(store: AbstractWorkflowStore) -> None:
    posted = InboxPosted(store.next_inbox_id, "a", "a-1", '{"x": 1}', "ask")
    await store.append(
        run_started("a"),
        RunBegan("a", "a-1", 1001.5, 1002.5),
        RunAttempted("a", "a-1", 2, 1),
        tick("a", 0, data="t0"),
        StatePatched("a-1", 0, "p0"),
        event("a", 0, data="e0"),
        posted,
    )
    run = await store.load_run("a")
    assert run is not None
    assert (run.handler_id, run.workflow_name, run.run_id, run.status) == ("a", "flow", "a-1", "running")
    assert (run.started_at, run.alive_since, run.attempts, run.probations) == (1000.0, 1001.5, 2, 1)
    assert (run.first_sequence, run.last_sequence, run.start_event) == (0, 0, '{"type": "StartEvent"}')
    assert run.ticks == [tick("a", 0, data="t0")]
    assert (run.state, run.patches) == (None, [StatePatched("a-1", 0, "p0")])
    assert (run.snapshot, run.inbox) == (None, [posted])
    assert await store.load_run("nobody") is None


async def test_a_snapshot_and_a_full_state_replace_what_came_before(store: AbstractWorkflowStore) -> None:
    await store.append(run_started("a"), *(tick("a", n) for n in range(5)))
    await store.append(*(StatePatched("a-1", n, str(n)) for n in range(5)))
    await store.append(SnapshotTaken("a-1", 2, "s"), StateReplaced("a-1", 3, "all"))
    await store.append(SnapshotTaken("a-1", 3, "s2"))
    run = await store.load_run("a")
    assert run is not None
    assert (run.snapshot, [t.seq for t in run.ticks]) == (SnapshotTaken("a-1", 3, "s2"), [4])
    assert (run.state, [p.seq for p in run.patches]) == (StateReplaced("a-1", 3, "all"), [4])


async def test_the_end_of_a_run_leaves_its_events_and_state(
    store: AbstractWorkflowStore,
) -> None:
    await store.append(
        run_started("a"),
        tick("a", 0),
        SnapshotTaken("a-1", -1, "s"),
        StateReplaced("a-1", -1, "state"),
        event("a", 0),
        InboxPosted(1, "a", "a-1", "{}", None),
        RunReleased("a", "a-1", 5.0),
    )
    await store.append(run_ended("a"), tick("a", 1))
    run = await store.load_run("a")
    assert run is not None
    assert (run.status, run.ticks, run.snapshot, run.inbox) == ("completed", [], None, [])
    assert (run.last_sequence, run.state) == (0, StateReplaced("a-1", -1, "state"))


@pytest.mark.parametrize("status", ["failed", "cancelled"])
async def test_a_run_that_did_not_complete_keeps_its_journal(store: AbstractWorkflowStore, status: Status) -> None:
    kept: list[Record] = [SnapshotTaken("a-1", 3, "s"), tick("a", 4, data="t4")]
    state: list[Record] = [StateReplaced("a-1", 7, "all", 3), StatePatched("a-1", 8, "p8", 4)]
    await store.append(run_started("a"), *kept, *state, InboxPosted(1, "a", "a-1", "{}", None), event("a", 0))
    await store.append(run_ended("a", status=status), tick("a", 5))
    run = await store.load_run("a")
    assert run is not None
    assert (run.status, run.inbox) == (status, [])
    assert [run.snapshot, *run.ticks, run.state, *run.patches] == [*kept, *state]
    # The next run, which may be a retry of it, begins with nothing of that.
    await store.append(run_started("a", run="2", first=1), SnapshotTaken("a-2", 4, "s4"))
    run = await store.load_run("a")
    assert run is not None
    assert (run.snapshot, run.ticks, run.state, run.patches) == (SnapshotTaken("a-2", 4, "s4"), [], None, [])


async def test_the_first_end_of_a_run_decides(store: AbstractWorkflowStore) -> None:
    await store.append(run_started("a"))
    await store.append(run_ended("a", status="cancelled", at=1500.0))
    with pytest.raises(UnitRefused):
        await store.append(run_ended("a", status="completed", at=1600.0))
    await store.append(RunBegan("a", "a-1", 9999.0, 9999.0))
    (handler,) = await store.query(HandlerQuery())
    assert handler.status == "cancelled"
    assert handler.completed_at is not None
    assert handler.completed_at.timestamp() == 1500.0
    assert handler.updated_at == handler.completed_at


async def test_a_continued_handler_keeps_its_log_alone(store: AbstractWorkflowStore) -> None:
    await store.append(
        run_started("a"), StatePatched("a-1", 0, "p"), RunAttempted("a", "a-1", 3, 1), event("a", 0), event("a", 1)
    )
    await store.append(QueueAdvanced("a", 1), run_ended("a"))
    await store.append(
        run_started("a", run="2", at=3000.0, first=2), StateReplaced("a-2", -1, "old"), event("a", 2, run="2")
    )
    run = await store.load_run("a")
    assert run is not None
    assert (run.run_id, run.status, run.attempts, run.first_sequence, run.last_sequence) == ("a-2", "running", 0, 2, 2)
    assert (run.state, run.patches, run.alive_since) == (StateReplaced("a-2", -1, "old"), [], None)
    assert await store.event_range("a") == (2, 2, 2, 1500.0)
    (handler,) = await store.query(HandlerQuery())
    assert (handler.result, handler.error, handler.completed_at) == (None, None, None)
    assert [e.sequence for e in await store.read_events("a", -1, 10)] == [0, 1, 2]


async def test_running_runs_come_oldest_first(store: AbstractWorkflowStore) -> None:
    await store.append(run_started("late", at=30.0), run_started("early", at=10.0), run_started("over", at=5.0))
    await store.append(RunReleased("early", "early-1", 99.5), InboxPosted(1, "late", "late-1", "{}", None))
    await store.append(run_ended("over"))
    early, late = await store.running_runs()
    assert (early.handler_id, early.released, early.wake_at, early.has_inbox) == ("early", True, 99.5, False)
    assert (late.handler_id, late.released, late.wake_at, late.has_inbox) == ("late", False, None, True)
    await store.append(RunLoaded("early", "early-1"))
    loaded = (await store.running_runs())[0]
    assert (loaded.released, loaded.wake_at) == (False, None)


async def test_a_run_never_ends_before_it_began(store: AbstractWorkflowStore) -> None:
    await store.append(run_started("a", at=5000.0), RunBegan("a", "a-1", 5000.0, 1400.0))
    await store.append(run_ended("a", at=1500.0))
    (handler,) = await store.query(HandlerQuery())
    assert handler.started_at == handler.completed_at == handler.updated_at


async def test_queued_runs_come_in_the_order_of_their_requests(store: AbstractWorkflowStore) -> None:
    """The wall clock was set back between the two."""
    await store.append(run_started("first", at=5000.0)._replace(requested_at=5000.0))
    await store.append(run_started("second", at=1400.0)._replace(requested_at=5001.0))
    assert [run.handler_id for run in await store.running_runs()] == ["first", "second"]


async def test_a_run_keeps_the_trace_that_it_was_started_in(store: AbstractWorkflowStore) -> None:
    await store.append(run_started("traced")._replace(trace="00-first"), run_started("other"))

    async def traces() -> dict[str, str | None]:
        return {run.handler_id: run.trace for run in await store.running_runs()}

    assert await traces() == {"traced": "00-first", "other": None}
    for run, trace in (("2", "00-second"), ("3", None)):
        await store.append(run_ended("traced", run=str(int(run) - 1)))
        await store.append(run_started("traced", run=run, first=int(run))._replace(trace=trace))
        assert await traces() == {"traced": trace, "other": None}


@pytest.mark.parametrize("kind", ["tick", "snapshot"])
async def test_a_journal_is_not_kept_for_a_run_that_has_ended(store: AbstractWorkflowStore, kind: str) -> None:
    await store.append(run_started("a"), run_ended("a"))
    await store.append(tick("a", 0) if kind == "tick" else SnapshotTaken("a-1", 0, "s"))
    run = await store.load_run("a")
    assert run is not None
    assert (run.ticks, run.snapshot) == ([], None)


async def test_no_record_of_a_run_that_has_ended_changes_it(store: AbstractWorkflowStore) -> None:
    await store.append(run_started("a"), run_ended("a", status="failed"))
    before = await store.load_run("a"), await store.query(HandlerQuery())
    await store.append(
        RunBegan("a", "a-1", 9999.0, 9999.0),
        RunReleased("a", "a-1", 5.0),
        RunLoaded("a", "a-1"),
        RunAttempted("a", "a-1", 7, 7),
    )
    assert (await store.load_run("a"), await store.query(HandlerQuery())) == before
    assert await store.running_runs() == []


async def test_runs_are_read_at_once_as_they_are_one_by_one_and_in_bounds(store: AbstractWorkflowStore) -> None:
    names = [f"h{n}" for n in range(5)]
    for name in names:
        await store.append(run_started(name), tick(name, 0, data="x" * 1_000), event(name, 0))
    alone = [await store.load_run(name) for name in (*names, "none")]
    assert alone[-1] is None
    assert await store.load_runs([*names, "none"], 1_000_000) == alone
    assert await store.load_runs(names, 2_500) == alone[:3]
    assert await store.load_runs(names, 1) == alone[:1]
    assert await store.load_runs([], 1) == []
