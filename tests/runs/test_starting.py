"""The start of a run and its first transition: one commit, after which the first step begins, or nothing at all."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import BaseModel, Field
from workflows import Context, Workflow, step
from workflows.events import StartEvent, StopEvent

from tests.harness.managing import Managing
from tests.harness.runs import until
from tests.store.fault_injection import AFTER, BEFORE, INSIDE, Hook, HookedStore, Written
from workflow_server.errors import (
    HandlerNotFound,
    ShuttingDown,
    StepInterrupted,
    StorageError,
    StorageFull,
    UnitRefused,
)
from workflow_server.execution.containment import contained
from workflow_server.protocol.handlers import RunRequest
from workflow_server.records import RunBegan, RunStarted, TickAppended
from workflow_server.runs.manager import RuntimeManager

ANY_TIME = 20.0


class Once(Workflow):
    """Ends in its only step, of which the calls are counted."""

    def __init__(self, timeout: float | None = None, slots: int | None = None) -> None:
        super().__init__(timeout=timeout, num_concurrent_runs=slots)
        self.calls = 0

    @step
    async def only(self, ev: StartEvent) -> StopEvent:
        self.calls += 1
        return StopEvent(result="done")


def full(moment: str, records: Sequence[Written]) -> None:
    """A disk without room."""
    if moment == INSIDE:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error


def refusing(moment: str, records: Sequence[Written]) -> None:
    """A database that refuses every start."""
    if moment == BEFORE and any(isinstance(record, RunStarted) for record in records):
        error = sqlite3.IntegrityError("UNIQUE constraint failed: handlers.handler_id")
        error.sqlite_errorcode = sqlite3.SQLITE_CONSTRAINT_UNIQUE
        raise error


class Gate:
    """A hook that holds the transaction of a start until it is opened, and then lets it be, or raises."""

    def __init__(self, after: object = None) -> None:
        self.reached = threading.Event()
        self.opened = threading.Event()
        self._after = after

    def __call__(self, moment: str, records: Sequence[Written]) -> None:
        if moment != INSIDE or not any(isinstance(record, RunStarted) for record in records):
            return
        self.reached.set()
        self.opened.wait(ANY_TIME)
        if self._after is not None:
            full(moment, records)


async def _nothing_is_left(manager: RuntimeManager, store: HookedStore) -> None:
    await until(lambda: not any(manager.footprint().values()))
    await store.flush()
    assert not await manager.list_handlers(None, None)


async def _run_when_there_is_room(manager: RuntimeManager) -> str:
    async with asyncio.timeout(ANY_TIME):
        while True:
            try:
                return (await manager.run("once", RunRequest(handler_id="mine"))).status
            except StorageFull:
                # For a second, the store does not even try.
                await asyncio.sleep(0.05)


async def test_the_first_step_begins_after_the_commit_of_the_start(managing: Managing, database: Path) -> None:
    store, workflow = HookedStore(database), Once()
    begun_before: list[int] = []
    together: list[set[type]] = []

    def look(moment: str, records: Sequence[Written]) -> None:
        if any(isinstance(record, RunStarted) for record in records) and moment in (INSIDE, AFTER):
            begun_before.append(workflow.calls)
            together.append(set(map(type, records)))

    async with managing(once=workflow, store=store) as manager:
        store.hook = look
        assert (await manager.run("once", RunRequest())).status == "completed"
    assert begun_before == [0, 0]
    assert {RunStarted, RunBegan, TickAppended} <= together[0]
    assert workflow.calls == 1


@pytest.mark.parametrize(("hook", "error"), [(full, StorageFull), (refusing, UnitRefused)])
@pytest.mark.parametrize("slots", [None, 1])
async def test_a_refused_start_leaves_nothing_behind(
    managing: Managing,
    database: Path,
    caplog: pytest.LogCaptureFixture,
    hook: Hook,
    error: type[StorageError],
    slots: int | None,
) -> None:
    store, workflow = HookedStore(database), Once(slots=slots)
    async with managing(once=workflow, store=store, accept_handler_ids=True) as manager:
        store.hook = hook
        for _ in range(3):
            with pytest.raises(error):
                await manager.run("once", RunRequest(handler_id="mine"))
        await until(lambda: not any(manager.footprint().values()))
        with pytest.raises(HandlerNotFound):
            await manager.open_cursor("mine", -1)
        store.hook = None
        await _nothing_is_left(manager, store)
        assert workflow.calls == 0
        assert await _run_when_there_is_room(manager) == "completed"
    assert workflow.calls == 1
    assert all(record.name.startswith("workflow_server.store.") for record in caplog.records)
    assert ("was refused" in caplog.text) is (error is UnitRefused)


@pytest.mark.parametrize("turns", range(6))
async def test_no_step_of_a_refused_start_begins_in_whatever_turn(
    managing: Managing, database: Path, monkeypatch: pytest.MonkeyPatch, turns: int
) -> None:
    """A disk that was full just now is not tried again: the refusal comes in the turn in which a step is started."""
    monkeypatch.setattr("workflow_server.runs.starting.TURNS", turns)
    store, workflow = HookedStore(database), Once()
    async with managing(once=workflow, store=store) as manager:
        store.hook = full
        for _ in range(2):
            with pytest.raises(StorageFull):
                await manager.run("once", RunRequest())
        await until(lambda: not any(manager.footprint().values()))
        store.hook = None
    assert workflow.calls == 0


@pytest.mark.parametrize("is_full", [False, True])
async def test_a_timeout_before_the_start_is_stored_comes_behind_it(
    managing: Managing, database: Path, caplog: pytest.LogCaptureFixture, *, is_full: bool
) -> None:
    store, workflow = HookedStore(database), Once(timeout=0.05)
    gate = Gate(is_full or None)
    async with managing(once=workflow, store=store) as manager:
        store.hook = gate
        request = asyncio.create_task(manager.start("once", RunRequest()))
        await until(gate.reached.is_set)
        run = next(iter(manager.runs))
        await until(lambda: run.has_ended)
        gate.opened.set()
        if is_full:
            with pytest.raises(StorageFull):
                await request
            store.hook = None
            await _nothing_is_left(manager, store)
        else:
            handler = await request
            await until(lambda: not any(manager.footprint().values()))
            assert "timed out after 0.05 seconds" in str((await manager.get_handler(handler.handler_id)).error)
            log = await store.read_events(handler.handler_id, -1, 100)
            assert [event.sequence for event in log] == list(range(len(log)))
            assert json.loads(log[-1].data)["type"] == "WorkflowTimedOutEvent"
    assert workflow.calls == 0
    assert "wait for room" not in caplog.text
    assert "was refused" not in caplog.text


async def test_a_start_under_way_at_a_stop_goes_on_at_the_next_start(managing: Managing, database: Path) -> None:
    store, workflow = HookedStore(database), Once()
    gate = Gate()
    async with managing(once=workflow, store=store) as manager:
        store.hook = gate
        request = asyncio.create_task(manager.start("once", RunRequest()))
        await until(gate.reached.is_set)
        manager.close()
        stopping = asyncio.create_task(manager.stop(ANY_TIME))
        await asyncio.sleep(0)
        gate.opened.set()
        handler = await request
        await stopping
        with pytest.raises(ShuttingDown):
            await manager.start("once", RunRequest())
        assert workflow.calls == 0
    async with managing(once=workflow) as manager:
        reader = await manager.open_cursor(handler.handler_id, -1)
        assert reader is not None
        while await reader.next_page(ANY_TIME):
            pass
        assert (await manager.get_handler(handler.handler_id)).status == "completed"
    assert workflow.calls == 1


async def test_a_start_whose_commit_fails_is_not_begun(managing: Managing, database: Path) -> None:
    store, workflow = HookedStore(database), Once()

    def broken(moment: str, records: Sequence[Written]) -> None:
        if moment == INSIDE and any(isinstance(record, RunStarted) for record in records):
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
            raise error

    async with managing(once=workflow, store=store) as manager:
        store.hook = broken
        with pytest.raises(StorageError):
            await manager.run("once", RunRequest())
        await until(lambda: not any(manager.footprint().values()))
        store.hook = None
    assert workflow.calls == 0


class Exiting(BaseModel):
    """A state that exits where it is made for a run."""

    is_ready: ClassVar[bool] = False
    number: int = Field(default_factory=lambda: sys.exit(3) if Exiting.is_ready else 0)


class Keeping(Workflow):
    """Has that state."""

    @step
    async def only(self, ctx: Context[Exiting], ev: StartEvent) -> StopEvent:
        return StopEvent(result="done")


async def test_a_start_that_exits_ends_neither_server_nor_loop(managing: Managing) -> None:
    async with managing(keeping=Keeping(), once=Once()) as manager:
        Exiting.is_ready = True
        # As in a connection, which belongs to the server.
        within = contained.set(manager)
        try:
            with pytest.raises(StepInterrupted, match="SystemExit"):
                await manager.run("keeping", RunRequest())
        finally:
            contained.reset(within)
            Exiting.is_ready = False
        assert (await manager.run("once", RunRequest())).status == "completed"
