"""Steps: how they are declared, chained, branched, looped, shared, inherited, and how the first StopEvent ends all."""

from __future__ import annotations

import asyncio

from workflows import Context, Workflow, step
from workflows.events import StartEvent, StopEvent

from .sample import Begin, Done, Left, Part, Progress, Right, Sample, begin, crash_point


class Blocking(Workflow):
    """Synchronous steps."""

    @step
    def work(self, ev: StartEvent) -> Done:
        begin("work")
        return Done(n=7)

    @step
    def finish(self, ev: Done) -> StopEvent:
        begin("finish")
        return StopEvent(result=ev.n)


class Threaded(Workflow):
    """Blocking code in a thread."""

    @step
    async def work(self, ev: StartEvent) -> Done:
        begin("work")
        return Done(n=await asyncio.to_thread(sum, [1, 2, 3]))

    @step
    async def finish(self, ev: Done) -> StopEvent:
        begin("finish")
        return StopEvent(result=ev.n)


class Branching(Workflow):
    """Goes one of two ways."""

    @step
    async def choose(self, ev: Begin) -> Left | Right:
        begin("choose")
        return Left(n=1) if ev.kind == "left" else Right(n=2)

    @step
    async def left(self, ev: Left) -> StopEvent:
        begin("left")
        return StopEvent(result="left")

    @step
    async def right(self, ev: Right) -> StopEvent:
        begin("right")
        return StopEvent(result="right")


class Looping(Workflow):
    """Goes round until it has counted down."""

    @step
    async def prepare(self, ev: Begin) -> Part:
        begin("prepare")
        return Part(n=ev.size)

    @step
    async def turn(self, ev: Part) -> Part | StopEvent:
        begin("turn", ev.n)
        return Part(n=ev.n - 1) if ev.n else StopEvent(result="round")


class Again(Workflow):
    """Sends its start event on, twice: returned, and sent."""

    @step(num_workers=1)
    async def turn(self, ctx: Context, ev: Begin) -> Begin | Done | None:
        turns = await ctx.store.get("turns", 0) + 1
        await ctx.store.set("turns", turns)
        begin("turn", turns)
        if turns == 1:
            return ev
        if turns == 2:
            ctx.send_event(ev)
            return None
        return Done(n=turns)

    @step
    async def finish(self, ev: Done) -> StopEvent:
        begin("finish")
        return StopEvent(result=ev.n)


class Shared(Workflow):
    """One event goes to every step that accepts it, in its union or alone."""

    @step
    async def split(self, ev: StartEvent) -> Part:
        begin("split")
        return Part(n=5)

    @step
    async def double(self, ev: Part) -> Left:
        begin("double")
        return Left(n=ev.n * 2)

    @step
    async def square(self, ev: Part | StartEvent) -> Right | None:
        begin("square", type(ev).__name__)
        return Right(n=ev.n * ev.n) if isinstance(ev, Part) else None

    @step(num_workers=1)
    async def join(self, ctx: Context, ev: Left | Right) -> StopEvent | None:
        begin("join", type(ev).__name__)
        found = ctx.collect_events(ev, [Left, Right])
        return None if found is None else StopEvent(result=[event.n for event in found])


class OneAtATime(Workflow):
    """A queue in front of one worker is taken in order, one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.at_work = 0

    @step
    async def split(self, ev: Begin) -> list[Part]:
        begin("split")
        return [Part(n=n) for n in range(ev.size)]

    @step(num_workers=1)
    async def work(self, ctx: Context, ev: Part) -> Done:
        begin("work", ev.n)
        self.at_work += 1
        assert self.at_work == 1
        await crash_point()
        async with ctx.store.edit_state() as state:
            state["order"] = [*state.get("order", []), ev.n]
        self.at_work -= 1
        return Done(n=ev.n)

    @step
    async def gather(self, ctx: Context, parts: list[Done]) -> StopEvent:
        begin("gather")
        return StopEvent(result=await ctx.store.get("order"))


class FewWorkers(Workflow):
    """Never more than num_workers of one step at once, of four by default."""

    def __init__(self) -> None:
        super().__init__()
        self.at_work: dict[str, int] = {"two": 0, "four": 0}

    @step
    async def split(self, ev: StartEvent) -> list[Left | Right]:
        begin("split")
        return [*(Left(n=n) for n in range(4)), *(Right(n=n) for n in range(6))]

    @step(num_workers=2)
    async def two(self, ev: Left) -> Done:
        return await self._work("two", ev.n, 2)

    @step
    async def four(self, ev: Right) -> Done:
        return await self._work("four", ev.n, 4)

    async def _work(self, name: str, n: int, limit: int) -> Done:
        begin(name, n)
        self.at_work[name] += 1
        assert self.at_work[name] <= limit
        await asyncio.sleep(0.002)
        self.at_work[name] -= 1
        return Done(n=n)

    @step
    async def gather(self, parts: list[Done]) -> StopEvent:
        begin("gather")
        return StopEvent(result=len(parts))


class FirstStop(Workflow):
    """The first StopEvent ends the run at once; what others still do is not the run's."""

    def __init__(self) -> None:
        super().__init__()
        self.slow_began = asyncio.Event()

    @step
    async def split(self, ctx: Context, ev: StartEvent) -> Left | Right | None:
        begin("split")
        ctx.send_event(Left(n=1))
        ctx.send_event(Right(n=2))
        return None

    @step
    async def quick(self, ctx: Context, ev: Left) -> StopEvent:
        label = begin("quick")
        ctx.write_event_to_stream(Progress(by=label))
        await crash_point()
        await self.slow_began.wait()
        return StopEvent(result="quick")

    @step
    async def slow(self, ctx: Context, ev: Right) -> StopEvent:
        label = begin("slow")
        self.slow_began.set()
        await asyncio.sleep(30)
        ctx.write_event_to_stream(Progress(by=label, text="too late"))
        return StopEvent(result="slow")


SAMPLES = {
    "blocking": Sample(Blocking, 7),
    "threaded": Sample(Threaded, 6),
    "branch_left": Sample(Branching, "left", runs=({"kind": "left"},)),
    "branch_right": Sample(Branching, "right"),
    "looping": Sample(Looping, "round"),
    "again": Sample(Again, 3),
    "shared": Sample(Shared, [10, 25], side_by_side=True),
    "one_at_a_time": Sample(OneAtATime, [0, 1, 2]),
    "few_workers": Sample(FewWorkers, 10, side_by_side=True),
    "first_stop": Sample(FirstStop, "quick", side_by_side=True),
}
