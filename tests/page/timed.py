"""Workflows whose runs take time in every way: side by side, again, waiting; and one of many steps."""

from __future__ import annotations

from workflows import Context, Workflow, step
from workflows.events import Event, HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent
from workflows.retry_policy import retry_policy, stop_after_attempt, wait_fixed

from tests.end_to_end.targets.marking import gate

STEPS = 40


class Item(Event):
    """One of four things to pack."""

    number: int


class Packed(Event):
    """One of them is packed."""

    number: int


class Confirmed(Event):
    """They may be shipped."""


class Question(InputRequiredEvent):
    """May they?"""

    prefix: str = "Ship it?"


class Approval(HumanResponseEvent):
    """They may."""


class Packing(Workflow):
    """Four items side by side: item 1 fails once, item 3 waits at a gate. Then somebody is asked."""

    @step
    async def split(self, ev: StartEvent) -> list[Item]:
        """Find what is to be packed."""
        return [Item(number=number) for number in range(4)]

    @step(num_workers=4, retry_policy=retry_policy(wait=wait_fixed(0.1), stop=stop_after_attempt(2)))
    async def pack(self, ctx: Context, ev: Item) -> Packed:
        """Pack one item."""
        if ev.number == 1 and ctx.retry_info().retry_number == 0:
            raise TimeoutError("no answer from the robot")
        if ev.number == 3:
            await gate("packed")
        return Packed(number=ev.number)

    @step
    async def confirm(self, ctx: Context, ev: list[Packed]) -> Confirmed:
        """Ask whether they may be shipped."""
        await ctx.wait_for_event(Approval, waiter_event=Question())
        return Confirmed()

    @step
    async def ship(self, ev: Confirmed) -> StopEvent:
        """Ship them, or fail to."""
        await gate("shipped")
        raise ConnectionError("the road is closed")


class Wanted(StartEvent):
    """The number of items."""

    size: int


class Many(Workflow):
    """Items without end, two at a time."""

    @step
    async def find(self, ev: Wanted) -> list[Item]:
        """Find them."""
        return [Item(number=number) for number in range(ev.size)]

    @step(num_workers=2)
    async def handle(self, ev: Item) -> Packed:
        """Handle one."""
        return Packed(number=ev.number)

    @step
    async def close(self, ev: list[Packed]) -> StopEvent:
        """End with their number."""
        return StopEvent(result=len(ev))


class Long(Workflow):
    """Forty steps, one after the other."""


def _passing(number: int, takes: type[Event], returns: type[Event]) -> None:
    async def passing(ev: Event) -> Event:
        return returns()

    passing.__name__ = passing.__qualname__ = f"stage_{number:02}"
    passing.__annotations__ = {"ev": takes, "return": returns}
    step(workflow=Long)(passing)


_EVENTS = [StartEvent, *(type(f"Passed{number:02}", (Event,), {}) for number in range(1, STEPS)), StopEvent]
for _number in range(STEPS):
    _passing(_number, _EVENTS[_number], _EVENTS[_number + 1])

packing = Packing(timeout=None)
many = Many(timeout=None)
long = Long(timeout=None)
