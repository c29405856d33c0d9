"""Declaring: workflows without checks, with steps from elsewhere, and with events of their own at both ends."""

from __future__ import annotations

from typing import Any

from workflows import Context, Workflow, step
from workflows.events import Event, StartEvent, StopEvent

from .sample import Begin, Done, Left, Part, Report, Sample, begin


class Base(Workflow):
    """Two steps to inherit, one of them to override."""

    @step
    async def first(self, ev: StartEvent) -> Part:
        begin("first")
        return Part(n=1)

    @step
    async def second(self, ev: Part) -> StopEvent:
        begin("second")
        return StopEvent(result="base")


class Inherited(Base):
    """Overrides one inherited step, and has one more."""

    @step
    async def second(self, ev: Part) -> Done:  # type: ignore[override]
        begin("second")
        return Done(n=ev.n + 1)

    @step
    async def third(self, ev: Done) -> StopEvent:
        begin("third")
        return StopEvent(result=["inherited", ev.n])


class Free(Workflow):
    """Its steps are functions of the module."""


@step(workflow=Free)
async def free_begin(ctx: Context, ev: StartEvent) -> Part:
    begin("free_begin")
    await ctx.store.set("told", ev.get("told", "nothing"))
    return Part(n=3)


@step(workflow=Free)
def free_middle(ev: Part) -> Done:
    begin("free_middle")
    return Done(n=ev.n + 1)


@step(workflow=Free, num_workers=1)
async def free_end(ctx: Context, ev: Done) -> StopEvent:
    begin("free_end")
    return StopEvent(result=[ev.n, await ctx.store.get("told")])


class WrongReturn(Workflow):
    """A step that returns something other than an event fails the run."""

    @step
    async def only(self, ev: StartEvent) -> StopEvent:
        begin("only")
        wrong: Any = "a text"
        return wrong  # type: ignore[no-any-return]


class Unchecked(Workflow):
    """Declares an event that nobody accepts: it runs unchecked only."""

    def __init__(self) -> None:
        super().__init__(disable_validation=True)

    @step
    async def first(self, ctx: Context, ev: StartEvent) -> Left | Done:
        begin("first")
        ctx.send_event(Left(n=1))
        return Done(n=1)

    @step
    async def finish(self, ev: Done) -> StopEvent:
        begin("finish")
        return StopEvent(result=ev.n)


class Custom(Workflow):
    """Own start and stop events."""

    @step
    async def only(self, ev: Begin) -> Report:
        begin("only")
        return Report(lines=[ev.kind] * ev.size)


class Circle(Event):
    pass


class Skipped(Workflow):
    """Steps in a circle that nothing reaches, allowed by name."""

    def __init__(self) -> None:
        super().__init__(skip_graph_checks={"reachability"})

    @step
    async def first(self, ev: StartEvent) -> StopEvent:
        begin("first")
        return StopEvent(result="reached")

    @step
    async def never(self, ev: Circle) -> Circle | StopEvent:
        begin("never")
        return StopEvent(result="unreachable")


SAMPLES = {
    "inherited": Sample(Inherited, ["inherited", 2]),
    "free_functions": Sample(Free, [4, "this"], runs=({"told": "this"},)),
    "wrong_return": Sample(WrongReturn, "returned str instead of an Event", status="failed"),
    "unchecked": Sample(Unchecked, 1),
    "own_start_and_stop": Sample(Custom, ["x", "x"], runs=({"kind": "x", "size": 2},)),
    "skipped_checks": Sample(Skipped, "reached"),
}
