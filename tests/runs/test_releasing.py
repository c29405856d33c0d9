"""Runs on their way out of memory, and what happens to released ones behind the server's back."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from workflows import Context, Workflow, step
from workflows.events import HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent

from tests.harness.managing import Managing
from tests.harness.runs import asked, ended, released, until
from tests.store.fault_injection import HookedStore, Written, on_write_connection
from workflow_server.protocol.handlers import RunRequest
from workflow_server.records import RunReleased, StatePatched
from workflow_server.runs.manager import RuntimeManager
from workflow_server.runs.run import Run
from workflow_server.store import HandlerQuery

REPLY = {"type": "HumanResponseEvent", "value": {}}
LONGEST = 50_000
"""Bytes that the store takes of one value, in these tests."""


class Counted(Workflow):
    """Asks, and counts how often it began to."""

    def __init__(self) -> None:
        super().__init__(timeout=None)
        self.begun = 0

    @step
    async def ask(self, ctx: Context, ev: StartEvent) -> StopEvent:
        self.begun += 1
        await ctx.wait_for_event(HumanResponseEvent, waiter_event=InputRequiredEvent(), timeout=None)
        return StopEvent(result="answered")


class Oversized(Workflow):
    """Keeps more than the store can hold, and then waits for what nobody sends."""

    @step
    async def keep(self, ctx: Context, ev: StartEvent) -> None:
        await ctx.store.set("large", "x" * (2 * LONGEST))

    @step
    async def end(self, ev: HumanResponseEvent) -> StopEvent:
        return StopEvent()


class Holding:
    """Holds the first transaction that writes a record of this kind, until ``go_on`` is set."""

    def __init__(self, kind: type[Any]) -> None:
        self.held, self.go_on = threading.Event(), threading.Event()
        self._kind = kind

    def __call__(self, moment: str, records: Sequence[Written]) -> None:
        if moment == "before commit" and any(isinstance(record, self._kind) for record in records):
            self.held.set()
            self.go_on.wait(20)


def run_of(manager: RuntimeManager, handler_id: str) -> Run:
    run = manager.runs.get(handler_id)
    assert run is not None
    return run


async def test_a_run_that_is_leaving_memory_is_not_loaded_beside(managing: Managing, database: Path) -> None:
    store, holding, workflow = HookedStore(database), Holding(RunReleased), Counted()
    async with managing(ask=workflow, idle_timeout=0.05, store=store) as manager:
        store.hook = holding
        handler_id = (await manager.start("ask", RunRequest())).handler_id
        await until(holding.held.is_set)
        run = run_of(manager, handler_id)
        session = run.session
        assert run.is_released
        # As a wake-up does that was in line for the handler's lock while the run came, and went.
        manager.runs.wake(run)
        await until(lambda: not manager.footprint()["tasks"])
        assert run.session is session, "a second session was made beside the one that leaves"
        holding.go_on.set()
        await released(manager, handler_id)
        await manager.send(handler_id, REPLY, None, None)
        assert (await ended(manager, handler_id))[0].status == "completed"
        assert workflow.begun == 2, "a wait that is answered runs its step once more"


async def test_a_run_that_loses_a_record_while_it_leaves_is_failed(managing: Managing, database: Path) -> None:
    store, holding = HookedStore(database), Holding(StatePatched)
    async with managing(large=Oversized(timeout=None), idle_timeout=0.05, store=store) as manager:
        await on_write_connection(store, lambda sqlite: sqlite.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST))
        store.hook = holding
        handler_id = (await manager.start("large", RunRequest())).handler_id
        await until(holding.held.is_set)
        await until(lambda: run_of(manager, handler_id).is_released)
        holding.go_on.set()
        shown, last = await ended(manager, handler_id)
        assert shown.status == "failed"
        assert shown.error is not None
        assert "TOOBIG" in shown.error
        assert '"type":"WorkflowFailedEvent"' in last


@pytest.mark.parametrize("change", [{"status": "completed"}, {"run_id": "of-somebody-else"}])
async def test_a_run_that_the_store_has_no_more_is_forgotten(
    managing: Managing, change: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """A handler's record may be replaced by the owner of the store: the server goes by what is stored."""
    workflow = Counted()
    async with managing(ask=workflow, idle_timeout=0.05) as manager:
        handler_id = (await manager.start("ask", RunRequest())).handler_id
        await asked(manager, handler_id)
        await released(manager, handler_id)
        (stored,) = await manager.store.query(HandlerQuery(handler_id_in=[handler_id]))
        replaced = stored.model_copy(update=change)
        await manager.store.update(replaced)
        manager.runs.wake(run_of(manager, handler_id))
        await until(lambda: not any(manager.footprint().values()))
        await manager.store.flush()
        assert workflow.begun == 1
        assert await manager.store.query(HandlerQuery(handler_id_in=[handler_id])) == [replaced]
        failures = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
        assert not failures, "it was loaded, and failed"
