"""The workflows that are measured, for every subject: it needs llama-index-workflows 2.11.1 or newer, nothing else.

``BENCHMARK_BEGUN`` names a file that grows by one byte for each step that begins to wait. With ``BENCHMARK_SPANS`` a
span handler is attached that counts the spans.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from typing import Any

from workflows import Context, Workflow, step
from workflows.events import Event, HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent

TIMEOUT = 3_600.0


class First(Event):
    """From the first step to the second."""


class Second(Event):
    """From the second step to the third."""


class Progress(Event):
    """An event that each step publishes."""

    step: str


class Again(Event):
    """From a step to its own next execution."""

    left: int


class Part(Event):
    """One of the parts of a fan-out."""

    of: int


class Done(Event):
    """A part that is done."""

    of: int


class Tick(Event):
    """One of many events of a stream."""

    n: int


class Stamp(Event):
    """An event that says when it was published, by the clock that all processes share."""

    at: float


class Asked(InputRequiredEvent):
    """The run can be sent events now."""


class Posted(HumanResponseEvent):
    """An event that a client sends."""

    n: int


def begun() -> None:
    """Tell the benchmark that one more step waits."""
    path = os.environ.get("BENCHMARK_BEGUN")
    if path:
        with open(path, "ab") as file:
            file.write(b".")


class Echo(Workflow):
    """One step."""

    @step
    async def answer(self, ev: StartEvent) -> StopEvent:
        return StopEvent(result=ev.get("text", ""))


class ThreeSteps(Workflow):
    """One published event and one state write a step."""

    @step
    async def one(self, ctx: Context, ev: StartEvent) -> First:
        ctx.write_event_to_stream(Progress(step="one"))
        await ctx.store.set("one", 1)
        return First()

    @step
    async def two(self, ctx: Context, ev: First) -> Second:
        ctx.write_event_to_stream(Progress(step="two"))
        await ctx.store.set("two", 2)
        return Second()

    @step
    async def three(self, ctx: Context, ev: Second) -> StopEvent:
        ctx.write_event_to_stream(Progress(step="three"))
        await ctx.store.set("three", 3)
        return StopEvent(result="done")


class Loop(Workflow):
    """As many steps as it is asked for, one after the other."""

    @step
    async def turn(self, ev: StartEvent | Again) -> Again | StopEvent:
        left = ev.left if isinstance(ev, Again) else ev.get("steps", 200)
        return Again(left=left - 1) if left > 1 else StopEvent(result="done")


class FanOut(Workflow):
    """As many parts as it is asked for, worked on eight at a time and collected."""

    @step
    async def divide(self, ctx: Context, ev: StartEvent) -> Part | None:
        for _ in range(ev.get("parts", 10)):
            ctx.send_event(Part(of=ev.get("parts", 10)))
        return None

    @step(num_workers=8)
    async def work(self, ev: Part) -> Done:
        return Done(of=ev.of)

    @step
    async def collect(self, ctx: Context, ev: Done) -> StopEvent | None:
        parts = ctx.collect_events(ev, [Done] * ev.of)
        return None if parts is None else StopEvent(result=len(parts))


class Heavy(Workflow):
    """Ten steps, each of which writes one small key of a state that is as large as it is asked for."""

    @step
    async def fill(self, ctx: Context, ev: StartEvent) -> Again:
        rows = [{"number": n, "text": f"{n:080}"} for n in range(ev.get("size", 100_000) // 108)]
        await ctx.store.set("rows", rows)
        return Again(left=9)

    @step
    async def change(self, ctx: Context, ev: Again) -> Again | StopEvent:
        await ctx.store.set("left", ev.left)
        return Again(left=ev.left - 1) if ev.left > 1 else StopEvent(result="done")


class Chatter(Workflow):
    """Publishes as many events as it is asked for."""

    @step
    async def talk(self, ctx: Context, ev: StartEvent) -> StopEvent:
        for n in range(ev.get("count", 1_000)):
            ctx.write_event_to_stream(Tick(n=n))
            if n % 100 == 99:
                await asyncio.sleep(0)
        return StopEvent(result="done")


class Stamped(Workflow):
    """Publishes an event every five milliseconds."""

    @step
    async def talk(self, ctx: Context, ev: StartEvent) -> StopEvent:
        await asyncio.sleep(0.2)
        for _ in range(ev.get("count", 100)):
            ctx.write_event_to_stream(Stamp(at=time.monotonic()))
            await asyncio.sleep(0.005)
        return StopEvent(result="done")


class Tally(Workflow):
    """Ends when it was sent as many events as it was told."""

    @step
    async def ask(self, ctx: Context, ev: StartEvent) -> Asked:
        await ctx.store.set("left", ev.get("count", 10))
        return Asked()

    @step(num_workers=1)
    async def take(self, ctx: Context, ev: Posted) -> StopEvent | None:
        left = await ctx.store.get("left") - 1
        await ctx.store.set("left", left)
        return None if left else StopEvent(result="done")


class Waiting(Workflow):
    """Waits for an event that never comes."""

    @step
    async def wait(self, ctx: Context, ev: StartEvent) -> StopEvent:
        begun()
        answer = await ctx.wait_for_event(Posted)
        return StopEvent(result=answer.n)


class Stuck(Workflow):
    """Stays in its step."""

    @step
    async def stay(self, ev: StartEvent) -> StopEvent:
        begun()
        await asyncio.sleep(TIMEOUT)
        return StopEvent(result="done")


def attach_span_handler() -> None:
    """Attach a handler to the root dispatcher that counts the spans and keeps none."""
    from llama_index_instrumentation import get_dispatcher
    from llama_index_instrumentation.span.base import BaseSpan
    from llama_index_instrumentation.span_handlers.base import BaseSpanHandler

    class Counting(BaseSpanHandler[BaseSpan]):
        ended: int = 0

        def new_span(self, id_: str, *args: Any, parent_span_id: str | None = None, **more: Any) -> BaseSpan:
            return BaseSpan(id_=id_, parent_id=parent_span_id)

        def prepare_to_exit_span(self, id_: str, *args: Any, **more: Any) -> BaseSpan | None:
            self.ended += 1
            return self.open_spans.get(id_)

        def prepare_to_drop_span(self, id_: str, *args: Any, **more: Any) -> BaseSpan | None:
            return self.prepare_to_exit_span(id_)

    get_dispatcher().add_span_handler(Counting())


if os.environ.get("BENCHMARK_SPANS"):
    attach_span_handler()

echo = Echo(timeout=TIMEOUT)
three_steps = ThreeSteps(timeout=TIMEOUT)
verbose_steps = ThreeSteps(timeout=TIMEOUT, verbose=True)
loop = Loop(timeout=TIMEOUT)
fan_out = FanOut(timeout=TIMEOUT)
heavy = Heavy(timeout=TIMEOUT)
chatter = Chatter(timeout=TIMEOUT)
stamped = Stamped(timeout=TIMEOUT)
tally = Tally(timeout=TIMEOUT)
waiting = Waiting(timeout=TIMEOUT)
stuck = Stuck(timeout=TIMEOUT)


def all_workflows() -> Iterator[tuple[str, Workflow]]:
    """Yield each workflow with its name."""
    for name, value in globals().items():
        if isinstance(value, Workflow):
            yield name, value
