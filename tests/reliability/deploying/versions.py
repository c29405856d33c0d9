"""A target as it was before a deploy, and the changes after which runs do not fit it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

PARTS = """
from workflows.events import Event

class Part(Event):
    n: int = 0
"""

BEFORE = """
import asyncio
import os
from dataclasses import dataclass
from pathlib import Path

from parts_of_orders import Part
from pydantic import BaseModel
from workflows import Context, Workflow, step
from workflows.events import Event, HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent

from workflow_server import WorkflowServer


class Go(HumanResponseEvent):
    n: int = 0


class Next(Event):
    pass


async def answer(ctx, kind=Go):
    return StopEvent(result=(await ctx.wait_for_event(kind, waiter_event=InputRequiredEvent(), timeout=None)).n)


async def gate(ctx):
    ctx.write_event_to_stream(InputRequiredEvent())
    while not Path(os.environ["GATE"]).exists():
        await asyncio.sleep(0.02)


# -- An awaited class is renamed
class Asked(HumanResponseEvent):
    n: int = 0


class Awaits(Workflow):
    @step
    async def ask(self, ctx: Context, ev: StartEvent) -> StopEvent:
        return await answer(ctx, Asked)


# -- A step is renamed
class Approves(Workflow):
    @step
    async def approve(self, ctx: Context, ev: StartEvent) -> StopEvent:
        return await answer(ctx)


# -- An event has a new field
class Draft(Event):
    text: str


class Drafts(Workflow):
    @step
    async def write(self, ev: StartEvent) -> Draft:
        return Draft.model_construct(text="a draft")

    @step
    async def read(self, ctx: Context, ev: Draft) -> StopEvent:
        return await answer(ctx)


# -- A model in the state has a new field
class Line(BaseModel):
    sku: str = ""


class Basket(BaseModel):
    lines: list[Line] = []


class Fills(Workflow):
    @step
    async def fill(self, ctx: Context[Basket], ev: StartEvent) -> Next:
        await ctx.store.set("lines", [Line.model_construct(sku="a")])
        return Next()

    @step
    async def wait(self, ctx: Context[Basket], ev: Next) -> StopEvent:
        return await answer(ctx)


# -- A field of the state has another type
class Total(BaseModel):
    amount: int = 0


class Adds(Workflow):
    @step
    async def add(self, ctx: Context[Total], ev: StartEvent) -> Next:
        await ctx.store.set("amount", 3)
        return Next()

    @step
    async def wait(self, ctx: Context[Total], ev: Next) -> StopEvent:
        return await answer(ctx)


# -- A step is removed
class Later(Event):
    pass


class Postpones(Workflow):
    @step
    async def begin(self, ctx: Context, ev: StartEvent) -> Later:
        return Later()

    @step
    async def later(self, ctx: Context, ev: Later) -> StopEvent:
        return await answer(ctx)


# -- A module is renamed
class Assembles(Workflow):
    @step
    async def begin(self, ctx: Context, ev: StartEvent) -> Part:
        return Part(n=1)

    @step
    async def assemble(self, ctx: Context, ev: Part) -> StopEvent:
        return await answer(ctx)


# -- A class of a value is renamed
@dataclass
class Note:
    text: str


class Notes(Workflow):
    @step
    async def begin(self, ctx: Context, ev: StartEvent) -> Later:
        await ctx.store.set("note", Note("a"))
        return Later()

    @step
    async def wait(self, ctx: Context, ev: Later) -> StopEvent:
        return await answer(ctx)


# -- An event that is held for a later wait has a new field
class Extra(HumanResponseEvent):
    n: int = 0


class Holds(Workflow):
    @step
    async def begin(self, ctx: Context, ev: StartEvent) -> Later:
        await gate(ctx)
        return Later()

    @step
    async def wait(self, ctx: Context, ev: Later) -> StopEvent:
        return await answer(ctx, Extra)


# -- The start event has a new field; runs wait for their slot
class Order(StartEvent):
    sku: str = ""


class Orders(Workflow):
    @step
    async def order(self, ctx: Context, ev: Order) -> StopEvent:
        await gate(ctx)
        return StopEvent(result=7)


# -- In the middle of a step: the class of its event is renamed
class Packing(Event):
    n: int = 7


class Packs(Workflow):
    @step
    async def begin(self, ctx: Context, ev: StartEvent) -> Packing:
        return Packing()

    @step
    async def pack(self, ctx: Context, ev: Packing) -> StopEvent:
        await gate(ctx)
        return StopEvent(result=ev.n)


# -- In the middle of a step: it is renamed
class Ships(Workflow):
    @step
    async def ship(self, ctx: Context, ev: StartEvent) -> StopEvent:
        await gate(ctx)
        return StopEvent(result=7)


server = WorkflowServer()
for kind in (Awaits, Approves, Drafts, Fills, Adds, Postpones, Assembles, Notes, Packs, Ships):
    server.add_workflow(kind.__name__.lower(), kind(timeout=None))
server.add_workflow("holds", Holds(timeout=None), additional_events=[Extra])
server.add_workflow("orders", Orders(timeout=None, num_concurrent_runs=1))
"""


class Way(NamedTuple):
    """A change of the code, and what a run of this workflow then says."""

    workflow: str
    changes: tuple[tuple[str, str], ...]
    reason: str
    waits: bool = True
    """Its runs only wait for an answer; otherwise they are in the middle of a step, or wait for their slot."""


GONE = "is no longer in the code"
DRAFT = "    text: str\n\n\nclass Drafts"
ORDERS = '    sku: str = ""\n\n\nclass Orders'
LINE = '    sku: str = ""\n\n\nclass Basket'
FIRST_STEP = "async def begin(self, ctx: Context, ev: StartEvent) -> Later:\n        return Later()\n\n    @step\n    "
LAST_STEP = "async def later(self, ctx: Context, ev: Later)"

WAYS = (
    Way("awaits", (("Asked", "Questioned"),), f"'Asked' {GONE}"),
    Way("approves", (("async def approve(", "async def permit("),), f"step 'approve', which {GONE}"),
    Way("drafts", ((DRAFT, f"    by: str\n{DRAFT}"),), "the field 'by' of 'Draft' is new"),
    Way("fills", ((LINE, f"    count: int\n{LINE}"),), "the field 'count' of 'Line' is new"),
    Way("adds", (("amount: int = 0", "amount: list[str] = []"),), "the field 'amount' of 'Total' has another type"),
    Way(
        "postpones",
        ((FIRST_STEP, ""), (LAST_STEP, "async def begin(self, ctx: Context, ev: StartEvent)")),
        f"step 'later', which {GONE}",
    ),
    Way("assembles", (("parts_of_orders", "pieces_of_orders"),), f"'Part' {GONE}"),
    Way("notes", (("Note:", "Remark:"), ("Note(", "Remark(")), f"'Note' {GONE}"),
    Way(
        "holds", ((" = 0\n\n\nclass Holds", "\n    by: str\n\n\nclass Holds"),), "a posted event cannot be read", False
    ),
    Way("orders", ((ORDERS, f"    count: int\n{ORDERS}"),), "its start event cannot be read", False),
    Way("packs", (("Packing", "Boxing"),), f"'Packing' {GONE}", False),
    Way("ships", (("async def ship(", "async def deliver("),), f"step 'ship', which {GONE}", False),
)


def write(folder: Path, *, changed: bool) -> Path:
    """Write the target before or after the deploy, and return its place."""
    code = BEFORE
    if changed:
        for way in WAYS:
            for old, new in way.changes:
                assert old in code, old
                code = code.replace(old, new)
    parts, gone = ("pieces_of_orders", "parts_of_orders") if changed else ("parts_of_orders", "pieces_of_orders")
    (folder / f"{gone}.py").unlink(missing_ok=True)
    (folder / f"{parts}.py").write_text(PARTS)
    target = folder / "orders.py"
    target.write_text(code)
    return target
