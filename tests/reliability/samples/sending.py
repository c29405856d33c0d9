"""Events: their fields and subclasses, sending them to all steps or to one, and what nobody takes."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, Field
from workflows import Context, Workflow, step
from workflows.errors import ContextStateError, WorkflowRuntimeError
from workflows.events import Event, HumanResponseEvent, StartEvent, StopEvent

from .sample import Begin, Done, Left, Part, Progress, Question, Reply, Right, Sample, Send, begin, crash_point


class Address(BaseModel):
    city: str
    at: datetime


class Rich(Event):
    """Fields of many kinds."""

    address: Address
    tags: set[str] = Field(default_factory=set)
    pair: tuple[int, str] = (0, "")
    data: bytes = b""


class Animal(Event):
    name: str


class Dog(Animal):
    pass


class Fields(Workflow):
    """Typed fields keep their types, also when read back; undeclared ones are read as attributes and as a mapping."""

    @step
    async def first(self, ev: StartEvent) -> Rich:
        begin("first")
        assert (ev.city, ev["city"], ev.get("none", "no"), "city" in ev) == ("Bonn", "Bonn", "no", True)
        at = datetime(2026, 1, 2, tzinfo=UTC)
        return Rich(address=Address(city=ev.city, at=at), tags={"a"}, pair=(1, "x"), data=b"raw", more={"deep": [1, 2]})

    @step
    async def second(self, ev: Rich) -> StopEvent:
        begin("second")
        assert isinstance(ev.address.at, datetime)
        assert (ev.tags, ev.pair, ev.data) == ({"a"}, (1, "x"), b"raw")
        ev["added"] = True
        return StopEvent(result=[ev.address.city, ev.address.at.year, ev.more["deep"], sorted(ev.keys())])


class Subclassed(Workflow):
    """A step takes subclasses of what it accepts only where it says so."""

    @step
    async def split(self, ctx: Context, ev: Begin) -> Animal | Dog | None:
        begin("split")
        ctx.send_event(Animal(name="some") if ev.kind == "base" else Dog(name="Rex"))
        return None

    @step
    async def exact(self, ev: Animal) -> StopEvent:
        begin("exact")
        return StopEvent(result=["exactly", ev.name])

    @step(accept_event_subclasses=True)
    async def family(self, ev: Animal) -> StopEvent | None:
        begin("family")
        return StopEvent(result=[type(ev).__name__, ev.name]) if isinstance(ev, Dog) else None


class SendAll(Workflow):
    """Sends are queued in order, and collected."""

    @step
    async def send(self, ctx: Context, ev: StartEvent) -> Part | None:
        begin("send")
        for n in range(4):
            ctx.send_event(Part(n=n))
        return None

    @step(num_workers=3)
    async def work(self, ctx: Context, ev: Part) -> Done:
        begin("work", ev.n)
        return Done(n=ev.n)

    @step
    async def gather(self, ctx: Context, ev: Done) -> StopEvent | None:
        found = ctx.collect_events(ev, [Done] * 4)
        return None if found is None else StopEvent(result=sorted(done.n for done in found))


class SendSlowly(Workflow):
    """Sends one after the other, with time to crash in between; each is to be worked on once."""

    @step
    async def send(self, ctx: Context, ev: StartEvent) -> Part | Left:
        begin("send")
        for n in range(3):
            ctx.send_event(Part(n=n))
            await crash_point()
            await asyncio.sleep(0.002)
        return Left(n=3)

    @step(num_workers=1)
    async def work(self, ctx: Context, ev: Part) -> Done:
        begin("work", ev.n)
        return Done(n=ev.n)

    @step(num_workers=1)
    async def gather(self, ctx: Context, ev: Done) -> Right | None:
        found = ctx.collect_events(ev, [Done] * 3)
        return None if found is None else Right(n=0, found=[done.n for done in found])

    @step
    async def finish(self, sent: Left, gathered: Right) -> StopEvent:
        begin("finish")
        return StopEvent(result=gathered.found)


class SendAndReturn(Workflow):
    """An event sent twice comes twice, and the returned one comes too."""

    @step
    async def send(self, ctx: Context, ev: StartEvent) -> Part:
        begin("send")
        ctx.send_event(Part(n=1))
        await crash_point()
        ctx.send_event(Part(n=1))
        await crash_point()
        return Part(n=1)

    @step(num_workers=1)
    async def gather(self, ctx: Context, ev: Part) -> StopEvent | None:
        async with ctx.store.edit_state() as state:
            state["count"] = state.get("count", 0) + 1
        if await ctx.store.get("count") < 3:
            return None
        return StopEvent(result=3)


class ToOne(Workflow):
    """An event for one step reaches no other."""

    @step
    async def send(self, ctx: Context, ev: StartEvent) -> Part | None:
        begin("send")
        ctx.send_event(Part(n=1), step="one")
        return None

    @step
    async def one(self, ev: Part) -> StopEvent:
        begin("one")
        return StopEvent(result="one")

    @step
    async def other(self, ev: Part) -> StopEvent:
        begin("other")
        return StopEvent(result="other")


class ToNobody(Workflow):
    """Sending to a step that does not exist, or does not accept the event, raises in the step."""

    @step
    async def send(self, ctx: Context, ev: StartEvent) -> Part:
        begin("send")
        told = []
        for name in ("none", "send"):
            try:
                ctx.send_event(Part(n=1), step=name)
            except WorkflowRuntimeError as error:
                told.append(str(error).split(" of type")[0])
        return Part(n=1, told=told)

    @step
    async def take(self, ev: Part) -> StopEvent:
        begin("take")
        return StopEvent(result=ev.told)


class Late(Workflow):
    """A task that outlives its step still sends to the run."""

    @step
    async def send(self, ctx: Context, ev: StartEvent) -> Part | None:
        begin("send")
        self.task = asyncio.create_task(self._send(ctx))
        await ctx.store.set("sent", True)
        return None

    async def _send(self, ctx: Context) -> None:
        await asyncio.sleep(0.01)
        ctx.send_event(Part(n=4))

    @step
    async def take(self, ctx: Context, ev: Part) -> StopEvent:
        begin("take")
        return StopEvent(result=[ev.n, await ctx.store.get("sent")])


class Ignored(Workflow):
    """An event that a step sends and nobody waits for is told as an UnhandledEvent; the run goes on waiting."""

    @step
    async def ask(self, ctx: Context, ev: StartEvent) -> Question:
        begin("ask")
        ctx.send_event(HumanResponseEvent(response="what?"))
        return Question(about="q1")

    @step
    async def answer(self, ev: Reply) -> StopEvent:
        begin("answer")
        return StopEvent(result=ev.text)


def to_one(question: Mapping[str, Any]) -> Sequence[Send]:
    return [Send(Reply(about="q1", text="a1"), "answer")]


class InStep(Workflow):
    """The questions that a step may and may not ask of its context."""

    @step
    async def only(self, ctx: Context, ev: Begin) -> StopEvent:
        begin("only")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            told: list[object] = [ctx.is_running]
        self._helper()
        for refused in (ctx.to_dict, ctx.get_result, ctx.stream_events):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    refused()
            except ContextStateError:
                told.append(refused.__name__)
        return StopEvent(result=told)

    def _helper(self) -> None:
        ctx = Context.get_step_context()
        ctx.write_event_to_stream(Progress(by="only", text=str(ctx.retry_info().retry_number)))
        ctx.write_event_to_stream(None)


class Inner(Workflow):
    @step
    async def only(self, ev: StartEvent) -> StopEvent:
        return StopEvent(result=ev.get("n") * 2)


class Nested(Workflow):
    """Runs another workflow inside a step."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Inner()

    @step
    async def outer(self, ev: StartEvent) -> Done:
        begin("outer")
        return Done(n=await self.inner.run(n=21))

    @step
    async def finish(self, ev: Done) -> StopEvent:
        begin("finish")
        return StopEvent(result=ev.n)


class Told(Workflow):
    """Streams its progress in order, from several steps, large and small."""

    @step
    async def first(self, ctx: Context, ev: StartEvent) -> Left:
        label = begin("first")
        for n in range(3):
            ctx.write_event_to_stream(Progress(by=label, text=str(n)))
            await crash_point()
        return Left(n=1)

    @step
    async def second(self, ctx: Context, ev: Left) -> Right:
        label = begin("second")
        ctx.write_event_to_stream(Progress(by=label, text="x" * 10_000))
        return Right(n=1)

    @step
    async def third(self, ctx: Context, ev: Right) -> StopEvent:
        label = begin("third")
        ctx.write_event_to_stream(Progress(by=label))
        return StopEvent(result="told")


SAMPLES = {
    "fields": Sample(Fields, ["Bonn", 2026, [1, 2], ["added", "more"]], runs=({"city": "Bonn"},)),
    "subclassed": Sample(Subclassed, ["Dog", "Rex"]),
    "base_class": Sample(Subclassed, ["exactly", "some"], runs=({"kind": "base"},)),
    "send_all": Sample(SendAll, [0, 1, 2, 3], side_by_side=True),
    "send_slowly": Sample(SendSlowly, [0, 1, 2], side_by_side=True),
    "send_and_return": Sample(SendAndReturn, 3, side_by_side=True),
    "send_to_one": Sample(ToOne, "one"),
    "send_to_nobody": Sample(ToNobody, ["Step none does not exist", "Step send does not accept event"]),
    "sent_late": Sample(Late, [4, True], interruptible=False),
    "unhandled": Sample(Ignored, "a1", reactions={"UnhandledEvent": to_one}),
    "in_step": Sample(InStep, [True, "to_dict", "get_result", "stream_events"]),
    "nested": Sample(Nested, 42),
    "streamed": Sample(Told, "told"),
}
