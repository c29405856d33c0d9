"""A workflow that publishes what its start event's seed says, and so lets a test work out what was published."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Iterator
from random import Random

from workflows import Context, Workflow, step
from workflows.events import Event, StartEvent, StopEvent

from tests.end_to_end.targets.marking import gate

_CHARACTERS = 'aé€😀\u2028\u2029\x85\\"\n\r\x1c,{}日本語ß'


class Publish(StartEvent):
    """How many events, from which seed, how fast."""

    seed: int = 0
    count: int = 10
    size: int = 0
    """Characters of each text; 0: of all sizes, some of them above 100 kB."""
    burst: int = 10
    """Events that are published without a suspension."""
    pause: float = 0.0
    """Seconds between two bursts."""
    gate: str = ""
    """A gate at which the run stands."""
    gate_at: int = 0
    """Before which event."""


class Published(Event):
    """One of the events."""

    number: int
    text: str


class More(Event):
    """The second half follows in a step of its own."""


def texts(seed: int, count: int, size: int = 0) -> Iterator[str]:
    """The texts of the events, in order."""
    random = Random(seed)
    for number in range(count):
        if size:
            yield f"{number:07}".ljust(size, ".")
            continue
        kind = random.random()
        length = 110_000 if kind < 0.02 else 4_000 if kind < 0.12 else random.randrange(40)
        unit = "".join(random.choices(_CHARACTERS, k=min(length, 50)))
        yield (unit * (length // max(len(unit), 1) + 1))[:length]


def checksum(seed: int, count: int, size: int = 0) -> int:
    """What a run tells of all texts in its result."""
    total = 0
    for text in texts(seed, count, size):
        total = zlib.crc32(text.encode(), total)
    return total


class Publishing(Workflow):
    """Publishes in two steps; its result is how many events, and the checksum of their texts."""

    @step
    async def first(self, ctx: Context, ev: Publish) -> More:
        await ctx.store.set("order", ev.model_dump())
        await _publish(ctx, ev, 0, ev.count // 2)
        return More()

    @step
    async def second(self, ctx: Context, ev: More) -> StopEvent:
        order = Publish(**await ctx.store.get("order"))
        await _publish(ctx, order, order.count // 2, order.count)
        total = checksum(order.seed, order.count, order.size)
        return StopEvent(result={"count": order.count, "checksum": total})


async def _publish(ctx: Context, order: Publish, begin: int, end: int) -> None:
    for number, text in enumerate(texts(order.seed, order.count, order.size)):
        if not begin <= number < end:
            continue
        if order.gate and number == order.gate_at:
            await gate(order.gate)
        ctx.write_event_to_stream(Published(number=number, text=text))
        if number % order.burst == order.burst - 1:
            await asyncio.sleep(order.pause)


publishing = Publishing(timeout=None)
