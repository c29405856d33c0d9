"""Workflows that see what the engine's own JSON does not keep of values: a durable run keeps it."""

from __future__ import annotations

from pydantic import PrivateAttr
from workflows import Context, Workflow, catch_error, step
from workflows.events import Event, StartEvent, StepFailedEvent, StopEvent

from .sample import Part, begin


class Hidden(Event):
    _secret: str = PrivateAttr(default="")


class OddError(Exception):
    """Is made of two values, which its text does not give back."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code} {reason}")


class Undeclared(Workflow):
    """An event carries a tuple in a field that it does not declare."""

    @step
    async def first(self, ev: StartEvent) -> Part:
        begin("first")
        return Part(n=1, pair=(1, 2))

    @step
    async def second(self, ev: Part) -> StopEvent:
        begin("second")
        return StopEvent(result=type(ev.pair).__name__)


class Private(Workflow):
    """An event carries a private attribute."""

    @step
    async def first(self, ev: StartEvent) -> Hidden:
        begin("first")
        return Hidden(_secret="told")

    @step
    async def second(self, ev: Hidden) -> StopEvent:
        begin("second")
        return StopEvent(result=ev._secret)


class Untyped(Workflow):
    """A tuple in the untyped state."""

    @step
    async def first(self, ctx: Context, ev: StartEvent) -> Part:
        begin("first")
        await ctx.store.set("pair", (1, 2))
        return Part(n=1)

    @step
    async def second(self, ctx: Context, ev: Part) -> StopEvent:
        begin("second")
        return StopEvent(result=type(await ctx.store.get("pair")).__name__)


class InPlace(Workflow):
    """A list of the state is changed without being set again."""

    @step
    async def first(self, ctx: Context, ev: StartEvent) -> Part:
        begin("first")
        await ctx.store.set("list", [1])
        (await ctx.store.get("list")).append(2)
        return Part(n=1)

    @step
    async def second(self, ctx: Context, ev: Part) -> StopEvent:
        begin("second")
        return StopEvent(result=len(await ctx.store.get("list")))


class Strange(Workflow):
    """An exception whose class cannot be made of its text."""

    @step
    async def first(self, ev: StartEvent) -> StopEvent:
        begin("first")
        raise OddError(7, "odd")

    @catch_error
    async def recover(self, ev: StepFailedEvent) -> StopEvent:
        begin("recover")
        return StopEvent(result=f"{type(ev.exception).__name__}: {ev.exception}")


class Requoted(Workflow):
    """An exception whose class makes another text of its text."""

    @step
    async def first(self, ev: StartEvent) -> StopEvent:
        begin("first")
        raise KeyError("key")

    @catch_error
    async def recover(self, ev: StepFailedEvent) -> StopEvent:
        begin("recover")
        return StopEvent(result=f"{type(ev.exception).__name__}: {ev.exception}")


KEPT: dict[type[Workflow], object] = {
    Undeclared: "tuple",
    Private: "told",
    Untyped: "tuple",
    InPlace: 2,
    Strange: "OddError: 7 odd",
    Requoted: "KeyError: 'key'",
}
"""Each with its result, whether the process dies between its steps or not."""
