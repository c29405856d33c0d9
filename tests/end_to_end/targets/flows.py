"""The workflows that are started in numbers: three steps, an inbox, a question, a gate, and one that kills."""

from __future__ import annotations

import asyncio
import os
import signal
import threading

from workflows import Context, Workflow, step
from workflows.events import Event, HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent

from tests.end_to_end.targets.marking import gate, mark, side_effect


class Begin(StartEvent):
    """The work to do, and the time that each step takes."""

    number: int = 0
    pause: float = 0.0


class First(Event):
    """The first step is done."""

    number: int
    pause: float


class Second(Event):
    """The second step is done."""

    number: int
    pause: float


class ThreeSteps(Workflow):
    """One after the other; each publishes an event and writes to the state."""

    @step
    async def one(self, ctx: Context, ev: Begin) -> First:
        with side_effect("1-one", ev.number):
            ctx.write_event_to_stream(First(number=ev.number, pause=ev.pause))
            await ctx.store.set("done", ["one"])
            await asyncio.sleep(ev.pause)
            return First(number=ev.number, pause=ev.pause)

    @step
    async def two(self, ctx: Context, ev: First) -> Second:
        with side_effect("2-two", ev.number):
            ctx.write_event_to_stream(Second(number=ev.number, pause=ev.pause))
            await ctx.store.set("done", [*await ctx.store.get("done"), "two"])
            await asyncio.sleep(ev.pause)
            return Second(number=ev.number, pause=ev.pause)

    @step
    async def three(self, ctx: Context, ev: Second) -> StopEvent:
        with side_effect("3-three", ev.number):
            await asyncio.sleep(ev.pause)
            return StopEvent(result=[ev.number, *await ctx.store.get("done"), "three"])


class Question(InputRequiredEvent):
    """Asks for a number."""


class Answer(HumanResponseEvent):
    """The number."""

    number: int


class Close(HumanResponseEvent):
    """No more numbers."""


class Inbox(Workflow):
    """Takes numbers as they come, until it is closed; its result are all that it took."""

    @step
    async def open(self, ev: StartEvent) -> Question:
        return Question()

    @step(num_workers=1)
    async def take(self, ctx: Context, ev: Answer) -> None:
        mark("begin", "take", ev.number)
        async with ctx.store.edit_state() as state:
            state["taken"] = [*state.get("taken", []), ev.number]

    @step
    async def close(self, ctx: Context, ev: Close) -> StopEvent:
        return StopEvent(result=await ctx.store.get("taken", default=[]))


class Asks(Workflow):
    """Asks with ``wait_for_event``; its result is the answer."""

    @step
    async def ask(self, ctx: Context, ev: StartEvent) -> StopEvent:
        answer = await ctx.wait_for_event(Answer, waiter_event=Question(), timeout=None)
        return StopEvent(result=answer.number)


class Gated(Workflow):
    """One step at a gate, and one after it."""

    @step
    async def wait(self, ctx: Context, ev: StartEvent) -> First:
        with side_effect("wait"):
            ctx.write_event_to_stream(First(number=1, pause=0))
            await gate(ev.get("gate", "gated"))
            return First(number=1, pause=0)

    @step
    async def after(self, ev: First) -> StopEvent:
        with side_effect("after"):
            return StopEvent(result="through")


class Counting(Workflow):
    """Five thousand steps one after the other; the last waits at a gate."""

    @step
    async def count(self, ev: StartEvent | First) -> First | StopEvent:
        number = ev.number if isinstance(ev, First) else 0
        if number < 5_000:
            return First(number=number + 1, pause=0)
        mark("begin", "last")
        await gate("counted")
        return StopEvent(result=number)


class Deadly(Workflow):
    """Kills the process, each time that it runs."""

    @step
    async def kill(self, ev: StartEvent) -> StopEvent:
        mark("begin", "kill")
        os.kill(os.getpid(), signal.SIGKILL)
        return StopEvent()


class Stubborn(Workflow):
    """A step that does not let itself be cancelled."""

    @step
    async def resist(self, ctx: Context, ev: StartEvent) -> StopEvent:
        mark("reached", "resist")
        for _ in range(50):
            try:
                await asyncio.sleep(0.1)
            except asyncio.CancelledError:
                mark("resisted", "resist")
        ctx.write_event_to_stream(First(number=1, pause=0))
        return StopEvent(result="too late")


class Failing(Workflow):
    """Fails with a text that no client needs to see."""

    @step
    async def fail(self, ctx: Context, ev: StartEvent) -> StopEvent:
        ctx.write_event_to_stream(First(number=1, pause=0))
        raise ValueError("the gateway is down")


class Unstorable(Workflow):
    """Writes to the state what cannot be kept."""

    @step
    async def write(self, ctx: Context, ev: StartEvent) -> First:
        await ctx.store.set("socket", threading.Lock())
        return First(number=1, pause=0)

    @step
    async def after(self, ev: First) -> StopEvent:
        return StopEvent(result="it went on, stored no more")


class Sums(Workflow):
    """Adds its number to what the state of its handler holds."""

    @step
    async def add(self, ctx: Context, ev: Begin) -> StopEvent:
        total = await ctx.store.get("total", default=0) + ev.number
        await ctx.store.set("total", total)
        return StopEvent(result=total)


three_steps = ThreeSteps(timeout=None)
inbox = Inbox(timeout=None)
asks = Asks(timeout=None)
gated = Gated(timeout=None)
counting = Counting(timeout=None)
deadly = Deadly(timeout=None)
stubborn = Stubborn(timeout=None)
failing = Failing(timeout=None)
unstorable = Unstorable(timeout=None)
sums = Sums(timeout=None)
other_sums = Sums(timeout=None)
one_slot = Gated(timeout=None, num_concurrent_runs=1)
