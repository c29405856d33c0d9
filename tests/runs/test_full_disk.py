"""Requests on a full disk: none waits for what its run has written before."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from workflows import Context, Workflow, step
from workflows.events import HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent

from tests.harness.managing import Managing
from tests.harness.runs import asked, until
from tests.store.fault_injection import INSIDE, HookedStore, Written
from workflow_server.errors import HandlerNotFound, StorageFull
from workflow_server.protocol.handlers import HandlerData, RunRequest
from workflow_server.records import RunEnded
from workflow_server.runs.manager import RuntimeManager
from workflow_server.runs.run import Run
from workflow_server.store.internal_records import PurgeMarked, PurgeSliced


class Ask(Workflow):
    """Waits, or works until it is let go."""

    def __init__(self) -> None:
        super().__init__(timeout=None)
        self.go = asyncio.Event()

    @step
    async def ask(self, ctx: Context, ev: StartEvent) -> StopEvent:
        await ctx.store.set("asked", 1)
        if ev.get("works", False):
            ctx.write_event_to_stream(InputRequiredEvent())
            await self.go.wait()
        else:
            await ctx.wait_for_event(HumanResponseEvent, waiter_event=InputRequiredEvent(), timeout=None)
        return StopEvent(result="answered")


def full(moment: str, records: Sequence[Written]) -> None:
    """A disk that has room for cancellations and deletions alone."""
    if moment == INSIDE and not any(map(_has_room, records)):
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error


def _has_room(record: Written) -> bool:
    is_cancellation = isinstance(record, RunEnded) and record.status == "cancelled"
    return is_cancellation or isinstance(record, (PurgeMarked, PurgeSliced))


async def _standing(store: HookedStore, run: Run | None, condition: Callable[[Run], bool]) -> None:
    """Return when the run stands so, and what it wrote waits for room."""
    assert run is not None
    await until(lambda: condition(run) and store.problem is not None)


async def _ending(manager: RuntimeManager, store: HookedStore, workflow: Ask) -> HandlerData:
    """Return the handler of a run that has ended, and whose end waits for room."""
    handler = await manager.start("ask", RunRequest({"works": True}))
    await asked(manager, handler.handler_id)
    run = manager.runs.get(handler.handler_id)
    store.hook = full
    workflow.go.set()
    await _standing(store, run, lambda run: run.has_ended)
    return handler


@pytest.mark.parametrize("purge", [False, True])
async def test_a_run_whose_release_waits_for_room_is_cancelled_at_once(
    managing: Managing, database: Path, *, purge: bool
) -> None:
    store = HookedStore(database)
    async with managing(ask=Ask(), store=store, idle_timeout=0.3) as manager:
        handler = await manager.start("ask", RunRequest())
        await asked(manager, handler.handler_id)
        store.hook = full
        await _standing(store, manager.runs.get(handler.handler_id), lambda run: run.is_released)
        async with asyncio.timeout(5):
            await (manager.purge if purge else manager.cancel)(handler.handler_id)
        store.hook = None
        if purge:
            with pytest.raises(HandlerNotFound):
                await manager.get_handler(handler.handler_id)
        else:
            assert (await manager.get_handler(handler.handler_id)).status == "cancelled"
            log = await store.read_events(handler.handler_id, -1, 100)
            assert [event.sequence for event in log] == list(range(len(log)))
            assert json.loads(log[-1].data)["type"] == "WorkflowCancelledEvent"
        await until(lambda: not any(manager.footprint().values()))


async def test_a_run_whose_end_waits_for_room_is_deleted_at_once(
    managing: Managing, database: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store, workflow = HookedStore(database), Ask()
    async with managing(ask=workflow, store=store) as manager:
        handler = await _ending(manager, store, workflow)
        async with asyncio.timeout(5):
            await manager.purge(handler.handler_id)
        store.hook = None
        with pytest.raises(HandlerNotFound):
            await manager.get_handler(handler.handler_id)
        await until(lambda: not any(manager.footprint().values()))
    assert "was refused" not in caplog.text


async def test_a_run_whose_release_waits_for_room_can_be_cancelled(managing: Managing, database: Path) -> None:
    store = HookedStore(database)
    async with managing(ask=Ask(), store=store, idle_timeout=0.3) as manager:
        handler = await manager.start("ask", RunRequest())
        await asked(manager, handler.handler_id)
        store.hook = full
        await _standing(store, manager.runs.get(handler.handler_id), lambda run: run.is_released)
        async with asyncio.timeout(5):
            with pytest.raises(StorageFull):
                await manager.send(handler.handler_id, {"type": "HumanResponseEvent", "value": {}}, None, None)
            await manager.cancel(handler.handler_id)
        store.hook = None
        assert (await manager.get_handler(handler.handler_id)).status == "cancelled"


async def test_a_run_whose_end_waits_for_room_can_be_deleted(managing: Managing, database: Path) -> None:
    store, workflow = HookedStore(database), Ask()
    async with managing(ask=workflow, store=store) as manager:
        handler = await _ending(manager, store, workflow)
        async with asyncio.timeout(5):
            with pytest.raises(StorageFull):
                await manager.cancel(handler.handler_id)
            await manager.purge(handler.handler_id)
        store.hook = None
        with pytest.raises(HandlerNotFound):
            await manager.get_handler(handler.handler_id)
