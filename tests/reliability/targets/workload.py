"""Workflows of which each has something to lose: steps, state, answers, deadlines, attempts, counts.

A step marks in the ledger that it began, for which work item (its idempotency key), and what it saw of the state.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from workflows import Context, Workflow, step
from workflows.events import Event, HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent
from workflows.retry_policy import retry_policy, stop_after_attempt, wait_fixed

from tests.end_to_end.targets.marking import mark
from workflow_server import idempotency_key

ITEMS = 6
COUNTED = 600
"""Steps of a run that is long enough for snapshots of its journal and full records of its state."""
RETRY_DELAY = 0.4
ALIVE = 1.5
"""Seconds for which a run of ``patient`` may be alive."""
ENDS_INBOX = -1


def begin(step_name: str, saw: object = None) -> None:
    """Mark that a step begins, for which work item, and what it saw of the state."""
    key = idempotency_key()
    if saw is not None:
        mark("saw", step_name, f"{key} {saw}")
    mark("begin", step_name, key)


EARLY = 0.1
"""Seconds for which a run works at least before it asks."""


class Begin(StartEvent):
    """The work to do, and the time that each step takes."""

    number: int = 0
    pause: float = 0.0


class First(Event):
    """The first step is done."""

    number: int
    pause: float


class Second(Event):
    """The second step is done."""

    number: int
    pause: float


class Chain(Workflow):
    """Three steps one after the other; each publishes an event and writes to the state."""

    @step
    async def one(self, ctx: Context, ev: Begin) -> First:
        begin("one", await ctx.store.get("done", default=None) or "nothing")
        ctx.write_event_to_stream(First(number=ev.number, pause=ev.pause))
        await ctx.store.set("done", ["one"])
        await asyncio.sleep(ev.pause)
        return First(number=ev.number, pause=ev.pause)

    @step
    async def two(self, ctx: Context, ev: First) -> Second:
        done = await ctx.store.get("done")
        begin("two", done)
        ctx.write_event_to_stream(Second(number=ev.number, pause=ev.pause))
        await ctx.store.set("done", [*done, "two"])
        await asyncio.sleep(ev.pause)
        return Second(number=ev.number, pause=ev.pause)

    @step
    async def three(self, ctx: Context, ev: Second) -> StopEvent:
        done = await ctx.store.get("done")
        begin("three", done)
        await asyncio.sleep(ev.pause)
        return StopEvent(result=[ev.number, *done, "three"])


class Item(Event):
    """One of several things to work on."""

    number: int
    pause: float


class Done(Event):
    """One is done."""


class Tally(Workflow):
    """Steps that run side by side and count in the same state."""

    @step
    async def split(self, ctx: Context, ev: Begin) -> list[Item]:
        begin("split")
        await ctx.store.set("names", [])
        return [Item(number=number, pause=ev.pause * (number + 1)) for number in range(ITEMS)]

    @step(num_workers=ITEMS)
    async def work(self, ctx: Context, ev: Item) -> Done:
        begin("work")
        async with ctx.store.edit_state() as state:
            state["count"] = state.get("count", 0) + 1
            parity = "odd" if ev.number % 2 else "even"
            state["parities"] = {**state.get("parities", {}), parity: state.get("parities", {}).get(parity, 0) + 1}
        await asyncio.sleep(ev.pause)
        names = await ctx.store.get("names")
        names.append(f"item-{ev.number}")
        await ctx.store.set("names", names)
        return Done()

    @step
    async def join(self, ctx: Context, ev: list[Done]) -> StopEvent:
        count, names, parities = [await ctx.store.get(key) for key in ("count", "names", "parities")]
        begin("join", [count, sorted(names), sorted(parities.items())])
        return StopEvent(result=[count, sorted(names), parities])


class Question(InputRequiredEvent):
    """Asks for a number."""


class Answer(HumanResponseEvent):
    """The number."""

    number: int


class Asks(Workflow):
    """Asks with ``wait_for_event``, and says in a step of its own what it was told."""

    @step
    async def ask(self, ctx: Context, ev: Begin) -> First:
        answer = await ctx.wait_for_event(Answer, waiter_event=Question(), timeout=None)
        return First(number=answer.number, pause=ev.pause)

    @step
    async def tell(self, ev: First) -> StopEvent:
        begin("tell")
        await asyncio.sleep(ev.pause)
        return StopEvent(result=ev.number)


class AsksLater(Workflow):
    """Works before it asks, so that its answer may be there before its question."""

    @step
    async def work(self, ev: Begin) -> First:
        begin("work")
        await asyncio.sleep(EARLY + ev.pause)
        return First(number=ev.number, pause=ev.pause)

    @step
    async def ask(self, ctx: Context, ev: First) -> StopEvent:
        answer = await ctx.wait_for_event(HumanResponseEvent, waiter_event=Question(), timeout=None)
        return StopEvent(result=answer.number)


class Inbox(Workflow):
    """Takes numbers as they come; its result is all that it took, in the order in which it did."""

    @step
    async def open(self, ev: Begin) -> Question:
        return Question()

    @step(num_workers=1)
    async def take(self, ctx: Context, ev: Answer) -> StopEvent | None:
        taken = await ctx.store.get("taken", default=[])
        begin("take", taken or "nothing")
        if ev.number == ENDS_INBOX:
            return StopEvent(result=taken)
        await ctx.store.set("taken", [*taken, ev.number])
        return None


class Deadline(StartEvent):
    """The time to wait."""

    number: int
    seconds: float


class Waits(Workflow):
    """Waits for an answer for so many seconds, and notes when it began to and when it had waited for long enough."""

    @step
    async def ask(self, ctx: Context, ev: Deadline) -> StopEvent:
        mark("asks", "ask", time.time())
        try:
            answer = await ctx.wait_for_event(
                Answer, waiter_event=Question(), requirements={"number": ev.number}, timeout=ev.seconds
            )
        except TimeoutError:
            mark("timed-out", "ask", time.time())
            return StopEvent(result="timed out")
        return StopEvent(result=answer.number)


class Patient(Workflow):
    """Waits for what never comes, until its own timeout."""

    @step
    async def ask(self, ctx: Context, ev: Begin) -> StopEvent:
        mark("asks", "ask", time.time())
        await ctx.wait_for_event(Answer, timeout=None)
        return StopEvent(result="nobody answers")


class Flaky(Workflow):
    """Fails twice, and is tried again after a delay each time."""

    @step(retry_policy=retry_policy(wait=wait_fixed(RETRY_DELAY), stop=stop_after_attempt(4)))
    async def attempt(self, ctx: Context, ev: Begin) -> StopEvent:
        info = ctx.retry_info()
        mark("attempt", str(info.retry_number), f"{idempotency_key()} {time.time()}")
        await asyncio.sleep(ev.pause)
        if info.retry_number < 2:
            raise ConnectionError(f"failure {info.retry_number}")
        return StopEvent(result=info.retry_number)


class Counting(Workflow):
    """Many steps, of which each counts in the state."""

    @step
    async def count(self, ctx: Context, ev: Begin | First) -> First | StopEvent:
        number = ev.number if isinstance(ev, First) else 0
        begin("count", await ctx.store.get("count", default=0))
        async with ctx.store.edit_state() as state:
            state["count"] = state.get("count", 0) + 1
        if number + 1 < COUNTED:
            return First(number=number + 1, pause=0)
        return StopEvent(result=await ctx.store.get("count"))


class Sums(Workflow):
    """Adds its number to what the state of its handler holds."""

    @step
    async def add(self, ctx: Context, ev: Begin) -> StopEvent:
        total = await ctx.store.get("total", default=0)
        begin("add", total)
        await ctx.store.set("total", total + ev.number)
        await asyncio.sleep(ev.pause)
        return StopEvent(result=total + ev.number)


def workflows() -> dict[str, Any]:
    """The workflows by name."""
    kinds: dict[str, type[Workflow]] = {
        "chain": Chain,
        "tally": Tally,
        "asks": Asks,
        "asks_later": AsksLater,
        "inbox": Inbox,
        "waits": Waits,
        "flaky": Flaky,
        "counting": Counting,
        "sums": Sums,
    }
    return {name: kind(timeout=None) for name, kind in kinds.items()} | {"patient": Patient(timeout=ALIVE)}
