"""Joins: events that are collected by several parameters or by hand, and what cannot join a collection."""

from __future__ import annotations

import asyncio

from workflows import Context, Workflow, step
from workflows.events import StartEvent, StopEvent

from .sample import Done, Left, Part, Right, Sample, begin


class Outsider(Workflow):
    """An event that is sent cannot join a collection."""

    @step
    async def split(self, ctx: Context, ev: StartEvent) -> list[Part]:
        begin("split")
        ctx.send_event(Done(n=99))
        return [Part(n=n) for n in range(2)]

    @step(num_workers=1)
    async def work(self, ev: Part) -> Done:
        begin("work", ev.n)
        return Done(n=ev.n)

    @step
    async def gather(self, parts: list[Done]) -> StopEvent:
        begin("gather")
        return StopEvent(result=[part.n for part in parts])


class Targeted(Workflow):
    """An event that is sent to a step that collects fails the run."""

    @step
    async def split(self, ctx: Context, ev: StartEvent) -> list[Done]:
        begin("split")
        ctx.send_event(Done(n=99), step="gather")
        return [Done(n=1)]

    @step
    async def gather(self, parts: list[Done]) -> StopEvent:
        begin("gather")
        await asyncio.sleep(30)
        return StopEvent(result=len(parts))


class TwoSlots(Workflow):
    """A step that needs an event of each of two types."""

    @step
    async def left(self, ev: StartEvent) -> Left:
        begin("left")
        return Left(n=1)

    @step
    async def right(self, ev: StartEvent) -> Right:
        begin("right")
        return Right(n=2)

    @step
    async def both(self, one: Left, other: Right) -> StopEvent:
        begin("both")
        return StopEvent(result=[one.n, other.n])


class ByHand(Workflow):
    """Events of several types are collected in the order that was asked for, in buffers of their own."""

    @step
    async def split(self, ctx: Context, ev: StartEvent) -> Left | Right | None:
        begin("split")
        for event in (Left(n=1), Right(n=2), Left(n=3), Right(n=4)):
            ctx.send_event(event)
        return None

    @step(num_workers=1)
    async def pair(self, ctx: Context, ev: Left | Right) -> Part | None:
        begin("pair", ev.n)
        found = ctx.collect_events(ev, [Right, Left], buffer_id="early" if ev.n < 3 else "late")
        if found is None:
            return None
        return Part(n=10 * found[0].n + found[1].n)

    @step(num_workers=1)
    async def gather(self, ctx: Context, ev: Part) -> StopEvent | None:
        begin("gather", ev.n)
        found = ctx.collect_events(ev, [Part, Part])
        return None if found is None else StopEvent(result=[part.n for part in found])


class Contended(Workflow):
    """Several workers collect at once: one that saw an older buffer is run again by the engine."""

    @step
    async def split(self, ctx: Context, ev: StartEvent) -> Part | None:
        begin("split")
        for n in range(4):
            ctx.send_event(Part(n=n))
        return None

    @step(num_workers=4)
    async def gather(self, ctx: Context, ev: Part) -> StopEvent | None:
        found = ctx.collect_events(ev, [Part] * 4)
        await asyncio.sleep(0.002)
        return None if found is None else StopEvent(result=sorted(part.n for part in found))


SAMPLES = {
    "outsider": Sample(Outsider, [0, 1]),
    "targeted_collection": Sample(Targeted, "cannot receive targeted events", status="failed", side_by_side=True),
    "two_slots": Sample(TwoSlots, [1, 2]),
    "collected_by_hand": Sample(ByHand, [21, 43], side_by_side=True),
    "contended_collection": Sample(Contended, [0, 1, 2, 3], side_by_side=True),
}
