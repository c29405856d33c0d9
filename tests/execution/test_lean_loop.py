"""The lean loop: the order in which it takes what is ready at once, and the moments at which it may leave."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, cast

import pytest
from workflows import Context, Workflow, step
from workflows.events import Event, StartEvent, StopEvent
from workflows.runtime.types.internal_state import BrokerState
from workflows.runtime.types.results import StepWorkerOutput, StepWorkerResult
from workflows.runtime.types.ticks import TickAddEvent, TickStepResult, WorkflowTick

from tests.harness.managing import Managing
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
        """Note nothing."""

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

    async def enter(self, step: str, commit: Commit | None, batch: int) -> None:
        """Let it begin."""

    def leave(self, result: TickStepResult, batch: int) -> TickStepResult:
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
