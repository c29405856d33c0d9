"""Retention: what goes, what stays, and what happens to handlers meanwhile."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from workflows import Context, Workflow, step
from workflows.events import HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent

from tests.harness.managing import Managing
from tests.harness.runs import asked, damage, ended, until
from tests.harness.tables import OWNERS
from workflow_server.errors import HandlerNotFound, StoreUnavailable
from workflow_server.protocol.handlers import IdempotencyKey, RunRequest
from workflow_server.records import FINISHED, EndedHandler
from workflow_server.runs import retention
from workflow_server.runs.manager import RuntimeManager
from workflow_server.runs.retention import RetentionRules
from workflow_server.store.sqlite.store import SqliteWorkflowStore

ALL = RetentionRules(dict.fromkeys(FINISHED, 60.0))
ANSWER = {"type": "HumanResponseEvent", "value": {}}
DAY = 86_400.0


class Quick(Workflow):
    @step
    async def end(self, ctx: Context, ev: StartEvent) -> StopEvent:
        await ctx.store.set("seen", True)
        if ev.get("asks", False):
            await ctx.wait_for_event(HumanResponseEvent, waiter_event=InputRequiredEvent())
        if ev.get("fails", False):
            raise ValueError("as it was told")
        return StopEvent()


class Slow(Workflow):
    @step
    async def ask(self, ctx: Context, ev: StartEvent) -> StopEvent:
        await ctx.wait_for_event(HumanResponseEvent, waiter_event=InputRequiredEvent())
        return StopEvent()


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "INTERVAL", 0.02)


def age(database: Path, handler_id: str, seconds: float) -> None:
    """Let a handler of a server that has stopped have started and ended so much earlier."""
    damage(
        database,
        "UPDATE handlers SET started_at = started_at - ?1, updated_at = updated_at - ?1, "
        "completed_at = completed_at - ?1 WHERE handler_id = ?2",
        seconds,
        handler_id,
    )


def rows(database: Path, handler_id: str, run_id: str) -> dict[str, int]:
    """Count what is left of a handler in each table."""
    with closing(sqlite3.connect(database)) as connection:
        found = {}
        for table, column in OWNERS.items():
            query = f"SELECT count(*) FROM {table} WHERE {column} = ?"
            found[table] = connection.execute(query, (handler_id if column == "handler_id" else run_id,)).fetchone()[0]
        return {table: number for table, number in found.items() if number}


async def left(manager: RuntimeManager) -> set[str]:
    return {handler.handler_id for handler in await manager.list_handlers(None, None)}


async def until_swept(manager: RuntimeManager, number: int) -> None:
    await until(lambda: manager.figures().swept >= number)
    await manager.store.deletions_ended()


async def sweeps(manager: RuntimeManager, monkeypatch: pytest.MonkeyPatch, number: int = 3) -> None:
    """Return when so many sweeps have begun and the last but one has ended."""
    looked = 0
    look = manager.store.ended_handlers

    async def counted(*arguments: Any) -> Any:
        nonlocal looked
        looked += 1
        return await look(*arguments)

    monkeypatch.setattr(manager.store, "ended_handlers", counted)
    await until(lambda: looked >= number * len(FINISHED))


async def made(managing: Managing, database: Path, ages: dict[str, float], **start: Any) -> dict[str, str]:
    """Return the ids of new handlers by their names; each has ended so many seconds ago."""
    found = {}
    async with managing(quick=Quick()) as manager:
        for name in ages:
            event = {"fails": True} if name.startswith("failed") else {}
            found[name] = (await manager.run("quick", RunRequest(start_event=event, **start))).handler_id
    for name, seconds in ages.items():
        age(database, found[name], seconds)
    return found


async def test_what_ended_long_ago_goes_by_its_status(
    managing: Managing, database: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "workflow_server.runs.retention")
    ids = await made(managing, database, {"old": 2 * DAY, "older": 9 * DAY, "new": 60, "failed": 2 * DAY})
    rules = RetentionRules({"completed": DAY, "failed": 5 * DAY})
    async with managing(quick=Quick(), retention=rules) as manager:
        await until_swept(manager, 2)
        assert await left(manager) == {ids["new"], ids["failed"]}
    told = [record.getMessage() for record in caplog.records if record.name == retention.__name__]
    assert told == ["Retention deleted handlers: 2 completed"]


async def test_nothing_is_left_of_what_went_in_any_table(managing: Managing, database: Path) -> None:
    request = RunRequest(tags=("one", "two"), key=IdempotencyKey("key", "hash"))
    async with managing(slow=Slow(), quick=Quick()) as manager:
        handler = await manager.start("slow", request)
        await asked(manager, handler.handler_id)
        await manager.send(handler.handler_id, ANSWER, None, None)
        await ended(manager, handler.handler_id)
        first = await manager.run("quick", RunRequest())
        second = await manager.run("quick", RunRequest(handler_id=first.handler_id))
    assert handler.run_id is not None
    assert {"handlers", "payloads", "all_events", "answers", "handler_tags"} <= set(
        rows(database, handler.handler_id, handler.run_id)
    )
    for handler_id in (handler.handler_id, second.handler_id):
        age(database, handler_id, DAY)
    async with managing(slow=Slow(), quick=Quick(), retention=ALL) as manager:
        await until_swept(manager, 2)
        for one in (handler, first, second):
            assert one.run_id is not None
            assert rows(database, one.handler_id, one.run_id) == {}
        with pytest.raises(HandlerNotFound):
            await manager.get_handler(handler.handler_id)
        # The key went with it, and starts another run.
        assert (await manager.start("slow", request)).handler_id != handler.handler_id


async def test_those_that_ended_last_are_kept(managing: Managing, database: Path) -> None:
    """Of all statuses together, and by their ends: one that ran for long is as new as its end."""
    async with managing(slow=Slow()) as manager:
        slow = (await manager.start("slow", RunRequest())).handler_id
        await asked(manager, slow)
    ids = await made(managing, database, {"first": 400, "failed first": 300, "second": 200, "failed second": 100})
    async with managing(slow=Slow(), quick=Quick()) as manager:
        await manager.send(slow, ANSWER, None, None)
        await ended(manager, slow)
    damage(database, "UPDATE handlers SET started_at = started_at - 1000 WHERE handler_id = ?", slow)
    async with managing(quick=Quick(), slow=Slow(), retention=RetentionRules({}, 3)) as manager:
        running = (await manager.start("slow", RunRequest())).handler_id
        await until_swept(manager, 2)
        assert await left(manager) == {slow, running, ids["second"], ids["failed second"]}
        newest = (await manager.run("quick", RunRequest())).handler_id
        await until_swept(manager, 3)
        assert await left(manager) == {slow, running, newest, ids["failed second"]}


async def test_both_rules_hold_together(managing: Managing, database: Path) -> None:
    ids = await made(managing, database, {"old": 4 * DAY, "failed": 3 * DAY, "newer": 2 * DAY, "new": 60})
    rules = RetentionRules({"completed": DAY}, 3)
    async with managing(quick=Quick(), retention=rules) as manager:
        await until_swept(manager, 2)
        assert await left(manager) == {ids["failed"], ids["new"]}


async def test_a_run_that_has_not_ended_stays_however_old(
    managing: Managing, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with managing(slow=Slow()) as manager:
        handler_id = (await manager.start("slow", RunRequest())).handler_id
        await asked(manager, handler_id)
    damage(database, "UPDATE handlers SET started_at = 1.0, updated_at = 1.0")
    async with managing(slow=Slow(), retention=RetentionRules(ALL.ages, 1)) as manager:
        await sweeps(manager, monkeypatch)
        assert await left(manager) == {handler_id}


@pytest.mark.parametrize("completes", [False, True])
async def test_a_handler_that_is_continued_meanwhile_stays(
    managing: Managing, database: Path, monkeypatch: pytest.MonkeyPatch, *, completes: bool
) -> None:
    """Also where its next run has ended, too, when its turn comes."""
    ids = await made(managing, database, {"gone": DAY, "continued": DAY})
    store = SqliteWorkflowStore(database)
    read = store.ended_handlers
    managers: list[RuntimeManager] = []
    found = asyncio.Event()

    async def read_then_continue(*arguments: Any) -> list[EndedHandler]:
        page = await read(*arguments)
        if page and not found.is_set():
            found.set()
            go_on = managers[0].run if completes else managers[0].start
            await go_on("quick", RunRequest(start_event={"asks": not completes}, handler_id=ids["continued"]))
        return page

    monkeypatch.setattr(store, "ended_handlers", read_then_continue)
    async with managing(quick=Quick(), store=store, retention=ALL) as manager:
        managers.append(manager)
        await until_swept(manager, 1)
        assert found.is_set()
        assert await left(manager) == {ids["continued"]}


async def test_what_is_being_read_goes_when_its_reader_has_left(
    managing: Managing, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await made(managing, database, {"read": DAY, "gone": DAY})
    ages = dict.fromkeys(FINISHED, 9 * DAY)
    async with managing(quick=Quick(), retention=RetentionRules(ages)) as manager:
        reader = await manager.open_cursor(ids["read"], -1)
        assert reader is not None
        ages["completed"] = 60.0
        await until_swept(manager, 1)
        await sweeps(manager, monkeypatch)
        assert await left(manager) == {ids["read"]}
        while await reader.next_page(20):
            pass
        await reader.close()
        await until_swept(manager, 2)
        assert await left(manager) == set()


async def test_what_another_deletes_meanwhile_is_not_counted(
    managing: Managing, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await made(managing, database, {"deleted": DAY, "gone": DAY})
    store = SqliteWorkflowStore(database)
    read = store.ended_handlers
    managers: list[RuntimeManager] = []
    deleted: list[str] = []

    async def read_then_delete(*arguments: Any) -> list[EndedHandler]:
        page = await read(*arguments)
        if page and not deleted:
            deleted.append(ids["deleted"])
            await managers[0].purge(ids["deleted"])
        return page

    monkeypatch.setattr(store, "ended_handlers", read_then_delete)
    async with managing(quick=Quick(), store=store, retention=ALL) as manager:
        managers.append(manager)
        await until_swept(manager, 1)
        await sweeps(manager, monkeypatch)
        assert manager.figures().swept == 1


async def test_a_sweep_goes_on_after_what_interrupted_it(
    managing: Managing, database: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await made(managing, database, {f"old {n}": DAY for n in range(3)})
    monkeypatch.setattr(retention, "AT_ONCE", 1)
    store = SqliteWorkflowStore(database)
    delete = store.begin_deletion
    calls = 0

    async def fail_once(ids: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise StoreUnavailable(reason="made by a test")
        await delete(ids)

    monkeypatch.setattr(store, "begin_deletion", fail_once)
    async with managing(quick=Quick(), store=store, retention=ALL) as manager:
        await until_swept(manager, 3)
        assert await left(manager) == set()
    assert "made by a test" in caplog.text


async def test_a_stop_in_the_middle_leaves_the_rest_to_the_next_start(
    managing: Managing, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await made(managing, database, {f"old {n}": DAY for n in range(6)})
    monkeypatch.setattr(retention, "AT_ONCE", 2)
    store = SqliteWorkflowStore(database)
    delete, begun = store.begin_deletion, asyncio.Event()

    async def note(ids: Any) -> None:
        await delete(ids)
        begun.set()

    monkeypatch.setattr(store, "begin_deletion", note)
    async with managing(quick=Quick(), store=store, retention=ALL) as manager:
        await begun.wait()
    async with managing(quick=Quick(), retention=ALL) as manager:
        await until_left_none(manager)
    with closing(sqlite3.connect(database)) as connection:
        for table in OWNERS:
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] == 0, table


async def until_left_none(manager: RuntimeManager) -> None:
    async with asyncio.timeout(20):
        while await left(manager):  # noqa: ASYNC110 a sweep has no event for a test
            await asyncio.sleep(0.01)
    await manager.store.deletions_ended()


async def test_without_rules_nothing_goes_and_nothing_is_looked_at(managing: Managing, database: Path) -> None:
    ids = await made(managing, database, {"old": 999 * DAY})
    async with managing(quick=Quick()) as manager:
        assert not [task for task in asyncio.all_tasks() if task.get_name() == "delete by retention"]
        assert await left(manager) == {ids["old"]}
