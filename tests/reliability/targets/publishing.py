"""A workflow that publishes what its start event's seed says, and so lets a test work out what was published."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from random import Random

from workflows import Context, Workflow, step
from workflows.events import Event, StartEvent, StopEvent

from tests.end_to_end.targets.marking import gate

_CHARACTERS = 'aé€😀\u2028\u2029\x85\\"\n\r\x1c,{}日本語ß'


class Publish(StartEvent):
    """The number of events, their seed and their rate."""

    seed: int = 0
    count: int = 10
    size: int = 0
    """Characters of each text; 0: of all sizes, some of them above 100 kB."""
    burst: int = 10
    """Events that are published without a suspension."""
    pause: float = 0.0
    """Seconds between two bursts."""
    per_step: int = 0
    """Events that one step publishes; 0: half of them."""
    gate: str = ""
    """A gate at which the run stands."""
    gate_at: int = 0
    """Before which event."""


class Published(Event):
    """One of the events."""

    number: int
    text: str


class More(Event):
    """The rest follows in steps of their own."""

    begin: int


def texts(seed: int, count: int) -> Iterator[str]:
    """The texts of the events of a run without a fixed size, in order."""
    random = Random(seed)
    for _ in range(count):
        kind = random.random()
        length = 110_000 if kind < 0.02 else 4_000 if kind < 0.12 else random.randrange(40)
        unit = "".join(random.choices(_CHARACTERS, k=min(length, 50)))
        yield (unit * (length // max(len(unit), 1) + 1))[:length]


class Publishing(Workflow):
    """Publishes in several steps, each of which begins when what those before it published is durable; its result is
    how many events."""

    @step
    async def first(self, ctx: Context, ev: Publish) -> More | StopEvent:
        await ctx.store.set("order", ev.model_dump())
        return await _publish(ctx, ev, 0)

    @step
    async def more(self, ctx: Context, ev: More) -> More | StopEvent:
        return await _publish(ctx, Publish(**await ctx.store.get("order")), ev.begin)


async def _publish(ctx: Context, order: Publish, begin: int) -> More | StopEvent:
    end = min(begin + (order.per_step or -(-order.count // 2)), order.count)
    varied = [] if order.size else list(texts(order.seed, order.count))
    for number in range(begin, end):
        if order.gate and number == order.gate_at:
            await gate(order.gate)
        text = f"{number:07}".ljust(order.size, ".") if order.size else varied[number]
        ctx.write_event_to_stream(Published(number=number, text=text))
        if number % order.burst == order.burst - 1:
            await asyncio.sleep(order.pause)
    return More(begin=end) if end < order.count else StopEvent(result=order.count)


publishing = Publishing(timeout=None)
