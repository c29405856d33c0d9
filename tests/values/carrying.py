"""A workflow for each kind of value, which carries it in every place and says where it came back as another one.

The annotations of its steps are classes that are made here: this module does without postponed ones.
"""

# mypy: disable-error-code="valid-type,attr-defined,no-any-return"

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict
from workflows import Context, Workflow, step
from workflows.events import Event, HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent

from tests.values.equality import differs
from tests.values.kinds import BY_VALIDATOR, KINDS, Kind

WAITING_PLACES = ("declared field", "undeclared field", "state", "start event", "collected event")
CONTINUED_PLACES = ("continued state", "result")
MISSING = "missing"


class Ask(InputRequiredEvent):
    """The run waits, and what it found before it did."""

    found: dict[str, str | None]


class Go(HumanResponseEvent):
    """The run may go on."""


class Found(Event):
    """Differences of values from what they should be: the place, and how; None where there is none."""

    places: dict[str, str | None]


def workflow_of(kind: Kind, *, typed: bool) -> Workflow:
    """The workflow of one kind: with a typed state, or with a dictionary."""
    start, carried, state = _classes(kind)
    context: Any = Context[state] if typed else Context

    class Carrying(Workflow):
        @step
        async def begin(self, ctx: context, ev: start) -> StopEvent | carried:
            result = await ctx.store.get("result", None)
            if result is not None:
                places = {
                    "continued state": differs(await ctx.store.get("v", MISSING), kind.make()),
                    "result": differs(result["value"], kind.make()),
                }
                return StopEvent(result={"places": places})
            await ctx.store.set("v", kind.make())
            return carried(v=kind.make(), beside=kind.make())

        @step
        async def look(self, ctx: context, ev: carried) -> Found:
            before = await _found(ctx, ev, kind)
            await ctx.wait_for_event(Go, waiter_event=Ask(found=before), waiter_id="look")
            return Found(places=await _found(ctx, ev, kind))

        @step
        async def keep(self, ctx: context, ev: start) -> Found | None:
            if await ctx.store.get("result", None) is not None:
                return None
            before = {"start event": differs(ev.v, kind.make())}
            await ctx.wait_for_event(Go, waiter_event=Ask(found=before), waiter_id="keep")
            return Found(places={"start event": differs(ev.v, kind.make())})

        @step
        async def lay_by(self, ctx: context, ev: start) -> Found | None:
            is_first = await ctx.store.get("result", None) is None
            return Found(places={}, laid_by=kind.make()) if is_first else None

        @step
        async def end(self, ctx: context, ev: Found) -> StopEvent | None:
            collected = ctx.collect_events(ev, [Found] * 3)
            if collected is None:
                return None
            places = {"collected event": differs(collected[0].laid_by, kind.make())}
            result = {"value": kind.make()}
            await ctx.store.set("result", result)
            for found in collected:
                places |= found.places
            return StopEvent(result={"places": places, **(result if kind.in_result else {})})

    return Carrying(timeout=None)


async def _found(ctx: Any, ev: Any, kind: Kind) -> dict[str, str | None]:
    state = await ctx.store.get("v", MISSING)
    values = {"declared field": ev.v, "undeclared field": ev.beside, "state": state}
    return {place: differs(value, kind.make()) for place, value in values.items()}


def workflows() -> Iterator[tuple[str, Workflow]]:
    """All workflows by name, those with a typed state first."""
    for typed in (True, False):
        for kind in KINDS:
            yield name_of(kind, typed=typed), workflow_of(kind, typed=typed)


def name_of(kind: Kind, *, typed: bool) -> str:
    """The name of a kind's workflow."""
    return f"{'typed' if typed else 'dictionary'}_{kind.key}"


def start_of(kind: Kind) -> Any:
    """Return the JSON that a client sends for the field of the start event."""
    return "made by the field" if kind.json is BY_VALIDATOR else kind.json


def _classes(kind: Kind) -> tuple[Any, Any, Any]:
    annotation = kind.annotation
    if kind.json is BY_VALIDATOR:
        annotation = Annotated[Any, BeforeValidator(lambda sent: kind.make())]
    return (
        _public(f"Start_{kind.key}", StartEvent, {"v": annotation}),
        _public(f"Carried_{kind.key}", Event, {"v": kind.annotation}),
        _public(f"State_{kind.key}", BaseModel, {"v": kind.annotation, "result": Any}, v=None, result=None),
    )


def _public(name: str, base: type[BaseModel], annotations: dict[str, Any], **defaults: Any) -> Any:
    """A class at the top level of this module, as one would write it there."""
    if name not in globals():
        config = ConfigDict(arbitrary_types_allowed=True)
        body = {"__annotations__": annotations, "__module__": __name__, "model_config": config, **defaults}
        globals()[name] = type(name, (base,), body)
    return globals()[name]
