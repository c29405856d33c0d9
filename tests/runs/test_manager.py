"""The manager on a real store: what clients are told, and what they find after a restart."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from llama_index_instrumentation.dispatcher import active_instrument_tags
from pydantic import BaseModel
from workflows import Context, Workflow, step
from workflows.events import Event, HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent

from tests.harness.managing import Managing
from tests.harness.runs import asked, released, until
from tests.store.fault_injection import HookedStore, Written
from workflow_server.errors import HandlerNotFound, KeyReused, ShuttingDown
from workflow_server.execution.engine import ObservedLoop
from workflow_server.execution.exceptions import InvalidEvent, InvalidWorkflow, StepRefusesEvent, UnknownStep
from workflow_server.execution.session import RunSession
from workflow_server.protocol.handlers import IdempotencyKey, RunRequest
from workflow_server.records import InboxPosted, RunEnded
from workflow_server.runs.exceptions import (
    CompletedHandlerNotFound,
    ContextRefused,
    HandlerNotRunning,
    HandlerRunning,
    RunAlreadyEnded,
    RunSuspended,
)
from workflow_server.runs.manager import RuntimeManager
from workflow_server.store.sqlite.store import SqliteWorkflowStore

HOSTILE = {"__is_pydantic": True, "qualified_name": "wave.Wave_read", "value": {"a": 1}}
"""Names a class of a module that nobody has imported."""


class Named(StartEvent):
    name: str


class Answer(Event):
    """Waited for, but named in no step's signature."""

    text: str


class Count(Workflow):
    @step
    async def count(self, ctx: Context, ev: StartEvent) -> StopEvent:
        async with ctx.store.edit_state() as state:
            state["runs"] = state.get("runs", 0) + 1
        return StopEvent(result=await ctx.store.get("runs"))


class Greet(Workflow):
    @step
    async def greet(self, ev: Named) -> StopEvent:
        return StopEvent(result=f"Hello, {ev.name}!")


class Ask(Workflow):
    @step
    async def ask(self, ctx: Context, ev: StartEvent) -> StopEvent:
        answer = await ctx.wait_for_event(
            HumanResponseEvent, waiter_event=InputRequiredEvent(), requirements={"to": "ada"}, timeout=None
        )
        return StopEvent(result=answer.get("text"))


class AskOwnType(Workflow):
    @step
    async def ask(self, ctx: Context, ev: StartEvent) -> StopEvent:
        return StopEvent(result=(await ctx.wait_for_event(Answer, timeout=None)).text)


class Hasty(Workflow):
    @step
    async def ask(self, ctx: Context, ev: StartEvent) -> StopEvent:
        try:
            await ctx.wait_for_event(HumanResponseEvent, waiter_event=InputRequiredEvent(), timeout=0.5)
        except TimeoutError:
            return StopEvent(result="timed out")
        return StopEvent(result="answered")


class Outer(Workflow):
    class Reply(HumanResponseEvent):
        text: str

    @step
    async def ask(self, ctx: Context, ev: StartEvent) -> StopEvent:
        reply = await ctx.wait_for_event(Outer.Reply, waiter_event=InputRequiredEvent(), timeout=None)
        return StopEvent(result=reply.text)


class Required(BaseModel):
    name: str


class Held(Workflow):
    """Runs until its gate is opened."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(timeout=None, **kwargs)
        self.gate = asyncio.Event()
        self.began: list[str] = []

    @step
    async def hold(self, ctx: Context, ev: StartEvent) -> StopEvent:
        self.began.append(ev.get("name", ""))
        await self.gate.wait()
        return StopEvent(result=ev.get("name"))


class Stubborn(Workflow):
    """Does not heed cancellation."""

    def __init__(self) -> None:
        super().__init__(timeout=None)
        self.released = asyncio.Event()

    @step
    async def hold(self, ev: StartEvent) -> StopEvent:
        while not self.released.is_set():
            try:
                await self.released.wait()
            except asyncio.CancelledError:
                continue
        return StopEvent(result="too late")


class Measured(Event):
    value: Any


class Unstorable(Workflow):
    @step
    async def bad(self, ctx: Context, ev: StartEvent) -> Measured | StopEvent:
        class Local(Measured):
            pass

        where = ev.get("where")
        returned: dict[str, Measured | StopEvent] = {
            "long": StopEvent(result=[10**5000]),
            "local": Local(value=1),
            "result": StopEvent(result={"handle": object()}),
            "kept result": StopEvent(result={"handle": threading.Lock()}),
            "returned": Measured(value=threading.Lock()),
            "later": Measured(value=1),
        }
        if where in returned:
            return returned[where]
        if where in {"event", "sent"}:
            if where == "event":
                ctx.write_event_to_stream(Event(handle=object()))
            else:
                ctx.send_event(Measured(value=threading.Lock()))
            await asyncio.sleep(30)
        if where == "requirement":
            await ctx.wait_for_event(HumanResponseEvent, requirements={"handle": threading.Lock()})
        if where == "question":
            await ctx.wait_for_event(HumanResponseEvent, waiter_event=InputRequiredEvent(handle=object()))
        if where == "in place":
            handles: list[Any] = []
            await ctx.store.set("handles", handles)
            handles.append(threading.Lock())
            return StopEvent()
        await ctx.store.set("handle", threading.Lock())
        return StopEvent()

    @step
    async def take(self, ev: Measured) -> StopEvent:
        return StopEvent(result=object())


class Tagged(Workflow):
    @step
    async def tell(self, ev: StartEvent) -> StopEvent:
        return StopEvent(result=active_instrument_tags.get().get("handler_id"))


async def events(manager: RuntimeManager, handler_id: str, after: int = -1) -> list[tuple[int, str]]:
    reader = await manager.open_cursor(handler_id, after)
    found: list[tuple[int, str]] = []
    while reader is not None and (page := await reader.next_page(20)):
        found += [(event.sequence, event.data) for event in page]
    return found


async def test_a_run_returns_its_result_and_ends_its_stream(managing: Managing) -> None:
    async with managing(greet=Greet()) as manager:
        handler = await manager.run("greet", RunRequest(start_event={"name": "Ada"}))
        assert handler.status == "completed"
        assert handler.result is not None
        assert handler.result.value == {"result": "Hello, Ada!"}
        assert handler == await manager.get_handler(handler.handler_id)
        log = await events(manager, handler.handler_id)
        assert [sequence for sequence, _ in log] == list(range(len(log)))
        assert '"type":"StopEvent"' in log[-1][1]
        assert await manager.open_cursor(handler.handler_id, log[-1][0]) is None


@pytest.mark.parametrize(
    "data",
    [
        {"name": "Ada"},
        '{"name": "Ada"}',
        {"type": "Named", "value": {"name": "Ada"}},
        {"type": "Named", "data": {"name": "Ada"}},
        {"qualified_name": f"{__name__}.Named", "value": {"name": "Ada"}},
        {"type": "StartEvent", "value": {"name": "Ada"}},
    ],
)
async def test_a_start_event_comes_in_every_form_of_the_contract(managing: Managing, data: object) -> None:
    async with managing(greet=Greet()) as manager:
        handler = await manager.run("greet", RunRequest(start_event=data))
        assert handler.result is not None
        assert handler.result.value["result"] == "Hello, Ada!"


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({}, "'name': Field required"),
        ({"name": 3}, "'name'"),
        ("no json", "not valid JSON"),
        ('{"name": NaN}', "NaN"),
        ({"type": "Named", "value": "[1]"}, "JSON object"),
        ([], "JSON object"),
        ({"type": "StopEvent", "value": {}}, "started by 'Named'"),
        ({"type": "os.system", "value": {}}, "'name': Field required"),
        ({"qualified_name": "subprocess.Popen", "value": {}}, "'name': Field required"),
        ({"name": "Ada", "_data": 3}, "'_data'"),
        ({"name": "Ada", "_private": 3}, "'_private'"),
        ({"name": "Ada", "self": 3}, "are not valid"),
    ],
)
async def test_a_start_event_that_does_not_validate_starts_nothing(managing: Managing, data: object, told: str) -> None:
    async with managing(greet=Greet()) as manager:
        with pytest.raises(InvalidEvent, match=told):
            await manager.start("greet", RunRequest(start_event=data))
        assert await manager.list_handlers(None, None) == []


async def test_instrumentation_sees_the_handler_id_as_a_tag(managing: Managing) -> None:
    async with managing(tagged=Tagged()) as manager:
        handler = await manager.run("tagged", RunRequest())
        assert handler.result is not None
        assert handler.result.value == {"result": handler.handler_id}


async def test_continuing_a_completed_handler_keeps_its_state_and_its_log(managing: Managing) -> None:
    async with managing(count=Count(), greet=Greet()) as manager:
        first = await manager.run("count", RunRequest())
    async with managing(count=Count(), greet=Greet()) as manager:
        before = await events(manager, first.handler_id)
        second = await manager.run("count", RunRequest(handler_id=first.handler_id))
        assert second.handler_id == first.handler_id
        assert second.run_id != first.run_id
        assert second.result is not None
        assert second.result.value == {"result": 2}
        whole = await events(manager, first.handler_id, before[0][0] - 1 if before[0][0] else -1)
        assert whole[0][0] == before[-1][0] + 1, "-1 is the start of the current run"
        rest = await events(manager, first.handler_id, 0)
        assert [sequence for sequence, _ in rest] == list(range(1, whole[-1][0] + 1))
        with pytest.raises(CompletedHandlerNotFound):
            await manager.run("greet", RunRequest(start_event={"name": "x"}, handler_id=first.handler_id))
        with pytest.raises(CompletedHandlerNotFound):
            await manager.run("count", RunRequest(handler_id="nobody"))


async def test_a_running_handler_is_not_continued(managing: Managing) -> None:
    async with managing(ask=Ask(timeout=None)) as manager:
        handler = await manager.start("ask", RunRequest())
        with pytest.raises(HandlerRunning):
            await manager.start("ask", RunRequest(handler_id=handler.handler_id))


async def test_a_wrong_answer_does_not_answer_a_wait_also_after_a_restart(managing: Managing) -> None:
    wrong = {"type": "HumanResponseEvent", "value": {"to": "bob", "text": "no"}}
    right = {"type": "HumanResponseEvent", "value": {"to": "ada", "text": "yes"}}
    async with managing(ask=Ask(timeout=None)) as manager:
        handler = await manager.start("ask", RunRequest())
        await asked(manager, handler.handler_id)
        await manager.send(handler.handler_id, wrong, None, None)
    async with managing(ask=Ask(timeout=None)) as manager:
        resumed = await manager.get_handler(handler.handler_id)
        assert (resumed.run_id, resumed.started_at) == (handler.run_id, handler.started_at)
        await manager.send(handler.handler_id, wrong, None, None)
        await manager.send(handler.handler_id, right, None, None)
        log = await events(manager, handler.handler_id)
        assert '"result":"yes"' in log[-1][1]
        assert sum("InputRequiredEvent" in data for _, data in log) == 1
        with pytest.raises(RunAlreadyEnded):
            await manager.send(handler.handler_id, right, None, None)


async def test_a_type_of_the_wait_is_accepted_for_a_released_run(
    managing: Managing,
) -> None:
    async with managing(ask=AskOwnType(timeout=None), idle_timeout=0.05) as manager:
        handler = await manager.start("ask", RunRequest())
        await released(manager, handler.handler_id)
    async with managing(ask=AskOwnType(timeout=None), idle_timeout=0.05) as manager:
        assert not manager.runs.in_memory()
        await manager.send(handler.handler_id, {"type": "Answer", "value": {"text": "42"}}, None, None)
        log = await events(manager, handler.handler_id)
        assert '"result":"42"' in log[-1][1]


async def test_what_is_sent_to_a_step_must_suit_it(managing: Managing) -> None:
    async with managing(ask=Ask(timeout=None)) as manager:
        handler = await manager.start("ask", RunRequest())
        event = {"type": "HumanResponseEvent", "value": {}}
        with pytest.raises(UnknownStep, match="Its steps are: ask"):
            await manager.send(handler.handler_id, event, "nowhere", None)
        with pytest.raises(StepRefusesEvent, match="It accepts: StartEvent"):
            await manager.send(handler.handler_id, event, "ask", None)
        with pytest.raises(
            InvalidEvent, match=r"Accepted are: .*HumanResponseEvent.* wait_for_event .*additional_events"
        ):
            await manager.send(handler.handler_id, {"type": "Nothing", "value": {}}, None, None)
        with pytest.raises(HandlerNotFound):
            await manager.send("nobody", event, None, None)


async def test_an_idempotency_key_gives_the_first_answer_again(managing: Managing) -> None:
    key = IdempotencyKey("k1", "hash")
    async with managing(greet=Greet(), ask=Ask(timeout=None)) as manager:
        request = RunRequest(start_event={"name": "Ada"}, key=key)
        both = await asyncio.gather(*(manager.start("greet", request) for _ in range(5)))
        assert len({handler.handler_id for handler in both}) == 1
    async with managing(greet=Greet(), ask=Ask(timeout=None)) as manager:
        assert await manager.start("greet", request) == both[0]
        assert (await manager.run("greet", request)).status == "completed"
        with pytest.raises(KeyReused):
            await manager.start("greet", RunRequest(start_event={"name": "Bob"}, key=IdempotencyKey("k1", "other")))
        assert len(await manager.list_handlers(None, ["greet"])) == 1
        waiting = await manager.start("ask", RunRequest())
        await asked(manager, waiting.handler_id)
        unhandled = {"type": "HumanResponseEvent", "value": {"to": "bob"}}
        for _ in range(3):
            await manager.send(waiting.handler_id, unhandled, None, key)
        await manager.send(waiting.handler_id, {"type": "HumanResponseEvent", "value": {"to": "ada"}}, None, None)
        log = await events(manager, waiting.handler_id)
        assert sum("UnhandledEvent" in data for _, data in log) == 1
        await manager.purge(both[0].handler_id)
        assert (await manager.start("greet", request)).handler_id != both[0].handler_id


async def test_an_answer_accepted_in_time_counts_after_the_deadline(managing: Managing, tmp_path: Path) -> None:
    async with managing(hasty=Hasty(timeout=None)) as manager:
        handler = await manager.start("hasty", RunRequest())
        await asked(manager, handler.handler_id)
        asked_at = time.time()
    assert handler.run_id is not None
    # Accepted by a server that died before its run took it.
    store = SqliteWorkflowStore(tmp_path / "runs.sqlite3")
    await store.open()
    answer = json.dumps({"__is_pydantic": True, "value": {}, "qualified_name": "workflows.events.HumanResponseEvent"})
    await store.append(InboxPosted(store.next_inbox_id, handler.handler_id, handler.run_id, answer, None))
    await store.close()
    await asyncio.sleep(max(0.0, asked_at + 0.6 - time.time()))
    async with managing(hasty=Hasty(timeout=None)) as manager:
        log = await events(manager, handler.handler_id)
        assert '"result":"answered"' in log[-1][1]


async def test_an_answer_accepted_in_time_counts_though_loading_is_late(
    managing: Managing, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with managing(hasty=Hasty(timeout=None), idle_timeout=0.05) as manager:
        handler = await manager.start("hasty", RunRequest())
        await released(manager, handler.handler_id)
        attach = RunSession.attach
        held_up = asyncio.Event()

        def attach_slowly(session: RunSession, loop: ObservedLoop) -> None:
            attach(session, loop)
            deadline = loop.wake_at()
            assert deadline is not None
            # The answer is there in time.
            assert time.time() < deadline
            held_up.set()
            # Another run's step keeps the process busy until the deadline has passed.
            time.sleep(max(0.0, deadline + 0.02 - time.time()))

        monkeypatch.setattr(RunSession, "attach", attach_slowly)
        await manager.send(handler.handler_id, {"type": "HumanResponseEvent", "value": {}}, None, None)
        log = await events(manager, handler.handler_id)
        assert '"result":"answered"' in log[-1][1]
        assert held_up.is_set()


async def test_a_wait_for_a_nested_class_goes_on_after_a_restart(managing: Managing) -> None:
    async with managing(outer=Outer(timeout=None)) as manager:
        handler = await manager.start("outer", RunRequest())
        await asked(manager, handler.handler_id)
    async with managing(outer=Outer(timeout=None)) as manager:
        await manager.send(handler.handler_id, {"type": "Reply", "value": {"text": "yes"}}, None, None)
        assert '"result":"yes"' in (await events(manager, handler.handler_id))[-1][1]


async def test_a_state_without_defaults_is_refused_at_registration(managing: Managing) -> None:
    class Stateful(Workflow):
        @step
        async def only(self, ctx: Context[Required], ev: StartEvent) -> StopEvent:
            return StopEvent()

    with pytest.raises(InvalidWorkflow, match="without values"):
        async with managing(stateful=Stateful()):
            raise AssertionError("it was served")


async def test_cancel_is_durable_at_once_though_the_step_does_not_yield(managing: Managing) -> None:
    workflow = Stubborn()
    async with managing(held=workflow) as manager:
        handler = await manager.start("held", RunRequest())
        waiting = asyncio.create_task(manager.run("held", RunRequest()), name="waits")
        reader = await manager.open_cursor(handler.handler_id, -1)
        assert reader is not None
        assert await reader.next_page(20)
        await asyncio.wait_for(manager.cancel(handler.handler_id), 10)
        assert (await manager.get_handler(handler.handler_id)).status == "cancelled"
        log = await events(manager, handler.handler_id)
        assert '"type":"WorkflowCancelledEvent"' in log[-1][1]
        workflow.released.set()
        assert (await waiting).status == "completed"
        assert await events(manager, handler.handler_id) == log, "what the step still does is dropped"
        with pytest.raises(HandlerNotRunning):
            await manager.cancel(handler.handler_id)
        with pytest.raises(HandlerNotFound):
            await manager.cancel("nobody")


async def test_a_released_run_is_cancelled_and_purged_without_being_loaded(managing: Managing) -> None:
    async with managing(ask=Ask(timeout=None), idle_timeout=0.05) as manager:
        one = await manager.start("ask", RunRequest())
        two = await manager.start("ask", RunRequest())
        await released(manager, one.handler_id)
        await released(manager, two.handler_id)
        await manager.cancel(one.handler_id)
        assert '"type":"WorkflowCancelledEvent"' in (await events(manager, one.handler_id))[-1][1]
        await manager.purge(two.handler_id)
        with pytest.raises(HandlerNotFound):
            await manager.get_handler(two.handler_id)
        with pytest.raises(HandlerNotFound):
            await manager.open_cursor(two.handler_id, -1)


async def test_purging_ends_the_streams_of_a_handler(managing: Managing) -> None:
    async with managing(ask=Ask(timeout=None)) as manager:
        handler = await manager.start("ask", RunRequest())
        await asked(manager, handler.handler_id)
        reader = await manager.open_cursor(handler.handler_id, "now")
        assert reader is not None
        waiting = asyncio.create_task(reader.next_page(30), name="reader")
        await asyncio.sleep(0)
        await manager.purge(handler.handler_id)
        while await asyncio.wait_for(waiting, 10):
            waiting = asyncio.create_task(reader.next_page(30), name="reader")
        assert waiting.result() == []


async def test_runs_queue_for_slots_in_order_and_wait_durably(managing: Managing) -> None:
    workflow = Held(num_concurrent_runs=1)
    async with managing(held=workflow, grace=0.0) as manager:
        started = [await manager.start("held", RunRequest(start_event={"name": n})) for n in "abc"]
        await until(lambda: workflow.began == ["a"])
        assert [(await manager.get_handler(h.handler_id)).suspended for h in started] == [
            None,
            "it waits for one of the slots of num_concurrent_runs",
            "it waits for one of the slots of num_concurrent_runs",
        ]
        await manager.cancel(started[1].handler_id)
    again = Held(num_concurrent_runs=1)
    again.gate.set()
    async with managing(held=again) as manager:
        log = await events(manager, started[2].handler_id)
        assert '"result":"c"' in log[-1][1]
        assert again.began == ["a", "c"]
        assert (await manager.get_handler(started[0].handler_id)).status == "completed"
        assert (await manager.get_handler(started[1].handler_id)).status == "cancelled"


async def test_a_run_whose_workflow_is_gone_goes_on_when_it_is_back(managing: Managing) -> None:
    async with managing(ask=Ask(timeout=None)) as manager:
        handler = await manager.start("ask", RunRequest())
        await asked(manager, handler.handler_id)
    async with managing(greet=Greet()) as manager:
        shown = await manager.get_handler(handler.handler_id)
        assert shown.status == "running"
        assert shown.suspended == "its workflow is not registered on this server"
        with pytest.raises(RunSuspended):
            await manager.send(handler.handler_id, {"type": "HumanResponseEvent", "value": {}}, None, None)
    async with managing(ask=Ask(timeout=None)) as manager:
        await manager.send(handler.handler_id, {"type": "HumanResponseEvent", "value": {"to": "ada"}}, None, None)
        await events(manager, handler.handler_id)
        assert (await manager.get_handler(handler.handler_id)).status == "completed"


@pytest.mark.parametrize(
    ("where", "named", "step"),
    [
        ("result", "StopEvent.result['handle'] cannot be stored: it is of type object, and cannot be written", "bad"),
        ("kept result", "StopEvent.result['handle'] cannot be stored: it is of type _thread.lock", "bad"),
        ("event", "Event.handle cannot be stored: it is of type object", "bad"),
        ("question", "InputRequiredEvent.handle cannot be stored: it is of type object", "bad"),
        ("sent", "Measured.value cannot be stored: it is of type _thread.lock", "bad"),
        ("returned", "Measured.value cannot be stored: it is of type _thread.lock", "bad"),
        ("state", "ctx.store['handle'] cannot be stored: it is of type _thread.lock", "bad"),
        ("in place", "ctx.store['handles'][0] cannot be stored: it is of type _thread.lock", "bad"),
        ("requirement", "requirements['handle'] cannot be stored", "bad"),
        ("long", "digits", "bad"),
        ("local", "Local cannot be stored", "bad"),
        ("later", "StopEvent.result cannot be stored: it is of type object", "take"),
    ],
)
async def test_what_cannot_be_stored_fails_the_run_and_names_the_step(
    managing: Managing, where: str, named: str, step: str
) -> None:
    async with managing(bad=Unstorable()) as manager:
        handler = await manager.run("bad", RunRequest(start_event={"where": where}))
        assert handler.status == "failed"
        assert handler.error is not None
        assert named in handler.error
        assert handler.error.endswith(f" (in step {step})")
        terminal = json.loads((await events(manager, handler.handler_id))[-1][1])
        assert terminal["type"] == "WorkflowFailedEvent"
        assert terminal["value"]["step_name"] == step


async def test_a_context_is_taken_only_where_the_server_was_told_to(managing: Managing) -> None:
    context = {"state": {"state_data": {"_data": {"runs": "41"}}, "state_type": "DictState"}, "version": 2}
    async with managing(count=Count()) as manager:
        with pytest.raises(ContextRefused):
            await manager.run("count", RunRequest(context=context))
        assert await manager.list_handlers(None, None) == []
    async with managing(count=Count(), accept_context=True) as manager:
        handler = await manager.run("count", RunRequest(context=context))
        assert handler.result is not None
        assert handler.result.value == {"result": 42}
        with pytest.raises(InvalidEvent, match="context"):
            await manager.run("count", RunRequest(context={"version": 99}))


@pytest.mark.parametrize(
    "context",
    [
        {"version": 2, "state": {"state_data": HOSTILE}},
        {"version": 2, "state": {"state_data": json.dumps(HOSTILE)}},
        {"version": 2, "state": {"state_data": {"_data": {"x": json.dumps(HOSTILE)}}}},
        {"version": 2, "workers": {"count": {"queue": [{"event": json.dumps(HOSTILE)}]}}},
        {"version": 2, "workers": {"count": {"queue": [{"event": '{"no": "event"}'}]}}},
        {"version": 1, "workers": {"count": {"in_progress": [json.dumps(HOSTILE)]}}},
        {"version": 2, "workers": {"count": {"collected_events": {"b": [json.dumps(HOSTILE)]}}}},
        {
            "version": 2,
            "workers": {
                "count": {
                    "collected_waiters": [{"waiter_id": "w", "event": "{}", "waiting_for_event": "wave.Wave_read"}]
                }
            },
        },
    ],
)
async def test_a_clients_context_imports_nothing_and_holds_only_events(
    managing: Managing, context: dict[str, Any]
) -> None:
    sys.modules.pop("wave", None)
    async with managing(count=Count(), accept_context=True) as manager:
        with pytest.raises(InvalidEvent, match="context"):
            await manager.run("count", RunRequest(context=context))
        assert await manager.list_handlers(None, None) == []
    assert "wave" not in sys.modules


async def test_a_key_and_a_handler_of_one_name_do_not_lock_each_other(managing: Managing) -> None:
    async with managing(greet=Greet()) as manager:
        for handler_id in ("run:greet:k", "event:x:k"):
            request = RunRequest({"name": "Ada"}, handler_id=handler_id, key=IdempotencyKey("k", "h"))
            with pytest.raises(CompletedHandlerNotFound):
                await asyncio.wait_for(manager.start("greet", request), 10)


async def test_a_cursor_past_the_end_gets_what_follows_the_end(managing: Managing) -> None:
    async with managing(ask=Ask(timeout=None)) as manager:
        handler = await manager.start("ask", RunRequest())
        await asked(manager, handler.handler_id)
        reader = await manager.open_cursor(handler.handler_id, 1_000_000)
        assert reader is not None
        await manager.cancel(handler.handler_id)
        page = await reader.next_page(10)
        assert page
        assert "WorkflowCancelledEvent" in page[-1].data
        assert await manager.open_cursor(handler.handler_id, 1_000_000) is None


async def test_nothing_new_is_accepted_while_the_server_stops(managing: Managing) -> None:
    async with managing(greet=Greet(), ask=Ask(timeout=None)) as manager:
        handler = await manager.start("ask", RunRequest())
        waiting = asyncio.create_task(manager.run("ask", RunRequest()), name="waits")
        await until(lambda: len(manager.runs.in_memory()) == 2 and not manager.footprint()["tasks"])
        manager.close()
        with pytest.raises(ShuttingDown):
            await waiting
        with pytest.raises(ShuttingDown):
            await manager.start("greet", RunRequest(start_event={"name": "x"}))
        with pytest.raises(ShuttingDown):
            await manager.send(handler.handler_id, {"type": "HumanResponseEvent", "value": {}}, None, None)


async def test_a_step_that_ends_within_the_grace_period_is_recorded(managing: Managing) -> None:
    workflow = Held()
    async with managing(held=workflow) as manager:
        handler = await manager.start("held", RunRequest(start_event={"name": "a"}))
        await until(lambda: workflow.began == ["a"])
        asyncio.get_running_loop().call_later(0.1, workflow.gate.set)
    again = Held()
    async with managing(held=again) as manager:
        assert (await manager.get_handler(handler.handler_id)).status == "completed"
        assert again.began == []


async def test_a_repeated_request_at_the_end_takes_nothing_from_the_first(managing: Managing, database: Path) -> None:
    store = HookedStore(database)
    workflow = Held()
    key = RunRequest(start_event={"name": "a"}, key=IdempotencyKey("k", "hash"))
    async with managing(held=workflow, store=store) as manager:
        first = asyncio.create_task(manager.run("held", key), name="first")
        await until(lambda: workflow.began == ["a"])
        committed, go_on = threading.Event(), threading.Event()

        def hold(moment: str, records: Sequence[Written]) -> None:
            if moment == "after commit" and any(type(record) is RunEnded for record in records):
                committed.set()
                assert go_on.wait(30)

        store.hook = hold
        workflow.gate.set()
        await until(committed.is_set)
        try:
            # The end stands in the store, and nobody has been told of it yet.
            assert (await asyncio.wait_for(manager.run("held", key), 10)).status == "completed"
        finally:
            go_on.set()
        assert (await asyncio.wait_for(first, 10)).status == "completed"


async def test_leaving_while_asking_for_an_end_leaves_nothing_behind(managing: Managing) -> None:
    request = RunRequest(start_event={"name": "Ada"}, key=IdempotencyKey("k", "hash"))
    async with managing(greet=Greet()) as manager:
        await manager.run("greet", request)
        for turns in range(20):
            asking = asyncio.create_task(manager.run("greet", request), name="asks")
            for _ in range(turns):
                await asyncio.sleep(0.0002)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        await until(lambda: not any(manager.footprint().values()))


async def test_the_time_before_a_resume_that_failed_stays_a_downtime(managing: Managing, database: Path) -> None:
    async with managing(ask=Ask(timeout=None)) as manager:
        await manager.start("ask", RunRequest())
    store = SqliteWorkflowStore(database)
    await store.open()
    before = store.last_alive
    assert before is not None
    manager = RuntimeManager(store)
    await manager.stop(0.0)
    await store.close()
    await store.open()
    assert store.last_alive == before
    await store.close()
