"""Purging: in slices, finished by the next start where it was interrupted, and with no byte left in any file."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from tests.harness.runs import until
from tests.harness.tables import EVENT_TABLES, OWNERS, VIEWS
from tests.store.fault_injection import BEGIN, HookedStore, Written
from tests.store.making import event, run_ended, run_started, tick
from workflow_server.records import (
    HandlerTagged,
    HistoryNoted,
    InboxPosted,
    InboxTaken,
    KeyAnswered,
    SnapshotTaken,
    StatePatched,
    StateReplaced,
)
from workflow_server.store import HandlerQuery, SqliteWorkflowStore
from workflow_server.store.internal_records import PurgeSliced
from workflow_server.store.sqlite import purge
from workflow_server.store.sqlite.wal import log_of

CANARY = "a secret that a client sent"


LARGE = 60_000
"""Characters that take up pages of their own."""


def value(handler_id: str, size: int = 200) -> str:
    """A value in which the handler's canary stands many times."""
    return f'"{(CANARY + handler_id) * (size // 20)}"'


def found(path: Path, handler_id: str) -> dict[str, int]:
    """Count the handler's canary in the database and in each of the files beside it."""
    canary = f"{CANARY}{handler_id}".encode()
    counts = {file.name: file.read_bytes().count(canary) for file in path.parent.iterdir() if file.is_file()}
    return {name: count for name, count in counts.items() if count}


async def live(store: SqliteWorkflowStore, name: str, *, ended: bool) -> None:
    """Write to all tables in the name of a handler, and let the run delete of it what runs delete."""
    run = f"{name}-1"
    await store.append(run_started(name)._replace(start_event=value(name)))
    for seq, size in enumerate((100, 2_000, LARGE, 400)):
        await store.append(
            event(name, seq, data=value(name, size)),
            tick(name, seq, data=value(name, size)),
            StatePatched(run, seq, value(name, size)),
            HistoryNoted(name, run, seq, 1.0, "resumed", CANARY + name, value(name, size)),
            InboxPosted(seq + 1_000 * ord(name), name, run, value(name, size), None),
        )
    await store.append(InboxTaken(1_000 * ord(name)), SnapshotTaken(run, 1, value(name, LARGE)))
    await store.append(StateReplaced(run, 1, value(name, LARGE)))
    await store.append(KeyAnswered("run", f"key-{name}", name, run, "hash", value(name), 1000.0))
    if ended:
        await store.append(run_ended(name)._replace(result=value(name, 3_000)))


@pytest.mark.parametrize("ended", [True, False])
async def test_no_byte_of_what_was_purged_is_left_in_any_file(
    store: SqliteWorkflowStore, path: Path, *, ended: bool
) -> None:
    for name in "abc":
        await live(store, name, ended=ended)
    assert found(path, "b")
    assert await store.delete(HandlerQuery(handler_id_in=["b"])) == 1
    assert found(path, "b") == {}
    assert found(path, "a")
    assert await store.delete(HandlerQuery()) == 2
    assert [found(path, name) for name in "ac"] == [{}, {}]


async def test_the_run_before_of_a_continued_handler_is_purged_with_it(store: SqliteWorkflowStore, path: Path) -> None:
    await live(store, "a", ended=True)
    await store.append(run_started("a", run="2", first=10))
    assert await store.delete(HandlerQuery(handler_id_in=["a"])) == 1
    assert found(path, "a") == {}


async def test_a_reader_of_the_log_delays_only_its_emptying(
    store: SqliteWorkflowStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purge, "EMPTYING_RETRY", 0.05)
    await live(store, "a", ended=True)
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM events").fetchall()
        async with asyncio.timeout(3):
            assert await store.delete(HandlerQuery(handler_id_in=["a"])) == 1
        assert log_of(path).name in found(path, "a")
        await store.append(run_started("b"))
        reader.execute("COMMIT")
    await until(lambda: found(path, "a") == {})
    assert await store.load_run("b") is not None


async def test_a_purge_that_a_start_finishes_leaves_nothing_either(path: Path) -> None:
    store = SqliteWorkflowStore(path)
    await store.open()
    await live(store, "a", ended=True)
    await store.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("UPDATE handlers SET purging = 1")
    await store.open()
    await until(lambda: found(path, "a") == {})
    await store.close()


async def test_what_is_overwritten_goes_through_the_log_in_small_parts(store: HookedStore, path: Path) -> None:
    await store.append(run_started("a"))
    for sequence in range(20):
        await store.append(event("a", sequence, data=value("a", 1 << 20)))
    assert store._writer is not None
    assert await store._writer.erase_deleted()
    sizes: list[int] = []

    def look(moment: str, _: Sequence[Written]) -> None:
        if moment == "after commit":
            sizes.append(log_of(path).stat().st_size)

    store.hook = look
    assert await store.delete(HandlerQuery()) == 1
    assert len(sizes) >= 20
    assert max(sizes) < 12 << 20
    assert found(path, "a") == {}


async def test_a_memory_store_purges_too() -> None:
    store = SqliteWorkflowStore(":memory:")
    await store.open()
    await live(store, "a", ended=True)
    assert await store.delete(HandlerQuery()) == 1
    await store.close()


def rows_left(path: Path) -> dict[str, int]:
    connection = sqlite3.connect(path)
    tables = [*(table for table in OWNERS if table not in VIEWS), *EVENT_TABLES]
    counts = {table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables}
    connection.close()
    return counts


async def test_deleting_removes_every_row_of_a_handler_and_no_other(store: HookedStore, path: Path) -> None:
    for name in ("gone", "kept"):
        store.append(
            run_started(name),
            *(event(name, n) for n in range(5000)),
            *(tick(name, n) for n in range(1000)),
            *(StatePatched(f"{name}-1", n, "p") for n in range(1000)),
            *(HistoryNoted(name, f"{name}-1", n, 1.0, "resumed", None, "{}") for n in range(2000)),
            SnapshotTaken(f"{name}-1", 3, "s"),
            StateReplaced(f"{name}-1", 3, "s"),
            InboxPosted(1 if name == "gone" else 2, name, f"{name}-1", "{}", None),
            KeyAnswered("run", name, name, f"{name}-1", "h", "{}", 1.0),
            HandlerTagged(name, '["one", "two"]'),
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
        "handlers": 1, "payloads": 1, "ticks": 996, "snapshots": 1, "state_records": 1, "state_patches": 996,
        "inbox": 1, "answers": 1, "event_log": 5000, "events": 0, "history": 2000, "handler_tags": 2,
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
    assert rows_left(path)["event_log"] == 4000
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
