"""A workflow of parts in a random order, which fails at a random place until it is mended."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any, NamedTuple

import pytest
from workflows import Context, Workflow, step
from workflows.events import Event, HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent
from workflows.retry_policy import retry_policy, stop_after_attempt, wait_fixed

from tests.harness.managing import Managing
from tests.harness.runs import ended
from workflow_server.execution import writer
from workflow_server.execution.exceptions import StepNotReached
from workflow_server.protocol.handlers import HandlerData, RetryRequest, RunRequest
from workflow_server.runs.manager import RuntimeManager

PARTS = 4
"""Events of a fan-out."""
TWICE = retry_policy(wait=wait_fixed(0), stop=stop_after_attempt(2))


class Stage(Event):
    at: int
    seen: list[str]


class Plain(Stage):
    """One step that writes."""


class Spread(Stage):
    """Steps side by side, of which the results are collected."""


class Part(Stage):
    number: int


class Partial(Stage):
    number: int


class Question(Stage):
    """A step that waits for an answer."""


class Sent(Stage):
    """An event that one step sends to another beside its result."""


class Place(NamedTuple):
    """An execution of a step, and whether it fails before it has written or after."""

    kind: str
    at: int
    number: int
    late: bool


class NotMended(Exception):
    """The failure of a step."""


def places() -> list[str]:
    """Return the kinds of steps that can fail."""
    return ["plain", "spread", "part", "join", "ask", "next", "take"]


class Anywhere(Workflow):
    """Goes through the parts that its start event names."""

    def __init__(self) -> None:
        super().__init__(timeout=None)
        self.fails_at: Place | None = None
        self.executed: list[Place] = []
        self.ran: Counter[Place] = Counter()

    async def _do(self, ctx: Context, kind: str, ev: Stage, number: int = 0) -> list[str]:
        """Write what a step writes, and return what has been seen then."""
        early, late = Place(kind, ev.at, number, late=False), Place(kind, ev.at, number, late=True)
        self.executed += [early, late]
        if self.fails_at == early:
            raise NotMended
        ev.seen.append(f"{kind} {ev.at}.{number}")
        async with ctx.store.edit_state() as state:
            state["steps"] = state.get("steps", 0) + 1
            state["names"] = [*state.get("names", []), f"{kind} {ev.at}.{number}"]
        if self.fails_at == late:
            raise NotMended
        return ev.seen

    @step
    async def begin(self, ctx: Context, ev: StartEvent) -> Stage:
        await ctx.store.set("plan", ev.plan)
        return Stage(at=0, seen=[])

    @step(retry_policy=TWICE)
    async def next(self, ctx: Context, ev: Stage) -> Plain | Spread | Question | StopEvent:
        seen = await self._do(ctx, "next", ev)
        plan = await ctx.store.get("plan")
        if ev.at == len(plan):
            state = await ctx.store.get_state()
            return StopEvent(result=[seen, state["steps"], sorted(state["names"])])
        kinds: dict[str, type[Plain | Spread | Question]] = {"plain": Plain, "spread": Spread, "ask": Question}
        kind = kinds[plan[ev.at]]
        return kind(at=ev.at, seen=seen)

    @step(retry_policy=TWICE)
    async def plain(self, ctx: Context, ev: Plain) -> Stage | Sent:
        # Sent first, so that it is on its way when the step fails.
        ctx.send_event(Sent(at=ev.at, seen=[]))
        await asyncio.sleep(0.01)
        return Stage(at=ev.at + 1, seen=await self._do(ctx, "plain", ev))

    @step
    async def take(self, ctx: Context, ev: Sent) -> None:
        # Whether it comes a second time depends on the failure: it adds nothing to the result.
        place = Place("take", ev.at, 0, late=False)
        self.executed.append(place)
        if self.fails_at == place:
            raise NotMended

    @step(retry_policy=TWICE)
    async def spread(self, ctx: Context, ev: Spread) -> list[Part]:
        seen = await self._do(ctx, "spread", ev)
        return [Part(at=ev.at, seen=seen, number=number) for number in range(PARTS)]

    @step(num_workers=2, retry_policy=TWICE)
    async def part(self, ctx: Context, ev: Part) -> Partial:
        before = list(ev.seen)
        await self._do(ctx, "part", ev, ev.number)
        return Partial(at=ev.at, seen=before, number=ev.number)

    @step(retry_policy=TWICE)
    async def join(self, ctx: Context, evs: list[Partial]) -> Stage:
        assert sorted(ev.number for ev in evs) == list(range(PARTS))
        return Stage(at=evs[0].at + 1, seen=await self._do(ctx, "join", Stage(at=evs[0].at, seen=list(evs[0].seen))))

    @step(retry_policy=TWICE)
    async def ask(self, ctx: Context, ev: Question) -> Stage:
        asked = InputRequiredEvent(at=ev.at)
        answer = await ctx.wait_for_event(
            HumanResponseEvent, waiter_event=asked, waiter_id=f"ask {ev.at}", requirements={"at": ev.at}, timeout=None
        )
        assert answer.at == ev.at
        return Stage(at=ev.at + 1, seen=await self._do(ctx, "ask", ev))


async def retried_anywhere(managing: Managing, monkeypatch: pytest.MonkeyPatch, seed: int) -> list[Place]:
    """Let a workflow fail and be retried until it completes, and compare it with one that never failed; returns the
    places of the failures."""
    chance = random.Random(seed)
    monkeypatch.setattr(writer, "SNAPSHOT_TICKS", chance.choice([3, 10, 256]))
    plan = chance.choices(["plain", "spread", "ask"], k=chance.randint(1, 5))
    workflow = Anywhere()
    failures: list[Place] = []
    async with managing(w=workflow) as manager:
        whole = await _over(manager, await manager.start("w", RunRequest({"plan": plan})))
        assert whole.status == "completed", whole
        handler: HandlerData | None = None
        executed = list(dict.fromkeys(workflow.executed))
        for _ in range(chance.randint(1, 3)):
            kind = chance.choice(sorted({place.kind for place in executed}))
            place = workflow.fails_at = chance.choice([place for place in executed if place.kind == kind])
            begun = await (
                manager.start("w", RunRequest({"plan": plan})) if handler is None else _retry(manager, handler, chance)
            )
            handler = await _over(manager, begun)
            if handler.status == "failed":
                assert "NotMended" in (handler.error or ""), (seed, handler)
                failures.append(place)
            else:
                # That place was behind it.
                assert _result(handler) == _result(whole), (seed, plan, failures)
                handler = None
        workflow.fails_at = None
        if handler is not None:
            handler = await _over(manager, await _retry(manager, handler, chance))
            assert handler.status == "completed", (seed, plan, failures, handler)
            assert _result(handler) == _result(whole), (seed, plan, failures)
    return failures


async def _retry(manager: RuntimeManager, handler: HandlerData, chance: random.Random) -> HandlerData:
    fork = chance.random() < 0.2
    if chance.random() < 0.3:
        step = chance.choice(["next", "plain", "part", "spread", "join", "ask"])
        try:
            return await manager.retry(handler.handler_id, RetryRequest(from_step=step, fork=fork))
        except StepNotReached:
            pass
    return await manager.retry(handler.handler_id, RetryRequest(fork=fork))


async def _over(manager: RuntimeManager, begun: HandlerData) -> HandlerData:
    """Answer what the run asks, until it has ended."""
    end = asyncio.create_task(ended(manager, begun.handler_id))
    answered: set[Any] = set()
    try:
        while not end.done():
            details = await manager.describe_handler(begun.handler_id)
            for wait in details.waiting_for or ():
                at = wait.requirements.get("at")
                if at is not None and at not in answered:
                    answered.add(at)
                    event = {"type": "HumanResponseEvent", "value": {"at": at}}
                    await manager.send(begun.handler_id, event, None, None)
            await asyncio.wait([end], timeout=0.02)
    finally:
        await asyncio.wait([end])
    return end.result()[0]


def _result(handler: HandlerData) -> Any:
    assert handler.result is not None
    return handler.result.value["result"]
