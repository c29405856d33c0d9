"""Effects of a step on the event loop and on its own run, on a manager in this process."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import sys
import time
from collections.abc import AsyncIterator
from contextlib import closing, suppress
from pathlib import Path
from typing import ClassVar

import pytest
from workflows import Context, Workflow, step
from workflows.events import Event, StartEvent, StopEvent

from tests.harness.managing import Managing
from tests.harness.runs import cancel, ended, until
from workflow_server.execution import blocking
from workflow_server.execution.containment import contained, in_served_task
from workflow_server.protocol.handlers import RunRequest
from workflow_server.runs.manager import RuntimeManager
from workflow_server.store.sqlite.store import SqliteWorkflowStore


class Part(Event):
    pass


async def never_heed() -> None:
    """Swallow every cancellation, until the test is over."""
    while not Stubborn.over.is_set():
        with suppress(asyncio.CancelledError):
            await Stubborn.over.wait()


class Sibling(Workflow):
    """Two steps; one ends the run, the other one does not heed it."""

    @step
    async def begin(self, ctx: Context, ev: StartEvent) -> Part | None:
        ctx.send_event(Part())
        return None

    @step
    async def end(self, ev: Part) -> StopEvent:
        await asyncio.sleep(0.05)
        return StopEvent(result="ended")

    @step
    async def stubborn(self, ev: Part) -> StopEvent:
        await never_heed()
        return StopEvent(result="too late")


class Stubborn(Workflow):
    over = asyncio.Event()

    @step
    async def go(self, ctx: Context, ev: StartEvent) -> StopEvent:
        ctx.write_event_to_stream(Event())
        await never_heed()
        return StopEvent(result="too late")


class Raises(Workflow):
    @step
    async def look(self, ev: StartEvent) -> StopEvent:
        row = {"name": "x"}
        return StopEvent(result=row["customer"])


class Reacts(Workflow):
    """A step that makes something else of its cancellation."""

    begun = asyncio.Event()

    @step
    async def go(self, ev: StartEvent) -> StopEvent:
        Reacts.begun.set()
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            sys.exit(3)
        return StopEvent()


class Blocks(Workflow):
    @step
    async def think(self, ev: StartEvent) -> StopEvent:
        time.sleep(1.6)  # noqa: ASYNC251 it blocks
        return StopEvent(result="thought")


class Cancels(Workflow):
    """A step that cancels tasks of others."""

    victims: ClassVar[list[asyncio.Task[str]]] = []

    @step
    async def go(self, ev: StartEvent) -> StopEvent:
        for task in Cancels.victims:
            task.cancel()
        return StopEvent()


class Inner(Workflow):
    @step
    async def go(self, ev: StartEvent) -> StopEvent:
        return StopEvent(result=ev.get("kind"))


@pytest.fixture(autouse=True)
async def _over() -> AsyncIterator[None]:
    """Lets those end with the test that do not heed their cancellation."""
    Stubborn.over = asyncio.Event()
    yield
    Stubborn.over.set()
    left = asyncio.all_tasks() - {asyncio.current_task()}
    if left:
        await asyncio.wait(left, timeout=1)


async def began(manager: RuntimeManager, handler_id: str) -> None:
    """Return when the run has published something."""
    reader = await manager.open_cursor(handler_id, -1)
    assert reader is not None
    assert await reader.next_page(20)


async def outcome(manager: RuntimeManager, workflow: str, **fields: object) -> tuple[str, str | None]:
    """Return the status and the error with which a run ends."""
    handler = await manager.start(workflow, RunRequest(start_event=fields))
    done, _ = await ended(manager, handler.handler_id)
    return done.status, done.error


async def test_a_swallowed_cancellation_holds_up_no_end_of_a_run(managing: Managing) -> None:
    async with managing(s=Sibling(timeout=None), t=Stubborn(timeout=0.2), one=Stubborn(timeout=None)) as manager:
        async with asyncio.timeout(5):
            assert await outcome(manager, "s") == ("completed", None)
            assert (await outcome(manager, "t"))[0] == "failed"
            handler = await manager.start("one", RunRequest())
            await began(manager, handler.handler_id)
            await manager.cancel(handler.handler_id)
            await until(lambda: not manager.runs.in_memory())


async def test_the_slot_of_an_unheeding_step_is_given_back(managing: Managing) -> None:
    async with managing(one=Stubborn(timeout=None, num_concurrent_runs=1)) as manager, asyncio.timeout(5):
        for _ in range(2):
            handler_id = (await manager.start("one", RunRequest())).handler_id
            await began(manager, handler_id)
            await manager.cancel(handler_id)


async def test_a_step_of_a_cancelled_run_stays_cancelled(managing: Managing) -> None:
    Reacts.begun = asyncio.Event()
    async with managing(w=Reacts(timeout=None)) as manager:
        handler = await manager.start("w", RunRequest())
        await Reacts.begun.wait()
        await cancel(manager, handler.handler_id)
        shown = await manager.get_handler(handler.handler_id)
        assert (shown.status, shown.error) == ("cancelled", None)


async def test_a_step_that_misreads_a_stop_begins_again_at_the_start(managing: Managing) -> None:
    Reacts.begun = asyncio.Event()
    async with managing(w=Reacts(timeout=None), grace=0.0) as manager:
        handler = await manager.start("w", RunRequest())
        await Reacts.begun.wait()
    Reacts.begun = asyncio.Event()
    async with managing(w=Reacts(timeout=None), grace=0.0) as manager:
        await Reacts.begun.wait()
        assert (await manager.get_handler(handler.handler_id)).status == "running"


async def test_a_failure_is_logged_once_at_error_and_its_traceback_is_kept(
    managing: Managing, database: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with managing(w=Raises(timeout=None)) as manager:
        assert await outcome(manager, "w") == ("failed", "KeyError: 'customer' in step look")
    (logged,) = (record for record in caplog.records if record.levelno >= logging.ERROR)
    first, *others = logged.getMessage().split("\n")
    assert first.endswith("failed: KeyError: 'customer' in step look")
    with closing(sqlite3.connect(database)) as connection:
        ((kept,),) = connection.execute("SELECT traceback FROM payloads").fetchall()
    assert [line.removeprefix("    ") for line in others] == kept.split("\n")
    assert kept.split("\n")[0] == "Traceback (most recent call last):"
    assert 'return StopEvent(result=row["customer"])' in kept
    assert kept.count("  File ") == 1


async def test_a_step_that_blocks_the_loop_is_named_once_with_its_stack(
    managing: Managing, caplog: pytest.LogCaptureFixture
) -> None:
    async with managing(w=Blocks(timeout=None)) as manager:
        handler = await manager.start("w", RunRequest())
        await ended(manager, handler.handler_id)
        assert await outcome(manager, "w") == ("completed", None)
    (named,) = (record.getMessage() for record in caplog.records if record.name == blocking.__name__)
    assert f"Step think of handler {handler.handler_id} has blocked the event loop for 1." in named
    frame, line = named.split("\n")[1:]
    assert frame.endswith("in think")
    assert line.strip().startswith("time.sleep(1.6)")


async def test_a_step_cancels_nothing_that_a_foreign_task_waits_for(managing: Managing) -> None:
    going_on = asyncio.Event()

    async def work(error: Exception | None) -> str:
        await going_on.wait()
        if error is not None:
            raise error
        return "done"

    async with managing(w=Cancels(timeout=None)) as manager:
        within = contained.set(manager)
        loop = asyncio.get_running_loop()
        victims = [asyncio.Task(in_served_task(work(error)), loop=loop) for error in (None, KeyError("x"), None)]
        contained.reset(within)
        await asyncio.sleep(0)
        Cancels.victims = victims
        assert await outcome(manager, "w") == ("completed", None)
        victims[2].cancel()
        await asyncio.wait(victims[2:], timeout=5)
        assert [victim.done() for victim in victims] == [False, False, True]
        going_on.set()
        result, error, cancelled = await asyncio.gather(*victims, return_exceptions=True)
        assert result == "done"
        assert isinstance(error, KeyError)
        assert isinstance(cancelled, asyncio.CancelledError)


async def test_the_event_loop_is_given_back_by_the_last_one(managing: Managing, tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()

    def own(loop: asyncio.AbstractEventLoop, work: object, **options: object) -> asyncio.Task[None]:
        return asyncio.Task(work, loop=loop, **options)  # type: ignore[arg-type]

    loop.set_task_factory(own)  # type: ignore[arg-type]
    async with managing():
        async with managing(store=SqliteWorkflowStore(tmp_path / "other.sqlite3")):
            assert loop.get_task_factory() is not own
        assert loop.get_task_factory() is not own, "one of the two still runs"
    assert loop.get_task_factory() is own
    loop.set_task_factory(None)


async def test_a_workflow_that_is_served_still_runs_by_itself(managing: Managing) -> None:
    inner = Inner(timeout=None)
    async with managing(w=inner) as manager:
        assert await inner.run(kind="by itself") == "by itself"
        assert await outcome(manager, "w", kind="served") == ("completed", None)
