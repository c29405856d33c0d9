"""Values whose own code raises: they concern their own run, whatever it is that they raise."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from pydantic import field_validator
from workflows import Context, Workflow, step
from workflows.events import Event, HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent

from tests.harness.managing import Managing
from tests.harness.runs import asked, ended, released, suspended
from workflow_server.execution.exceptions import InvalidEvent
from workflow_server.execution.inbox_limits import InboxLimits
from workflow_server.protocol.handlers import RunRequest
from workflow_server.runs.exceptions import RunAlreadyEnded

ENDS: list[type[BaseException]] = [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError]
raising: list[type[BaseException]] = []
"""The exception that the values below raise; empty where they raise none."""


def misbehave() -> None:
    """Raise, where this is asked for."""
    if raising:
        raise raising[0]("by a value")


@pytest.fixture(autouse=True)
def _well_behaved() -> None:
    raising.clear()


class Vicious:
    def __init__(self) -> None:
        self.number = 1

    def __setstate__(self, state: dict[str, int]) -> None:
        misbehave()
        vars(self).update(state)

    def __eq__(self, other: object) -> bool:
        misbehave()
        return True

    __hash__ = None  # type: ignore[assignment]


class Begin(StartEvent):
    number: int = 0

    @field_validator("number")
    @classmethod
    def _checked(cls, number: int) -> int:
        misbehave()
        return number


class Answer(HumanResponseEvent):
    to: Any = None


class Part(Event):
    value: Any = None


class Keeps(Workflow):
    @step
    async def keep(self, ctx: Context, ev: Begin) -> Part:
        await ctx.store.set("value", Vicious())
        return Part(value=Vicious())

    @step
    async def ask(self, ctx: Context, ev: Part) -> StopEvent:
        await ctx.wait_for_event(HumanResponseEvent, waiter_event=InputRequiredEvent())
        return StopEvent(result="answered")


class Requires(Workflow):
    @step
    async def ask(self, ctx: Context, ev: StartEvent) -> StopEvent:
        await ctx.wait_for_event(Answer, waiter_event=InputRequiredEvent(), requirements={"to": Vicious()})
        return StopEvent(result="answered")


class Mapping(dict[str, Any]):
    def __iter__(self) -> Any:
        misbehave()
        return super().__iter__()


class Box:
    """It does not tell what it holds: the engine describes the event of each step that begins, with all in it."""

    def __init__(self, kind: str) -> None:
        self.holds: Any = [1]
        if kind == "itself":
            self.holds.append(self)
        elif kind == "twice":
            for _ in range(50):
                self.holds = [self.holds, self.holds]
        else:
            self.holds = Mapping(a=1)

    def __repr__(self) -> str:
        return "Box"


class Holds(Workflow):
    """Two questions, beside a value."""

    @step
    async def begin(self, ev: StartEvent) -> Part:
        return Part(value=Box(ev.get("kind")))

    @step
    async def ask(self, ctx: Context, ev: Part) -> StopEvent:
        for number in range(2):
            question = InputRequiredEvent() if number == 0 else None
            await ctx.wait_for_event(Answer, waiter_event=question, waiter_id=str(number), requirements={"to": number})
        return StopEvent(result="answered")


class Asks(Workflow):
    @step
    async def ask(self, ctx: Context, ev: StartEvent) -> StopEvent:
        await ctx.wait_for_event(HumanResponseEvent, waiter_event=InputRequiredEvent())
        return StopEvent(result="answered")


ANSWER = {"type": "HumanResponseEvent"}


@pytest.mark.parametrize("end", ENDS)
async def test_a_value_that_raises_when_read_suspends_its_run(managing: Managing, end: type[BaseException]) -> None:
    async with managing(keeps=Keeps(timeout=None), asks=Asks(timeout=None)) as manager:
        ill = await manager.start("keeps", RunRequest())
        well = await manager.start("asks", RunRequest())
        await asked(manager, ill.handler_id)
        await asked(manager, well.handler_id)
    raising.append(end)
    async with managing(keeps=Keeps(timeout=None), asks=Asks(timeout=None)) as manager:
        assert "its class no longer accepts the stored state" in await suspended(manager, ill.handler_id)
        await manager.send(well.handler_id, ANSWER, None, None)
        assert (await ended(manager, well.handler_id))[0].status == "completed"


@pytest.mark.parametrize("end", ENDS)
async def test_a_value_that_raises_at_a_resume_suspends_its_run(managing: Managing, end: type[BaseException]) -> None:
    async with managing(keeps=Keeps(timeout=None), idle_timeout=0.05) as manager:
        handler = await manager.start("keeps", RunRequest())
        await asked(manager, handler.handler_id)
        await released(manager, handler.handler_id)
        raising.append(end)
        await manager.send(handler.handler_id, ANSWER, None, None)
        assert "its class no longer accepts the stored state" in await suspended(manager, handler.handler_id)


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("hold", [False, True])
async def test_a_requirement_that_cannot_be_compared_fails_its_run(
    managing: Managing, end: type[BaseException], *, hold: bool
) -> None:
    async with managing(requires=Requires(timeout=None)) as manager:
        handler = await manager.start("requires", RunRequest())
        await asked(manager, handler.handler_id)
        raising.append(end)
        await manager.send(handler.handler_id, {"type": "Answer", "value": {"to": 1}}, None, None, hold=hold)
        async with asyncio.timeout(10):
            failed, _ = await ended(manager, handler.handler_id)
        assert failed.status == "failed"
        assert "by a value" in str(failed.error)


class Doubtful(HumanResponseEvent):
    """Does not say whether it is true, as an array does not."""

    def __bool__(self) -> bool:
        misbehave()
        return False


class AsksDoubtful(Workflow):
    @step
    async def ask(self, ctx: Context, ev: StartEvent) -> StopEvent:
        await ctx.wait_for_event(Doubtful, waiter_event=InputRequiredEvent())
        return StopEvent(result="answered")


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("idle_timeout", [None, 0.05])
async def test_an_event_is_never_asked_whether_it_is_true(
    managing: Managing, end: type[BaseException], idle_timeout: float | None
) -> None:
    async with managing(asks=AsksDoubtful(timeout=None), idle_timeout=idle_timeout) as manager:
        handler = await manager.start("asks", RunRequest())
        await asked(manager, handler.handler_id)
        if idle_timeout is not None:
            await released(manager, handler.handler_id)
        raising.append(end)
        await manager.send(handler.handler_id, {"type": "Doubtful"}, None, None)
        async with asyncio.timeout(10):
            assert (await ended(manager, handler.handler_id))[0].status == "completed"
        assert manager.problem is None


@pytest.mark.parametrize("end", ENDS)
async def test_a_validator_may_raise_what_it_likes(managing: Managing, end: type[BaseException]) -> None:
    raising.append(end)
    async with managing(keeps=Keeps(timeout=None)) as manager:
        with pytest.raises(InvalidEvent):
            await manager.start("keeps", RunRequest({"number": 1}))


@pytest.mark.parametrize(
    ("kind", "status", "error"),
    [
        ("itself", "completed", None),
        ("twice", "completed", None),
        ("raises", "failed", "The run could not take an event that was sent to it: SystemExit: by a value"),
    ],
)
async def test_a_run_that_is_sent_much_is_weighed_whatever_it_holds(
    managing: Managing, kind: str, status: str, error: str | None
) -> None:
    async with managing(holds=Holds(timeout=None), limits=InboxLimits(size=10)) as manager:
        handler = await manager.start("holds", RunRequest({"kind": kind}))
        await asked(manager, handler.handler_id)
        raising.append(SystemExit)
        for number in range(2):
            answer = {"type": "Answer", "value": {"to": number, "text": "x" * 100}}
            with contextlib.suppress(RunAlreadyEnded):
                await manager.send(handler.handler_id, answer, None, None)
        async with asyncio.timeout(10):
            over, _ = await ended(manager, handler.handler_id)
        assert (over.status, over.error) == (status, error)
