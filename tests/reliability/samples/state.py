"""State: untyped and typed, by path, in transactions, side by side, and from run to run."""

from __future__ import annotations

import asyncio
from typing import Any

from pydantic import BaseModel, Field, field_serializer, field_validator
from workflows import Context, Workflow, step
from workflows.events import StartEvent, StopEvent

from .sample import Begin, Done, Left, Part, Progress, Report, Sample, Tally, begin, crash_point


class Paths(Workflow):
    """Values by dotted paths, through dictionaries and lists, with defaults, and what is not there."""

    @step
    async def write(self, ctx: Context, ev: StartEvent) -> Part:
        begin("write")
        await ctx.store.set("user.profile.name", "Ann")
        await ctx.store.set("items", [{"n": 1}, {"n": 2}])
        await ctx.store.set("items.1.n", 3)
        await crash_point()
        return Part(n=1)

    @step
    async def read(self, ctx: Context, ev: Part) -> StopEvent:
        begin("read")
        try:
            await ctx.store.get("user.age")
        except ValueError as error:
            missing = str(error)
        told = [await ctx.store.get("user.profile"), await ctx.store.get("items.1.n")]
        return StopEvent(result=[*told, await ctx.store.get("user.age", default=0), missing])


class Whole(Workflow):
    """The whole state is read, merged and cleared."""

    @step
    async def write(self, ctx: Context, ev: StartEvent) -> Part:
        begin("write")
        await ctx.store.set("old", 1)
        await ctx.store.clear()
        state = await ctx.store.get_state()
        state["new"] = 2
        await ctx.store.set_state(state)
        return Part(n=1)

    @step
    async def read(self, ctx: Context, ev: Part) -> StopEvent:
        begin("read")
        return StopEvent(result=sorted((await ctx.store.get_state()).items()))


class Transaction(Workflow):
    """A transaction is all or nothing, keeps other writers out, and is not seen before its end."""

    @step
    async def fail(self, ctx: Context, ev: StartEvent) -> Part:
        begin("fail")
        await ctx.store.set("count", 1)
        try:
            async with ctx.store.edit_state() as state:
                state["count"] = 99
                raise LookupError  # noqa: TRY301
        except LookupError:
            return Part(n=await ctx.store.get("count"))

    @step
    async def nest(self, ctx: Context, ev: Part) -> StopEvent:
        begin("nest")
        async with ctx.store.edit_state() as state:
            state["count"] = 2
            seen = await ctx.store.get("count")
            try:
                await ctx.store.set("other", 1)
            except RuntimeError as error:
                refused = str(error).split(":")[0]
        return StopEvent(result=[ev.n, seen, refused, await ctx.store.get("count")])


class Interrupted(Workflow):
    """A step that is interrupted between its writes finds the state as it was when it first began."""

    @step
    async def first(self, ctx: Context, ev: StartEvent) -> Part:
        begin("first")
        await ctx.store.set("count", 10)
        return Part(n=1)

    @step
    async def second(self, ctx: Context, ev: Part) -> StopEvent:
        label = begin("second")
        found = [await ctx.store.get("count"), await ctx.store.get("list", [])]
        for n in range(3):
            await ctx.store.set("count", await ctx.store.get("count") + 1)
            async with ctx.store.edit_state() as state:
                state["list"] = [*state.get("list", []), n]
            ctx.write_event_to_stream(Progress(by=label, text=str(n)))
            await crash_point()
        return StopEvent(result=[*found, await ctx.store.get("count"), await ctx.store.get("list")])


class Overlapping(Workflow):
    """Two steps write the same things, and the one that began first ends last."""

    @step
    async def split(self, ev: StartEvent) -> list[Part]:
        begin("split")
        return [Part(n=0), Part(n=1)]

    @step(num_workers=2)
    async def write(self, ctx: Context, ev: Part) -> Done:
        begin("write", ev.n)
        async with ctx.store.edit_state() as state:
            state["items"] = [*state.get("items", []), ev.n]
            state["by"] = {**state.get("by", {}), str(ev.n): ev.n}
            state["count"] = state.get("count", 0) + 1
        await ctx.store.set(f"users.u{ev.n}", ev.n)
        await asyncio.sleep(0.01 if ev.n == 0 else 0)
        return Done(n=ev.n)

    @step
    async def gather(self, ctx: Context, parts: list[Done]) -> Left:
        begin("gather")
        return Left(n=len(parts))

    @step
    async def tell(self, ctx: Context, ev: Left) -> StopEvent:
        begin("tell")
        state = await ctx.store.get_state()
        found = [sorted(state["items"]), state["by"], state["count"], state["users"]]
        return StopEvent(result=[found[0], sorted(found[1]), found[2], sorted(found[3])])


class Typed(Workflow):
    """A typed state, own start and stop events, and a chain of steps."""

    @step
    async def first(self, ctx: Context[Tally], ev: Begin) -> Part:
        begin("first")
        async with ctx.store.edit_state() as state:
            state.count = ev.size
        return Part(n=ev.size)

    @step
    async def down(self, ctx: Context[Tally], ev: Part) -> Part | Report:
        begin("down", ev.n)
        async with ctx.store.edit_state() as state:
            state.seen = [*state.seen, ev.n]
        await crash_point()
        if ev.n:
            return Part(n=ev.n - 1)
        final = await ctx.store.get_state()
        return Report(lines=[str(final.count), *map(str, final.seen)])


class Colour:
    def __init__(self, name: str) -> None:
        self.name = name


class Painted(BaseModel):
    """A value that pydantic does not know, written and read by the model's own means."""

    model_config = {"arbitrary_types_allowed": True}
    colour: Colour = Field(default_factory=lambda: Colour("white"))

    @field_serializer("colour", when_used="always")
    def write_colour(self, colour: Colour) -> str:
        return colour.name

    @field_validator("colour", mode="before")
    @classmethod
    def read_colour(cls, value: Any) -> Colour:
        return value if isinstance(value, Colour) else Colour(value)


class OwnSerializers(Workflow):
    """A state whose model says how its values are written and read."""

    @step
    async def paint(self, ctx: Context[Painted], ev: StartEvent) -> Part:
        begin("paint")
        async with ctx.store.edit_state() as state:
            state.colour = Colour("blue")
        return Part(n=1)

    @step
    async def look(self, ctx: Context[Painted], ev: Part) -> StopEvent:
        begin("look")
        return StopEvent(result=(await ctx.store.get_state()).colour.name)


class LongTally(Tally):
    total: int = 0


class Derived(Workflow):
    """Steps that declare a base and a derived state share the derived one; a base that is set keeps the rest."""

    @step
    async def first(self, ctx: Context[LongTally], ev: StartEvent) -> Part:
        begin("first")
        await ctx.store.set("total", 7)
        return Part(n=1)

    @step
    async def second(self, ctx: Context[Tally], ev: Part) -> Done:
        begin("second")
        await ctx.store.set_state(Tally(count=5, seen=[1]))
        return Done(n=1)

    @step
    async def third(self, ctx: Context[LongTally], ev: Done) -> StopEvent:
        begin("third")
        state = await ctx.store.get_state()
        return StopEvent(result=[type(state).__name__, state.count, state.seen, state.total])


class Refused(Workflow):
    """A value that the typed state does not have is refused."""

    @step
    async def write(self, ctx: Context[Tally], ev: StartEvent) -> StopEvent:
        begin("write")
        await ctx.store.set("nothing_of_it", 1)
        return StopEvent(result="written")


class Models(BaseModel):
    inner: list[Tally] = []


class Values(Workflow):
    """Models and events in an untyped state are read back as what they were."""

    @step
    async def write(self, ctx: Context, ev: StartEvent) -> Part:
        begin("write")
        await ctx.store.set("tally", Tally(count=2, seen=[1]))
        await ctx.store.set("deep", {"models": [Models(inner=[Tally(count=3)])], "event": Left(n=4)})
        return Part(n=1)

    @step
    async def read(self, ctx: Context, ev: Part) -> StopEvent:
        begin("read")
        deep = await ctx.store.get("deep")
        return StopEvent(
            result=[(await ctx.store.get("tally")).count, deep["models"][0].inner[0].count, deep["event"].n]
        )


class Continued(Workflow):
    """Counts its runs: each begins with the state that the one before left."""

    @step
    async def count(self, ctx: Context, ev: Begin) -> Part:
        begin("count", ev.kind)
        async with ctx.store.edit_state() as state:
            state["kinds"] = [*state.get("kinds", []), ev.kind]
        return Part(n=1)

    @step
    async def tell(self, ctx: Context, ev: Part) -> StopEvent:
        begin("tell")
        return StopEvent(result=await ctx.store.get("kinds"))


SAMPLES = {
    "paths": Sample(Paths, [{"name": "Ann"}, 3, 0, "Path 'user.age' not found in state"]),
    "whole_state": Sample(Whole, [["new", 2]]),
    "transaction": Sample(Transaction, [1, 1, "writer called inside edit_state", 2]),
    "interrupted_writes": Sample(Interrupted, [10, [], 13, [0, 1, 2]]),
    "overlapping": Sample(Overlapping, [[0, 1], ["0", "1"], 2, ["u0", "u1"]], side_by_side=True),
    "typed_state": Sample(Typed, ["3", "3", "2", "1", "0"]),
    "own_serializers": Sample(OwnSerializers, "blue"),
    "derived_state": Sample(Derived, ["LongTally", 5, [1], 7]),
    "refused_value": Sample(Refused, "nothing_of_it", status="failed"),
    "values_of_state": Sample(Values, [2, 3, 4]),
    "continued": Sample(Continued, ["a", "b", "c"], runs=({"kind": "a"}, {"kind": "b"}, {"kind": "c"})),
}
