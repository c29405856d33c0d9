"""The workflows whose runs stand in the database of ``fixture/``.

The journal names event classes by module and name, and steps by name: nothing here may be renamed, moved or retyped.
``UPGRADES_MAKING`` is set in the process that wrote the fixture: some steps then stand still until the kill.
"""

from __future__ import annotations

import asyncio
import os
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field
from workflows import Context, Workflow, catch_error, step
from workflows.events import (
    Event,
    HumanResponseEvent,
    InputRequiredEvent,
    StartEvent,
    StepFailedEvent,
    StopEvent,
)
from workflows.retry_policy import retry_policy, stop_after_attempt, wait_fixed

CENTURY = 3.2e9
"""Seconds: the fixture is to be taken up for as long as that."""
ONE: dict[str, Any] = {"number": 1}
MAKING = "UPGRADES_MAKING"


async def stand_still() -> None:
    """Wait for the kill, in the process that makes the fixture."""
    if os.environ.get(MAKING):
        await asyncio.Event().wait()


# -- Values -------------------------------------------------------------------------------------


class Colour(Enum):
    """An enumeration of texts."""

    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    """An enumeration of numbers."""

    LOW = 1
    HIGH = 9


class Point(BaseModel):
    """A small model."""

    x: int
    y: int = 0


class Order(BaseModel):
    """A model of models, with values that JSON has only as text."""

    title: str
    placed: datetime
    points: list[Point] = Field(default_factory=list)
    by_name: dict[str, Point] = Field(default_factory=dict)
    labels: set[int] = Field(default_factory=set)
    pair: tuple[int, str] = (0, "")
    price: Decimal = Decimal(0)
    colour: Colour = Colour.RED


def order() -> Order:
    """One that holds something in each field."""
    return Order(
        title="Zwölf Bücher ☃",
        placed=datetime.fromisoformat("2026-11-27T08:30:00.123456+02:00"),
        points=[Point(x=1, y=2), Point(x=3)],
        by_name={"first": Point(x=-1, y=1)},
        labels={3, 1, 2},
        pair=(7, "seven"),
        price=Decimal("19.90"),
        colour=Colour.BLUE,
    )


class Inner(Event):
    """An event within another."""

    text: str
    at: datetime


class Declared(Event):
    """Fields of many types."""

    order: Order
    maybe: Order | None = None
    number: int
    ratio: float
    flag: bool
    nothing: str | None = None
    when: datetime
    day: date
    span: timedelta
    numbers: set[int]
    words: frozenset[str]
    pair: tuple[int, str]
    many: tuple[float, ...]
    price: Decimal
    key: UUID
    path: Path
    data: bytes
    colour: Colour
    level: Level
    kind: Literal["a", "b"]
    either: int | Point
    table: dict[str, list[Point]]
    inner: Inner
    anything: Any = None


def declared() -> Declared:
    """One with something in each field."""
    return Declared(
        order=order(),
        number=2**53 + 1,
        ratio=0.1,
        flag=True,
        when=datetime.fromisoformat("2026-03-29T02:30:00+00:00"),
        day=date(2026, 2, 28),
        span=timedelta(days=1, seconds=2, microseconds=3),
        numbers={3, 1, 2},
        words=frozenset({"b", "a"}),
        pair=(1, "one"),
        many=(1.5, 2.5),
        price=Decimal("0.10"),
        key=UUID("12345678-1234-5678-1234-567812345678"),
        path=Path("/var/lib/x y"),
        data="bytes as text ☃".encode(),
        colour=Colour.RED,
        level=Level.HIGH,
        kind="b",
        either=Point(x=5),
        table={"row": [Point(x=1), Point(x=2)]},
        inner=Inner(text="inner", at=datetime.fromisoformat("2026-01-01T00:00:00+00:00")),
        anything={"nested": [1, "two", None, {"deep": True}]},
    )


ZONES = {
    "TzInfo(7200)": "datetime.timezone(datetime.timedelta(seconds=7200))",
    "TzInfo(UTC)": "datetime.timezone.utc",
    "TzInfo(0)": "datetime.timezone.utc",
}
"""Pydantic's names of the zones that it reads, and Python's names of the same: equal, and both are right."""


def typed(value: object) -> str:
    """The value with its type."""
    if isinstance(value, frozenset):
        return f"frozenset {sorted(value)}"
    text = f"{type(value).__name__} {value!r}"
    for name, zone in ZONES.items():
        text = text.replace(name, zone)
    return text


# -- Events that clients send and read ----------------------------------------------------------


class Ready(Event):
    """The run has come to where the fixture has it."""


class Question(InputRequiredEvent):
    """Asks a person."""

    number: int = 0


class Approval(HumanResponseEvent):
    """A person's answer."""

    number: int = 0
    text: str = ""


class Item(Event):
    """One of several."""

    number: int
    point: Point | None = None


class Done(Event):
    """One is done."""

    number: int


def in_order(items: list[Event]) -> list[Event]:
    """The items by their numbers, whichever was collected first."""
    return sorted(items, key=lambda item: item.number)


# -- Workflows ----------------------------------------------------------------------------------


class Waits(Workflow):
    """Waits for the approval of its number, for a century or for ``seconds``."""

    @step
    async def ask(self, ctx: Context, ev: StartEvent) -> StopEvent:
        number = ev.get("number")
        try:
            approval = await ctx.wait_for_event(
                Approval,
                waiter_event=Question(number=number),
                requirements={"number": number},
                timeout=ev.get("seconds", CENTURY),
            )
        except TimeoutError:
            return StopEvent(result=[number, "timed out"])
        return StopEvent(result=[number, approval.text])


class Returns(Workflow):
    """Asks by returning the question; what it did before stands in the state."""

    @step
    async def ask(self, ctx: Context, ev: StartEvent) -> Question:
        await ctx.store.set("asked", ["once"])
        return Question(number=ev.get("number"))

    @step
    async def take(self, ctx: Context, ev: Approval) -> StopEvent:
        return StopEvent(result=[await ctx.store.get("asked"), ev.number, ev.text])


class Inbox(Workflow):
    """Takes three numbers one by one; one run at a time."""

    @step
    async def open(self, ctx: Context, ev: StartEvent) -> Question:
        await ctx.store.set("taken", [])
        return Question()

    @step(num_workers=1)
    async def take(self, ctx: Context, ev: Approval) -> Done:
        await stand_still()
        async with ctx.store.edit_state() as state:
            state["taken"].append(ev.number)
        return Done(number=ev.number)

    @step
    async def end(self, ctx: Context, ev: Done) -> StopEvent | None:
        taken = ctx.collect_events(ev, [Done] * 3)
        return None if taken is None else StopEvent(result=await ctx.store.get("taken"))


class Retries(Workflow):
    """Fails once; the delay before the second attempt is longer than the making of the fixture took."""

    @step(retry_policy=retry_policy(wait=wait_fixed(30), stop=stop_after_attempt(3)))
    async def flaky(self, ctx: Context, ev: StartEvent) -> StopEvent:
        info = ctx.retry_info()
        if info.retry_number < 1:
            ctx.write_event_to_stream(Ready())
            raise ConnectionError(f"failure {info.retry_number}")
        return StopEvent(result=[info.retry_number, str(info.last_exception)])


class Steps(BaseModel):
    """A typed state."""

    count: int = 0
    numbers: list[int] = Field(default_factory=list)
    points: dict[str, Point] = Field(default_factory=dict)
    order: Order = Field(default_factory=order)
    when: datetime | None = None
    seen: set[int] = Field(default_factory=set)
    last: Item | None = None


class Rest(Event):
    """A number to count down from."""

    number: int


class Aside(Event):
    """An event that waits beside the count."""

    order: Order


class Gathered(Event):
    """Three items."""

    gathered: list[Item]


class Answered(Event):
    """The first question was answered."""

    text: str


class LongTyped(Workflow):
    """More ticks than one snapshot has, and more writes than one full record of a typed state has.

    A wait with a requirement and collected events stand in the snapshot, too.
    """

    @step
    async def begin(self, ctx: Context[Steps], ev: StartEvent) -> Rest | Aside | Item:
        await ctx.store.set("when", datetime.fromisoformat("2026-05-05T05:05:05+00:00"))
        ctx.send_event(Aside(order=order()))
        for number in range(2):
            ctx.send_event(Item(number=number, point=Point(x=number)))
        return Rest(number=ev.get("number"))

    @step
    async def beside(self, ctx: Context[Steps], ev: Aside) -> Item:
        approval = await ctx.wait_for_event(
            Approval, waiter_event=Question(number=2), requirements={"number": 2}, timeout=CENTURY
        )
        return Item(number=approval.number, point=ev.order.points[0])

    @step
    async def gather(self, ctx: Context[Steps], ev: Item) -> Gathered | None:
        items = ctx.collect_events(ev, [Item] * 3)
        return None if items is None else Gathered(gathered=in_order(items))

    @step
    async def count(self, ctx: Context[Steps], ev: Rest) -> Rest | Done:
        async with ctx.store.edit_state() as state:
            state.count += 1
            state.numbers = [*state.numbers[-20:], ev.number]
            state.points[f"p{ev.number % 5}"] = Point(x=ev.number)
            state.seen.add(ev.number % 7)
            state.last = Item(number=ev.number, point=Point(x=ev.number, y=1))
        return Rest(number=ev.number - 1) if ev.number else Done(number=0)

    @step
    async def wait(self, ctx: Context[Steps], ev: Done) -> Answered:
        approval = await ctx.wait_for_event(
            Approval, waiter_event=Question(number=1), requirements=ONE, timeout=CENTURY
        )
        return Answered(text=approval.text)

    @step
    async def finish(self, ctx: Context[Steps], ev: Gathered | Answered) -> StopEvent | None:
        found = ctx.collect_events(ev, [Gathered, Answered])
        if found is None:
            return None
        state = await ctx.store.get_state()
        seen = [typed(getattr(state, name)) for name in Steps.model_fields]
        return StopEvent(result=[found[1].text, [typed(item) for item in found[0].gathered], *seen])


class LongPlain(Workflow):
    """The same with a dictionary as its state."""

    @step
    async def begin(self, ctx: Context, ev: StartEvent) -> Rest:
        await ctx.store.set("order", order())
        await ctx.store.set("event", Item(number=1, point=Point(x=2)))
        nested = {"list": [Point(x=1), {"deep": order()}], "text": "ü", "none": None, "float": 1.0}
        await ctx.store.set("nested", nested)
        await ctx.store.set("marker", {"__is_pydantic": True, "value": {}, "qualified_name": "os.system"})
        await ctx.store.set("numbers", [])
        await ctx.store.set("config.depth", 3)
        return Rest(number=ev.get("number"))

    @step
    async def count(self, ctx: Context, ev: Rest) -> Rest | Done:
        async with ctx.store.edit_state() as state:
            state["count"] = state.get("count", 0) + 1
            state["numbers"].append(ev.number)
        await ctx.store.set("last", Item(number=ev.number))
        return Rest(number=ev.number - 1) if ev.number else Done(number=0)

    @step
    async def wait(self, ctx: Context, ev: Done) -> StopEvent:
        approval = await ctx.wait_for_event(Approval, waiter_event=Question(), requirements=ONE, timeout=CENTURY)
        names = ("order", "event", "nested", "marker", "config", "count", "last")
        seen = [typed(await ctx.store.get(name)) for name in names]
        return StopEvent(result=[approval.text, sum(await ctx.store.get("numbers")), *seen])


class Carries(Workflow):
    """An event of many declared fields is what the waiting step was run for."""

    @step
    async def first(self, ctx: Context, ev: StartEvent) -> Declared:
        return declared()

    @step
    async def second(self, ctx: Context, ev: Declared) -> StopEvent:
        await ctx.wait_for_event(Approval, waiter_event=Question(), timeout=CENTURY)
        return StopEvent(result=[typed(getattr(ev, name)) for name in Declared.model_fields])


class Undeclared(Event):
    """Only fields that are not declared."""


class CarriesUndeclared(Workflow):
    """An event of fields that are not declared, through a wait."""

    @step
    async def first(self, ctx: Context, ev: StartEvent) -> Undeclared:
        nested = {"list": [1, 2.5, None, {"a": True}]}
        return Undeclared(number=1, text="ü", nested=nested, items=[Point(x=1).model_dump()])

    @step
    async def second(self, ctx: Context, ev: Undeclared) -> StopEvent:
        await ctx.wait_for_event(Approval, waiter_event=Question(), timeout=CENTURY)
        return StopEvent(result=[ev.number, ev.text, ev.nested, ev.get("items"), sorted(ev.keys())])


class Gathers(Workflow):
    """``collect_events`` that has two of three."""

    @step
    async def split(self, ctx: Context, ev: StartEvent) -> None:
        for number in range(2):
            ctx.send_event(Item(number=number, point=Point(x=number)))

    @step
    async def more(self, ctx: Context, ev: Approval) -> Item:
        return Item(number=ev.number)

    @step
    async def gather(self, ctx: Context, ev: Item) -> StopEvent | None:
        found = ctx.collect_events(ev, [Item] * 3)
        if found is None:
            ctx.write_event_to_stream(Ready())
            return None
        return StopEvent(result=[[typed(item.number), typed(item.point)] for item in in_order(found)])


class Joins(Workflow):
    """A fan-out of which two are done and two are under way, joined as a list."""

    @step
    async def split(self, ctx: Context, ev: StartEvent) -> list[Item]:
        return [Item(number=number) for number in range(4)]

    @step(num_workers=4)
    async def work(self, ctx: Context, ev: Item) -> Done:
        if ev.number >= 2:
            await stand_still()
        else:
            ctx.write_event_to_stream(Ready())
        async with ctx.store.edit_state() as state:
            state["done"] = state.get("done", 0) + 1
        return Done(number=ev.number)

    @step
    async def join(self, ctx: Context, ev: list[Done]) -> StopEvent:
        return StopEvent(result=[sorted(done.number for done in ev), await ctx.store.get("done")])


class FirstOnly(Event):
    """Is for one step."""

    order: Order


class Rescues(Workflow):
    """A step that failed, whose failure a person looks at."""

    @step
    async def send(self, ctx: Context, ev: StartEvent) -> FirstOnly | None:
        ctx.send_event(FirstOnly(order=order()), step="fail")
        return None

    @step
    async def fail(self, ctx: Context, ev: FirstOnly) -> StopEvent:
        raise LookupError(f"no {ev.order.title}")

    @catch_error
    async def rescue(self, ctx: Context, ev: StepFailedEvent) -> StopEvent:
        approval = await ctx.wait_for_event(Approval, waiter_event=Question(), timeout=CENTURY)
        failed = ev.input_event
        assert isinstance(failed, FirstOnly)
        return StopEvent(
            result=[approval.text, ev.step_name, type(ev.exception).__name__, str(ev.exception), typed(failed.order)]
        )


class Begin(StartEvent):
    """A start event of its own type."""

    order: Order
    amount: Decimal = Decimal(1)
    day: date


class Receipt(StopEvent):
    """A stop event of its own type."""

    order: Order
    amount: Decimal
    day: date
    note: str


class OwnTypes(Workflow):
    """Start and stop events with fields of their own."""

    @step
    async def only(self, ctx: Context, ev: Begin) -> Receipt:
        approval = await ctx.wait_for_event(Approval, waiter_event=Question(), requirements=ONE, timeout=CENTURY)
        return Receipt(order=ev.order, amount=ev.amount, day=ev.day, note=f"{typed(ev.amount)}, {approval.text}")


class Tally(BaseModel):
    """The typed state of a handler that is continued."""

    runs: int = 0
    order: Order = Field(default_factory=order)
    days: list[date] = Field(default_factory=list)


class ContinuesTyped(Workflow):
    """Counts its runs in a typed state."""

    @step
    async def only(self, ctx: Context[Tally], ev: StartEvent) -> StopEvent:
        async with ctx.store.edit_state() as state:
            state.runs += 1
            state.days.append(date(2026, 1, state.runs))
            state.order.points.append(Point(x=state.runs))
        return StopEvent(result=[state.runs, typed(state.days), typed(state.order)])


class ContinuesPlain(Workflow):
    """Counts its runs in a dictionary."""

    @step
    async def only(self, ctx: Context, ev: StartEvent) -> StopEvent:
        runs = await ctx.store.get("runs", default=0) + 1
        seen = [*await ctx.store.get("seen", default=[]), Item(number=runs, point=Point(x=runs))]
        await ctx.store.set("runs", runs)
        await ctx.store.set("seen", seen)
        return StopEvent(result=[runs, [typed(item) for item in seen]])


class Fails(Workflow):
    """Fails."""

    @step
    async def only(self, ev: StartEvent) -> StopEvent:
        raise ValueError("it was so")


WORKFLOWS: dict[str, Workflow] = {
    "waits": Waits(timeout=None),
    "returns": Returns(timeout=3e9),
    "inbox": Inbox(timeout=None, num_concurrent_runs=1),
    "retries": Retries(timeout=None),
    "long_typed": LongTyped(timeout=None),
    "long_plain": LongPlain(timeout=None),
    "carries": Carries(timeout=None),
    "carries_undeclared": CarriesUndeclared(timeout=None),
    "gathers": Gathers(timeout=None),
    "joins": Joins(timeout=None),
    "rescues": Rescues(timeout=None),
    "own_types": OwnTypes(timeout=None),
    "continues_typed": ContinuesTyped(timeout=None),
    "continues_plain": ContinuesPlain(timeout=None),
    "fails": Fails(timeout=None),
    "times_out": Waits(timeout=1.0),
}
