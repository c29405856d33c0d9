"""One small workflow for each feature of the engine that concerns steps and events; each stops at a gate."""

from __future__ import annotations

from typing import Annotated, Any

from workflows import Context, Workflow, catch_error, step
from workflows.collect import Collect, Take
from workflows.events import Event, HumanResponseEvent, InputRequiredEvent, StartEvent, StepFailedEvent, StopEvent
from workflows.resource import Resource
from workflows.retry_policy import retry_policy, stop_after_attempt, wait_fixed

from tests.end_to_end.targets.marking import gate, mark, side_effect
from workflow_server import idempotency_key


class Item(Event):
    """One of several things to work on."""

    number: int


class Piece(Event):
    """The result of one item."""

    number: int


class FanOut(Workflow):
    """Five items for two workers, joined when all are done; item 3 waits at a gate."""

    @step
    async def split(self, ev: StartEvent) -> list[Item]:
        with side_effect("split"):
            return [Item(number=number) for number in range(5)]

    @step(num_workers=2)
    async def work(self, ctx: Context, ev: Item) -> Piece:
        with side_effect("work", ev.number):
            ctx.write_event_to_stream(ev)
            if ev.number == 3:
                await gate("fan_out")
            return Piece(number=ev.number)

    @step
    async def join(self, ev: list[Piece]) -> StopEvent:
        with side_effect("join"):
            return StopEvent(result=sorted(piece.number for piece in ev))


class FirstTwo(Workflow):
    """Three items, joined when the first two are done; only item 0 passes the gate."""

    @step
    async def split(self, ev: StartEvent) -> list[Item]:
        with side_effect("split"):
            return [Item(number=number) for number in range(3)]

    @step
    async def work(self, ev: Item) -> Piece:
        with side_effect("work", ev.number):
            if ev.number:
                await gate(f"take_{ev.number}")
            return Piece(number=ev.number)

    @step
    async def join(self, ev: Annotated[list[Piece], Collect(Take(2))]) -> StopEvent:
        with side_effect("join"):
            return StopEvent(result=[piece.number for piece in ev])


class CollectEvents(Workflow):
    """Three events, sent with ``ctx.send_event`` and gathered with ``ctx.collect_events``; item 2 waits at a gate."""

    @step
    async def split(self, ctx: Context, ev: StartEvent) -> Item | None:
        with side_effect("split"):
            for number in range(3):
                ctx.send_event(Item(number=number))
            return None

    @step
    async def work(self, ev: Item) -> Piece:
        with side_effect("work", ev.number):
            if ev.number == 2:
                await gate("collect_events")
            return Piece(number=ev.number)

    @step(num_workers=1)
    async def gather(self, ctx: Context, ev: Piece) -> StopEvent | None:
        with side_effect("gather", ev.number):
            pieces = ctx.collect_events(ev, [Piece] * 3)
            return None if pieces is None else StopEvent(result=[vars(piece)["number"] for piece in pieces])


class Left(Event):
    """For one side of a fan-in."""


class Right(Event):
    """For the other side of a fan-in."""


class LeftDone(Event):
    """One side is done."""

    by: str


class RightDone(Event):
    """The other side is done."""

    by: str


class FanIn(Workflow):
    """A step with two event parameters; the right side waits at a gate."""

    @step
    async def split(self, ctx: Context, ev: StartEvent) -> Left | Right | None:
        with side_effect("split"):
            ctx.send_event(Left())
            ctx.send_event(Right())
            return None

    @step
    async def left(self, ev: Left) -> LeftDone:
        with side_effect("left"):
            return LeftDone(by="left")

    @step
    async def right(self, ev: Right) -> RightDone:
        with side_effect("right"):
            await gate("fan_in")
            return RightDone(by="right")

    @step
    async def join(self, one: LeftDone, other: RightDone) -> StopEvent:
        with side_effect("join"):
            return StopEvent(result=[one.by, other.by])


class CatchError(Workflow):
    """A step fails for good, twice tried; what catches the error waits at a gate."""

    @step(retry_policy=retry_policy(wait=wait_fixed(0), stop=stop_after_attempt(2)))
    async def fail(self, ctx: Context, ev: StartEvent) -> StopEvent:
        mark("begin", "fail", ctx.retry_info().retry_number)
        raise ValueError("the gateway is down")

    @catch_error(for_steps=["fail"])
    async def recover(self, ev: StepFailedEvent) -> StopEvent:
        with side_effect("recover"):
            await gate("catch_error")
            return StopEvent(result=[ev.step_name, ev.attempts, str(ev.exception), type(ev.input_event).__name__])


class Approval(InputRequiredEvent):
    """Asks a human."""

    about: str


class Review(Workflow):
    """A returned InputRequiredEvent is answered by a HumanResponseEvent, which starts the next step."""

    @step
    async def ask(self, ev: StartEvent) -> Approval:
        with side_effect("ask"):
            return Approval(about="the draft")

    @step
    async def decide(self, ev: HumanResponseEvent) -> StopEvent:
        with side_effect("decide"):
            return StopEvent(result=ev.get("response"))


class Task(Event):
    """Fits two steps."""


class Nudge(HumanResponseEvent):
    """Fits two steps, too."""

    text: str


class OneStep(Workflow):
    """``ctx.send_event`` and a client's event, each for one of two steps that accept it."""

    @step
    async def begin(self, ctx: Context, ev: StartEvent) -> Task | None:
        with side_effect("begin"):
            ctx.send_event(Task(), step="meant")
            return None

    @step
    async def meant(self, ev: Task) -> InputRequiredEvent:
        with side_effect("meant"):
            await gate("one_step")
            return InputRequiredEvent()

    @step
    async def other(self, ev: Task | Nudge) -> StopEvent:
        with side_effect("other"):
            return StopEvent(result="the wrong step")

    @step
    async def nudged(self, ev: Nudge) -> StopEvent:
        with side_effect("nudged"):
            return StopEvent(result=ev.text)


class Inner(Workflow):
    """The workflow that a step of another one runs by itself."""

    @step
    async def think(self, ev: StartEvent) -> StopEvent:
        mark("begin", "think")
        await gate("nested")
        return StopEvent(result=ev.get("number") * 2)


class Nested(Workflow):
    """A step that runs another workflow and waits for its result."""

    @step
    async def prepare(self, ev: StartEvent) -> Item:
        with side_effect("prepare"):
            return Item(number=21)

    @step
    async def outer(self, ev: Item) -> StopEvent:
        with side_effect("outer"):
            return StopEvent(result=await Inner(timeout=None).run(number=ev.number))


class Connection:
    """A resource that a step gets; it lives in one process and is never stored."""

    def __init__(self) -> None:
        self.uses = 0

    def use(self) -> int:
        """Return the number of times that it was used, this time included."""
        self.uses += 1
        return self.uses


def connect(**_: Any) -> Connection:
    """Make the resource."""
    mark("connect", "resource")
    return Connection()


class Resources(Workflow):
    """Two steps that share a cached resource; the second waits at a gate."""

    @step
    async def first(self, ev: StartEvent, connection: Annotated[Connection, Resource(connect)]) -> Item:
        with side_effect("first"):
            return Item(number=connection.use())

    @step
    async def second(self, ev: Item, connection: Annotated[Connection, Resource(connect)]) -> StopEvent:
        with side_effect("second"):
            await gate("resources")
            return StopEvent(result=[ev.number, connection.use() > 0])


class Order(StartEvent):
    """A start event of one's own."""

    product: str
    amount: int


class Shipped(StopEvent):
    """A stop event of one's own."""

    product: str
    parcels: list[int]


class OwnEvents(Workflow):
    """A start event and a stop event of one's own."""

    @step
    async def pack(self, ev: Order) -> Shipped:
        with side_effect("pack"):
            await gate("own_events")
            return Shipped(product=ev.product, parcels=list(range(ev.amount)))


class LongRun(Workflow):
    """Many steps one after the other, past several snapshots; number ``stop_at`` waits at a gate."""

    @step
    async def begin(self, ev: StartEvent) -> Item:
        with side_effect("begin"):
            return Item(number=0)

    @step
    async def count(self, ev: Item) -> Item | StopEvent:
        with side_effect("count", ev.number):
            if ev.number == 360:
                await gate("long_run")
            return Item(number=ev.number + 1) if ev.number < 380 else StopEvent(result=ev.number)


class Keys(Workflow):
    """Each step execution notes its idempotency key; item 1 waits at a gate."""

    @step
    async def split(self, ev: StartEvent) -> list[Item]:
        mark("key", idempotency_key(), "split")
        return [Item(number=number) for number in range(2)]

    @step
    async def work(self, ev: Item) -> Piece:
        with side_effect("work", ev.number):
            mark("key", idempotency_key(), f"work/{ev.number}")
            if ev.number == 1:
                await gate("keys")
            return Piece(number=ev.number)

    @step
    async def join(self, ev: list[Piece]) -> StopEvent:
        mark("key", idempotency_key(), "join")
        return StopEvent(result=len(ev))


class Slow(Workflow):
    """Holds the one slot of its workflow until its gate opens."""

    @step
    async def hold(self, ev: StartEvent) -> StopEvent:
        with side_effect("hold", ev.get("number")):
            await gate("slot")
            return StopEvent(result=ev.get("number"))


fan_out = FanOut(timeout=None)
first_two = FirstTwo(timeout=None)
collect_events = CollectEvents(timeout=None)
fan_in = FanIn(timeout=None)
caught = CatchError(timeout=None)
review = Review(timeout=None)
one_step = OneStep(timeout=None)
nested = Nested(timeout=None)
resources = Resources(timeout=None)
own_events = OwnEvents(timeout=None)
long_run = LongRun(timeout=None)
keys = Keys(timeout=None)
one_slot = Slow(timeout=None, num_concurrent_runs=1)
