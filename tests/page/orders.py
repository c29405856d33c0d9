"""Workflows with inputs of every kind, questions, failures and a queue, for the tests of forms and of a run's head."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, SecretStr
from workflows import Context, Workflow, step
from workflows.events import Event, HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent


class Line(BaseModel):
    """One article."""

    sku: str = Field(min_length=2, description="The article's code.")
    quantity: int = Field(1, ge=1, le=99)


class Card(BaseModel):
    """Payment by card."""

    kind: Literal["card"] = "card"
    number: str = Field(pattern=r"^\d{4}$")


class Transfer(BaseModel):
    """Payment by transfer."""

    kind: Literal["transfer"] = "transfer"
    iban: str


class Node(BaseModel):
    """A category, with those below it."""

    name: str
    below: list[Node] = []


class Order(StartEvent):
    """An order to fill."""

    customer: str = Field(description="Who ordered.")
    text: str = ""
    number: int = 9007199254740993
    ratio: float = Field(1.0, ge=0, le=60)
    express: bool
    urgency: Literal["low", "normal", "high"] = "normal"
    lines: list[Line] = Field(min_length=1)
    pay: Annotated[Card | Transfer, Field(discriminator="kind")]
    note: str | None = None
    place: tuple[float, float] = (1.5, 2.0)
    labels: dict[str, int] = Field({})
    tree: Node | None = None
    day: date = date(2026, 1, 31)
    payload: Any = None


class Orders(Workflow):
    """Ends with what it was started with."""

    @step
    async def fill(self, ev: Order) -> StopEvent:
        return StopEvent(result=ev.model_dump(mode="json"))


class Bare(Workflow):
    """Is started with any fields."""

    @step
    async def take(self, ev: StartEvent) -> StopEvent:
        return StopEvent(result=dict(ev.items()))


class Signature(StartEvent):
    """A secret to sign with."""

    key: SecretStr


class Signing(Workflow):
    """Ends with the length of its secret."""

    @step
    async def sign(self, ev: Signature) -> StopEvent:
        return StopEvent(result=f"{len(ev.key.get_secret_value())} characters")


class Asked(InputRequiredEvent):
    """The question."""

    question: str
    details: str = ""


class Decision(HumanResponseEvent):
    """The answer."""

    approved: bool
    order: str = "none"
    comment: str = Field("", max_length=20)


class Hint(HumanResponseEvent):
    """Something that a step takes at any time."""

    text: str


class Questions(StartEvent):
    """The orders that are asked about, at the same time."""

    orders: list[str] = Field(["A-17"])


class About(Event):
    """One order."""

    order: str


class Decided(Event):
    """One decision."""

    order: str
    approved: bool


class Asking(Workflow):
    """Asks about each order, and takes hints meanwhile."""

    @step
    async def begin(self, ctx: Context, ev: Questions) -> list[About]:
        return [About(order=order) for order in ev.orders]

    @step(num_workers=4)
    async def ask(self, ctx: Context, ev: About) -> Decided:
        question = Asked(question=f"Ship order {ev.order}?", details=f"{ev.order} has 3 lines.")
        got = await ctx.wait_for_event(
            Decision, waiter_event=question, waiter_id=ev.order, requirements={"order": ev.order}, timeout=3_000
        )
        return Decided(order=ev.order, approved=got.approved)

    @step
    async def close(self, ctx: Context, ev: list[Decided]) -> StopEvent:
        return StopEvent(result={one.order: one.approved for one in ev})

    @step
    async def listen(self, ctx: Context, ev: Hint) -> None:
        ctx.write_event_to_stream(ev)


class Prepared(Event):
    """All is ready to be delivered."""


class Fragile(Workflow):
    """Fails the first time that its step runs in this process."""

    failed = False

    @step
    async def prepare(self, ev: StartEvent) -> Prepared:
        return Prepared()

    @step
    async def deliver(self, ev: Prepared) -> StopEvent:
        if not Fragile.failed:
            Fragile.failed = True
            raise ConnectionError("no route to the warehouse")
        return StopEvent(result="delivered")


class Slot(Workflow):
    """One run at a time."""

    @step
    async def hold(self, ctx: Context, ev: StartEvent) -> StopEvent:
        await ctx.wait_for_event(Hint)
        return StopEvent()


orders = Orders(timeout=None)
bare = Bare(timeout=None)
signing = Signing(timeout=None)
asking = Asking(timeout=None)
fragile = Fragile(timeout=None)
slot = Slot(timeout=None, num_concurrent_runs=1)
