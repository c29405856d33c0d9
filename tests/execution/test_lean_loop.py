"""The lean loop: the order in which it takes what is ready at once, and the moments at which it may leave."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any, cast

import pytest
from workflows import Context, Workflow, step
from workflows.errors import WorkflowTimeoutError
from workflows.events import Event, HumanResponseEvent, StartEvent, StopEvent
from workflows.runtime.types.internal_state import BrokerState
from workflows.runtime.types.results import StepWorkerOutput, StepWorkerResult
from workflows.runtime.types.ticks import (
    TickAddEvent,
    TickIdleCheck,
    TickSessionStart,
    TickStepResult,
    TickTimeout,
    WorkflowTick,
)

from tests.harness.managing import Managing
from tests.reliability.engine.engine_runs import Record, run_basic
from tests.reliability.engine.every_commit import KillPoint, run_durable
from tests.reliability.samples.sample import Sample
from workflow_server.execution.engine.lean_loop import LeanLoop
from workflow_server.protocol.handlers import RunRequest
from workflow_server.store.base import Commit


class Sent(Event):
    """Sent from outside."""


class Waiting(Workflow):
    @step
    async def only(self, ev: Sent | StartEvent) -> StopEvent | None:
        return None


class Left(Exception):
    """The run leaves memory."""


class Host:
    """A run with an empty mailbox, which counts how it is asked. ``on_rest``: what happens when the loop rests."""

    handler_id = run_id = "a"
    is_ending = False

    def __init__(self, on_rest: Callable[[Host], float | None]) -> None:
        self.gate = self
        self.sent: list[WorkflowTick] = []
        self.recorded: list[WorkflowTick] = []
        self.started: list[str] = []
        self.rests = 0
        self.taken_before_end: list[WorkflowTick] = []
        """The ticks that were recorded when the steps were ended for the first time."""
        self._listener: Callable[[], None] | None = None
        self._on_rest = on_rest
        self._batch = 0

    def send(self, tick: WorkflowTick) -> None:
        self.sent.append(tick)
        if self._listener is not None:
            self._listener()

    def now(self) -> float:
        return 1.0

    def listen(self, listener: Callable[[], None] | None) -> None:
        self._listener = listener

    def take(self) -> WorkflowTick | None:
        return self.sent.pop(0) if self.sent else None

    @property
    def has_sent(self) -> bool:
        return bool(self.sent)

    def before_tick(self, tick: WorkflowTick, state: BrokerState) -> None:
        """Look at nothing."""

    def send_again(self, ticks: list[WorkflowTick], before: BrokerState) -> None:
        assert ticks == []

    def has_untaken(self, before: float) -> bool:
        return False

    def end_steps(self) -> None:
        self.taken_before_end = self.taken_before_end or list(self.recorded)

    def record(self, tick: WorkflowTick) -> None:
        self.recorded.append(tick)

    def publish(self, event: Event) -> None:
        """Write nothing."""

    def compact(self, state: BrokerState) -> Commit | None:
        return None

    def next_batch(self) -> int:
        self._batch += 1
        return self._batch

    def start(self, step: str, name: str, work: Coroutine[Any, Any, Any], commit: Commit | None) -> asyncio.Task[Any]:
        self.started.append(step)
        work.close()
        return asyncio.ensure_future(asyncio.sleep(3600))

    def rest(self, steps: Iterable[asyncio.Task[Any]], timeout: float | None) -> float | None:
        self.rests += 1
        return self._on_rest(self)

    def rested(self) -> None:
        raise Left


async def run(host: Host, only: Callable[..., Awaitable[list[StepWorkerOutput]]] | None = None) -> LeanLoop:
    """Run a loop on this host until it leaves. ``only``: the worker of the step."""
    state = BrokerState.from_workflow(Waiting())
    loop = LeanLoop(Waiting(), None, None, {} if only is None else {"only": only}, state)
    loop.observer = cast(Any, host)
    with pytest.raises(Left):
        async with asyncio.timeout(10):
            await loop.run()
    return loop


async def test_a_tick_that_comes_as_the_time_runs_out_is_taken() -> None:
    """It is sent in the turn in which the time runs out, before that: it is out of the mailbox when the loop goes on.

    A run that left memory then would not be loaded for it: it had been delivered.
    """
    tick = TickAddEvent(event=Sent())

    def on_rest(host: Host) -> float | None:
        if host.rests > 1:
            raise Left
        asyncio.get_running_loop().call_soon(host.send, tick)
        return 0.0

    host = Host(on_rest)
    await run(host)
    assert any(getattr(taken, "event", None) is tick.event for taken in host.recorded)
    assert host.started == ["only"]


async def test_a_loop_that_is_over_takes_nothing_more() -> None:
    def on_rest(host: Host) -> float | None:
        host.send(TickAddEvent(event=Sent()))
        raise Left

    host = Host(on_rest)
    await run(host)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(host.sent) == 1


class RunningHost(Host):
    """A run whose steps are executed."""

    def start(self, step: str, name: str, work: Coroutine[Any, Any, Any], commit: Commit | None) -> asyncio.Task[Any]:
        return asyncio.ensure_future(work)

    async def enter(self, step: str, commit: Commit | None, batch: int) -> int:
        return 0

    def leave(self, number: int, result: TickStepResult, batch: int) -> TickStepResult:
        return result


async def test_a_step_that_ends_as_the_time_runs_out_comes_first() -> None:
    """As in the engine: what is due, such as the run's timeout, comes behind it."""
    opening = asyncio.get_running_loop().create_future()

    async def only(**options: Any) -> list[StepWorkerOutput]:
        await opening
        return [StepWorkerResult(result=None)]

    def on_rest(host: Host) -> float | None:
        if host.rests == 1:
            # The step is started for what was sent.
            return None
        if host.rests > 2:
            raise Left
        asyncio.get_running_loop().call_soon(opening.set_result, None)
        return 0.0

    host = RunningHost(on_rest)
    host.send(TickAddEvent(event=Sent()))
    await run(host, only)
    assert any(isinstance(tick, TickStepResult) for tick in host.recorded)


async def test_a_timer_that_outlasts_its_wait_ends_no_later_one() -> None:
    loop = LeanLoop(Waiting(), None, None, {}, BrokerState.from_workflow(Waiting()))
    now = asyncio.get_running_loop().time()
    loop._wake_at(now + 100)
    first = loop._timer
    loop._time_is_up()
    assert loop._timer is None, "nobody waits any more"
    loop._wake_at(now + 100)
    second = loop._timer
    loop._waker = waker = asyncio.get_running_loop().create_future()
    loop._wake_at(now + 200)
    assert loop._timer is second, "it goes off first, and looks again then"
    loop._time_is_up()
    assert not waker.done()
    assert loop._timer_at == now + 200
    loop._wake_at(now + 50)
    assert loop._timer_at == now + 50
    loop._time_is_up()
    assert await waker is False
    assert first is not None
    first.cancel()


async def test_other_steps_end_before_the_run_s_result_is_taken() -> None:
    """As in the engine: they publish nothing behind the last event."""

    async def only(**options: Any) -> list[StepWorkerOutput]:
        return [StepWorkerResult(result=StopEvent(result="over"))]

    host = RunningHost(lambda _: None)
    loop = LeanLoop(Waiting(), None, None, {"only": only}, BrokerState.from_workflow(Waiting()))
    loop.observer = cast(Any, host)
    async with asyncio.timeout(10):
        assert (await loop.run(StartEvent())).result == "over"
    assert isinstance(host.recorded[-1], TickStepResult)
    assert host.taken_before_end == host.recorded[:-1]


async def test_a_run_without_time_left_ends_before_its_work_begins_again() -> None:
    state = BrokerState.from_workflow(Waiting())
    state.elapsed_alive = 7.0
    host = Host(lambda _: None)
    loop = LeanLoop(Waiting(timeout=5), None, None, {}, state)
    loop.observer = cast(Any, host)
    with pytest.raises(WorkflowTimeoutError):
        await loop.run(StartEvent())
    assert [type(tick) for tick in host.recorded] == [TickSessionStart, TickTimeout]


class Answers(Workflow):
    """A step begins to wait, and another, which was started after it, returns the answer at once."""

    @step
    async def ask(self, ctx: Context, ev: StartEvent) -> StopEvent:
        await ctx.wait_for_event(Sent)
        return StopEvent(result="answered")

    @step
    async def reply(self, ev: StartEvent) -> Sent:
        return Sent()


class Races(Workflow):
    """Two steps end the run, after so many turns of the event loop."""

    @step
    async def first(self, ev: StartEvent) -> StopEvent:
        for _ in range(ev.first):
            await asyncio.sleep(0)
        return StopEvent(result="first")

    @step
    async def second(self, ev: StartEvent) -> StopEvent:
        for _ in range(ev.second):
            await asyncio.sleep(0)
        return StopEvent(result="second")


class Sends(Workflow):
    """A step sends an event and ends, and another ends or begins to wait so many turns of the event loop later."""

    def __init__(self, turns: int, *, waits: bool) -> None:
        super().__init__(timeout=5, disable_validation=True)
        self.turns = turns
        self.waits = waits

    @step
    async def ahead(self, ctx: Context, ev: StartEvent) -> None:
        ctx.send_event(Sent())

    @step
    async def beside(self, ctx: Context, ev: StartEvent) -> None:
        for _ in range(self.turns):
            await asyncio.sleep(0)
        if self.waits:
            await ctx.wait_for_event(HumanResponseEvent)

    @step
    async def take(self, ev: Sent) -> StopEvent:
        await asyncio.sleep(0.02)
        return StopEvent()


@pytest.mark.parametrize(
    ("workflow", "fields"),
    [
        (Answers(timeout=5, disable_validation=True), {}),
        *((Races(timeout=5), {"first": first, "second": second}) for first in range(4) for second in range(4)),
    ],
    ids=["answers", *(f"{first}-{second}" for first in range(4) for second in range(4))],
)
async def test_steps_that_end_together_are_taken_as_in_the_engine(
    managing: Managing, workflow: Workflow, fields: dict[str, Any]
) -> None:
    async with managing(w=type(workflow)(timeout=5, disable_validation=True)) as manager:
        handler = await manager.run("w", RunRequest(start_event=fields))
    assert handler.result is not None
    assert handler.result.value == {"result": await workflow.run(**fields)}


def changes(record: Record) -> list[tuple[str, str]]:
    """Return which steps began and ended, in order."""
    told = [event.fields for event in record.log if event.type == "StepStateChanged"]
    return [(fields["name"], fields["step_state"]) for fields in told]


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("turns", range(10))
async def test_a_step_ends_before_or_behind_a_sent_event_as_in_the_engine(
    tmp_path: Path, turns: int, waits: bool
) -> None:
    sample = Sample(lambda: Sends(turns, waits=waits), None)
    whole = await run_durable(sample, KillPoint(tmp_path / "live.sqlite3", []), idle_timeout=None)
    assert changes(whole.record) == changes(await run_basic(sample))


async def test_an_idle_check_comes_behind_all_that_has_gathered() -> None:
    def on_rest(host: Host) -> float | None:
        raise Left

    host, event = Host(on_rest), Sent()
    loop = LeanLoop(Waiting(), None, None, {}, BrokerState.from_workflow(Waiting()))
    loop.observer = cast(Any, host)
    loop.tick_buffer += [TickIdleCheck(), TickAddEvent(event=event)]
    with pytest.raises(Left):
        await loop.run()
    assert [type(tick) for tick in host.recorded] == [TickSessionStart, TickAddEvent, TickIdleCheck]
