"""The history of a handler: enough to answer, a month later, why its run did what it did."""

from __future__ import annotations

import asyncio
import gc
import json
import shutil
import sqlite3
from collections import Counter
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from workflows import Context, Workflow, step
from workflows.events import Event, HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent
from workflows.retry_policy import retry_policy, stop_after_attempt, wait_fixed

from tests.harness.managing import Managing
from tests.harness.runs import asked, ended, released, until
from workflow_server.protocol.handlers import RunRequest
from workflow_server.protocol.history import HistoryEntry
from workflow_server.records import HistoryPlace, ListFilter
from workflow_server.runs.manager import RuntimeManager

Json = dict[str, Any]


class Second(Event):
    pass


class Third(Event):
    pass


class Chain(Workflow):
    @step
    async def one(self, ev: StartEvent) -> Second:
        return Second()

    @step
    async def two(self, ev: Second) -> Third:
        return Third()

    @step
    async def three(self, ev: Third) -> StopEvent:
        return StopEvent()


class Answer(HumanResponseEvent):
    name: str


class Asks(Workflow):
    @step
    async def ask(self, ctx: Context, ev: StartEvent) -> StopEvent:
        question = InputRequiredEvent()
        await ctx.wait_for_event(Answer, waiter_event=question, requirements={"name": "ann"}, timeout=3_600)
        return StopEvent(result="answered")


class Impatient(Workflow):
    @step
    async def wait(self, ctx: Context, ev: StartEvent) -> StopEvent:
        try:
            await ctx.wait_for_event(Answer, timeout=0.01)
        except TimeoutError:
            return StopEvent(result="late")
        return StopEvent()


class Count(Event):
    left: int


class AsksAndCounts(Workflow):
    """Waits while another step counts for longer than a journal lasts until its snapshot."""

    @step
    async def begin(self, ctx: Context, ev: StartEvent) -> Second | Count:
        ctx.send_event(Count(left=300))
        return Second()

    @step
    async def ask(self, ctx: Context, ev: Second) -> StopEvent:
        await ctx.wait_for_event(Answer, timeout=None)
        return StopEvent()

    @step
    async def count(self, ev: Count) -> Count | StopEvent | None:
        return Count(left=ev.left - 1) if ev.left else None


class Flaky(Workflow):
    @step(retry_policy=retry_policy(wait=wait_fixed(0.01), stop=stop_after_attempt(3)))
    async def work(self, ctx: Context, ev: StartEvent) -> StopEvent:
        number = ctx.retry_info().retry_number
        if number < 2:
            raise ValueError("the first" if number == 0 else "the second")
        return StopEvent()


class Fails(Workflow):
    @step(retry_policy=retry_policy(wait=wait_fixed(0.0), stop=stop_after_attempt(3)))
    async def work(self, ev: StartEvent) -> StopEvent:
        raise KeyError("customer")


class Stuck(Workflow):
    @step
    async def stay(self, ev: StartEvent) -> StopEvent:
        await asyncio.sleep(600)
        return StopEvent()


async def history(manager: RuntimeManager, handler_id: str, **how: bool) -> list[Json]:
    """All of a handler's history, page by page; every entry has the same keys."""
    found: list[Json] = []
    place: HistoryPlace | None = None
    while True:
        page, place = await manager.history(handler_id, place, 3, **how)
        found += map(json.loads, page)
        if place is None:
            break
    assert all(list(entry) == list(HistoryEntry.model_fields) for entry in found)
    return found


def kinds(entries: list[Json], *without: str) -> list[str]:
    return [entry["kind"] for entry in entries if entry["kind"] not in without]


def of(entries: list[Json], kind: str) -> Json:
    """The one entry of this kind, without the keys that are null."""
    (found,) = [entry for entry in entries if entry["kind"] == kind]
    return {name: value for name, value in found.items() if value is not None}


def said(entry: Json) -> Json:
    """An entry without what says where and when it is."""
    return {name: value for name, value in entry.items() if name not in ("cursor", "time", "run_id", "kind")}


def seconds(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()


async def finished(manager: RuntimeManager, workflow: str, **request: Any) -> str:
    handler = await manager.run(workflow, RunRequest(**request))
    return handler.handler_id


async def logged(manager: RuntimeManager, handler_id: str, name: str) -> None:
    """Return when an event of this name is in the log, without a reader that keeps the log in use."""
    async with asyncio.timeout(20):
        while True:
            events = await manager.store.read_events(handler_id, -1, 1_000)
            if any(name in event.data for event in events):
                return
            await asyncio.sleep(0.005)


def rows(database: Path) -> int:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        found: int = connection.execute("SELECT count(*) FROM history").fetchone()[0]
        return found


async def test_plain_steps_are_told_and_add_no_row(managing: Managing, database: Path) -> None:
    async with managing(chain=Chain()) as manager:
        handler_id = await finished(manager, "chain", by="ann")
        entries = await history(manager, handler_id)
        assert kinds(entries) == ["started", *["step_began", "step_ended"] * 3, "completed"]
        assert of(entries, "started")["by"] == "ann"
        begins, ends = entries[1:7:2], entries[2:7:2]
        assert [(entry["step"], entry["event"]) for entry in begins] == [
            ("one", "StartEvent"), ("two", "Second"), ("three", "Third")
        ]  # fmt: skip
        assert [entry["returned"] for entry in ends] == ["Second", "Third", "StopEvent"]
        assert all(entry["duration"] is None for entry in begins)
        assert all(0 <= entry["duration"] < 60 for entry in ends)
        assert [entry["sequence"] for entry in entries[1:]] == list(range(7))
        times = [entry["time"] for entry in entries[1:]]
        assert times == sorted(times)
        assert (await history(manager, handler_id, newest_first=True))[::-1] == entries
    assert rows(database) == 0


async def test_failed_attempts_have_errors_and_tracebacks(managing: Managing) -> None:
    async with managing(flaky=Flaky(), fails=Fails()) as manager:
        entries = await history(manager, await finished(manager, "flaky"))
        failed = [entry for entry in entries if entry["kind"] == "attempt_failed"]
        assert [(entry["step"], entry["event"], entry["attempt"], entry["error"]) for entry in failed] == [
            ("work", "StartEvent", 1, "ValueError: the first"),
            ("work", "StartEvent", 2, "ValueError: the second"),
        ]
        assert 'raise ValueError("the first"' in failed[0]["traceback"]
        assert all(seconds(entry["until"]) - seconds(entry["time"]) < 0.02 for entry in failed)
        assert all(entry["duration"] >= 0 for entry in failed)
        attempt = ["step_began", "attempt_failed", "step_ended"]
        assert kinds(entries) == ["started", *attempt, *attempt, "step_began", "step_ended", "completed"]
        assert [entry["returned"] for entry in entries if entry["kind"] == "step_ended"] == [None, None, "StopEvent"]

        entries = await history(manager, await finished(manager, "fails"))
        failed = [entry for entry in entries if entry["kind"] == "attempt_failed"]
        assert [entry["error"] for entry in failed] == ["KeyError: 'customer'"] * 3
        assert [entry["traceback"] is None for entry in failed] == [False, True, True], "the same is not repeated"
        assert [entry["until"] is None for entry in failed] == [False, False, True]
        assert said(of(entries, "failed")) == {
            "step": "work", "attempt": 3, "error": "KeyError: 'customer'", "event": "WorkflowFailedEvent",
            "sequence": entries[-1]["sequence"],
        }  # fmt: skip


async def test_a_wait_is_told_with_its_answer_and_who_sent_it(managing: Managing) -> None:
    async with managing(asks=Asks(timeout=None), idle_timeout=0.0, additional=[Answer]) as manager:
        handler_id = (await manager.start("asks", RunRequest())).handler_id
        await released(manager, handler_id)
        # Nobody has the event log then, and the place of the entry is found by the store.
        gc.collect()
        other = {"type": "Answer", "value": {"name": "bob"}}
        await manager.send(handler_id, other, None, None, by="bob")
        await logged(manager, handler_id, "UnhandledEvent")
        await released(manager, handler_id)
        await manager.send(handler_id, {"type": "Answer", "value": {"name": "ann"}}, None, None, by="ann")
        await ended(manager, handler_id)
        entries = await history(manager, handler_id)
    began, answered = of(entries, "wait_began"), of(entries, "wait_answered")
    assert said(began) == {
        "step": "ask", "event": "Answer", "requirements": {"name": "ann"}, "question": "InputRequiredEvent",
        "until": began["until"],
    }  # fmt: skip
    assert 3_590 < seconds(began["until"]) - seconds(began["time"]) < 3_610
    assert said(answered) == {"step": "ask", "event": "Answer", "duration": answered["duration"]}
    assert answered["duration"] > 0
    assert said(of(entries, "event_unhandled"))["event"] == "Answer"
    sent = [(entry["event"], entry["by"]) for entry in entries if entry["kind"] == "event_sent"]
    assert sent == [("Answer", "bob"), ("Answer", "ann")]
    assert Counter(kinds(entries))["released"] == Counter(kinds(entries))["resumed"] >= 2
    assert {(entry["reason"], entry["since"]) for entry in entries if entry["kind"] == "resumed"} == {("release", None)}
    order = kinds(entries, "idle", "released", "resumed", "event_unhandled")
    assert order == [
        "started", "step_began", "wait_began", "step_ended", "event_published", "event_sent", "event_sent",
        "wait_answered", "step_began", "step_ended", "completed",
    ]  # fmt: skip


async def test_a_wait_that_times_out_is_told(managing: Managing) -> None:
    async with managing(impatient=Impatient(timeout=None)) as manager:
        entries = await history(manager, await finished(manager, "impatient"))
    assert said(of(entries, "wait_timed_out"))["event"] == "Answer"
    assert of(entries, "wait_timed_out")["duration"] >= 0.01
    order = ["started", "step_began", "wait_began", "step_ended", "wait_timed_out", "step_began", "step_ended"]
    assert kinds(entries, "idle") == [*order, "completed"]


async def test_the_begin_of_a_wait_is_known_after_a_snapshot(managing: Managing) -> None:
    async with managing(asks=AsksAndCounts(timeout=None), idle_timeout=0.0, additional=[Answer]) as manager:
        handler_id = (await manager.start("asks", RunRequest())).handler_id
        await released(manager, handler_id)
        stored = await manager.store.load_run(handler_id)
        assert stored is not None
        assert stored.snapshot is not None
    async with managing(asks=AsksAndCounts(timeout=None), additional=[Answer]) as manager:
        await manager.send(handler_id, {"type": "Answer", "value": {"name": "ann"}}, None, None)
        await ended(manager, handler_id)
        entries = await history(manager, handler_id)
    waited = seconds(of(entries, "wait_answered")["time"]) - seconds(of(entries, "wait_began")["time"])
    assert of(entries, "wait_answered")["duration"] == pytest.approx(waited, abs=0.5)
    assert len(entries) > 600


async def test_a_step_that_a_crash_interrupts_begins_twice(managing: Managing, database: Path) -> None:
    async with managing(stuck=Stuck(timeout=None), grace=0.0) as manager:
        handler_id = (await manager.start("stuck", RunRequest())).handler_id
        await until(lambda: has_begun(manager, handler_id))
        await manager.store.flush()
        copy_files(database, database.with_suffix(".kept"))
    copy_files(database.with_suffix(".kept"), database)
    async with managing(stuck=Stuck(timeout=None), grace=0.0) as manager:
        await until(lambda: has_begun(manager, handler_id))
    async with managing(stuck=Stuck(timeout=None), grace=0.0) as manager:
        await until(lambda: has_begun(manager, handler_id))
        await manager.cancel(handler_id, by="ann")
        entries = await history(manager, handler_id)
    assert kinds(entries) == ["started", *["step_began", "resumed"] * 2, "step_began", "cancel_requested", "cancelled"]
    crash, restart = [entry for entry in entries if entry["kind"] == "resumed"]
    assert (crash["reason"], restart["reason"]) == ("crash", "restart")
    begun = [entry["time"] for entry in entries if entry["kind"] == "step_began"]
    assert crash["since"] < crash["time"] < begun[1] < restart["since"] < restart["time"]
    assert of(entries, "cancel_requested")["by"] == "ann"


def copy_files(source: Path, destination: Path) -> None:
    """Copy a database and its log, as a dying process would leave them."""
    for suffix in ("", "-wal"):
        shutil.copyfile(f"{source}{suffix}", f"{destination}{suffix}")


def has_begun(manager: RuntimeManager, handler_id: str) -> bool:
    run = manager.runs.get(handler_id)
    standing = None if run is None else run.standing
    return standing is not None and any(one.since is not None for one in standing.running)


async def test_a_suspended_run_says_why_once_and_may_be_cancelled(managing: Managing) -> None:
    async with managing(asks=Asks(timeout=None)) as manager:
        handler_id = (await manager.start("asks", RunRequest())).handler_id
        await asked(manager, handler_id)
    for _ in range(2):
        async with managing() as manager:
            await manager.store.flush()
            entries = await history(manager, handler_id)
            assert kinds(entries)[-1] == "suspended"
            assert of(entries, "suspended")["reason"] == (await manager.get_handler(handler_id)).suspended
    async with managing() as manager:
        await manager.cancel(handler_id, by="ann")
        entries = await history(manager, handler_id)
    assert kinds(entries)[-3:] == ["suspended", "cancel_requested", "cancelled"]
    assert of(entries, "cancel_requested")["by"] == "ann"


async def test_runs_that_are_cancelled_together_are_told_one_by_one(managing: Managing) -> None:
    async with managing(asks=Asks(timeout=None)) as manager:
        handler_ids = [(await manager.start("asks", RunRequest())).handler_id for _ in range(3)]
        page = await manager.cancel_matching(ListFilter(["running"]), None, 10, by="ann")
        assert sorted(page.handler_ids) == sorted(handler_ids)
        for handler_id in handler_ids:
            assert of(await history(manager, handler_id), "cancel_requested")["by"] == "ann"


async def test_a_continued_handler_keeps_the_history_of_its_runs(managing: Managing) -> None:
    async with managing(chain=Chain()) as manager:
        handler_id = await finished(manager, "chain", by="ann")
        first = await history(manager, handler_id)
        await finished(manager, "chain", handler_id=handler_id, by="bob")
        entries = await history(manager, handler_id)
    assert entries[: len(first)] == first
    assert kinds(entries) == kinds(first) * 2
    assert [entry["by"] for entry in entries if entry["kind"] == "started"] == ["ann", "bob"]
    assert len({entry["run_id"] for entry in entries}) == 2


@pytest.mark.parametrize("data", ["no JSON", '{"attempt":"many"}', "[1]"])
async def test_a_damaged_entry_hides_no_other(managing: Managing, database: Path, data: str) -> None:
    async with managing(fails=Fails()) as manager:
        handler_id = await finished(manager, "fails")
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE history SET data = ?", (data,))
        connection.execute("UPDATE event_log SET data = ? WHERE sequence = 1", (data,))
    async with managing(fails=Fails()) as manager:
        assert len(kinds(await history(manager, handler_id, with_values=True))) == 11
