"""A workflow of forty steps: five lanes of seven between a beginning and an end with two ways."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import reduce
from operator import or_
from typing import Any

from workflows import Context, Workflow, step
from workflows.events import Event, StartEvent, StopEvent

LANES = ("text", "tables", "images", "links", "notes")
STAGES = ("fetch", "clean", "split", "embed", "score", "rank", "store")


class LaneDone(Event):
    """One lane has come to its end."""

    lane: str


class Checked(Event):
    """All lanes are good."""


class Published(Event):
    """All lanes are with their readers."""


class Doubtful(Event):
    """Some lane is not."""


def _event(name: str) -> type[Event]:
    made = type(name, (Event,), {"__module__": __name__, "__doc__": "The work of a lane, on its way."})
    globals()[name] = made
    return made


_BEFORE = {(lane, stage): _event(f"{lane.title()}To{stage.title()}") for lane in LANES for stage in STAGES}


async def begin(self: Workflow, ctx: Context, ev: StartEvent) -> Event | None:
    """Begin all lanes."""
    for lane in LANES:
        ctx.send_event(_BEFORE[lane, STAGES[0]]())
    return None


begin.__annotations__["return"] = reduce(or_, (_BEFORE[lane, STAGES[0]] for lane in LANES), None)


async def join(self: Workflow, ctx: Context, ev: LaneDone) -> Checked | Doubtful | None:
    """Wait for all lanes."""
    lanes = ctx.collect_events(ev, [LaneDone] * len(LANES))
    return None if lanes is None else Checked()


async def publish(self: Workflow, ev: Checked) -> Published:
    """Publish all lanes."""
    return Published()


async def close(self: Workflow, ev: Published) -> StopEvent:
    """End with all."""
    return StopEvent(result=len(LANES) * len(STAGES))


async def reject(self: Workflow, ev: Doubtful) -> StopEvent:
    """End without."""
    return StopEvent(result=0)


def _stage(lane: str, stage: str) -> Callable[..., Awaitable[Event]]:
    later = STAGES[STAGES.index(stage) + 1 :]
    after: type[Event] = _BEFORE[lane, later[0]] if later else LaneDone

    async def run(self: Workflow, ev: Any) -> Event:
        return after() if later else LaneDone(lane=lane)

    run.__name__ = f"{stage}_{lane}"
    run.__doc__ = f"The stage '{stage}' of the lane '{lane}'."
    run.__annotations__ = {"self": Workflow, "ev": _BEFORE[lane, stage], "return": after}
    return run


def _workflow() -> type[Workflow]:
    functions: list[Callable[..., Awaitable[Any]]] = [begin, join, publish, close, reject]
    functions += [_stage(lane, stage) for lane in LANES for stage in STAGES]
    members: dict[str, Any] = {"__module__": __name__, "__doc__": "Five lanes of seven stages."}
    for function in functions:
        function.__qualname__ = f"Forty.{function.__name__}"
        members[function.__name__] = step(function)
    return type("Forty", (Workflow,), members)


Forty = _workflow()
forty = Forty(timeout=None)
