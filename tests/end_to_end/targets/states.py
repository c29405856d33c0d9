"""``ctx.store``, written by steps that run side by side, of which some have written and not finished."""

from __future__ import annotations

from pydantic import BaseModel, Field
from workflows import Context, Workflow, step
from workflows.events import Event, StartEvent, StopEvent

from tests.end_to_end.targets.marking import gate, mark, side_effect

ITEMS = 8
HELD = 5
"""Items from this one on wait at a gate after they have written."""


class Item(Event):
    """One of several things to work on."""

    number: int


class Done(Event):
    """One is done."""


class Tally(BaseModel):
    """A typed state."""

    count: int = 0
    names: list[str] = Field(default_factory=list)
    by_parity: dict[str, int] = Field(default_factory=dict)


class TypedState(Workflow):
    """Counts in a typed state with ``edit_state``."""

    @step
    async def split(self, ctx: Context[Tally], ev: StartEvent) -> list[Item]:
        await ctx.store.set("by_parity", {"even": 0, "odd": 0})
        return [Item(number=number) for number in range(ITEMS)]

    @step(num_workers=ITEMS)
    async def work(self, ctx: Context[Tally], ev: Item) -> Done:
        with side_effect("work", ev.number):
            async with ctx.store.edit_state() as state:
                state.count += 1
                state.names.append(f"item-{ev.number}")
                state.by_parity["odd" if ev.number % 2 else "even"] += 1
            if ev.number >= HELD:
                await gate("typed_state")
            return Done()

    @step
    async def join(self, ctx: Context[Tally], ev: list[Done]) -> StopEvent:
        state = await ctx.store.get_state()
        return StopEvent(result=[state.count, sorted(state.names), state.by_parity])


class DictionaryState(Workflow):
    """Counts in a plain state with ``edit_state``, and gathers a list by get, append and set."""

    @step
    async def split(self, ctx: Context, ev: StartEvent) -> list[Item]:
        await ctx.store.set("names", [])
        await ctx.store.set("settings.depth", 3)
        return [Item(number=number) for number in range(ITEMS)]

    @step(num_workers=ITEMS)
    async def work(self, ctx: Context, ev: Item) -> Done:
        with side_effect("work", ev.number):
            async with ctx.store.edit_state() as state:
                state["count"] = state.get("count", 0) + 1
            names = await ctx.store.get("names")
            names.append(f"item-{ev.number}")
            await ctx.store.set("names", names)
            if ev.number >= HELD:
                await gate("dictionary_state")
            return Done()

    @step
    async def join(self, ctx: Context, ev: list[Done]) -> StopEvent:
        count, names = await ctx.store.get("count"), await ctx.store.get("names")
        return StopEvent(result=[count, sorted(names), await ctx.store.get("settings.depth")])


class AsItWas(Workflow):
    """A step that runs again sees the state as it was when it first began."""

    @step
    async def first(self, ctx: Context, ev: StartEvent) -> Item:
        await ctx.store.set("seen", ["first"])
        return Item(number=0)

    @step
    async def second(self, ctx: Context, ev: Item) -> StopEvent:
        seen = await ctx.store.get("seen")
        mark("saw", "second", ",".join(seen))
        await ctx.store.set("seen", [*seen, "second"])
        await ctx.store.set("unfinished", True)
        await gate("as_it_was")
        return StopEvent(result=await ctx.store.get("seen"))


typed_state = TypedState(timeout=None)
dictionary_state = DictionaryState(timeout=None)
as_it_was = AsItWas(timeout=None)
