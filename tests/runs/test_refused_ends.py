"""Ends of runs that the store cannot hold: nobody waits for them for ever, and nothing else is told than what is so."""

from __future__ import annotations

import asyncio
import json
import sqlite3

import pytest
from workflows import Context, Workflow, step
from workflows.events import Event, HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent

from tests.harness.managing import Managing
from tests.harness.runs import asked, until
from tests.store.fault_injection import on_write_connection
from workflow_server.errors import HandlerNotFound, UnitRefused
from workflow_server.protocol.handlers import RunRequest
from workflow_server.runs.exceptions import HandlerNotRunning
from workflow_server.runs.manager import RuntimeManager
from workflow_server.store import HandlerQuery, SqliteWorkflowStore

LONGEST = 50_000
"""Bytes that the store takes of one value, in these tests."""


class Large(Workflow):
    """Waits, and ends with more than the store can hold."""

    @step
    async def work(self, ctx: Context, ev: StartEvent) -> StopEvent:
        if ev.get("waits", False):
            await ctx.wait_for_event(HumanResponseEvent, waiter_event=InputRequiredEvent(), timeout=None)
        return StopEvent(result="x" * (2 * LONGEST))


class Word(Event):
    text: str = ""


class Talkative(Workflow):
    """Publishes more than the store can hold, then less, and goes on for as long as it may."""

    @step
    async def talk(self, ctx: Context, ev: StartEvent) -> StopEvent:
        ctx.write_event_to_stream(Word(text="x" * (2 * LONGEST)))
        ctx.write_event_to_stream(Word(text="small"))
        await asyncio.Event().wait()
        return StopEvent()


async def limit(manager: RuntimeManager) -> None:
    """Let the store hold no longer values."""
    store = manager.store
    assert isinstance(store, SqliteWorkflowStore)
    await on_write_connection(store, lambda sqlite: sqlite.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST))


async def test_a_run_whose_end_cannot_be_stored_is_failed_with_the_reason(managing: Managing) -> None:
    async with managing(large=Large(timeout=None)) as manager:
        await limit(manager)
        over = await asyncio.wait_for(manager.run("large", RunRequest()), 20)
        assert over.status == "failed"
        assert over.error is not None
        assert "TOOBIG" in over.error
        with pytest.raises(HandlerNotRunning) as refused:
            await manager.cancel(over.handler_id)
        assert refused.value.status == "failed"
        events = await manager.store.read_events(over.handler_id, -1, 100)
        assert [event.sequence for event in events] == list(range(len(events)))
        assert [json.loads(event.data)["type"] for event in events if "Failed" in event.data] == ["WorkflowFailedEvent"]


async def test_what_follows_a_refused_event_keeps_its_place(managing: Managing) -> None:
    async with managing(talk=Talkative(timeout=None)) as manager:
        await limit(manager)
        over = await asyncio.wait_for(manager.run("talk", RunRequest()), 20)
        assert over.status == "failed"
        events = [json.loads(event.data) for event in await manager.store.read_events(over.handler_id, -1, 100)]
        published = [event for event in events if event["type"] in {"Word", "WorkflowFailedEvent"}]
        assert [event["type"] for event in published] == ["Word", "WorkflowFailedEvent"]
        assert published[0]["value"]["text"] == "small"


async def test_a_caller_is_told_of_a_handler_deleted_beneath_its_run(managing: Managing) -> None:
    async with managing(large=Large(timeout=None)) as manager:
        waiting = asyncio.create_task(manager.run("large", RunRequest({"waits": True})), name="waiting")
        await until(lambda: bool(manager.runs.in_memory()))
        (run,) = manager.runs.in_memory()
        # It is in memory before its start is stored.
        async with asyncio.timeout(20):
            while not await manager.list_handlers(None, None):  # noqa: ASYNC110 nothing tells of it
                await asyncio.sleep(0.005)
        await asked(manager, run.handler_id)
        await manager.store.delete(HandlerQuery(handler_id_in=[run.handler_id]))
        with pytest.raises(HandlerNotFound):
            await manager.cancel(run.handler_id)
        with pytest.raises(UnitRefused):
            await asyncio.wait_for(waiting, 20)
