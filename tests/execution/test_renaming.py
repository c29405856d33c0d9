"""Runs go on under the new names of their classes, steps and modules."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import BaseModel
from workflows import Context, Workflow, step
from workflows.collect import Collect, Take
from workflows.events import Event, HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent

from tests.harness.managing import Managing
from tests.harness.runs import asked, damage, ended, released, suspended, until
from workflow_server import idempotency_key
from workflow_server.execution import writer
from workflow_server.execution.exceptions import InvalidWorkflow
from workflow_server.execution.renaming import Renaming
from workflow_server.protocol.handlers import RunRequest
from workflow_server.runs.manager import RuntimeManager

HERE = __name__


class Reply(HumanResponseEvent):
    to: str = ""


class Answer(HumanResponseEvent):
    """``Reply`` after the deploy."""

    to: str = ""


@dataclass
class Note:
    text: str


@dataclass
class Remark:
    """``Note`` after the deploy."""

    text: str


class Old(BaseModel):
    notes: list[Any] = []


class New(BaseModel):
    """``Old`` after the deploy."""

    notes: list[Any] = []


class Begun(Event):
    note: Any = None


class Asks(Workflow):
    @step
    async def begin(self, ctx: Context[Old], ev: StartEvent) -> Begun:
        async with ctx.store.edit_state() as state:
            state.notes.append(Note("first"))
        return Begun(note=Note("second"))

    @step
    async def ask(self, ctx: Context[Old], ev: Begun) -> StopEvent:
        state = await ctx.store.get_state()
        question = InputRequiredEvent()
        await ctx.wait_for_event(Reply, waiter_event=question, requirements={"to": "ask"}, timeout=None)
        return StopEvent(result=[type(part).__name__ for part in (state, *state.notes, ev.note)])


class AsksAnew(Workflow):
    """``Asks`` after a deploy that renamed all but its first step."""

    @step
    async def begin(self, ctx: Context[New], ev: StartEvent) -> Begun:
        raise AssertionError("it has ended before")

    @step
    async def question(self, ctx: Context[New], ev: Begun) -> StopEvent:
        state = await ctx.store.get_state()
        again = InputRequiredEvent(again=True)
        await ctx.wait_for_event(Answer, waiter_event=again, requirements={"to": "ask"}, timeout=None)
        return StopEvent(result=[type(part).__name__ for part in (state, *state.notes, ev.note)])


RENAMED = {
    f"{HERE}.Reply": Answer,
    f"{HERE}:Old": New,
    f"{HERE}.Note": Remark,
    "ask": "question",
}
ANSWER = {"type": "Answer", "value": {"to": "ask"}}


@pytest.mark.parametrize("ticks", [1, writer.SNAPSHOT_TICKS])
@pytest.mark.parametrize("idle_timeout", [0.05, None])
async def test_a_run_goes_on_under_new_names(
    managing: Managing, monkeypatch: pytest.MonkeyPatch, ticks: int, idle_timeout: float | None
) -> None:
    """From a snapshot, and from its journal."""
    monkeypatch.setattr(writer, "SNAPSHOT_TICKS", ticks)
    async with managing(asks=Asks(timeout=None), idle_timeout=idle_timeout) as manager:
        handler_id = (await manager.start("asks", RunRequest())).handler_id
        await asked(manager, handler_id)
        if idle_timeout is not None:
            await released(manager, handler_id)
    async with managing() as manager:
        assert "not registered" in await suspended(manager, handler_id)
    # Twice, so that what the present code has written is read, too.
    for _ in range(2):
        async with managing(idle_timeout=None, renamed=RENAMED, asks=AsksAnew(timeout=None)) as manager:
            await until(lambda: manager.runs.get(handler_id) is not None)
    async with managing(renamed=RENAMED, asks=AsksAnew(timeout=None)) as manager:
        await manager.send(handler_id, ANSWER, None, None)
        shown, _ = await ended(manager, handler_id)
        assert shown.result is not None
        assert shown.result.value == {"result": ["New", "Remark", "Remark"]}
        # It was not asked again, and what clients have read is as it was.
        questions = [text for text in await events(manager, handler_id) if '"type":"InputRequiredEvent"' in text]
        assert len(questions) == 1
        assert "again" not in questions[0]


async def events(manager: RuntimeManager, handler_id: str) -> list[str]:
    return [event.data for event in await manager.store.read_events(handler_id, -1, 1_000)]


@pytest.mark.parametrize("left_out", [f"{HERE}:Old", "ask"])
async def test_a_run_is_suspended_without_its_new_names(managing: Managing, left_out: str) -> None:
    async with managing(asks=Asks(timeout=None)) as manager:
        handler_id = (await manager.start("asks", RunRequest())).handler_id
        await asked(manager, handler_id)
    renamed = {old: new for old, new in RENAMED.items() if old != left_out}
    async with managing(renamed=renamed, asks=AsksAnew(timeout=None)) as manager:
        await suspended(manager, handler_id)


async def test_an_event_that_was_posted_to_a_renamed_step_reaches_it(managing: Managing) -> None:
    async with managing(takes=Takes(timeout=None), grace=0.0) as manager:
        handler_id = (await manager.start("takes", RunRequest())).handler_id
        await asked(manager, handler_id)
        await manager.store.flush()
    async with managing() as manager:
        await suspended(manager, handler_id)
    async with managing(takes=Takes(timeout=None), grace=0.0) as manager:
        run = manager.runs.get(handler_id)
        assert run is not None
        run.drain()
        await manager.send(handler_id, {"type": "Reply", "value": {}}, "take", None)
    async with managing(renamed={"take": "took"}, takes=Took(timeout=None)) as manager:
        shown, _ = await ended(manager, handler_id)
        assert shown.result is not None
        assert shown.result.value == {"result": "took"}


class Takes(Workflow):
    @step
    async def begin(self, ctx: Context, ev: StartEvent) -> InputRequiredEvent:
        return InputRequiredEvent()

    @step
    async def take(self, ctx: Context, ev: Reply) -> StopEvent:
        return StopEvent(result="take")


class Took(Workflow):
    @step
    async def begin(self, ctx: Context, ev: StartEvent) -> InputRequiredEvent:
        return InputRequiredEvent()

    @step
    async def took(self, ctx: Context, ev: Reply) -> StopEvent:
        return StopEvent(result="took")


keys: list[str] = []


class Pays(Workflow):
    @step
    async def pay(self, ctx: Context, ev: StartEvent) -> StopEvent:
        keys.append(idempotency_key())
        await ctx.wait_for_event(HumanResponseEvent, waiter_event=InputRequiredEvent(), timeout=None)
        return StopEvent()


class Settles(Workflow):
    @step
    async def settle(self, ctx: Context, ev: StartEvent) -> StopEvent:
        keys.append(idempotency_key())
        await ctx.wait_for_event(HumanResponseEvent, waiter_event=InputRequiredEvent(), timeout=None)
        return StopEvent()


class SettlesAll(Workflow):
    @step
    async def settle_all(self, ctx: Context, ev: StartEvent) -> StopEvent:
        keys.append(idempotency_key())
        await ctx.wait_for_event(HumanResponseEvent, waiter_event=InputRequiredEvent(), timeout=None)
        return StopEvent()


@pytest.mark.parametrize(("ticks", "is_older"), [(1, False), (writer.SNAPSHOT_TICKS, False), (256, True)])
async def test_a_renamed_step_keeps_the_key_of_its_effects(
    managing: Managing, database: Path, monkeypatch: pytest.MonkeyPatch, ticks: int, *, is_older: bool
) -> None:
    """From a snapshot, from the journal, and from one of a build that did not name the steps that take an event."""
    monkeypatch.setattr(writer, "SNAPSHOT_TICKS", ticks)
    keys.clear()
    async with managing(pays=Pays(timeout=None)) as manager:
        handler_id = (await manager.start("pays", RunRequest())).handler_id
        await asked(manager, handler_id)
    if is_older:
        damage(database, """UPDATE ticks SET data = replace(data, ',"to":["pay"]', '')""")
    # Renamed once, and taken up twice, so that a snapshot of the code between is read, too.
    for _ in range(2):
        async with managing(renamed={"pay": "settle"}, pays=Settles(timeout=None)) as manager:
            await until(lambda: waits(manager, handler_id) == 1)
    renamed = {"pay": "settle_all", "settle": "settle_all"}
    async with managing(renamed=renamed, pays=SettlesAll(timeout=None)) as manager:
        await manager.send(handler_id, {"type": "HumanResponseEvent", "value": {}}, None, None)
        assert (await ended(manager, handler_id))[0].status == "completed"
        other = (await manager.start("pays", RunRequest())).handler_id
        await asked(manager, other)
    assert len(keys) == 3
    assert keys[0] == keys[1]
    assert ":pay:" in keys[0]
    assert ":settle_all:" in keys[2]


class Again(Event):
    """Another round."""


async def paid(ctx: Context, ev: Event) -> Again | StopEvent:
    keys.append(idempotency_key())
    reply = await ctx.wait_for_event(HumanResponseEvent, waiter_event=InputRequiredEvent(), timeout=None)
    return StopEvent() if reply.get("last", False) else Again()


class PaysOften(Workflow):
    @step
    async def pay(self, ctx: Context, ev: StartEvent | Again) -> Again | StopEvent:
        return await paid(ctx, ev)


class SettlesOften(Workflow):
    @step
    async def settle(self, ctx: Context, ev: StartEvent | Again) -> Again | StopEvent:
        return await paid(ctx, ev)


@pytest.mark.parametrize("ticks", [1, 5, writer.SNAPSHOT_TICKS])
async def test_a_key_is_the_same_after_a_rename_is_rolled_back(
    managing: Managing, monkeypatch: pytest.MonkeyPatch, ticks: int
) -> None:
    monkeypatch.setattr(writer, "SNAPSHOT_TICKS", ticks)
    keys.clear()
    async with managing(pays=PaysOften(timeout=None)) as manager:
        handler_id = (await manager.start("pays", RunRequest())).handler_id
        await asked(manager, handler_id)
    async with managing(renamed={"pay": "settle"}, pays=SettlesOften(timeout=None)) as manager:
        await manager.send(handler_id, {"type": "HumanResponseEvent", "value": {}}, None, None)
        await until(lambda: len(keys) == 3 and waits(manager, handler_id) == 1)
    async with managing(renamed={"settle": "pay"}, pays=PaysOften(timeout=None)) as manager:
        await manager.send(handler_id, {"type": "HumanResponseEvent", "value": {"last": True}}, None, None)
        assert (await ended(manager, handler_id))[0].status == "completed"
    first, first_again, second, second_again = keys
    assert first == first_again
    assert second == second_again


class Works(Workflow):
    @step
    async def work(self, ev: StartEvent) -> StopEvent:
        keys.append(idempotency_key())
        await asyncio.sleep(600)
        return StopEvent()


class Labours(Workflow):
    @step
    async def labour(self, ev: StartEvent) -> StopEvent:
        keys.append(idempotency_key())
        return StopEvent()


async def test_a_step_that_is_interrupted_and_renamed_keeps_its_key(managing: Managing) -> None:
    keys.clear()
    async with managing(works=Works(timeout=None), grace=0.0) as manager:
        handler_id = (await manager.start("works", RunRequest())).handler_id
        await until(lambda: bool(keys))
    async with managing(renamed={"work": "labour"}, works=Labours(timeout=None)) as manager:
        assert (await ended(manager, handler_id))[0].status == "completed"
    assert len(keys) == 2
    assert keys[0] == keys[1]


class Share(Event):
    n: int = 0


class Portion(Event):
    """``Share`` after the deploy."""

    n: int = 0


class Gathers(Workflow):
    @step
    async def spread(self, ev: StartEvent) -> list[Share]:
        return [Share()]

    @step
    async def gather(self, evs: list[Share]) -> StopEvent:
        keys.append(idempotency_key())
        await asyncio.sleep(600)
        return StopEvent()


class Collects(Workflow):
    @step
    async def spread(self, ev: StartEvent) -> list[Portion]:
        return [Portion()]

    @step
    async def collect(self, evs: list[Portion]) -> StopEvent:
        keys.append(idempotency_key())
        return StopEvent()


async def test_a_collection_that_is_renamed_keeps_its_key(managing: Managing) -> None:
    keys.clear()
    async with managing(gathers=Gathers(timeout=None), grace=0.0) as manager:
        handler_id = (await manager.start("gathers", RunRequest())).handler_id
        await until(lambda: bool(keys))
    renamed = {"gather": "collect", f"{HERE}.Share": Portion}
    async with managing(renamed=renamed, gathers=Collects(timeout=None)) as manager:
        assert (await ended(manager, handler_id))[0].status == "completed"
    assert len(keys) == 2
    assert keys[0] == keys[1]


class Piece(Event):
    n: int = 0


class Done(Event):
    n: int = 0


class Finished(Event):
    """``Done`` after the deploy."""

    n: int = 0


class FansOut(Workflow):
    @step
    async def split(self, ctx: Context, ev: StartEvent) -> list[Piece]:
        return [Piece(n=n) for n in range(3)]

    @step
    async def work(self, ctx: Context, ev: Piece) -> Done:
        if ev.n:
            await ctx.wait_for_event(HumanResponseEvent, waiter_event=InputRequiredEvent(), timeout=None)
        return Done(n=ev.n)

    @step
    async def gather(self, ctx: Context, ev: Annotated[list[Done], Collect(Take(3))]) -> StopEvent:
        return StopEvent(result=sorted(done.n for done in ev))


class FansOutAnew(Workflow):
    @step
    async def divide(self, ctx: Context, ev: StartEvent) -> list[Piece]:
        return [Piece(n=n) for n in range(3)]

    @step
    async def work(self, ctx: Context, ev: Piece) -> Finished:
        if ev.n:
            await ctx.wait_for_event(HumanResponseEvent, waiter_event=InputRequiredEvent(), timeout=None)
        return Finished(n=ev.n)

    @step
    async def join(self, ctx: Context, ev: Annotated[list[Finished], Collect(Take(3))]) -> StopEvent:
        return StopEvent(result=sorted(done.n for done in ev))


@pytest.mark.parametrize("ticks", [1, writer.SNAPSHOT_TICKS])
async def test_a_fan_out_is_collected_under_new_names(
    managing: Managing, monkeypatch: pytest.MonkeyPatch, ticks: int
) -> None:
    monkeypatch.setattr(writer, "SNAPSHOT_TICKS", ticks)
    async with managing(fans=FansOut(timeout=None)) as manager:
        handler_id = (await manager.start("fans", RunRequest())).handler_id
        await asked(manager, handler_id)
        await until(lambda: waits(manager, handler_id) == 2)
    renamed = {"split": "divide", "gather": "join", f"{HERE}.Done": Finished}
    async with managing(renamed=renamed, fans=FansOutAnew(timeout=None)) as manager:
        await until(lambda: waits(manager, handler_id) == 2)
        await manager.send(handler_id, {"type": "HumanResponseEvent", "value": {}}, None, None)
        shown, _ = await ended(manager, handler_id)
        assert shown.result is not None
        assert shown.result.value == {"result": [0, 1, 2]}


class CollectsTwo(Workflow):
    """``FansOut`` after a deploy in which the last step collects otherwise."""

    @step
    async def split(self, ctx: Context, ev: StartEvent) -> list[Piece]:
        raise AssertionError("it has ended before")

    @step
    async def work(self, ctx: Context, ev: Piece) -> Done:
        await ctx.wait_for_event(HumanResponseEvent, timeout=None)
        return Done(n=ev.n)

    @step
    async def gather(self, ctx: Context, ev: Annotated[list[Done], Collect(Take(2))]) -> StopEvent:
        raise AssertionError("it waited for three")


async def test_what_is_collected_otherwise_now_suspends_its_run(
    managing: Managing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "SNAPSHOT_TICKS", 1)
    async with managing(fans=FansOut(timeout=None)) as manager:
        handler_id = (await manager.start("fans", RunRequest())).handler_id
        await until(lambda: waits(manager, handler_id) == 2)
    async with managing(fans=CollectsTwo(timeout=None)) as manager:
        assert "what step 'split' fanned out is no longer collected as it was" in await suspended(manager, handler_id)


def waits(manager: RuntimeManager, handler_id: str) -> int:
    run = manager.runs.get(handler_id)
    standing = None if run is None else run.standing
    return 0 if standing is None else len(standing.waits)


# -- Wrong entries ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("renamed", "reason"),
    [
        ([("Reply", Answer)], "renamed is of type list: expected a dictionary of old names"),
        ({"Reply": Answer}, "has the key 'Reply' for a class: give its module, too, as in 'module.Reply'"),
        ({"old.Reply": 3}, "maps 'old.Reply' to an object of type int: expected a class, a function, or the name"),
        (
            {"ask": "nothing"},
            "maps 'ask' to 'nothing': expected a class, a function, or the name of a step or a module",
        ),
        ({"begin": "question"}, "maps step 'begin', which is still a step of this workflow"),
        ({"a.b": "question"}, "maps 'a.b' to step 'question': expected the name of a step as the key"),
        ({"two words": Answer}, "has the key 'two words': expected the old name of a class, a step or a module"),
        ({"": Answer}, "has the key '': expected the old name"),
        ({3: Answer}, "has the key 3: expected the old name"),
        ({f"{HERE}.Begun": Answer}, "which is still the name of a class of this workflow"),
        ({f"{HERE}.Answer": Answer}, "which is still the name of a class of this workflow"),
        ({HERE: "json"}, "which still has classes of this workflow"),
        ({"json": "json"}, "which still has classes of this workflow"),
        ({"old": "no.such.module"}, "maps 'old' to 'no.such.module'"),
        ({"old": "json.nothing"}, "maps 'old' to 'json.nothing'"),
    ],
)
async def test_a_wrong_entry_is_refused_by_name(managing: Managing, renamed: dict[Any, Any], reason: str) -> None:
    async with managing() as manager:
        with pytest.raises(InvalidWorkflow) as refused:
            manager.add_workflow("asks", AsksAnew(), renamed=renamed)
        assert reason in str(refused.value)
        assert "\n" not in str(refused.value)
        assert manager.workflow_names() == []


# -- Names -----------------------------------------------------------------------------------------


def test_a_module_that_was_renamed_several_times_is_found() -> None:
    renaming = Renaming({"old": "json", "json": "collections", "collections": "json"})
    assert list(renaming.names_now("old.part:Name")) == ["json.part:Name", "collections.part:Name"]
    assert list(renaming.names_now("older:Name")) == []
    assert list(renaming.names_now("Name")) == []


def test_ids_that_the_engine_made_are_made_anew() -> None:
    renaming = Renaming({"a.Old": OrderedDict, "old": "json", "ask": "question"}, ["question"])
    assert renaming.waiter('waiter_a.Old_{"to":"a.Old"}_work_item_1') == (
        'waiter_collections.OrderedDict_{"to":"a.Old"}_work_item_1'
    )
    assert renaming.waiter("waiter_old.mine.Kind_{}") == "waiter_json.mine.Kind_{}"
    for same in ("waiter_a.Older_{}_work_item_2", "a.Old", "waiter_", "0"):
        assert renaming.waiter(same) == same
    assert renaming.waiter("waiter_x.Y_{}_work_item_collect_stream_1:ask->other:a.Old:All:nearest") == (
        "waiter_x.Y_{}_work_item_collect_stream_1:question->other:collections.OrderedDict:All:nearest"
    )
    assert renaming.identifier("ask->ask:a.Old:All:nearest") == (
        "question->question:collections.OrderedDict:All:nearest"
    )
    assert renaming.identifier("stream_1:ask->other:x.Y:All:nearest") == "stream_1:question->other:x.Y:All:nearest"
    assert renaming.identifier("work_item_collect_stream_1:ask->other:x.Y:All") == (
        "work_item_collect_stream_1:question->other:x.Y:All"
    )
    assert Renaming({}).identifier("ask->ask:a.Old") == "ask->ask:a.Old"
