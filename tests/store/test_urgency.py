"""What is stored though the disk is full: what a client ends or deletes, with what comes before it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.waiting import until
from workflow_server.errors import StorageFull
from workflow_server.records import Record
from workflow_server.store import HandlerQuery, SqliteWorkflowStore
from workflow_server.store.sqlite import writer
from workflow_server.store.sqlite.batch import Batch, Unit
from workflow_server.store.sqlite.maintenance import PurgeMarked
from workflow_server.store.sqlite.priority import is_urgent, urgent_units
from workflow_server.store.sqlite.transaction import Entries, Fault

from .making import event, run_ended, run_started, tick


def units(*entries: Entries) -> list[Unit]:
    batch = Batch()
    return [Unit(each, batch, lambda: None) for each in entries]


def test_what_concerns_the_same_run_comes_along_in_order_and_nothing_else_does() -> None:
    cancelled = (event("a", 1), run_ended("a", status="cancelled"))
    waiting = units((tick("a", 0),), (tick("b", 0),), (event("a", 0),), cancelled, (event("a", 2),), (event("b", 0),))
    assert urgent_units(waiting) == [waiting[0], waiting[2], waiting[3]]


def test_a_deletion_takes_what_its_handlers_wrote_before() -> None:
    waiting = units((event("a", 0),), (event("b", 0),), (PurgeMarked('["b"]'),))
    assert urgent_units(waiting) == waiting[1:]


@pytest.mark.parametrize("status", ["completed", "failed"])
def test_what_a_run_does_by_itself_waits_for_room(status: str) -> None:
    assert not is_urgent((run_ended("a", status=status),))  # type: ignore[arg-type]
    assert urgent_units(units((run_started("a"),), (event("a", 0),))) == []


def full_but_for(*handlers: str) -> Fault:
    """A disk that has room for the units of these handlers alone."""

    def fault(point: str, payload: Sequence[Entries]) -> None:
        names = {getattr(entry, "handler_id", None) for unit in payload for entry in unit}
        if point == "before commit" and not names <= {*handlers, None}:
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error

    return fault


async def test_on_a_full_disk_a_cancellation_is_stored_before_what_others_wait_with(path: Path) -> None:
    store = SqliteWorkflowStore(path)
    failures: list[BaseException] = []
    committed: list[Record] = []
    store.on_failure = failures.append
    await store.open()
    store.on_commit = committed.extend
    await store.append(run_started("a"), run_started("b"))
    committed.clear()
    store.fault = full_but_for("b")
    others = store.append(event("a", 0))
    before = store.append(event("b", 0))
    with pytest.raises(StorageFull):
        await store.commit(run_started("c"))
    end = (event("b", 1), run_ended("b", status="cancelled"))
    await store.append(*end)
    await before
    assert committed == [event("b", 0), *end]
    assert store.problem is not None, "new work is refused still"
    with pytest.raises(StorageFull):
        await store.commit(run_started("d"))
    assert [handler.status for handler in await store.query(HandlerQuery(handler_id_in=["b"]))] == ["cancelled"]
    store.fault = None
    await others
    assert committed[-1] == event("a", 0)
    assert store.backlog == 0
    assert await store.delete(HandlerQuery(handler_id_in=["b"])) == 1
    await store.close()
    assert failures == []


async def test_new_work_is_tried_again_also_where_a_cancellation_took_along_all_that_waited(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "FULL_RETRY", 0.05)
    store = SqliteWorkflowStore(path)
    await store.open()
    await store.append(run_started("a"), run_started("b"))
    full = full_but_for()

    def full_but_for_ends(point: str, payload: Sequence[Entries]) -> None:
        if not any(is_urgent(entries) for entries in payload):
            full(point, payload)

    store.fault = full_but_for_ends
    waiting = store.append(event("b", 0))
    await until(lambda: store._writer is not None and store._writer._waits_for_room)
    await store.append(run_ended("b", status="cancelled"))
    await waiting
    store.fault = None
    await asyncio.sleep(0.1)
    await store.commit(event("a", 0))
    await store.close()
