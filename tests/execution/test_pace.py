"""A step that publishes events faster than the store takes them waits for it before its result counts."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from workflows import Context, Workflow, step
from workflows.events import Event, StartEvent, StopEvent

from tests.harness.managing import Managing
from tests.harness.runs import ended, in_memory, until
from tests.store.fault_injection import BEGIN, HookedStore, Written
from workflow_server.execution import writer
from workflow_server.protocol.handlers import RunRequest
from workflow_server.runs.manager import RuntimeManager

BACKLOG = 20


class Word(Event):
    n: int = 0


class Speaker(Workflow):
    """Publishes so many events when it is told to, and is over."""

    def __init__(self, words: int) -> None:
        super().__init__(timeout=None)
        self.begun, self.go = asyncio.Event(), asyncio.Event()
        self.said = False
        self._words = words

    @step
    async def speak(self, ctx: Context, ev: StartEvent) -> StopEvent:
        self.begun.set()
        await self.go.wait()
        for n in range(self._words):
            ctx.write_event_to_stream(Word(n=n))
        self.said = True
        return StopEvent()


def has_progressed(manager: RuntimeManager, handler_id: str) -> bool:
    """Return whether the result of a step of the run has been taken."""
    run = manager.runs.get(handler_id)
    assert run is not None
    assert run.session is not None
    return run.session.writer.progressed.is_set()


async def test_a_step_that_publishes_faster_than_the_store_waits(
    managing: Managing, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "BACKLOG", BACKLOG)
    store, held, go_on = HookedStore(database), threading.Event(), threading.Event()

    def hold(moment: str, records: Sequence[Written]) -> None:
        if moment == BEGIN:
            held.set()
            go_on.wait(20)

    loud, quiet = Speaker(2 * BACKLOG), Speaker(0)
    async with managing(loud=loud, quiet=quiet, store=store) as manager:
        ids = [(await manager.start(name, RunRequest())).handler_id for name in ("loud", "quiet")]
        for speaker in (loud, quiet):
            await speaker.begun.wait()
        await store.flush()
        store.hook = hold
        store.append()
        await until(held.is_set)
        loud.go.set()
        await until(lambda: loud.said)
        quiet.go.set()
        # What has less to say is done, though it began later to say it.
        await until(lambda: has_progressed(manager, ids[1]))
        assert not has_progressed(manager, ids[0])
        store.hook = None
        go_on.set()
        for handler_id in ids:
            assert (await ended(manager, handler_id))[0].status == "completed"
        assert not in_memory(manager, ids[0])
