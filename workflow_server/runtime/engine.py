"""The engine's inner parts that a durable runtime needs: the only module that reaches beyond its documented surface.

llama-index-workflows is pinned to a minor version for the sake of this module; ``tests/runtime/test_engine.py`` fails
when a new version changes what is relied on here. Nothing of the engine is patched: the loop is subclassed, and handed
over through the parameter that the engine has for it.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.dispatcher import instrument_tags
from pydantic import BaseModel
from workflows import Workflow
from workflows.context.context_types import SerializedContext
from workflows.context.state_store import (
    MODEL_T,
    DictState,
    InMemoryStateStore,
    StateStore,
    decode_state,
    encode_state_tree,
    infer_state_type,
)
from workflows.events import (
    Event,
    InternalDispatchEvent,
    StartEvent,
    StopEvent,
    WorkflowCancelledEvent,
    WorkflowFailedEvent,
    WorkflowTimedOutEvent,
)
from workflows.plugins.basic import BasicRuntime, get_current_run_id, setting_run_id
from workflows.runtime.control_loop import rebuild_state_from_ticks
from workflows.runtime.control_loop.runner import _ControlLoopRunner, _stamp_tick
from workflows.runtime.runtime_decorators import BaseRuntimeDecorator
from workflows.runtime.types.internal_state import (
    BrokerState,
    CollectionReleaseState,
    CollectionStreamInstance,
    Delivery,
    EventAttempt,
    InProgressState,
    InternalStepWorkerState,
)
from workflows.runtime.types.named_task import NamedTask, PendingStart, PendingWorker, WorkerTask, pick_highest_priority
from workflows.runtime.types.plugin import (
    ExternalRunAdapter,
    InternalRunAdapter,
    RegisteredWorkflow,
    Runtime,
    WaitForNextTaskResult,
    WaitResult,
    WaitResultTick,
    WorkflowRunFunction,
    consume_current_run,
)
from workflows.runtime.types.results import (
    AddCollectedEvent,
    AddWaiter,
    CollectionReleasePayload,
    DeleteCollectedEvent,
    DeleteWaiter,
    EmissionKey,
    RetryDecision,
    SentEvent,
    StepWorkerFailed,
    StepWorkerResult,
    StepWorkerState,
    StepWorkerStateContextVar,
    StepWorkerWaiter,
)
from workflows.runtime.types.step_function import as_step_worker_functions, create_workflow_run_function
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
    WorkflowTickAdapter,
)
from workflows.runtime.verbose import VerboseDecorator
from workflows.utils import _nanoid as nanoid

from workflow_server.runtime.codec import CompactLayout
from workflow_server.runtime.serializer import RunSerializer

__all__ = [
    "MODEL_T",
    "AddWaiter",
    "BaseRuntimeDecorator",
    "BasicRuntime",
    "BrokerState",
    "DeleteWaiter",
    "DictState",
    "EmissionKey",
    "Event",
    "ExternalRunAdapter",
    "InMemoryStateStore",
    "InProgressState",
    "InternalDispatchEvent",
    "InternalRunAdapter",
    "LoopObserver",
    "NamedTask",
    "ObservedLoop",
    "PendingStart",
    "PendingWorker",
    "RegisteredWorkflow",
    "SerializedContext",
    "StartEvent",
    "StateStore",
    "StepId",
    "StepWorkerFailed",
    "StepWorkerResult",
    "StepWorkerWaiter",
    "StopEvent",
    "TickAddEvent",
    "TickIdleCheck",
    "TickPublishEvent",
    "TickSessionStart",
    "TickStepResult",
    "TickTimeout",
    "TickWaiterTimeout",
    "TickWakeup",
    "WaitForNextTaskResult",
    "WaitResult",
    "WaitResultTick",
    "WorkerTask",
    "Workflow",
    "WorkflowCancelledEvent",
    "WorkflowFailedEvent",
    "WorkflowRunFunction",
    "WorkflowTick",
    "WorkflowTimedOutEvent",
    "accepted_events",
    "adopt",
    "broker_from_json",
    "compact_layouts",
    "concurrent_runs",
    "decode_state",
    "encode_state_tree",
    "events_of",
    "get_current_run_id",
    "idempotency_key",
    "in_step",
    "infer_state_type",
    "nanoid",
    "new_state",
    "pick_highest_priority",
    "propagated_tags",
    "reduce",
    "register",
    "run_scope",
    "stop_event_class",
    "tick_from_json",
    "validate",
    "with_config",
    "with_event",
    "workflow_timeout",
    "writing_invocation",
]


class LoopObserver(Protocol):
    """What a durable run wants to know of the engine's loop."""

    def attach(self, loop: ObservedLoop) -> None:
        """The loop is made and will run next."""

    def before_tick(self, tick: WorkflowTick, state: BrokerState) -> None:
        """The tick, stamped with its time, is about to be reduced into this state."""

    def has_untaken(self, before: float) -> bool:
        """Whether the run was sent an event before this time that it has not taken yet."""


class ObservedLoop(_ControlLoopRunner):
    """The engine's control loop, with its state in sight."""

    observer: LoopObserver

    async def _process_tick(self, tick: WorkflowTick) -> StopEvent | None:
        # Stamped here already, so that the observer and the journal read the same time.
        tick = _stamp_tick(tick, await self.adapter.get_now())
        self.observer.before_tick(tick, self.state)
        return await super()._process_tick(tick)

    def pop_due_ticks(self, now: float) -> list[WorkflowTick]:
        """The ticks that are due. A wait times out only when the run has taken what it was sent before the deadline."""
        held = [
            entry
            for entry in self.scheduled_wakeups
            if entry[0] <= now and isinstance(entry[2], TickWaiterTimeout) and self.observer.has_untaken(entry[0])
        ]
        if not held:
            return super().pop_due_ticks(now)
        self.scheduled_wakeups = [entry for entry in self.scheduled_wakeups if entry not in held]
        heapq.heapify(self.scheduled_wakeups)
        due = super().pop_due_ticks(now)
        for entry in held:
            heapq.heappush(self.scheduled_wakeups, entry)
        return due

    def wake_at(self) -> float | None:
        """When the run's next own deadline is: a retry's delay or the timeout of a wait. The workflow's timeout is
        none: its clock stands still while the server is down."""
        times = [at for at, _, tick in self.scheduled_wakeups if not isinstance(tick, TickTimeout)]
        return min(times, default=None)


def register(workflow: Workflow, observer_of: Callable[[str], LoopObserver]) -> RegisteredWorkflow:
    """The workflow with its steps wrapped once and its loop observed; ``observer_of`` finds a run's by its id."""

    async def loop(start_event: Event | None, init_state: BrokerState | None, run_id: str) -> StopEvent:
        run = consume_current_run()
        state = init_state or BrokerState.from_workflow(run.workflow)
        observed = ObservedLoop(run.workflow, run.run_adapter, run.context, run.steps, state)
        observed.observer = observer_of(run_id)
        observed.observer.attach(observed)
        return await observed.run(start_event=start_event)

    return RegisteredWorkflow(
        workflow=workflow,
        workflow_run_fn=create_workflow_run_function(workflow, loop),
        steps=as_step_worker_functions(workflow),
    )


def adopt(workflow: Workflow, runtime: Runtime) -> None:
    """Let the workflow's runs find their adapters in this runtime. One that was already run elsewhere is taken, too."""
    workflow._runtime.untrack_workflow(workflow)
    workflow._runtime = VerboseDecorator(runtime) if workflow._verbose else runtime


def new_state(workflow: Workflow) -> BrokerState:
    """The state of a run in which nothing has happened."""
    return BrokerState.from_workflow(workflow)


def reduce(state: BrokerState, tick: WorkflowTick, run_id: str) -> BrokerState:
    """The state after the tick, as the loop itself makes it."""
    return rebuild_state_from_ticks(state, [tick], run_id=run_id)


def tick_from_json(data: dict[str, Any], serializer: RunSerializer) -> WorkflowTick:
    """The tick of its JSON; events may already be objects."""
    with serializer.validation_context():
        return WorkflowTickAdapter.validate_python(data)


def in_step() -> bool:
    """Whether the caller runs inside a step."""
    return StepWorkerStateContextVar.get(None) is not None


def writing_invocation() -> str | None:
    """The id of the step execution that the caller runs in; None outside, and in a task that outlived its step."""
    step = StepWorkerStateContextVar.get(None)
    return None if step is None or step.sends.closed else step.state.invocation_id


def idempotency_key() -> str:
    """A key for the side effects of the running step: the same when the step is run again for the same event, after a
    crash or as a retry, and another for every other step, event and run.

    Raises:
        RuntimeError: called outside a step.
    """
    step = StepWorkerStateContextVar.get(None)
    run_id = get_current_run_id()
    if step is None or run_id is None:
        raise RuntimeError("idempotency_key() may only be called from within a step")
    return f"{run_id}:{step.state.step_name}:{step.state.work_item_id}"


def workflow_timeout(workflow: Workflow) -> float | None:
    """The seconds that a run of the workflow may be alive; None where there is no limit."""
    return workflow._timeout


def stop_event_class(workflow: Workflow) -> type[Event]:
    """The type of event that ends a run of the workflow, as its steps declare it."""
    kind: Any = workflow.stop_event_class
    return kind if isinstance(kind, type) and issubclass(kind, Event) else StopEvent


def concurrent_runs(workflow: Workflow) -> int | None:
    """How many runs of the workflow may run at once; None where there is no limit."""
    return workflow._num_concurrent_runs


def validate(workflow: Workflow) -> None:
    """Check the workflow's graph, unless it was made not to be checked.

    Raises:
        WorkflowValidationError: what is wrong with it.
    """
    workflow._validate()


def accepted_events(workflow: Workflow) -> dict[str, tuple[tuple[type[Event], ...], bool, bool]]:
    """For each step: the types that it accepts, whether with subclasses, and whether it takes events sent to it (one
    that collects a list does not)."""
    return {
        name: (
            tuple(kind for kind in config.accepted_events if isinstance(kind, type)),
            config.accept_event_subclasses,
            config.collection_param is None,
        )
        for name, config in workflow._step_configs().items()
    }


@contextmanager
def run_scope(run_id: str, tags: dict[str, Any]) -> Iterator[None]:
    """Within it, the engine takes what runs for this run, and instrumentation sees the tags."""
    with setting_run_id(run_id), instrument_tags(tags):
        yield


def propagated_tags() -> dict[str, Any]:
    """The instrumentation context of the caller, for the run function to restore."""
    context: dict[str, Any] = get_dispatcher().capture_propagation_context()
    return context


def broker_from_json(data: str | dict[str, Any], workflow: Workflow, serializer: RunSerializer) -> BrokerState:
    """The loop's state of its JSON, or of a ``Context.to_dict()``.

    Raises:
        ValueError: it is none, or of a newer engine.
    """
    parsed = json.loads(data) if isinstance(data, str) else data
    return BrokerState.from_serialized(SerializedContext.from_dict_auto(parsed, serializer), workflow, serializer)


def events_of(state: BrokerState) -> Iterator[object]:
    """Everything in the loop's state that the engine takes for an event."""
    for worker in state.workers.values():
        held: list[EventAttempt | InProgressState | StepWorkerWaiter[Event]]
        held = [*worker.queue, *worker.in_progress, *worker.collected_waiters]
        for attempt in held:
            yield attempt.event
            yield from (attempt.bound_events or {}).values()
        yield from (waiter.resolved_event for waiter in worker.collected_waiters if waiter.resolved_event is not None)
        yield from (event for events in worker.collected_events.values() for event in events)
        yield from worker.static_collect_events
    yield from (delivery.event for delivery in state.deliveries.values())
    yield from (event for release in state.collection_release_states.values() for event in release.buffer)


def event_value(event: BaseModel) -> str:
    """The event's fields as a JSON text."""
    return event.model_dump_json()


def compact_layouts() -> list[CompactLayout]:
    """How the engine's own objects are kept: with short tags, and without what is as it always is."""
    failed = frozenset({"exception", "last_exception"})
    return [
        CompactLayout(kind, tag, exceptions=failed, left_out=_LEFT_OUT.get(kind, {})) for tag, kind in _TAGS.items()
    ]


_TAGS: dict[str, type[Any]] = {
    "step_result": TickStepResult,
    "add_event": TickAddEvent,
    "cancel_run": TickCancelRun,
    "idle_release": TickIdleRelease,
    "timeout": TickTimeout,
    "waiter_timeout": TickWaiterTimeout,
    "session_start": TickSessionStart,
    "wakeup": TickWakeup,
    "result": StepWorkerResult,
    "failed": StepWorkerFailed,
    "retry": RetryDecision,
    "add_collected": AddCollectedEvent,
    "delete_collected": DeleteCollectedEvent,
    "add_waiter": AddWaiter,
    "add_event_waiter": AddWaiter[Event],
    "delete_waiter": DeleteWaiter,
    "sent": SentEvent,
    "emission": EmissionKey,
    "step": StepId,
    "release_payload": CollectionReleasePayload,
    "attempt": EventAttempt,
    "in_progress": InProgressState,
    "shared": StepWorkerState,
    "waiter": StepWorkerWaiter,
    "delivery": Delivery,
    "stream": CollectionStreamInstance,
    "release": CollectionReleaseState,
    "worker": InternalStepWorkerState,
    "broker": BrokerState,
}
_LEFT_OUT: dict[type[Any], dict[str, Any]] = {
    # What the state before a result holds already, and what the workflow's code says.
    TickStepResult: {"event": None},
    InternalStepWorkerState: {"config": None},
    BrokerState: {"config": None},
}


def with_event(tick: TickStepResult, event: Event) -> TickStepResult:
    """A result that was kept without the event that its step ran for."""
    tick.__dict__["event"] = event
    return tick


def with_config(state: BrokerState, workflow: Workflow) -> BrokerState:
    """A loop's state that was kept without what the workflow's code says.

    Raises:
        ValueError: a step that has work is gone from the code.
    """
    fresh = new_state(workflow)
    for step_id, worker in list(state.workers.items()):
        if step_id in fresh.workers:
            worker.config = fresh.workers[step_id].config
        elif worker.queue or worker.in_progress or worker.collected_waiters:
            raise ValueError(f"its step '{step_id}' is gone from the code")
        else:
            del state.workers[step_id]
    # In the order of the code, with the steps that are new.
    state.workers = {step_id: state.workers.get(step_id, worker) for step_id, worker in fresh.workers.items()}
    state.config = fresh.config
    return state
