"""Collection: fan-out by a returned list, fan-in by a list parameter, by several parameters, and by hand."""

from __future__ import annotations

import asyncio
from typing import Annotated

from workflows import Context, Workflow, catch_error, step
from workflows.collect import All, Collect, Take
from workflows.events import Event, StartEvent, StepFailedEvent, StopEvent
from workflows.retry_policy import retry_policy, stop_after_attempt, wait_fixed

from .sample import ANSWERED, Begin, Done, Left, Part, Progress, Question, Reply, Right, Sample, begin, crash_point


class Chapter(Event):
    n: int


class Section(Event):
    chapter: int
    n: int


class Summary(Event):
    lines: list[str]


class FanOut(Workflow):
    """A list is fanned out to two workers and collected."""

    @step
    async def split(self, ctx: Context, ev: Begin) -> list[Part]:
        begin("split")
        return [Part(n=n) for n in range(ev.size)]

    @step(num_workers=2)
    async def work(self, ctx: Context, ev: Part) -> Done:
        label = begin("work", ev.n)
        async with ctx.store.edit_state() as state:
            state["count"] = state.get("count", 0) + 1
        ctx.write_event_to_stream(Progress(by=label))
        await asyncio.sleep(0.001 * ev.n)
        return Done(n=ev.n * ev.n)

    @step
    async def gather(self, ctx: Context, parts: list[Done]) -> StopEvent:
        begin("gather")
        return StopEvent(result=[sorted(part.n for part in parts), await ctx.store.get("count", 0)])


class MaybeFanOut(Workflow):
    """A list, an empty list, or another event instead: only a list that was returned opens a stream."""

    @step
    async def split(self, ev: Begin) -> list[Part] | Left | None:
        begin("split")
        if ev.kind == "bare":
            return Left(n=1)
        return [Part(n=n) for n in range(ev.size)]

    @step
    async def work(self, ev: Part) -> Done:
        begin("work", ev.n)
        return Done(n=ev.n)

    @step
    async def bare(self, ev: Left) -> StopEvent:
        begin("bare")
        return StopEvent(result="bare")

    @step
    async def gather(self, parts: Annotated[list[Done], Collect(All())]) -> StopEvent:
        begin("gather")
        return StopEvent(result=[part.n for part in parts])


class BareMember(Workflow):
    """An event that is declared inside the list only may not be returned bare."""

    @step
    async def split(self, ev: StartEvent) -> list[Part]:
        begin("split")
        return Part(n=1)  # type: ignore[return-value]

    @step
    async def gather(self, parts: list[Part]) -> StopEvent:
        begin("gather")
        return StopEvent(result=len(parts))


class TakeSome(Workflow):
    """The first that arrive are enough, though others work on; where fewer come, those that came."""

    @step
    async def split(self, ev: Begin) -> list[Part]:
        begin("split")
        return [Part(n=n) for n in range(ev.size)]

    @step(num_workers=1)
    async def work(self, ev: Part) -> Done:
        begin("work", ev.n)
        await asyncio.sleep(0 if ev.n < 2 else 30)
        return Done(n=ev.n)

    @step
    async def gather(self, parts: Annotated[list[Done], Collect(Take(2))]) -> StopEvent:
        begin("gather")
        await crash_point()
        return StopEvent(result=[part.n for part in parts])


class Dropping(Workflow):
    """Items that end in nothing are not waited for."""

    @step
    async def split(self, ev: Begin) -> list[Part]:
        begin("split")
        return [Part(n=n) for n in range(4)]

    @step(num_workers=1)
    async def filter(self, ev: Part) -> Done | None:
        begin("filter", ev.n)
        return Done(n=ev.n) if ev.n % 2 else None

    @step
    async def gather(self, parts: list[Done]) -> StopEvent:
        begin("gather")
        return StopEvent(result=[part.n for part in parts])


class Mixed(Workflow):
    """A list of several types, each with its step, collected by one that takes both."""

    @step
    async def split(self, ev: StartEvent) -> list[Left | Right]:
        begin("split")
        return [Left(n=1), Right(n=2), Left(n=3)]

    @step(num_workers=1)
    async def left(self, ev: Left) -> Part:
        begin("left", ev.n)
        return Part(n=ev.n)

    @step(num_workers=1)
    async def right(self, ev: Right) -> Done:
        begin("right", ev.n)
        return Done(n=ev.n)

    @step
    async def gather(self, events: list[Part | Done]) -> StopEvent:
        begin("gather")
        return StopEvent(result=sorted(f"{type(event).__name__} {event.n}" for event in events))


class TwoLevels(Workflow):
    """A fan-out inside a fan-out: each chapter is collected before the book is."""

    @step
    async def book(self, ev: StartEvent) -> list[Chapter]:
        begin("book")
        return [Chapter(n=n) for n in range(2)]

    @step(num_workers=1)
    async def chapter(self, ev: Chapter) -> list[Section]:
        begin("chapter", ev.n)
        return [Section(chapter=ev.n, n=n) for n in range(2)]

    @step(num_workers=1)
    async def section(self, ev: Section) -> Done:
        begin("section", f"{ev.chapter}.{ev.n}")
        return Done(n=10 * ev.chapter + ev.n)

    @step(num_workers=1)
    async def close(self, parts: list[Done]) -> Summary:
        begin("close", sorted(part.n for part in parts))
        return Summary(lines=[str(part.n) for part in parts])

    @step
    async def bind(self, chapters: list[Summary]) -> StopEvent:
        begin("bind")
        return StopEvent(result=sorted(sorted(chapter.lines) for chapter in chapters))


class TwoJoins(Workflow):
    """Two steps collect the same items, each in its way."""

    @step
    async def split(self, ev: StartEvent) -> list[Part]:
        begin("split")
        return [Part(n=n) for n in range(3)]

    @step
    async def total(self, parts: list[Part]) -> Left:
        begin("total")
        return Left(n=sum(part.n for part in parts))

    @step
    async def first(self, parts: Annotated[list[Part], Collect(Take(1))]) -> Right:
        begin("first")
        return Right(n=parts[0].n)

    @step
    async def both(self, one: Left, other: Right) -> StopEvent:
        begin("both")
        return StopEvent(result=[one.n, other.n])


class Troubled(Workflow):
    """Within a fan-out one item is tried again, one is recovered, and one waits for an answer."""

    @step
    async def split(self, ev: StartEvent) -> list[Part]:
        begin("split")
        return [Part(n=n) for n in range(3)]

    @step(retry_policy=retry_policy(wait=wait_fixed(0.01), stop=stop_after_attempt(2)))
    async def work(self, ctx: Context, ev: Part) -> Done:
        attempt = ctx.retry_info().retry_number
        begin("work", f"{ev.n} {attempt}")
        if ev.n == 0 and attempt == 0:
            raise ConnectionError("again")
        if ev.n == 1:
            raise ValueError("never")
        if ev.n == 2:
            reply = await ctx.wait_for_event(Reply, waiter_event=Question(about="q2"), requirements={"about": "q2"})
            return Done(n=len(reply.text))
        return Done(n=100)

    @catch_error(for_steps=["work"])
    async def recover(self, ev: StepFailedEvent) -> Done:
        begin("recover")
        return Done(n=-ev.attempts)

    @step
    async def gather(self, parts: list[Done]) -> StopEvent:
        begin("gather")
        return StopEvent(result=sorted(part.n for part in parts))


SAMPLES = {
    "fan_out": Sample(FanOut, [[0, 1, 4], 3], side_by_side=True),
    "fan_out_of_nothing": Sample(MaybeFanOut, [], runs=({"size": 0},)),
    "fan_out_or_not": Sample(MaybeFanOut, "bare", runs=({"kind": "bare"},)),
    "fan_out_bare": Sample(BareMember, "returned a bare Part", status="failed"),
    "take": Sample(TakeSome, [0, 1]),
    "take_what_came": Sample(TakeSome, [0], runs=({"size": 1},)),
    "dropped_items": Sample(Dropping, [1, 3]),
    "mixed_types": Sample(Mixed, ["Done 2", "Part 1", "Part 3"], side_by_side=True),
    "two_levels": Sample(TwoLevels, [["0", "1"], ["10", "11"]], side_by_side=True),
    "two_joins": Sample(TwoJoins, [3, 0], side_by_side=True),
    "troubled_items": Sample(Troubled, [-2, 2, 100], reactions=ANSWERED, side_by_side=True),
}
