"""Deletion: slice by slice, and finished by the next start where it was interrupted."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest

from workflow_server.records import InboxPosted, KeyAnswered, SnapshotTaken, StatePatched, StateReplaced
from workflow_server.store import HandlerQuery
from workflow_server.store.internal_records import PurgeSliced

from .fault_injection import BEGIN, HookedStore, Written
from .making import event, run_started, tick

TABLES = (
    "handlers", "payloads", "events", "ticks", "snapshots", "state_records", "state_patches", "inbox", "answers",
)  # fmt: skip


def rows_left(path: Path) -> dict[str, int]:
    connection = sqlite3.connect(path)
    counts = {table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in TABLES}
    connection.close()
    return counts


async def test_deleting_removes_every_row_of_a_handler_and_no_other(store: HookedStore, path: Path) -> None:
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

    def count(moment: str, records: Sequence[Written]) -> None:
        nonlocal changes
        assert store._database.opened is not None
        total = store._database.opened.connection.total_changes
        if moment == BEGIN:
            changes = total
        if moment == "inside commit" and any(isinstance(record, PurgeSliced) for record in records):
            slices.append(total - changes)

    store.hook = count
    assert await store.delete(HandlerQuery(handler_id_in=["gone", "nobody"])) == 1
    assert len(slices) >= 5
    assert max(slices) <= 2000
    assert rows_left(path) == {
        "handlers": 1, "payloads": 1, "events": 5000, "ticks": 996, "snapshots": 1, "state_records": 1,
        "state_patches": 996, "inbox": 1, "answers": 1,
    }  # fmt: skip
    assert await store.delete(HandlerQuery(handler_id_in=["gone"])) == 0


async def test_an_interrupted_deletion_is_finished_at_the_next_open(store: HookedStore, path: Path) -> None:
    await store.append(
        run_started("a"), *(event("a", n) for n in range(4000)), KeyAnswered("run", "k", "a", "a-1", "h", "{}", 1.0)
    )
    sliced, stop = asyncio.Event(), asyncio.get_running_loop()

    def interrupt(moment: str, records: Sequence[Written]) -> None:
        if moment == "before commit" and any(isinstance(record, PurgeSliced) for record in records):
            stop.call_soon_threadsafe(sliced.set)
            raise sqlite3.IntegrityError("made by a test: this slice does not come about")

    store.hook = interrupt
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
    store.hook = None
    await store.open()
    assert store._purge is not None
    await store._purge.finished()
    assert set(rows_left(path).values()) == {0}


async def test_a_cancelled_deletion_goes_on(store: HookedStore, path: Path) -> None:
    await store.append(run_started("a"), *(event("a", n) for n in range(4000)))
    marking, loop = asyncio.Event(), asyncio.get_running_loop()

    def note(moment: str, records: Sequence[Written]) -> None:
        loop.call_soon_threadsafe(marking.set)

    store.hook = note
    deleting = asyncio.ensure_future(store.delete(HandlerQuery()))
    await marking.wait()
    deleting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await deleting
    assert store._purge is not None
    await store._purge.finished()
    assert set(rows_left(path).values()) == {0}
