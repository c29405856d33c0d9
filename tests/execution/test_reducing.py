"""The reducer that changes a state in place, against the engine's: states, commands and events, tick by tick."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from workflows import Context, Workflow, step
from workflows.errors import WorkflowRuntimeError
from workflows.events import Event, InputRequiredEvent, StartEvent, StopEvent
from workflows.retry_policy import retry_policy, stop_after_attempt, wait_random
from workflows.runtime.types.commands import CommandQueueEvent, CommandScheduleIdleCheck
from workflows.runtime.types.internal_state import BrokerState, InternalStepWorkerState
from workflows.runtime.types.results import (
    AddCollectedEvent,
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
    TickIdleCheck,
    TickSessionStart,
    TickStepResult,
    TickTimeout,
    TickWakeup,
)

from tests.execution.reducers.comparing import differences, frozen
from tests.execution.reducers.random_runs import WORKFLOWS, RandomRun, Shape
from tests.execution.reducers.twin import Twin, TwinRuntime
from tests.reliability.engine.engine_runs import run_basic
from tests.reliability.reporting import LONG_TIMEOUT, Extent
from tests.reliability.samples import SAMPLES
from tests.reliability.samples.sample import Sample
from workflow_server.errors import Unstorable
from workflow_server.execution.codec import Codec
from workflow_server.execution.engine import compact_layouts
from workflow_server.execution.engine.live_state import live, plain


@pytest.mark.parametrize("name", SAMPLES)
async def test_a_sample_is_reduced_as_by_the_engine(name: str) -> None:
    sample, runtime = SAMPLES[name], TwinRuntime()

    def workflow() -> Workflow:
        with runtime.registering():
            return sample.workflow()

    await run_basic(Sample(workflow, sample.expected, sample.status, sample.runs, sample.reactions))
    assert runtime.check() > 2


# -- One tick at a time ------------------------------------------------------------------------


class Item(Event):
    n: int = 0


class Derived(Item):
    pass


class Other(Event):
    pass


class Prickly(Event):
    """An event that cannot be compared."""

    def __eq__(self, other: object) -> bool:
        raise ValueError("incomparable")


class Small(Workflow):
    @step
    async def begin(self, ev: StartEvent) -> Item | None: ...

    @step(num_workers=2)
    async def work(self, ctx: Context, ev: Item | Prickly) -> StopEvent | Other | None: ...

    @step(accept_event_subclasses=True)
    async def broad(self, ev: Item) -> None: ...

    @step
    async def pair(self, first: Other, second: Derived) -> None: ...


class Fanned(Workflow):
    @step
    async def split(self, ev: StartEvent) -> list[Item] | None: ...

    @step(num_workers=1)
    async def gather(self, items: list[Item]) -> StopEvent | None: ...


class Nested(Workflow):
    @step
    async def split(self, ev: StartEvent) -> list[Item] | None: ...

    @step
    async def split_again(self, ev: Item) -> list[Other] | None: ...

    @step
    async def drop(self, ev: Other) -> Derived | None: ...

    @step
    async def gather(self, items: list[Derived]) -> StopEvent | None: ...


class Retried(Workflow):
    @step(retry_policy=retry_policy(wait=wait_random(1.0, 9.0), stop=stop_after_attempt(3)))
    async def only(self, ev: StartEvent) -> StopEvent | None: ...


def at_work(*events: Event, start: bool = True) -> Twin:
    """A run that has begun and was given these events."""
    twin = Twin(BrokerState.from_workflow(Small()))
    twin.feed(TickSessionStart(stamped_at=10.0))
    for event in [StartEvent(), *events] if start else events:
        twin.feed(TickAddEvent(event=event, stamped_at=11.0))
    return twin


def result(twin: Twin, step_name: str, *results: StepFunctionResult, nth: int = 0, **fields: Any) -> TickStepResult:
    """The result of a step that runs."""
    execution = twin.ours.workers[StepId.root(step_name)].in_progress[nth]
    given = {"invocation_id": execution.invocation_id, "stamped_at": 12.0, **fields}
    worker = {"worker_id": execution.worker_id, "event": execution.event}
    return TickStepResult(step_id=StepId.root(step_name), result=list(results), **worker, **given)


def returned(event: Event | None) -> StepWorkerResult:
    return StepWorkerResult(result=event)


def test_a_state_is_changed_in_place_but_for_timeouts_and_resumes() -> None:
    twin = at_work(Item(), Item(), Item())
    ours = twin.ours
    twin.feed(result(twin, "work", returned(Other())))
    twin.feed(TickIdleCheck())
    twin.feed(TickWakeup(due=1.0))
    assert twin.ours is ours
    twin.feed(TickSessionStart(stamped_at=20.0))
    assert twin.ours is not ours
    ours = twin.ours
    twin.feed(TickTimeout(timeout=1e9, stamped_at=21.0))
    assert twin.ours is not ours


def test_a_session_of_a_run_with_nothing_to_do_begins_in_place() -> None:
    twin = Twin(BrokerState.from_workflow(Small()))
    ours = twin.ours
    assert twin.feed(TickSessionStart(stamped_at=3.0)) == []
    assert twin.feed(TickSessionStart()) == []
    assert twin.ours is ours


@pytest.mark.parametrize("last", [Prickly(), None, StopEvent()])
def test_an_event_that_cannot_be_compared_leaves_the_state_alone(last: Event | None) -> None:
    twin = at_work(Prickly(), Prickly())
    state = frozen(plain(twin.ours))
    tick = result(twin, "work", returned(last), nth=1)
    if isinstance(last, StopEvent):
        # The engine compares nothing then.
        twin.feed(tick)
        return
    with pytest.raises(ValueError, match="incomparable"):
        twin.feed(tick)
    assert not list(differences(plain(twin.ours), state))
    twin.feed(result(twin, "work", returned(last)))


def test_events_wait_in_a_queue_and_delayed_retries_aside() -> None:
    twin = at_work(Item(n=1), Item(n=2), Item(n=3), Item(n=4))
    failed = StepWorkerFailed(exception=OSError(), failed_at=12.0, retry_decision=RetryDecision(delay=5.0))
    twin.feed(result(twin, "work", failed))
    twin.feed(result(twin, "work", failed))
    queue = twin.ours.workers[StepId.root("work")].queue
    assert [attempt.not_before for attempt in queue] == [17.0, 17.0]
    twin.feed(TickAddEvent(event=Item(n=5)))
    twin.feed(result(twin, "work", returned(None)))
    twin.feed(result(twin, "work", returned(None)))
    twin.feed(TickAddEvent(event=Item(n=6)))
    assert len(twin.ours.workers[StepId.root("work")].in_progress) == 2
    twin.feed(result(twin, "work", returned(Other())))
    twin.feed(result(twin, "work", returned(None)))
    twin.feed(TickWakeup(due=17.0, stamped_at=17.0))
    assert queue == []


def fanned_out(*events: Event) -> list[StepWorkerResult]:
    return [StepWorkerResult(result=event, fanned_out=True) for event in events]


def deliver(twin: Twin, tick: TickStepResult) -> None:
    """Give a result to the run, and then the events that it holds."""
    for command in twin.feed(tick):
        if isinstance(command, CommandQueueEvent):
            twin.feed(TickAddEvent(**vars(command)))


def test_a_step_within_two_streams_ends_its_part_of_the_inner_one() -> None:
    twin = Twin(BrokerState.from_workflow(Nested()))
    twin.feed(TickAddEvent(event=StartEvent()))
    deliver(twin, result(twin, "split", *fanned_out(Item(n=1), Item(n=2))))
    deliver(twin, result(twin, "split_again", *fanned_out(Other(), Other())))
    outer, inner = twin.ours.streams.values()
    deliver(twin, result(twin, "drop", returned(None)))
    assert (outer.open_work_items, inner.open_work_items) == (2, 1)
    deliver(twin, result(twin, "drop", returned(Derived())))
    assert inner.stream_id not in twin.ours.streams


def test_a_failure_of_an_old_journal_waits_as_the_runs_id_says() -> None:
    twin = Twin(BrokerState.from_workflow(Retried()))
    twin.feed(TickAddEvent(event=StartEvent()))
    twin.feed(result(twin, "only", StepWorkerFailed(exception=OSError(), failed_at=12.0)))
    (attempt,) = twin.ours.workers[StepId.root("only")].queue
    assert attempt.not_before is not None
    assert attempt.not_before > 12.0


def test_a_retry_of_an_old_journal_replaces_the_delayed_one() -> None:
    twin = at_work(Item(n=1), Item(n=2))
    failed = StepWorkerFailed(exception=OSError(), failed_at=12.0, retry_decision=RetryDecision(delay=5.0))
    twin.feed(result(twin, "work", failed))
    twin.feed(TickAddEvent(event=Item(n=1), step_id=StepId.root("work"), attempts=1, first_attempt_at=11.0))
    assert twin.ours.workers[StepId.root("work")].queue == []


def test_what_a_tick_says_of_earlier_attempts_is_kept() -> None:
    twin = at_work()
    for first in (0.0, 1.0, None):
        twin.feed(
            TickAddEvent(
                event=Item(),
                attempts=0,
                first_attempt_at=first,
                last_exception=OSError(),
                last_failed_at=3.0,
                recovery_counts={"begin": 1},
                scope_path=("gone",),
                work_item_id="mine",
                stamped_at=12.0,
            )
        )
    worker = twin.ours.workers[StepId.root("work")]
    assert [execution.first_attempt_at for execution in worker.in_progress] == [12.0, 1.0]
    assert worker.queue[0].last_failed_at == 3.0


def test_a_collected_list_is_delivered_again_as_it_was() -> None:
    twin = Twin(BrokerState.from_workflow(Fanned()))
    twin.feed(TickAddEvent(event=StartEvent()))
    deliver(twin, result(twin, "split", *fanned_out(Item(n=1), Item(n=2))))
    payload = twin.ours.workers[StepId.root("gather")].in_progress[0].shared_state.collection_release_payload
    assert payload is not None
    twin.feed(TickAddEvent(event=payload.as_event(), collection_release_payload=payload))
    twin.feed(result(twin, "gather", returned(None)))
    again = twin.ours.workers[StepId.root("gather")].in_progress[0].shared_state.collection_release_payload
    assert again == payload
    assert again is not payload
    with pytest.raises(WorkflowRuntimeError, match="unknown binding"):
        twin.feed(TickAddEvent(event=Event(), collection_release_payload=replace(payload, binding_id="gone")))


def test_a_send_is_taken_once_on_its_way_or_after_the_result() -> None:
    twin = at_work(Item())
    sends = [SentEvent(index=number, event=Other()) for number in range(3)]
    invocation = twin.ours.workers[StepId.root("work")].in_progress[0].invocation_id
    assert invocation is not None
    ticks = [TickAddEvent(event=sent.event, emission=EmissionKey(invocation, sent.index)) for sent in sends]
    twin.feed(ticks[0])
    twin.feed(ticks[0])
    twin.feed(result(twin, "work", returned(Item(n=9)), sends=sends))
    assert [key.index for key in twin.ours.deliveries] == [1, 2, 3]
    for tick in [ticks[0], ticks[2], ticks[2], ticks[1]]:
        twin.feed(tick)


def test_a_repeated_send_to_a_run_that_only_waits_finds_it_idle() -> None:
    twin = at_work()
    twin.feed(result(twin, "begin", returned(None)))
    commands = twin.feed(TickAddEvent(event=Event(), emission=EmissionKey("invocation_1", 0)))
    assert commands == [CommandScheduleIdleCheck()]


def test_results_of_child_runs_and_of_old_journals_are_the_engines() -> None:
    twin = at_work(Item(), Item())
    twin.feed(result(twin, "work", returned(None), invocation_namespace=("gone",)))
    twin.feed(result(twin, "work", returned(Other()), nth=1, invocation_id=None))
    for state in (twin.ours, twin.theirs):
        state.workers[StepId.root("work")].in_progress[0].invocation_id = None
    twin.feed(result(twin, "work", returned(Other())))
    with pytest.raises(ValueError, match="not found in in_progress"):
        twin.feed(result(twin, "broad", returned(None), invocation_id="gone"))


def test_a_step_that_returned_more_or_no_event_is_left_to_the_engine() -> None:
    twin = at_work(Item(), Item())
    collected = AddCollectedEvent(event_id="kept", event=Item())
    twin.feed(result(twin, "work", returned(Other()), collected))
    assert twin.ours.workers[StepId.root("work")].collected_events == {"kept": [Item()]}
    no_event: Any = "text"
    twin.feed(result(twin, "work", StepWorkerResult.model_construct(result=no_event, fanned_out=False)))
    assert len(twin.ours.deliveries) == 1


def test_the_clock_of_a_run_only_goes_forward() -> None:
    twin = at_work(Item())
    for stamp in (5.0, None, 14.5, 14.0):
        twin.feed(TickAddEvent(event=Item(), stamped_at=stamp), now=99.0)
        twin.feed(result(twin, "broad", returned(None), stamped_at=stamp), now=99.0)
    assert twin.ours.elapsed_alive == 4.5


def test_an_event_for_nobody_is_told_and_the_run_is_idle() -> None:
    twin = at_work()
    twin.feed(result(twin, "begin", returned(None)))
    assert any(isinstance(command, CommandScheduleIdleCheck) for command in twin.feed(TickAddEvent(event=Event())))
    twin.feed(TickAddEvent(event=Event(), step_id=StepId.root("work")))
    twin.feed(TickAddEvent(event=InputRequiredEvent()))


def test_a_step_begins_with_its_own_copy_of_what_was_collected() -> None:
    twin = at_work(Item(n=1), Item(n=2))
    twin.feed(result(twin, "work", AddCollectedEvent(event_id="kept", event=Item()), returned(None)))
    twin.feed(TickAddEvent(event=Item(n=3)))
    worker = twin.ours.workers[StepId.root("work")]
    given = worker.in_progress[-1].shared_state
    assert given.collected_events == worker.collected_events
    assert given.collected_events["kept"] is not worker.collected_events["kept"]
    twin.feed(result(twin, "work", returned(StopEvent())))
    assert given.collected_events == {"kept": [Item()]}


@pytest.mark.parametrize("ends", [Item(), StopEvent()])
def test_a_snapshot_of_a_live_state_is_that_of_the_engines_state(ends: Event) -> None:
    codec = Codec(compact=compact_layouts())
    twin = at_work(Item(), Item(), Item())
    twin.feed(result(twin, "work", AddCollectedEvent(event_id="kept", event=Item()), returned(None)))
    twin.feed(result(twin, "begin", returned(ends)))
    assert codec.encode(plain(twin.ours)) == codec.encode(twin.theirs)
    with pytest.raises(Unstorable, match="LiveState"):
        codec.encode(twin.ours)


def test_a_live_state_takes_over_what_it_is_made_of() -> None:
    state = BrokerState.from_workflow(Small())
    taken = live(state)
    for step_id, worker in state.workers.items():
        assert taken.workers[step_id].queue is worker.queue
    assert type(plain(taken)) is BrokerState
    assert {type(worker) for worker in plain(taken).workers.values()} == {InternalStepWorkerState}
    assert plain(taken) == state


@pytest.mark.slow(30)
@pytest.mark.timeout(LONG_TIMEOUT)
def test_a_random_run_is_reduced_as_by_the_engine(extent: Extent) -> None:
    reduced = Counter[str]()

    @seed(extent.seed)
    @settings(
        max_examples=extent.of(short=80, long=5_000),
        suppress_health_check=list(HealthCheck),
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
    )
    @given(WORKFLOWS, st.booleans(), st.data())
    def attack(shapes: Sequence[Shape], child: bool, data: st.DataObject) -> None:
        def choose(options: Sequence[Any]) -> Any:
            return options[data.draw(st.integers(0, len(options) - 1))]

        run = RandomRun(shapes, choose, child=child)
        run.begin()
        run.start()
        for _ in range(60):
            if run.ended:
                run.begin()
                run.start()
            run.go_on()
        run.twin.check()
        reduced.update(type(tick).__name__ for tick in run.twin.ticks)

    attack()
    assert reduced["TickAddEvent"] > reduced["TickStepResult"] > 500
