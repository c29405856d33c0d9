"""Purged data is nowhere any more: neither in the database nor in its log."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from tests.waiting import until
from workflow_server.records import (
    InboxPosted,
    InboxTaken,
    KeyAnswered,
    SnapshotTaken,
    StatePatched,
    StateReplaced,
)
from workflow_server.store import HandlerQuery, SqliteWorkflowStore
from workflow_server.store.sqlite import purge
from workflow_server.store.sqlite.transaction import Entries
from workflow_server.store.sqlite.wal import log_of

from .making import event, run_ended, run_started, tick

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


async def test_a_program_that_reads_the_log_holds_nobody_up_and_the_log_is_emptied_when_it_is_done(
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


async def test_what_is_overwritten_goes_through_the_log_in_small_parts(store: SqliteWorkflowStore, path: Path) -> None:
    await store.append(run_started("a"))
    for sequence in range(20):
        await store.append(event("a", sequence, data=value("a", 1 << 20)))
    assert store._writer is not None
    assert await store._writer.empty_log()
    sizes: list[int] = []

    def look(point: str, _: Sequence[Entries]) -> None:
        if point == "after commit":
            sizes.append(log_of(path).stat().st_size)

    store.fault = look
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
