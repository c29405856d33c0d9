"""Runs come and go: nothing that the store, the steps or clients do at the wrong moment strands one."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import pytest
from pydantic import BaseModel, Field
from workflows import Context, Workflow, step
from workflows.events import Event, HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent

from tests.harness.managing import Managing
from tests.harness.runs import asked, ended, in_memory, released, suspended, until
from tests.store.fault_injection import HookedStore, Written
from workflow_server.errors import HandlerNotFound, StoreUnavailable, UnitRefused
from workflow_server.execution.exceptions import InvalidEvent
from workflow_server.execution.writer import RunWriter
from workflow_server.protocol.handlers import IdempotencyKey, RunRequest
from workflow_server.records import InboxPosted, Record, RunReleased, RunStarted, StoredRun
from workflow_server.runs.event_pages import PAGE
from workflow_server.runs.events import EventReader
from workflow_server.runs.exceptions import RunSuperseded, StateUnreadable
from workflow_server.runs.manager import RuntimeManager
from workflow_server.runs.run import Run
from workflow_server.store.sqlite.store import SqliteWorkflowStore

REPLY = {"type": "HumanResponseEvent", "value": {}}


class Custom(Event):
    n: int = 0


class Old(BaseModel):
    a: int = 0


class New(BaseModel):
    a: str = ""


class Ask(Workflow):
    @step
    async def ask(self, ctx: Context, ev: StartEvent) -> StopEvent:
        if ev.get("hold", None):
            await asyncio.sleep(600)
        await ctx.wait_for_event(HumanResponseEvent, waiter_event=InputRequiredEvent(), timeout=None)
        return StopEvent(result="answered")


class Counted(Workflow):
    begun = 0

    @step
    async def ask(self, ctx: Context, ev: StartEvent) -> StopEvent:
        self.begun += 1
        await ctx.wait_for_event(HumanResponseEvent, waiter_event=InputRequiredEvent(), timeout=None)
        return StopEvent(result="answered")


class AskOwnType(Workflow):
    @step
    async def ask(self, ctx: Context, ev: StartEvent) -> StopEvent:
        if ev.get("hold", None):
            await asyncio.sleep(600)
        return StopEvent(result=(await ctx.wait_for_event(Custom, timeout=None)).n)


class AskOtherwise(Workflow):
    """``AskOwnType`` after a deploy that renamed its step."""

    @step
    async def ask_otherwise(self, ctx: Context, ev: StartEvent) -> StopEvent:
        return StopEvent(result=(await ctx.wait_for_event(Custom, timeout=None)).n)


class KeepsOld(Workflow):
    @step
    async def keep(self, ctx: Context[Old], ev: StartEvent) -> StopEvent:
        await ctx.store.set("a", 1)
        return StopEvent()


class KeepsNew(Workflow):
    @step
    async def keep(self, ctx: Context[New], ev: StartEvent) -> StopEvent:
        return StopEvent()


class AskOne(Workflow):
    """One run at a time."""

    def __init__(self, *, stateful: bool) -> None:
        super().__init__(timeout=None, num_concurrent_runs=1)
        self.stateful = stateful

    @step
    async def ask(self, ctx: Context, ev: StartEvent) -> StopEvent:
        if self.stateful:
            await ctx.store.set("runs", 1)
        await ctx.wait_for_event(HumanResponseEvent, waiter_event=InputRequiredEvent(), timeout=None)
        return StopEvent(result="answered")


class Chatty(Workflow):
    @step
    async def talk(self, ctx: Context, ev: StartEvent) -> StopEvent:
        for n in range(2 * PAGE):
            ctx.write_event_to_stream(Custom(n=n))
        await ctx.wait_for_event(HumanResponseEvent, timeout=None)
        return StopEvent()


class FailingReads(SqliteWorkflowStore):
    """Cannot read runs for as many times as it is told."""

    failures = 0

    async def load_run(self, handler_id: str) -> StoredRun | None:
        if self.failures:
            self.failures -= 1
            raise StoreUnavailable(reason="SQLITE_IOERR: disk I/O error")
        return await super().load_run(handler_id)

    async def load_runs(self, handler_ids: Sequence[str], characters: int) -> list[StoredRun | None]:
        return [await self.load_run(handler_id) for handler_id in handler_ids]


class BrokenReads(SqliteWorkflowStore):
    """Hands out runs that are not what they should be."""

    async def load_run(self, handler_id: str) -> StoredRun | None:
        stored = await super().load_run(handler_id)
        return stored and stored._replace(inbox=[cast("InboxPosted", None)])

    async def load_runs(self, handler_ids: Sequence[str], characters: int) -> list[StoredRun | None]:
        return [await self.load_run(handler_id) for handler_id in handler_ids]


async def test_a_released_run_that_cannot_be_read_is_tried_again(managing: Managing, database: Path) -> None:
    store = FailingReads(database)
    async with managing(ask=Ask(timeout=None), idle_timeout=0.05, store=store) as manager:
        handler = await manager.start("ask", RunRequest())
        await released(manager, handler.handler_id)
        store.failures = 1
        await manager.send(handler.handler_id, REPLY, None, None)
        assert (await ended(manager, handler.handler_id))[0].status == "completed"
        await until(lambda: not any(manager.footprint().values()))


async def test_a_run_unreadable_at_start_leaves_its_slot_to_the_next(managing: Managing, database: Path) -> None:
    async with managing(ask=Ask(timeout=None, num_concurrent_runs=1)) as manager:
        first = await manager.start("ask", RunRequest())
        await asked(manager, first.handler_id)
        second = await manager.start("ask", RunRequest())
    store = FailingReads(database)
    # Together with others, and alone.
    store.failures = 2
    async with managing(ask=Ask(timeout=None, num_concurrent_runs=1), store=store) as manager:
        await asked(manager, second.handler_id)
        assert not in_memory(manager, first.handler_id)
        for handler in (second, first):
            await manager.send(handler.handler_id, REPLY, None, None)
        for handler in (second, first):
            assert (await ended(manager, handler.handler_id))[0].status == "completed"


async def test_an_unforeseen_error_of_loading_suspends_the_run(managing: Managing, database: Path) -> None:
    async with managing(ask=Ask(timeout=None)) as manager:
        handler = await manager.start("ask", RunRequest())
        await asked(manager, handler.handler_id)
    async with managing(ask=Ask(timeout=None), store=BrokenReads(database)) as manager:
        assert "(AttributeError)" in await suspended(manager, handler.handler_id)
        assert not manager.runs.in_memory()


async def test_a_type_of_the_wait_is_accepted_while_no_slot_is_free(managing: Managing) -> None:
    async with managing(own=AskOwnType(timeout=None, num_concurrent_runs=1), idle_timeout=0.05, grace=0.0) as manager:
        asking = await manager.start("own", RunRequest())
        await released(manager, asking.handler_id)
        holding = await manager.start("own", RunRequest({"hold": True}))
        await until(lambda: in_memory(manager, holding.handler_id))
    async with managing(own=AskOwnType(timeout=None, num_concurrent_runs=1), idle_timeout=0.05) as manager:
        with pytest.raises(InvalidEvent, match=r"Accepted are: Custom"):
            await manager.send(asking.handler_id, {"type": "Nothing", "value": {}}, None, None)
        await manager.send(asking.handler_id, {"type": "Custom", "value": {"n": 42}}, None, None)
        assert not in_memory(manager, asking.handler_id)
        await manager.cancel(holding.handler_id)
        shown, _ = await ended(manager, asking.handler_id)
        assert shown.result is not None
        assert shown.result.value == {"result": 42}


async def test_a_suspended_run_that_is_cancelled_tells_of_untaken_events(managing: Managing) -> None:
    async with managing(own=AskOwnType(timeout=None, num_concurrent_runs=1), idle_timeout=0.05, grace=0.0) as manager:
        asking = await manager.start("own", RunRequest())
        await released(manager, asking.handler_id)
        holding = await manager.start("own", RunRequest({"hold": True}))
        await until(lambda: in_memory(manager, holding.handler_id))
        await manager.send(asking.handler_id, {"type": "Custom", "value": {"n": 42}}, None, None)
    async with managing(own=AskOtherwise(timeout=None)) as manager:
        assert "step 'ask', which is no longer in the code" in await suspended(manager, asking.handler_id)
        await manager.cancel(asking.handler_id)
        shown, last = await ended(manager, asking.handler_id)
        assert shown.status == "cancelled"
        assert '"type":"WorkflowCancelledEvent"' in last
        told = [json.loads(event.data) for event in await manager.store.read_events(asking.handler_id, -1, 100)]
        assert [one["value"]["event_type"] for one in told if one["type"] == "UnhandledEvent"] == ["Custom"]
        assert manager.runs.get(asking.handler_id) is None


async def test_a_handler_whose_state_no_longer_fits_is_not_continued(managing: Managing) -> None:
    async with managing(keep=KeepsOld()) as manager:
        handler = await manager.run("keep", RunRequest())
    async with managing(keep=KeepsNew()) as manager:
        with pytest.raises(StateUnreadable, match="not of the class that the workflow's steps declare now"):
            await manager.run("keep", RunRequest(handler_id=handler.handler_id))
        assert await manager.get_handler(handler.handler_id) == handler


async def test_asking_for_a_superseded_run_leaves_nothing_behind(managing: Managing) -> None:
    async with managing(keep=KeepsOld()) as manager:
        request = RunRequest(key=IdempotencyKey("k", "h"))
        handler = await manager.run("keep", request)
        await manager.run("keep", RunRequest(handler_id=handler.handler_id))
        with pytest.raises(RunSuperseded):
            await manager.run("keep", request)
        assert not any(manager.footprint().values()), manager.footprint()


class Leaving:
    """A handler whose run has ended, durably, and whose task has not: it ends when ``go`` is set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go = asyncio.Event()
        self.leaving = asyncio.Event()
        self.handler_id = ""
        self.task: asyncio.Task[None] | None = None
        self._patch = monkeypatch

    async def prepare(self, manager: RuntimeManager) -> None:
        settle = RunWriter.settle

        async def settle_late(writer: RunWriter) -> None:
            await settle(writer)
            self.leaving.set()
            await self.go.wait()

        self.handler_id = (await manager.start("one", RunRequest())).handler_id
        await asked(manager, self.handler_id)
        run = manager.runs.get(self.handler_id)
        assert run is not None
        self.task = run.task
        with self._patch.context() as patched:
            patched.setattr(RunWriter, "settle", settle_late)
            await manager.send(self.handler_id, REPLY, None, None)
            await ended(manager, self.handler_id)
            await self.leaving.wait()
        assert self.task is not None
        assert not self.task.done()

    async def leave(self) -> None:
        self.go.set()
        assert self.task is not None
        await asyncio.wait([self.task])


async def test_a_purged_run_that_leaves_late_gives_its_own_slot_back(
    managing: Managing, monkeypatch: pytest.MonkeyPatch
) -> None:
    workflows = {"one": AskOne(stateful=False), "ask": Ask(timeout=None)}
    async with managing(**workflows, accept_handler_ids=True) as manager:
        before = Leaving(monkeypatch)
        await before.prepare(manager)
        await manager.purge(before.handler_id)
        await manager.start("ask", RunRequest(handler_id=before.handler_id))
        await asked(manager, before.handler_id)
        await before.leave()
        assert in_memory(manager, before.handler_id)
        next_one = await manager.start("one", RunRequest())
        await asyncio.wait_for(asked(manager, next_one.handler_id), 10)


@pytest.mark.parametrize("stateful", [True, False])
async def test_a_run_that_leaves_late_takes_nothing_of_the_next(
    managing: Managing, monkeypatch: pytest.MonkeyPatch, *, stateful: bool
) -> None:
    async with managing(one=AskOne(stateful=stateful)) as manager:
        before = Leaving(monkeypatch)
        await before.prepare(manager)
        await manager.start("one", RunRequest(handler_id=before.handler_id))
        await asked(manager, before.handler_id)
        await before.leave()
        assert in_memory(manager, before.handler_id), "the next run keeps its place"
        queued = await manager.start("one", RunRequest())
        assert (await manager.get_handler(queued.handler_id)).suspended is not None, "the next run keeps its slot"
        await manager.send(before.handler_id, REPLY, None, None)
        assert (await ended(manager, before.handler_id))[0].status == "completed"
        await asked(manager, queued.handler_id)


async def test_a_handler_is_cancelled_though_the_run_before_has_not_left(
    managing: Managing, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with managing(one=AskOne(stateful=True)) as manager:
        before = Leaving(monkeypatch)
        await before.prepare(manager)
        await manager.start("one", RunRequest())
        await manager.start("one", RunRequest(handler_id=before.handler_id))
        await manager.cancel(before.handler_id)
        assert (await ended(manager, before.handler_id))[0].status == "cancelled"
        await before.leave()


async def test_a_refusal_does_not_strand_a_run_on_its_way_out(managing: Managing, database: Path) -> None:
    held, go_on = threading.Event(), threading.Event()

    def hold_release(moment: str, records: Sequence[Written]) -> None:
        if moment == "before commit" and any(isinstance(record, RunReleased) for record in records):
            held.set()
            go_on.wait(20)

    store = HookedStore(database)
    async with managing(ask=Ask(timeout=None), idle_timeout=0.05, store=store) as manager:
        store.hook = hold_release
        handler = await manager.start("ask", RunRequest())
        await until(held.is_set)
        assert handler.run_id is not None
        refused = RunReleased(handler.handler_id, handler.run_id, None)
        assert store.on_refused is not None
        store.on_refused([refused], UnitRefused(reason="too large"))
        await asyncio.sleep(0)
        go_on.set()
        store.hook = None
        await manager.send(handler.handler_id, REPLY, None, None)
        assert (await asyncio.wait_for(ended(manager, handler.handler_id), 20))[0].status == "completed"
        await until(lambda: not manager.runs.in_memory())


async def test_a_reader_of_the_store_is_told_of_a_purge(managing: Managing) -> None:
    async with managing(chatty=Chatty(timeout=None)) as manager:
        handler = await manager.start("chatty", RunRequest())
        reader = await manager.open_cursor(handler.handler_id, -1)
        assert reader is not None
        while (page := await reader.next_page(20)) and page[-1].sequence < 2 * PAGE:
            pass
    async with managing(chatty=Chatty(timeout=None), idle_timeout=0.05) as manager:
        reader = await manager.open_cursor(handler.handler_id, -1)
        queue = await manager.open_queue(handler.handler_id, 1.0)
        assert reader is not None
        assert queue is not None
        assert len(await reader.next_page(20) or []) == PAGE
        await manager.purge(handler.handler_id)
        # Nobody takes it for the end of the stream, and nothing waits.
        async with asyncio.timeout(20):
            for behind in (reader, queue):
                with pytest.raises(HandlerNotFound):
                    await _read_all(behind)
            await queue.close()
            await manager.store.flush()


async def _read_all(reader: EventReader) -> None:
    while await reader.next_page(20):
        pass


class Background(Workflow):
    """A step that leaves a task behind, which sends when the run has left memory."""

    def __init__(self) -> None:
        super().__init__(timeout=None)
        self.release = asyncio.Event()
        self.tasks: list[asyncio.Task[None]] = []

    @step
    async def begin(self, ctx: Context, ev: StartEvent) -> Custom | None:
        async def later() -> None:
            await self.release.wait()
            ctx.send_event(Custom(n=7))

        self.tasks.append(asyncio.create_task(later(), name="later"))
        return None

    @step
    async def end(self, ev: Custom) -> StopEvent:
        return StopEvent(result=ev.n)


async def test_what_a_task_sends_after_its_run_has_left_memory_reaches_it(managing: Managing) -> None:
    workflow = Background()
    async with managing(background=workflow, idle_timeout=0.05) as manager:
        handler = await manager.start("background", RunRequest())
        await released(manager, handler.handler_id)
        workflow.release.set()
        over, _ = await ended(manager, handler.handler_id)
        assert over.result is not None
        assert over.result.value == {"result": 7}
        await asyncio.gather(*workflow.tasks)


class Both(Background):
    """Ends when it has what its task sends, and what a client does."""

    @step
    async def end(self, ctx: Context, ev: Custom) -> StopEvent | None:  # type: ignore[override]
        numbers = [*await ctx.store.get("numbers", []), ev.n]
        await ctx.store.set("numbers", numbers)
        return StopEvent(result=sorted(numbers)) if len(numbers) == 2 else None


async def test_what_a_task_sends_while_a_client_posts_arrives_too(managing: Managing) -> None:
    workflow = Both()
    async with managing(both=workflow, idle_timeout=0.05) as manager:
        handler = await manager.start("both", RunRequest())
        await released(manager, handler.handler_id)
        async with manager.runs.lock(handler.handler_id):
            sending = manager.send(handler.handler_id, {"type": "Custom", "value": {"n": 1}}, None, None)
            posting = asyncio.create_task(sending, name="posts")
            await until(lambda: manager.footprint()["tasks"] == 1)
            await asyncio.sleep(0)
            # It waits behind the client, and comes after it into the store.
            workflow.release.set()
            await asyncio.gather(*workflow.tasks)
        await posting
        over, _ = await asyncio.wait_for(ended(manager, handler.handler_id), 10)
        assert over.result is not None
        assert over.result.value == {"result": [1, 7]}


async def test_a_run_cancelled_before_its_task_began_gives_its_slot_back(
    managing: Managing, monkeypatch: pytest.MonkeyPatch
) -> None:
    asking = Counted(timeout=None, num_concurrent_runs=1)
    async with managing(ask=asking, idle_timeout=0.05) as manager:
        begin = Run.begin

        def cancel_and_begin(run: Run) -> None:
            # Between the making of its task, in this turn of the loop, and the task's first step.
            asyncio.get_running_loop().call_soon(run.cancel)
            begin(run)

        first = await manager.start("ask", RunRequest())
        await released(manager, first.handler_id)
        with monkeypatch.context() as patched:
            patched.setattr(Run, "begin", cancel_and_begin)
            await manager.send(first.handler_id, REPLY, None, None)
            over, _ = await ended(manager, first.handler_id)
        assert over.status == "cancelled"
        await until(lambda: not any(manager.footprint().values()))
        assert asking.begun == 1, "its step began again for the answer"
        second = await manager.start("ask", RunRequest())
        await asyncio.wait_for(asked(manager, second.handler_id), 10)


async def test_a_run_about_to_begin_is_cancelled_once(managing: Managing, database: Path) -> None:
    """The client chose the id, so it can cancel before it was told: also between the making of the run's task and that
    task's first step."""
    store = SqliteWorkflowStore(database)
    workflow = Ask(timeout=None, num_concurrent_runs=1)
    async with managing(ask=workflow, accept_handler_ids=True, store=store) as manager:
        for turns in range(8):
            await _cancel_at_the_commit(manager, store, f"h{turns}", turns)
            over, _ = await ended(manager, f"h{turns}")
            assert over.status == "cancelled"
            log = await store.read_events(f"h{turns}", -1, 100)
            assert [json.loads(event.data)["type"] for event in log if "Cancelled" in event.data] == [
                "WorkflowCancelledEvent"
            ]
            await until(lambda: not any(manager.footprint().values()))
            await until(lambda: not any(task.get_name().startswith("run ") for task in asyncio.all_tasks()))


async def _cancel_at_the_commit(
    manager: RuntimeManager, store: SqliteWorkflowStore, handler_id: str, turns: int
) -> None:
    """Start a run, and cancel it so many turns of the loop after its start was committed."""
    cancelling: list[asyncio.Task[None]] = []

    async def cancel() -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        await manager.cancel(handler_id)

    def committed(records: Sequence[Record]) -> None:
        if any(isinstance(record, RunStarted) for record in records):
            cancelling.append(asyncio.create_task(cancel(), name="cancels"))

    unsubscribe = store.subscribe(committed)
    await manager.start("ask", RunRequest(handler_id=handler_id))
    unsubscribe()
    await asyncio.gather(*cancelling)


NOTED: list[str] = []


def stamp() -> str:
    """Note that a default is made."""
    NOTED.append("state")
    return "now"


class Stamped(BaseModel):
    at: str = Field(default_factory=stamp)


class StampedFlow(Workflow):
    """Looks at its state, which a class describes, late."""

    @step
    async def look(self, ctx: Context[Stamped], ev: StartEvent) -> StopEvent:
        NOTED.append("step")
        return StopEvent(result=await ctx.store.get("at"))


async def test_the_defaults_of_a_state_are_made_when_its_run_begins(managing: Managing) -> None:
    """As in the basic runtime: they may depend on the time."""
    async with managing(w=StampedFlow()) as manager:
        NOTED.clear()
        handler = await manager.start("w", RunRequest())
        await ended(manager, handler.handler_id)
    assert NOTED[0] == "state"
    assert "step" in NOTED
