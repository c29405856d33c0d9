"""The damaged rows of one run, or its deaths on probation, have no effect on the others."""

from __future__ import annotations

import asyncio
import gc
import json
import shutil
import sqlite3
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from workflows import Context, Workflow, step
from workflows.events import HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent

from tests.harness.managing import Managing
from tests.harness.runs import asked, damage, ended, in_memory, suspended, until
from workflow_server.logs import JsonFormatter
from workflow_server.protocol.handlers import RunRequest
from workflow_server.records import EventRange, RunningRun, StoredRun
from workflow_server.runs import recovery
from workflow_server.runs.manager import RuntimeManager
from workflow_server.runs.states import RunState
from workflow_server.store.base import HandlerQuery, PersistentHandler
from workflow_server.store.sqlite.store import SqliteWorkflowStore

REPLY = {"type": "HumanResponseEvent", "value": {}}
NO_TEXT = "cast(x'7bff7d' as text)"


class Ask(Workflow):
    @step
    async def ask(self, ctx: Context, ev: StartEvent) -> StopEvent:
        await ctx.store.set("asked", True)
        await ctx.wait_for_event(HumanResponseEvent, waiter_event=InputRequiredEvent(), timeout=None)
        return StopEvent(result="answered")


class CountedReads(SqliteWorkflowStore):
    """Counts its reads by name."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.reads: Counter[str] = Counter()

    async def load_run(self, handler_id: str) -> StoredRun | None:
        self.reads["load_run"] += 1
        return await super().load_run(handler_id)

    async def load_runs(self, handler_ids: Sequence[str], characters: int) -> list[StoredRun | None]:
        self.reads["load_runs"] += 1
        return await super().load_runs(handler_ids, characters)

    async def query(self, query: HandlerQuery) -> list[PersistentHandler]:
        self.reads["query"] += 1
        return await super().query(query)

    async def event_range(self, handler_id: str) -> EventRange | None:
        self.reads["event_range"] += 1
        return await super().event_range(handler_id)


class Stuck(Workflow):
    """Is in its step for as long as the process lives."""

    def __init__(self, num_concurrent_runs: int | None = None) -> None:
        super().__init__(timeout=None, num_concurrent_runs=num_concurrent_runs)
        self.begun = 0

    @step
    async def stay(self, ev: StartEvent) -> StopEvent:
        self.begun += 1
        await asyncio.sleep(600)
        return StopEvent()


async def test_runs_are_read_many_at_once_when_a_server_starts(managing: Managing, database: Path) -> None:
    count = 2 * recovery.AT_ONCE + 1
    async with managing(stuck=Stuck(), grace=0.0) as manager:
        handlers = [await manager.start("stuck", RunRequest()) for _ in range(count)]
    store, stuck = CountedReads(database), Stuck()
    async with managing(stuck=stuck, grace=0.0, store=store) as manager:
        assert store.reads == {"load_runs": 3}
        await until(lambda: stuck.begun == count)
        # The log of events goes on behind what is stored.
        last = handlers[-1].handler_id
        await manager.cancel(last)
        events = await manager.store.read_events(last, -1, 100)
        assert [event.sequence for event in events] == list(range(len(events)))
        assert json.loads(events[-1].data)["type"] == "WorkflowCancelledEvent"


async def test_a_start_is_not_searched_for_garbage_over_and_over(managing: Managing, database: Path) -> None:
    async with managing(stuck=Stuck(), grace=0.0) as manager:
        for _ in range(3 * recovery.AT_ONCE):
            await manager.start("stuck", RunRequest())
    store = CountedReads(database)
    generations: list[int] = []

    def count(phase: str, info: dict[str, int]) -> None:
        if phase == "start" and 0 < store.reads["load_runs"] < 3:
            generations.append(info["generation"])

    thresholds = gc.get_threshold()
    gc.callbacks.append(count)
    gc.set_threshold(50, 2, 2)
    try:
        async with managing(stuck=Stuck(), grace=0.0, store=store):
            assert gc.isenabled()
    finally:
        gc.callbacks.remove(count)
        gc.set_threshold(*thresholds)
    assert generations == [0, 0]


@pytest.mark.parametrize(
    ("statement", "goes_on"),
    [
        (f"UPDATE ticks SET data = {NO_TEXT} WHERE seq = 1 AND run_id = ?", False),
        ("DELETE FROM ticks WHERE seq = 0 AND run_id = ?", False),
        (f"UPDATE state_patches SET patch = {NO_TEXT} WHERE run_id = ?", False),
        (
            f"UPDATE payloads SET start_event = {NO_TEXT} "
            "WHERE handler_id = (SELECT handler_id FROM handlers WHERE run_id = ?)",
            False,
        ),
        (f"UPDATE handlers SET error = {NO_TEXT} WHERE run_id = ?", True),
        ("UPDATE handlers SET completed_at = 9e99 WHERE run_id = ?", True),
    ],
)
async def test_a_damaged_row_concerns_its_own_run_only(
    managing: Managing, database: Path, statement: str, goes_on: bool
) -> None:
    async with managing(ask=Ask(timeout=None)) as manager:
        hurt = await manager.start("ask", RunRequest())
        whole = await manager.start("ask", RunRequest())
        for handler in (hurt, whole):
            await asked(manager, handler.handler_id)
    damage(database, statement, hurt.run_id)
    async with managing(ask=Ask(timeout=None)) as manager:
        assert len(await manager.list_handlers(None, None)) == 2
        await manager.send(whole.handler_id, REPLY, None, None)
        assert (await ended(manager, whole.handler_id))[0].status == "completed"
        if goes_on:
            await manager.send(hurt.handler_id, REPLY, None, None)
            assert (await ended(manager, hurt.handler_id))[0].status == "completed"
            return
        assert "it does not fit the code" in await suspended(manager, hurt.handler_id)
        await manager.cancel(hurt.handler_id)
        assert (await ended(manager, hurt.handler_id))[0].status == "cancelled"


async def test_a_posted_event_that_is_damaged_suspends_its_run(managing: Managing, database: Path) -> None:
    async with managing(stuck=Stuck(), ask=Ask(timeout=None), grace=0.0) as manager:
        hurt = await manager.start("stuck", RunRequest())
        await until(lambda: in_memory(manager, hurt.handler_id))
    statement = "INSERT INTO inbox (handler_id, run_id, event) VALUES (?, ?, cast(x'ff' as text))"
    damage(database, statement, hurt.handler_id, hurt.run_id)
    async with managing(stuck=Stuck(), ask=Ask(timeout=None)) as manager:
        assert "a posted event cannot be read" in await suspended(manager, hurt.handler_id)


async def test_a_queued_run_with_a_damaged_start_is_suspended(managing: Managing, database: Path) -> None:
    async with managing(stuck=Stuck(1), grace=0.0) as manager:
        await manager.start("stuck", RunRequest())
        queued = await manager.start("stuck", RunRequest())
        await manager.store.flush()
    damage(database, "UPDATE payloads SET start_event = cast(x'ff' as text) WHERE handler_id = ?", queued.handler_id)
    async with managing(stuck=Stuck(2), grace=0.0) as manager:
        assert "its start event cannot be read" in await suspended(manager, queued.handler_id)


async def test_a_damaged_event_does_not_hide_those_after_it(managing: Managing, database: Path) -> None:
    async with managing(ask=Ask(timeout=None)) as manager:
        handler = await manager.start("ask", RunRequest())
        await asked(manager, handler.handler_id)
        await manager.send(handler.handler_id, REPLY, None, None)
        await ended(manager, handler.handler_id)
    number = "(SELECT number FROM handlers WHERE handler_id = ?)"
    damage(
        database, f"UPDATE event_log SET data = {NO_TEXT} WHERE sequence = 0 AND number = {number}", handler.handler_id
    )
    async with managing(ask=Ask(timeout=None)) as manager:
        reader = await manager.open_cursor(handler.handler_id, -1)
        assert reader is not None
        page = await reader.next_page(20)
        assert page
        assert page[0].data == "{\ufffd}"
        assert '"type":"StopEvent"' in page[-1].data


async def test_a_result_that_cannot_be_read_is_told_and_hides_no_other(managing: Managing, database: Path) -> None:
    async with managing(ask=Ask(timeout=None)) as manager:
        handler = await manager.start("ask", RunRequest())
        await asked(manager, handler.handler_id)
        await manager.send(handler.handler_id, REPLY, None, None)
        await ended(manager, handler.handler_id)
        await manager.start("ask", RunRequest())
    result = '{"value":{"result":' + "9" * 5_001 + '},"type":"StopEvent"}'
    damage(database, "UPDATE payloads SET result = ? WHERE handler_id = ?", result, handler.handler_id)
    async with managing(ask=Ask(timeout=None)) as manager:
        assert len(await manager.list_handlers(None, None)) == 2
        shown = await manager.get_handler(handler.handler_id)
        assert (shown.status, shown.result) == ("completed", None)
        assert shown.error is not None
        assert "its result cannot be read" in shown.error


@pytest.mark.parametrize("observe", [600.0, 0.01])
async def test_clean_restarts_do_not_count_against_a_run_in_quarantine(
    managing: Managing, database: Path, monkeypatch: pytest.MonkeyPatch, observe: float
) -> None:
    monkeypatch.setattr(recovery, "SETTLE", 0.0)
    monkeypatch.setattr(recovery, "OBSERVE", observe)
    handler_id = await _die_three_times(managing, database)
    for _ in range(3):
        stuck = Stuck()
        async with managing(stuck=stuck, grace=0.0) as manager:
            await until(lambda stuck=stuck: stuck.begun == 1)  # type: ignore[misc]
            if observe < 1:
                await _until_observed(manager, handler_id)
        [run] = await _running(database)
        assert (run.attempts, run.probations) == (3, 0)


async def test_a_crash_in_quarantine_counts(
    managing: Managing, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery, "SETTLE", 0.0)
    await _die_three_times(managing, database)
    stuck = Stuck()
    async with managing(stuck=stuck, grace=0.0) as manager:
        await until(lambda: stuck.begun == 1)
        await _copy(manager, database)
    [run] = await _running(database.with_suffix(".copy"))
    assert (run.attempts, run.probations) == (4, 1)


async def test_a_suspect_that_gets_no_slot_is_not_blamed(
    managing: Managing, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery, "SETTLE", 0.2)
    suspect = await _die_three_times(managing, database)
    stuck = Stuck(1)
    async with managing(stuck=stuck, grace=0.0) as manager:
        await manager.start("stuck", RunRequest())
        await until(lambda: is_queued(manager, suspect))
        await until(lambda: attempts(database, suspect) == (3, 0))
        await _copy(manager, database)
    runs = {run.handler_id: run for run in await _running(database.with_suffix(".copy"))}
    assert (runs[suspect].attempts, runs[suspect].probations) == (3, 0)


async def test_each_record_of_the_log_is_about_the_run_that_it_names(
    managing: Managing, database: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(recovery, "SETTLE", 0.0)
    monkeypatch.setattr(recovery, "OBSERVE", 0.01)
    caplog.handler.setFormatter(JsonFormatter())
    async with managing(ask=Ask(timeout=None), gone=Ask(timeout=None)) as manager:
        handlers = [await manager.start(name, RunRequest()) for name in ("ask", "ask", "gone")]
        for handler in handlers:
            await asked(manager, handler.handler_id)
    damage(database, "UPDATE handlers SET attempts = 3 WHERE workflow_name = ?", "ask")
    async with managing(ask=Ask(timeout=None)) as manager:
        for handler in handlers[:2]:
            await _until_observed(manager, handler.handler_id)
    lines = [json.loads(line) for line in caplog.text.splitlines()]
    named = {line["message"].split()[1]: line for line in lines if line["message"].startswith("Handler ")}
    assert named.keys() == {handler.handler_id for handler in handlers}
    for handler in handlers:
        line = named[handler.handler_id]
        assert (line["handler_id"], line["run_id"]) == (handler.handler_id, handler.run_id)


async def _die_three_times(managing: Managing, database: Path) -> str:
    """A run that was in its step three times when the process died."""
    handler_id = ""
    for start in range(4):
        stuck = Stuck()
        async with managing(stuck=stuck, grace=0.0) as manager:
            if not start:
                handler_id = (await manager.start("stuck", RunRequest())).handler_id
            await until(lambda stuck=stuck: stuck.begun == 1)  # type: ignore[misc]
            await _copy(manager, database)
        if start < 3:
            for suffix in ("", "-wal"):
                shutil.copyfile(f"{database.with_suffix('.copy')}{suffix}", f"{database}{suffix}")
    return handler_id


def is_queued(manager: RuntimeManager, handler_id: str) -> bool:
    """Return whether the handler's run waits for a slot."""
    run = manager.runs.get(handler_id)
    return run is not None and run.state is RunState.QUEUED


def attempts(database: Path, handler_id: str) -> tuple[int, int]:
    """The deaths of the process that count against the handler's run, and those on probation."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        query = "SELECT attempts, probations FROM handlers WHERE handler_id = ?"
        found: tuple[int, int] = connection.execute(query, (handler_id,)).fetchone()
        return found


async def _copy(manager: RuntimeManager, database: Path) -> None:
    """Keep the files as a dying process would leave them."""
    await manager.store.flush()
    for suffix in ("", "-wal"):
        shutil.copyfile(f"{database}{suffix}", f"{database.with_suffix('.copy')}{suffix}")


async def _until_observed(manager: RuntimeManager, handler_id: str) -> None:
    await until(lambda: all(task.get_name() != "probe suspect runs" for task in asyncio.all_tasks()))
    assert in_memory(manager, handler_id)


async def _running(path: Path) -> list[RunningRun]:
    store = SqliteWorkflowStore(path)
    await store.open()
    runs = await store.running_runs()
    await store.close()
    return runs
