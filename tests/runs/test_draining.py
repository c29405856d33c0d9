"""Stops: a run leaves memory when the steps that had begun are recorded, whatever stands at the barrier by then."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path

from workflows import Context, Workflow, step
from workflows.events import Event, StartEvent, StopEvent

from tests.harness.managing import Managing
from tests.harness.runs import ended, until
from tests.store.fault_injection import INSIDE, HookedStore, Written
from workflow_server.execution.session import RunSession
from workflow_server.protocol.handlers import RunRequest

ANY_TIME = 20.0


class Next(Event):
    """Starts the second step."""


class Overlaps(Workflow):
    """Its first step starts the second, and runs on until it may end."""

    def __init__(self) -> None:
        super().__init__(timeout=None)
        self.may_send = asyncio.Event()
        self.may_end = asyncio.Event()

    @step
    async def first(self, ctx: Context, ev: StartEvent) -> Next | None:
        await self.may_send.wait()
        ctx.send_event(Next())
        await self.may_end.wait()
        return None

    @step
    async def second(self, ev: Next) -> StopEvent:
        return StopEvent(result="done")


class Held:
    """A hook that holds each transaction until it is opened."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.opened = threading.Event()

    def __call__(self, moment: str, records: Sequence[Written]) -> None:
        if moment == INSIDE:
            self.reached.set()
            self.opened.wait(ANY_TIME)


async def test_a_stop_waits_for_no_step_that_never_begins(managing: Managing, database: Path) -> None:
    """The last step that had begun ends while another still waits for its commit."""
    store, workflow, held = HookedStore(database), Overlaps(), Held()
    async with managing(w=workflow, store=store) as manager:
        handler = await manager.start("w", RunRequest())
        run = manager.runs.get(handler.handler_id)
        assert run is not None
        session = run.session
        assert isinstance(session, RunSession)
        await until(lambda: not session.gate.is_clear)
        await store.flush()
        store.hook = held
        workflow.may_send.set()
        await until(held.reached.is_set)
        manager.close()
        stopping = asyncio.create_task(manager.stop(grace=3600))
        await until(lambda: session.gate.draining)
        workflow.may_end.set()
        await until(lambda: session.gate.is_clear)
        held.opened.set()
        async with asyncio.timeout(ANY_TIME):
            await stopping
        store.hook = None
    async with managing(w=Overlaps()) as manager:
        assert (await ended(manager, handler.handler_id))[0].status == "completed"
