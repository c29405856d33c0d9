"""Workflows for what other servers got wrong."""

from __future__ import annotations

import asyncio

from workflows import Context, Workflow, step
from workflows.events import Event, HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent
from workflows.retry_policy import retry_policy, stop_after_attempt, wait_fixed

from tests.end_to_end.targets.marking import gate, mark, side_effect

LINES = 300
TICKS = 1_600
WAITS = 4
RETRY_DELAY = 6.0


class Item(Event):
    """One of several things to work on."""

    number: int


class Done(Event):
    """One is done."""

    number: int
    text: str = ""


class Line(Event):
    """Published by one of several writers."""

    writer: int
    line: int


class Answer(HumanResponseEvent):
    """The event that a wait is for."""

    number: int
    text: str = ""


class Question(InputRequiredEvent):
    """Published when a wait begins."""

    number: int


class Writers(Workflow):
    """Three steps publish side by side."""

    @step
    async def split(self, ev: StartEvent) -> list[Item]:
        return [Item(number=number) for number in range(3)]

    @step
    async def write(self, ctx: Context, ev: Item) -> Done:
        for line in range(LINES):
            ctx.write_event_to_stream(Line(writer=ev.number, line=line))
            if line % 7 == ev.number:
                await asyncio.sleep(0)
        return Done(number=ev.number)

    @step
    async def join(self, ev: list[Done]) -> StopEvent:
        return StopEvent(result=len(ev))


class ManyWaits(Workflow):
    """Several items wait for events of one type, each for its own."""

    @step
    async def split(self, ev: StartEvent) -> list[Item]:
        return [Item(number=number) for number in range(WAITS)]

    @step
    async def ask(self, ctx: Context, ev: Item) -> Done:
        answer = await ctx.wait_for_event(
            Answer, waiter_event=Question(number=ev.number), requirements={"number": ev.number}, timeout=None
        )
        return Done(number=ev.number, text=answer.text)

    @step
    async def join(self, ev: list[Done]) -> StopEvent:
        return StopEvent(result=[done.text for done in sorted(ev, key=lambda done: done.number)])


class RetryBesideWork(Workflow):
    """While the delay of a retry runs, so much else happens that a snapshot replaces the journal."""

    @step
    async def split(self, ctx: Context, ev: StartEvent) -> Item | Line | None:
        ctx.send_event(Item(number=0))
        ctx.send_event(Line(writer=0, line=0))
        return None

    @step(retry_policy=retry_policy(wait=wait_fixed(RETRY_DELAY), stop=stop_after_attempt(2)))
    async def flaky(self, ctx: Context, ev: Line) -> Done:
        retries = ctx.retry_info().retry_number
        mark("begin", "flaky", retries)
        if retries == 0:
            raise ConnectionError("the gateway is down")
        return Done(number=retries)

    @step
    async def count(self, ev: Item) -> Item | Done:
        if ev.number == TICKS:
            mark("reached", "counted")
        return Item(number=ev.number + 1) if ev.number < TICKS else Done(number=ev.number)

    @step
    async def gather(self, ctx: Context, ev: Done) -> StopEvent | None:
        done = ctx.collect_events(ev, [Done] * 2)
        return None if done is None else StopEvent(result=sorted(vars(one)["number"] for one in done))


class Racing(Workflow):
    """One step ends the run while its sibling is still at a gate."""

    @step
    async def split(self, ctx: Context, ev: StartEvent) -> Item | Line | None:
        ctx.send_event(Item(number=0))
        ctx.send_event(Line(writer=0, line=0))
        return None

    @step
    async def lose(self, ev: Item) -> StopEvent:
        with side_effect("lose"):
            try:
                await gate("losing")
            except asyncio.CancelledError:
                mark("cancelled", "lose")
                raise
            return StopEvent(result="lost")

    @step
    async def win(self, ev: Line) -> StopEvent:
        await gate("winning")
        return StopEvent(result="won")


class Relay(Workflow):
    """Publishes a line for each event that it gets."""

    @step
    async def open(self, ev: StartEvent) -> Question:
        return Question(number=-1)

    @step(num_workers=1)
    async def relay(self, ctx: Context, ev: Answer) -> StopEvent | None:
        ctx.write_event_to_stream(Line(writer=0, line=ev.number))
        return StopEvent(result=ev.number) if ev.text == "last" else None


writers = Writers(timeout=None)
many_waits = ManyWaits(timeout=None)
retry_beside_work = RetryBesideWork(timeout=None)
racing = Racing(timeout=None)
relay = Relay(timeout=None)
