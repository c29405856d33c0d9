"""Small workflows, one for each thing that the engine offers, that tell what they did in their result."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from pydantic import BaseModel
from workflows import Context, Workflow, catch_error, step
from workflows.collect import Collect, Take
from workflows.events import Event, HumanResponseEvent, InputRequiredEvent, StartEvent, StepFailedEvent, StopEvent
from workflows.resource import Resource
from workflows.retry_policy import retry_policy, stop_after_attempt, wait_fixed

begun: list[str] = []
"""The steps that began in this process, in order, by step and work item."""


class Part(Event):
    n: int


class Done(Event):
    n: int


class Left(Event):
    n: int


class Right(Event):
    n: int


class Question(InputRequiredEvent):
    about: str


class Reply(HumanResponseEvent):
    about: str
    text: str


class Begin(StartEvent):
    size: int = 3


class Report(StopEvent):
    lines: list[str]


class Progress(Event):
    text: str


class Tally(BaseModel):
    count: int = 0
    seen: list[int] = []


class FanOut(Workflow):
    """A list is fanned out to two workers and collected."""

    @step
    async def split(self, ctx: Context, ev: Begin) -> list[Part]:
        begun.append("split")
        return [Part(n=n) for n in range(ev.size)]

    @step(num_workers=2)
    async def work(self, ctx: Context, ev: Part) -> Done:
        begun.append(f"work {ev.n}")
        async with ctx.store.edit_state() as state:
            state["count"] = state.get("count", 0) + 1
        ctx.write_event_to_stream(Progress(text=f"part {ev.n}"))
        await asyncio.sleep(0.001 * ev.n)
        return Done(n=ev.n * ev.n)

    @step
    async def gather(self, ctx: Context, parts: list[Done]) -> StopEvent:
        begun.append("gather")
        return StopEvent(result=[sorted(part.n for part in parts), await ctx.store.get("count")])


class FirstTwo(Workflow):
    """The first two of three are enough."""

    @step
    async def split(self, ev: StartEvent) -> list[Part]:
        return [Part(n=n) for n in range(3)]

    @step(num_workers=1)
    async def work(self, ev: Part) -> Done:
        return Done(n=ev.n)

    @step
    async def gather(self, parts: Annotated[list[Done], Collect(Take(2))]) -> StopEvent:
        return StopEvent(result=len(parts))


class CollectEvents(Workflow):
    """Events are sent, and collected by hand."""

    @step
    async def send(self, ctx: Context, ev: StartEvent) -> Part | None:
        begun.append("send")
        for n in range(4):
            ctx.send_event(Part(n=n))
        return None

    @step(num_workers=3)
    async def work(self, ctx: Context, ev: Part) -> Done:
        begun.append(f"work {ev.n}")
        return Done(n=ev.n)

    @step
    async def gather(self, ctx: Context, ev: Done) -> StopEvent | None:
        found = ctx.collect_events(ev, [Done] * 4)
        return None if found is None else StopEvent(result=sorted(done.n for done in found))


class TwoSlots(Workflow):
    """A step that needs an event of each of two types."""

    @step
    async def left(self, ev: StartEvent) -> Left:
        return Left(n=1)

    @step
    async def right(self, ev: StartEvent) -> Right:
        return Right(n=2)

    @step
    async def both(self, one: Left, other: Right) -> StopEvent:
        return StopEvent(result=one.n + other.n)


class Retried(Workflow):
    """Fails twice, with a delay, and tells how often it was tried."""

    @step(retry_policy=retry_policy(wait=wait_fixed(0.02), stop=stop_after_attempt(5)))
    async def flaky(self, ctx: Context, ev: StartEvent) -> StopEvent:
        info = ctx.retry_info()
        begun.append(f"flaky {info.retry_number}")
        async with ctx.store.edit_state() as state:
            state["tries"] = state.get("tries", 0) + 1
        if info.retry_number < 2:
            raise ConnectionError("not yet")
        return StopEvent(result=[info.retry_number, str(info.last_exception), await ctx.store.get("tries")])


class Caught(Workflow):
    """A step that always fails, and a handler that recovers."""

    @step(retry_policy=retry_policy(wait=wait_fixed(0), stop=stop_after_attempt(2)))
    async def broken(self, ev: StartEvent) -> Done:
        raise ValueError("broken")

    @catch_error(for_steps=["broken"])
    async def recover(self, ctx: Context, ev: StepFailedEvent) -> Done:
        begun.append("recover")
        return Done(n=ev.attempts)

    @step
    async def finish(self, ev: Done) -> StopEvent:
        return StopEvent(result=ev.n)


class Failing(Workflow):
    """Fails for good."""

    @step
    async def broken(self, ev: StartEvent) -> StopEvent:
        raise ValueError("broken for good")


class Asking(Workflow):
    """Asks two questions, side by side, and takes only the answer to each."""

    @step
    async def split(self, ev: StartEvent) -> list[Part]:
        return [Part(n=1), Part(n=2)]

    @step
    async def ask(self, ctx: Context, ev: Part) -> Done:
        about = f"q{ev.n}"
        reply = await ctx.wait_for_event(
            Reply, waiter_event=Question(about=about), waiter_id=about, requirements={"about": about}
        )
        begun.append(f"answered {about}")
        await ctx.store.set(about, reply.text)
        return Done(n=ev.n)

    @step
    async def gather(self, ctx: Context, parts: list[Done]) -> StopEvent:
        return StopEvent(result=[await ctx.store.get("q1"), await ctx.store.get("q2")])


class Returned(Workflow):
    """Returns its question; the answer goes to another step."""

    @step
    async def ask(self, ctx: Context, ev: StartEvent) -> Question:
        await ctx.store.set("asked", True)
        return Question(about="q1")

    @step
    async def answer(self, ctx: Context, ev: Reply) -> StopEvent:
        return StopEvent(result=[ev.text, await ctx.store.get("asked")])


class Overdue(Workflow):
    """Waits for what does not come."""

    @step
    async def ask(self, ctx: Context, ev: StartEvent) -> StopEvent:
        try:
            await ctx.wait_for_event(Reply, timeout=0.05)
        except TimeoutError:
            return StopEvent(result="nobody answered")
        return StopEvent(result="answered")


class TypedState(Workflow):
    """A typed state, custom start and stop events, and a chain of steps."""

    @step
    async def begin(self, ctx: Context[Tally], ev: Begin) -> Part:
        async with ctx.store.edit_state() as state:
            state.count = ev.size
        return Part(n=ev.size)

    @step
    async def down(self, ctx: Context[Tally], ev: Part) -> Part | Report:
        async with ctx.store.edit_state() as state:
            state.seen = [*state.seen, ev.n]
        if ev.n:
            return Part(n=ev.n - 1)
        final = await ctx.store.get_state()
        return Report(lines=[str(final.count), *map(str, final.seen)])


class Inner(Workflow):
    @step
    async def only(self, ev: StartEvent) -> StopEvent:
        return StopEvent(result=ev.get("n") * 2)


class Nested(Workflow):
    """Runs another workflow inside a step."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.inner = Inner()

    @step
    async def outer(self, ev: StartEvent) -> Done:
        return Done(n=await self.inner.run(n=21))

    @step
    async def finish(self, ev: Done) -> StopEvent:
        return StopEvent(result=ev.n)


def lookup() -> dict[str, int]:
    return {"answer": 42}


class Resourced(Workflow):
    """A step with a resource."""

    @step
    async def only(self, ev: StartEvent, table: Annotated[dict[str, int], Resource(lookup)]) -> StopEvent:
        return StopEvent(result=table["answer"])


class Blocking(Workflow):
    """A step that is no coroutine."""

    @step
    def work(self, ev: StartEvent) -> Done:
        return Done(n=7)

    @step
    def finish(self, ev: Done) -> StopEvent:
        return StopEvent(result=ev.n)


class Again(Workflow):
    """Sends its start event on, twice: returned, and sent."""

    @step(num_workers=1)
    async def turn(self, ctx: Context, ev: Begin) -> Begin | Done | None:
        turns = await ctx.store.get("turns", 0) + 1
        await ctx.store.set("turns", turns)
        begun.append(f"turn {turns}")
        if turns == 1:
            return ev
        if turns == 2:
            ctx.send_event(ev)
            return None
        return Done(n=turns)

    @step
    async def finish(self, ev: Done) -> StopEvent:
        return StopEvent(result=ev.n)


class Overlapping(Workflow):
    """Two steps write the same things, and the one that began first ends last."""

    @step
    async def split(self, ev: StartEvent) -> list[Part]:
        return [Part(n=0), Part(n=1)]

    @step(num_workers=2)
    async def write(self, ctx: Context, ev: Part) -> Done:
        begun.append(f"write {ev.n}")
        async with ctx.store.edit_state() as state:
            state["items"] = [*state.get("items", []), ev.n]
            state["by"] = {**state.get("by", {}), str(ev.n): ev.n}
            state["count"] = state.get("count", 0) + 1
        await ctx.store.set(f"users.u{ev.n}", ev.n)
        await asyncio.sleep(0.01 if ev.n == 0 else 0)
        return Done(n=ev.n)

    @step
    async def gather(self, ctx: Context, parts: list[Done]) -> Left:
        return Left(n=len(parts))

    @step
    async def tell(self, ctx: Context, ev: Left) -> StopEvent:
        state = await ctx.store.get_state()
        found = [sorted(state["items"]), state["by"], state["count"], state["users"]]
        return StopEvent(result=[found[0], sorted(found[1]), found[2], sorted(found[3])])


class TimedOut(Workflow):
    """Takes longer than it may."""

    def __init__(self) -> None:
        super().__init__(timeout=0.05)

    @step
    async def slow(self, ctx: Context, ev: StartEvent) -> StopEvent:
        await ctx.wait_for_event(Reply, timeout=None)
        return StopEvent(result="too late")


SAMPLES: dict[str, tuple[type[Workflow], str, object]] = {
    "fan_out": (FanOut, "completed", [[0, 1, 4], 3]),
    "first_two": (FirstTwo, "completed", 2),
    "collect_events": (CollectEvents, "completed", [0, 1, 2, 3]),
    "two_slots": (TwoSlots, "completed", 3),
    "retried": (Retried, "completed", [2, "not yet", 3]),
    "caught": (Caught, "completed", 2),
    "failing": (Failing, "failed", "broken for good"),
    "asking": (Asking, "completed", ["a1", "a2"]),
    "returned": (Returned, "completed", ["a1", True]),
    "overdue": (Overdue, "completed", "nobody answered"),
    "typed_state": (TypedState, "completed", ["3", "3", "2", "1", "0"]),
    "nested": (Nested, "completed", 42),
    "resourced": (Resourced, "completed", 42),
    "blocking": (Blocking, "completed", 7),
    "again": (Again, "completed", 3),
    "overlapping": (Overlapping, "completed", [[0, 1], ["0", "1"], 2, ["u0", "u1"]]),
    "timed_out": (TimedOut, "failed", "Operation timed out after 0.05 seconds"),
}
"""Each with the status that it ends with, and its result or its error."""
