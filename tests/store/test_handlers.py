"""Handlers as the users of the 2.11.1 server know them: query, update, delete."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import ValidationError

from workflow_server.protocol.events import EventEnvelope
from workflow_server.records import InboxPosted, KeyAnswered, SnapshotTaken, StatePatched, StateReplaced
from workflow_server.store import HandlerQuery, PersistentHandler, SqliteWorkflowStore
from workflow_server.store.sqlite.maintenance import PurgeSliced
from workflow_server.store.sqlite.transaction import Entries

from .making import event, run_ended, run_started, tick

TABLES = (
    "handlers", "payloads", "events", "ticks", "snapshots", "state_records", "state_patches", "inbox", "answers",
)  # fmt: skip


def rows_left(path: Path) -> dict[str, int]:
    connection = sqlite3.connect(path)
    counts = {table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in TABLES}
    connection.close()
    return counts


async def test_a_handler_is_read_back_as_it_was_given(any_store: SqliteWorkflowStore) -> None:
    handler = PersistentHandler(
        handler_id="a",
        workflow_name="flow",
        status="completed",
        run_id="r",
        result=EventEnvelope(value={"result": [1, "é"]}, type="StopEvent", types=["X"], qualified_name="m.StopEvent"),
        started_at=datetime(2026, 1, 2, 3, 4, 5, 678901, UTC),
        updated_at=datetime(2026, 1, 2, 3, 4, 6, tzinfo=UTC),
        completed_at=datetime(2026, 1, 2, 3, 4, 6, 1, UTC),
    )
    await any_store.update(handler)
    assert await any_store.query(HandlerQuery(handler_id_in=["a"])) == [handler]
    failed = handler.model_copy(update={"status": "failed", "result": None, "error": "it broke"})
    await any_store.update(failed)
    assert await any_store.query(HandlerQuery()) == [failed]


def test_a_result_that_is_neither_an_event_nor_its_envelope_is_refused_by_name() -> None:
    for result in (123, "text", [1], object()):
        with pytest.raises(ValidationError, match=r"result\n.*dictionary or instance of EventEnvelope"):
            PersistentHandler(handler_id="a", workflow_name="flow", status="completed", result=result)


async def test_all_conditions_must_hold_and_an_empty_list_matches_nothing(any_store: SqliteWorkflowStore) -> None:
    await any_store.append(
        run_started("a", workflow="x", at=3.0), run_started("b", workflow="y", at=2.0), run_started("c", at=1.0)
    )
    await any_store.append(run_ended("b"))

    async def found(query: HandlerQuery) -> list[str]:
        return [handler.handler_id for handler in await any_store.query(query)]

    assert await found(HandlerQuery()) == ["c", "b", "a"]
    assert await found(HandlerQuery(status_in=["running"])) == ["c", "a"]
    assert await found(HandlerQuery(workflow_name_in=["x", "y", "x"])) == ["b", "a"]
    assert await found(HandlerQuery(workflow_name_in=["x", "y"], status_in=["running"])) == ["a"]
    assert await found(HandlerQuery(handler_id_in=["a", "b"], status_in=["completed"])) == ["b"]
    assert await found(HandlerQuery(handler_id_in=["a", "b"], workflow_name_in=["x"])) == ["a"]
    for nothing in (HandlerQuery(handler_id_in=[]), HandlerQuery(workflow_name_in=[]), HandlerQuery(status_in=[])):
        assert await found(nothing) == []
        assert await any_store.delete(nothing) == 0
    assert len(await found(HandlerQuery())) == 3


async def test_a_context_given_with_a_handler_is_the_state_that_a_later_run_finds(
    any_store: SqliteWorkflowStore,
) -> None:
    handler = PersistentHandler(handler_id="a", workflow_name="flow", status="completed", ctx={"state": {"n": 1}})
    await any_store.update(handler)
    run = await any_store.load_run("a")
    assert run is not None
    assert run.state == StateReplaced(run.run_id, -1, '{"n": 1}')
    (read,) = await any_store.query(HandlerQuery())
    assert read.ctx == {}


async def test_a_context_replaces_the_patches_of_its_run_too(any_store: SqliteWorkflowStore) -> None:
    await any_store.append(run_started("a"), StatePatched("a-1", 0, "old"), run_ended("a"))
    (handler,) = await any_store.query(HandlerQuery())
    await any_store.update(handler.model_copy(update={"ctx": {"state": {"n": 2}}}))
    run = await any_store.load_run("a")
    assert run is not None
    assert (run.state, run.patches) == (StateReplaced("a-1", -1, '{"n": 2}'), [])


async def test_deleting_removes_every_row_of_a_handler_and_no_other(store: SqliteWorkflowStore, path: Path) -> None:
    for name in ("gone", "kept"):
        store.append(
            run_started(name),
            *(event(name, n) for n in range(5000)),
            *(tick(name, n) for n in range(1000)),
            *(StatePatched(f"{name}-1", n, "p") for n in range(1000)),
            SnapshotTaken(f"{name}-1", 3, "s"),
            StateReplaced(f"{name}-1", 3, "s"),
            InboxPosted(1 if name == "gone" else 2, name, f"{name}-1", "{}", None),
            KeyAnswered("run", name, name, f"{name}-1", "h", "{}", 1.0),
        )
    await store.flush()
    slices: list[int] = []
    changes = 0

    def count(point: str, units: Sequence[Entries]) -> None:
        nonlocal changes
        assert store._opened is not None
        total = store._opened.connection.total_changes
        if point == "before commit":
            changes = total
        if point == "inside commit" and any(isinstance(entry, PurgeSliced) for unit in units for entry in unit):
            slices.append(total - changes)

    store.fault = count
    assert await store.delete(HandlerQuery(handler_id_in=["gone", "nobody"])) == 1
    assert len(slices) >= 5
    assert max(slices) <= 2000
    assert rows_left(path) == {
        "handlers": 1, "payloads": 1, "events": 5000, "ticks": 996, "snapshots": 1, "state_records": 1,
        "state_patches": 996, "inbox": 1, "answers": 1,
    }  # fmt: skip
    assert await store.delete(HandlerQuery(handler_id_in=["gone"])) == 0


async def test_a_handler_under_deletion_is_not_seen_and_an_interrupted_one_is_finished_at_the_next_open(
    store: SqliteWorkflowStore, path: Path
) -> None:
    await store.append(
        run_started("a"), *(event("a", n) for n in range(4000)), KeyAnswered("run", "k", "a", "a-1", "h", "{}", 1.0)
    )
    sliced, stop = asyncio.Event(), asyncio.get_running_loop()

    def interrupt(point: str, units: Sequence[Entries]) -> None:
        if point == "before commit" and any(isinstance(entry, PurgeSliced) for unit in units for entry in unit):
            stop.call_soon_threadsafe(sliced.set)
            raise sqlite3.IntegrityError("made by a test: this slice does not come about")

    store.fault = interrupt
    deleting = asyncio.ensure_future(store.delete(HandlerQuery(handler_id_in=["a"])))
    await sliced.wait()
    assert await store.query(HandlerQuery()) == []
    assert await store.running_runs() == []
    assert await store.load_run("a") is None
    assert await store.read_events("a", -1, 10) == []
    assert await store.event_range("a") is None
    assert await store.find_answer("run", "k") is None
    with pytest.raises(Exception, match="made by a test"):
        await deleting
    await store.close()
    assert rows_left(path)["events"] == 4000
    store.fault = None
    await store.open()
    assert store._purge is not None
    await store._purge.finished()
    assert set(rows_left(path).values()) == {0}


async def test_two_who_delete_the_same_handlers_count_them_once(any_store: SqliteWorkflowStore) -> None:
    await any_store.append(*(run_started(f"h{n}") for n in range(10)))
    query = HandlerQuery(status_in=["running"])
    assert sorted(await asyncio.gather(any_store.delete(query), any_store.delete(query))) == [0, 10]
    assert await any_store.query(HandlerQuery()) == []


async def test_a_cancelled_deletion_goes_on(store: SqliteWorkflowStore, path: Path) -> None:
    await store.append(run_started("a"), *(event("a", n) for n in range(4000)))
    marking, loop = asyncio.Event(), asyncio.get_running_loop()

    def note(point: str, units: Sequence[Entries]) -> None:
        loop.call_soon_threadsafe(marking.set)

    store.fault = note
    deleting = asyncio.ensure_future(store.delete(HandlerQuery()))
    await marking.wait()
    deleting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await deleting
    assert store._purge is not None
    await store._purge.finished()
    assert set(rows_left(path).values()) == {0}
