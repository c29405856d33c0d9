"""A full disk, on which cancellations and purges are stored with the earlier writes of their handlers."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from tests.harness.runs import until
from tests.harness.waiting import until_seen
from tests.store.fault_injection import INSIDE, Hook, HookedStore, Written
from tests.store.making import event, run_ended, run_started
from workflow_server.errors import StorageFull
from workflow_server.records import Record, RunEnded
from workflow_server.store import HandlerQuery, group_commit


def full_but_for(*handlers: str) -> Hook:
    """A disk that has room for the units of these handlers alone."""

    def hook(moment: str, records: Sequence[Written]) -> None:
        names = {getattr(record, "handler_id", None) for record in records}
        if moment == INSIDE and not names <= {*handlers, None}:
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error

    return hook


async def test_a_cancellation_is_stored_before_units_of_others(path: Path) -> None:
    store = HookedStore(path)
    failures: list[BaseException] = []
    committed: list[Record] = []
    store.on_failure = failures.append
    await store.open()
    store.subscribe(committed.extend)
    await store.append(run_started("a"), run_started("b"))
    committed.clear()
    store.hook = full_but_for("b")
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
    store.hook = None
    await others
    assert committed[-1] == event("a", 0)
    assert store.backlog == 0
    assert await store.delete(HandlerQuery(handler_id_in=["b"])) == 1
    await store.close()
    assert failures == []


async def test_new_work_is_accepted_after_a_cancellation_took_all(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "FULL_RETRY", 0.05)
    store = HookedStore(path)
    await store.open()
    await store.append(run_started("a"), run_started("b"))
    full = full_but_for()

    def full_but_for_ends(moment: str, records: Sequence[Written]) -> None:
        if not any(isinstance(record, RunEnded) for record in records):
            full(moment, records)

    store.hook = full_but_for_ends
    waiting = store.append(event("b", 0))
    await until(lambda: store.problem is not None)
    await store.append(run_ended("b", status="cancelled"))
    await waiting
    store.hook = None

    async def is_accepted() -> bool:
        with suppress(StorageFull):
            await store.commit(event("a", 0))
            return True
        return False

    await until_seen(is_accepted, "new work is refused still")
    await store.close()
