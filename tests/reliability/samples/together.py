"""Events sent one directly after the other: each is taken when the step that the one before starts has come to its
first wait or its end, though here it may not have begun before it is durable."""

from __future__ import annotations

import asyncio

from workflows import Context, Workflow, step
from workflows.events import Event, StartEvent, StopEvent

from .sample import Begin, Done, Left, Part, Progress, Right, Sample, begin


class Sending(Workflow):
    """Sends what its subclasses take."""

    sent: tuple[Event, ...]

    def __init__(self) -> None:
        super().__init__(disable_validation=True)

    @step
    async def send(self, ctx: Context, ev: Begin) -> Part | Left | Right | None:
        begin("send")
        for event in self.sent:
            ctx.send_event(event)
        return None


class WaitedFor(Sending):
    """The step that the first event starts waits for the second, which no step accepts."""

    sent = (Part(n=1), Done(n=2))

    @step
    async def work(self, ctx: Context, ev: Part) -> StopEvent:
        begin("work", ev.n)
        done = await ctx.wait_for_event(Done)
        return StopEvent(result=[ev.n, done.n])


class AlsoAccepted(Sending):
    """Another step accepts what the first one waits for: both get it."""

    sent = (Part(n=1), Left(n=2))

    @step
    async def work(self, ctx: Context, ev: Part) -> Right:
        begin("work", ev.n)
        left = await ctx.wait_for_event(Left)
        return Right(n=left.n)

    @step(num_workers=1)
    async def other(self, ctx: Context, ev: Left) -> Done:
        begin("other", ev.n)
        return Done(n=ev.n)

    @step
    async def both(self, right: Right, done: Done) -> StopEvent:
        begin("both")
        return StopEvent(result=[right.n, done.n])


async def helping(ctx: Context, kind: type[Event]) -> Event:
    """A wait that does not stand in the code of a step."""
    return await ctx.wait_for_event(kind)


class HiddenWait(AlsoAccepted):
    """The wait is in a function that the step calls, and its type in a variable."""

    @step
    async def work(self, ctx: Context, ev: Part) -> Right:  # type: ignore[override]
        begin("work", ev.n)
        left = await helping(ctx, type(self.sent[-1]))
        return Right(n=getattr(left, "n", 0))


class InTurn(Sending):
    """One worker: each event gets it when the one before waits, and all wait before the last comes."""

    sent = (Part(n=1), Part(n=2), Part(n=3), Done(n=4))

    @step(num_workers=1)
    async def work(self, ctx: Context, ev: Part) -> Right:
        begin("work", ev.n)
        done = await ctx.wait_for_event(Done)
        return Right(n=ev.n * done.n)

    @step(num_workers=1)
    async def gather(self, ctx: Context, ev: Right) -> StopEvent | None:
        found = ctx.collect_events(ev, [Right] * 3)
        return None if found is None else StopEvent(result=[right.n for right in found])


class OneAfterAnother(Sending):
    """A step waits for one answer and then for another, and both are there already; a third is taken by nobody."""

    sent = (Part(n=0), Done(n=1), Done(n=2), Done(n=3))

    @step
    async def work(self, ctx: Context, ev: Part) -> Right:
        begin("work", ev.n)
        first = await ctx.wait_for_event(Done, waiter_id="first", requirements={"n": 1})
        second = await ctx.wait_for_event(Done, waiter_id="second", requirements={"n": 2})
        return Right(n=10 * first.n + second.n)

    @step
    async def finish(self, ev: Right) -> StopEvent:
        begin("finish")
        await asyncio.sleep(0.05)
        return StopEvent(result=ev.n)


class Required(Sending):
    """Of two steps that wait for one type, each takes what it requires."""

    sent = (Part(n=1), Part(n=2), Done(n=2), Done(n=1), Done(n=5))

    @step
    async def work(self, ctx: Context, ev: Part) -> Right:
        begin("work", ev.n)
        done = await ctx.wait_for_event(Done, requirements={"n": ev.n})
        return Right(n=done.n)

    @step(num_workers=1)
    async def gather(self, ctx: Context, ev: Right) -> Left | None:
        found = ctx.collect_events(ev, [Right] * 2)
        return None if found is None else Left(n=sum(right.n for right in found))

    @step
    async def finish(self, ev: Left) -> StopEvent:
        await asyncio.sleep(0.05)
        return StopEvent(result=ev.n)


class Ending(Sending):
    """The step that the first event starts ends the run at once: that of the second does not begin."""

    sent = (Left(n=1), Right(n=2))

    @step
    async def quick(self, ev: Left) -> StopEvent:
        begin("quick")
        return StopEvent(result="quick")

    @step
    async def late(self, ctx: Context, ev: Right) -> None:
        ctx.write_event_to_stream(Progress(by=begin("late")))


class Failing(Ending):
    """As ``Ending``, but by a failure."""

    @step
    async def quick(self, ev: Left) -> StopEvent:  # type: ignore[override]
        begin("quick")
        raise ValueError("at once")


class Together(Workflow):
    """A list is handed over in one go: here what its first item ends has begun its others."""

    @step
    async def split(self, ev: StartEvent) -> list[Left | Right]:
        begin("split")
        return [Left(n=1), Right(n=2)]

    @step
    async def quick(self, ev: Left) -> StopEvent:
        begin("quick")
        return StopEvent(result="quick")

    @step
    async def late(self, ctx: Context, ev: Right) -> Done:
        begin("late")
        await asyncio.sleep(30)
        return Done(n=1)

    @step
    async def gather(self, ctx: Context, ev: list[Done]) -> StopEvent:
        return StopEvent(result="late")


SAMPLES = {
    "sent_to_a_wait": Sample(WaitedFor, [1, 2]),
    "sent_to_a_wait_and_a_step": Sample(AlsoAccepted, [2, 2]),
    "sent_to_a_hidden_wait": Sample(HiddenWait, [2, 2]),
    "sent_behind_a_queue": Sample(InTurn, [4, 8, 12]),
    "sent_to_one_wait_after_another": Sample(OneAfterAnother, 12),
    "sent_as_required": Sample(Required, 3),
    "sent_behind_an_end": Sample(Ending, "quick"),
    "sent_behind_a_failure": Sample(Failing, "at once", status="failed"),
    "listed_behind_an_end": Sample(Together, "quick"),
}
