"""Random workflows, and runs of them whose steps do at random what steps can do, each tick given to both reducers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, NamedTuple, TypeVar, Union

from hypothesis import strategies as st
from workflows import catch_error, step
from workflows.collect import Collect, Take
from workflows.events import (
    Event,
    HumanResponseEvent,
    InputRequiredEvent,
    StartEvent,
    StepFailedEvent,
    StopEvent,
)
from workflows.runtime.types.commands import (
    CommandCompleteRun,
    CommandFailWorkflow,
    CommandHalt,
    CommandQueueEvent,
    CommandScheduleIdleCheck,
    CommandScheduleTimeout,
    CommandScheduleWaiterTimeout,
    CommandScheduleWakeup,
    WorkflowCommand,
)
from workflows.runtime.types.internal_state import BrokerConfig, BrokerState, InProgressState
from workflows.runtime.types.results import (
    AddCollectedEvent,
    AddWaiter,
    DeleteCollectedEvent,
    DeleteWaiter,
    EmissionKey,
    RetryDecision,
    SentEvent,
    StepFunctionResult,
    StepWorkerFailed,
    StepWorkerResult,
)
from workflows.runtime.types.step_id import StepId
from workflows.runtime.types.ticks import (
    TickAddEvent,
    TickCancelRun,
    TickIdleCheck,
    TickIdleRelease,
    TickPublishEvent,
    TickSessionStart,
    TickStepResult,
    TickTimeout,
    TickWaiterTimeout,
    TickWakeup,
    WorkflowTick,
)

from tests.execution.reducers.twin import Twin

T = TypeVar("T")
Choose = Callable[[Sequence[T]], T]


class One(Event):
    n: int = 0


class Sub(One):
    pass


class Two(Event):
    n: int = 0


class Ask(InputRequiredEvent):
    n: int = 0


class Answer(HumanResponseEvent):
    n: int = 0


class End(StopEvent):
    pass


KINDS: tuple[type[Event], ...] = (One, Sub, Two, Ask, Answer)
CHILD = "child"


class Shape(NamedTuple):
    """A step: ``plain`` takes any of its events, ``slots`` one of each of two, ``list`` all that were fanned out,
    ``failures`` the failures of others."""

    kind: str
    accepts: tuple[type[Event], ...]
    returned: tuple[type[Event], ...]
    workers: int
    subclasses: bool
    take: int | None


SHAPES = st.builds(
    Shape,
    kind=st.sampled_from(["plain", "plain", "plain", "slots", "list"]),
    accepts=st.lists(st.sampled_from(KINDS), min_size=2, max_size=2, unique=True).map(tuple),
    returned=st.lists(st.sampled_from(KINDS), min_size=0, max_size=2, unique=True).map(tuple),
    workers=st.sampled_from([1, 2, 4]),
    subclasses=st.booleans(),
    take=st.sampled_from([None, None, 1, 2]),
)
FIRST = SHAPES.map(lambda shape: shape._replace(kind="plain", accepts=(StartEvent, shape.accepts[0])))
HANDLER = SHAPES.map(lambda shape: shape._replace(kind="failures"))
WORKFLOWS = st.tuples(FIRST, st.lists(SHAPES, min_size=1, max_size=4), st.lists(HANDLER, max_size=1)).map(
    lambda drawn: [drawn[0], *drawn[1], *drawn[2]]
)
"""Steps; ``returned`` are the events that a step may return in a list."""


def state_of(shapes: Sequence[Shape]) -> BrokerState:
    """The state of a run of these steps, before it begins."""
    steps = {f"step{number}": _step_of(shape)._step_config for number, shape in enumerate(shapes)}
    return BrokerState.from_config(BrokerConfig.from_steps(steps, timeout=None))


def _step_of(shape: Shape) -> Any:
    async def one(self: object, ev: Any) -> Any: ...

    async def two(self: object, first: Any, second: Any) -> Any: ...

    function = two if shape.kind == "slots" else one
    function.__qualname__ = "Random.step"
    returns = Union[(StopEvent, *KINDS, *(list[kind] for kind in shape.returned), None)]  # type: ignore[valid-type]
    any_of: Any = Union[shape.accepts]  # noqa: UP007
    taken: dict[str, Any] = {
        "plain": {"ev": any_of},
        "slots": {"first": shape.accepts[0], "second": shape.accepts[-1]},
        "list": {"ev": Annotated[list[any_of], Collect(Take(shape.take))] if shape.take else list[any_of]},
        "failures": {"ev": StepFailedEvent},
    }[shape.kind]
    function.__annotations__ = {**taken, "return": returns}
    if shape.kind == "failures":
        return catch_error(max_recoveries=shape.workers)(function)
    return step(num_workers=shape.workers, accept_event_subclasses=shape.subclasses)(function)


class RandomRun:
    """A run of one workflow: ``choose`` decides what happens next, and what steps return."""

    def __init__(self, shapes: Sequence[Shape], choose: Choose[Any], *, child: bool) -> None:
        state = state_of(shapes)
        self._names = [None, None, None, *state.config.steps]
        if child:
            state.children[CHILD] = state_of(shapes)
        self.twin = Twin(state)
        self._shapes = {StepId.root(f"step{number}"): shape for number, shape in enumerate(shapes)}
        self._choose = choose
        self._now = 100.0
        self._queued: list[WorkflowTick] = []
        self._sent: list[WorkflowTick] = []
        self._timers: list[WorkflowTick] = []
        self._sends: dict[str, list[SentEvent]] = {}
        self.ended = False

    def begin(self) -> None:
        """Start the run, or go on with it in another session."""
        self._queued, self._sent, self._sends, self.ended = [], [], {}, False
        self._feed(TickSessionStart(stamped_at=self._stamp()))

    def start(self) -> None:
        """Give it its start event."""
        self._feed(TickAddEvent(event=StartEvent(), stamped_at=self._stamp()))

    def go_on(self) -> None:
        """Let something happen."""
        happens = [self._post, self._choose([self._post, self._post, self._odd])]
        running = self._running()
        happens += [self._deliver] * 6 if self._queued else []
        happens += [self._take_sent] * 3 if self._sent else []
        happens += [self._fire] if self._timers else []
        if running:
            happens += [lambda: self._finish(*self._choose(running))] * 6
            happens += [lambda: self._send(*self._choose(running))] * 2
        self._choose(happens)()

    # -- What happens --------------------------------------------------------------------------

    def _post(self) -> None:
        namespace = (CHILD,) if self.twin.ours.children and self._choose([True, False]) else ()
        self._feed(
            TickAddEvent(
                event=self._event(),
                step_id=self._choose(self._names),
                origin_namespace=namespace,
                stamped_at=self._stamp(),
            )
        )

    def _deliver(self) -> None:
        self._feed(self._queued.pop(self._choose([0, 0, 0, -1])))

    def _take_sent(self) -> None:
        tick = self._sent.pop(0)
        self._feed(tick)
        if self._choose([True, False, False, False]) and not self.ended:
            self._feed(tick)

    def _fire(self) -> None:
        self._feed(self._timers.pop(self._choose([0, -1])))

    def _odd(self) -> None:
        """Something that is rare."""
        ticks: list[Callable[[], WorkflowTick | None]] = [
            lambda: TickIdleCheck(),
            lambda: TickPublishEvent(event=self._event()),
            lambda: TickWakeup(due=self._now, stamped_at=self._stamp()),
            lambda: TickTimeout(timeout=self._choose([1.0, *[10_000.0] * 5]), stamped_at=self._stamp()),
            lambda: TickAddEvent(event=self._event(), origin_namespace=("gone",), stamped_at=self._stamp()),
            lambda: TickAddEvent(event=self._event(), bound_events={"first": One()}, stamped_at=self._stamp()),
            lambda: TickAddEvent(event=self._event(), attempts=1, first_attempt_at=50.0, stamped_at=self._stamp()),
            lambda: TickAddEvent(event=self._event(), work_item_id="again", first_attempt_at=0.0),
            lambda: TickAddEvent(event=self._event(), recovery_counts={"step0": 1}, scope_path=("gone",)),
            lambda: TickAddEvent(event=StartEvent(), stamped_at=self._stamp()),
            lambda: TickAddEvent(event=self._event(), emission=EmissionKey("gone", 0)),
            lambda: TickCancelRun(),
            lambda: TickIdleRelease(),
            lambda: None,
        ]
        tick = self._choose(ticks)()
        if tick is None:
            self.begin()
        else:
            self._feed(tick)

    def _send(self, step_id: StepId, execution: InProgressState, namespace: tuple[str, ...]) -> None:
        assert execution.invocation_id is not None
        sends = self._sends.setdefault(execution.invocation_id, [])
        sent = SentEvent(index=len(sends), event=self._event(), step_id=self._choose(self._names))
        sends.append(sent)
        key = EmissionKey(execution.invocation_id, sent.index)
        self._sent.append(
            TickAddEvent(
                event=sent.event,
                step_id=sent.step_id,
                origin_namespace=namespace,
                emission=self._choose([key, key, key, None]),
                stamped_at=self._stamp(),
            )
        )

    def _finish(self, step_id: StepId, execution: InProgressState, namespace: tuple[str, ...]) -> None:
        assert execution.invocation_id is not None
        self._feed(
            TickStepResult(
                step_id=step_id,
                worker_id=execution.worker_id,
                invocation_namespace=namespace,
                event=execution.event,
                result=self._results(self._shapes[step_id], execution),
                stamped_at=self._stamp(),
                invocation_id=self._choose([execution.invocation_id] * 9 + [None]),
                sends=self._sends.pop(execution.invocation_id, []),
            )
        )

    # -- What a step returns -------------------------------------------------------------------

    def _results(self, shape: Shape, execution: InProgressState) -> list[StepFunctionResult]:
        does = self._choose(["return"] * 5 + ["nothing", "list", "collect", "collect", "wait", "fail", "more", "stop"])
        if does == "collect":
            return self._collect(execution)
        if does == "wait":
            return self._wait(execution)
        if does == "more":
            return [*self._collect(execution)[:1], *self._wait(execution)]
        if does == "fail":
            return [self._failure(execution)]
        if does == "list" and shape.returned:
            return self._fan_out(shape)
        if does == "stop":
            return [StepWorkerResult(result=self._choose([StopEvent, End])())]
        return [StepWorkerResult(result=None if does == "nothing" else self._event())]

    def _fan_out(self, shape: Shape) -> list[StepFunctionResult]:
        size = self._choose([0, 1, 2, 5])
        if not size:
            return [StepWorkerResult(result=None, fanned_out=True)]
        members = [self._choose(shape.returned)() for _ in range(size)]
        members += [StopEvent()] if self._choose([True, *[False] * 9]) else []
        return [StepWorkerResult(result=member, fanned_out=True) for member in members]

    def _collect(self, execution: InProgressState) -> list[StepFunctionResult]:
        """As ``ctx.collect_events`` does, with three of any kind as what is waited for."""
        name = self._choose(["default", "other"])
        held = execution.shared_state.collected_events.get(name, [])
        if len(held) < 2:
            return [AddCollectedEvent(event_id=name, event=execution.event), StepWorkerResult(result=None)]
        final = self._choose([StepWorkerResult(result=self._event()), self._failure(execution)])
        return [DeleteCollectedEvent(event_id=name), final]

    def _wait(self, execution: InProgressState) -> list[StepFunctionResult]:
        """As ``ctx.wait_for_event`` does."""
        waiter_id = self._choose(["shared", f"of {execution.work_item_id}"])
        found = [each for each in execution.shared_state.collected_waiters if each.waiter_id == waiter_id]
        if found and (found[0].timed_out or found[0].resolved_event is not None):
            final = self._choose([StepWorkerResult(result=self._event()), self._failure(execution)])
            return [DeleteWaiter(waiter_id=waiter_id), final]
        return [
            AddWaiter(
                waiter_id=waiter_id,
                waiter_event=self._choose([None, Ask()]),
                requirements=self._choose([{}, {}, {"n": 1}]),
                timeout=self._choose([None, 2.0]),
                event_type=self._choose([Answer, Answer, One, Two]),
            )
        ]

    def _failure(self, execution: InProgressState) -> StepWorkerFailed:
        return StepWorkerFailed(
            exception=RuntimeError("failed"),
            failed_at=self._now,
            retry_decision=self._choose([None, RetryDecision(), RetryDecision(delay=0.0), RetryDecision(delay=3.0)]),
            first_attempt_at=self._choose([None, execution.first_attempt_at]),
        )

    # -- Ticks and commands --------------------------------------------------------------------

    def _running(self) -> list[tuple[StepId, InProgressState, tuple[str, ...]]]:
        brokers: list[tuple[BrokerState, tuple[str, ...]]] = [(self.twin.ours, ())]
        brokers += [(child, (name,)) for name, child in self.twin.ours.children.items()]
        return [
            (step_id, execution, namespace)
            for broker, namespace in brokers
            for step_id, worker in broker.workers.items()
            for execution in worker.in_progress
        ]

    def _event(self) -> Event:
        kind: type[Event] = self._choose(KINDS)
        return kind(n=self._choose([0, 1]))

    def _stamp(self) -> float | None:
        self._now += self._choose([0.0, 1.0, 2.5, -0.5])
        stamp: float | None = self._choose([self._now, self._now, self._now, None])
        return stamp

    def _feed(self, tick: WorkflowTick) -> None:
        for command in self.twin.feed(tick, self._now):
            self._obey(command)

    def _obey(self, command: WorkflowCommand) -> None:
        if isinstance(command, CommandQueueEvent):
            self._queued.append(TickAddEvent(**vars(command), stamped_at=self._stamp()))
        elif isinstance(command, CommandScheduleIdleCheck):
            self._queued.append(TickIdleCheck())
        elif isinstance(command, CommandScheduleWakeup):
            self._timers.append(TickWakeup(due=command.at_time, stamped_at=self._stamp()))
        elif isinstance(command, CommandScheduleTimeout):
            self._timers.append(TickTimeout(timeout=command.timeout, stamped_at=self._stamp()))
        elif isinstance(command, CommandScheduleWaiterTimeout):
            self._timers.append(
                TickWaiterTimeout(
                    step_id=command.step_id,
                    waiter_id=command.waiter_id,
                    invocation_namespace=command.invocation_namespace,
                    stamped_at=self._stamp(),
                )
            )
        elif isinstance(command, (CommandCompleteRun, CommandFailWorkflow, CommandHalt)):
            self.ended = True
