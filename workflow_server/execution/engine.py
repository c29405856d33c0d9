"""The engine's inner parts that a durable runtime needs: the only module that reaches beyond its documented surface.

llama-index-workflows is pinned to a minor version for the sake of this module; ``tests/execution/test_engine.py`` fails
when a new version changes what is relied on here. Nothing of the engine is patched: the loop is subclassed, and handed
over through the parameter that the engine has for it.
"""

from __future__ import annotations

import asyncio
import functools
import heapq
import inspect
import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol, cast

from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.dispatcher import instrument_tags
from workflows import Workflow
from workflows._event_matching import event_matches, step_accepts_event
from workflows.context.context_types import SerializedContext, SerializedContextV0
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
    StepFailedEvent,
    StopEvent,
    UnhandledEvent,
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
    RetryAttempt,
    RetryDecision,
    SentEvent,
    StepFunctionResult,
    StepWorkerFailed,
    StepWorkerOutput,
    StepWorkerResult,
    StepWorkerState,
    StepWorkerStateContextVar,
    StepWorkerWaiter,
)
from workflows.runtime.types.step_function import (
    StepWorkerFunction,
    as_step_worker_functions,
    create_workflow_run_function,
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
    WorkflowTickAdapter,
)
from workflows.runtime.verbose import VerboseDecorator
from workflows.utils import _nanoid as nanoid

from workflow_server.execution.codec import CompactLayout, Undecodable
from workflow_server.execution.containment import (
    Execution,
    Rescue,
    ServedTask,
    contain,
    contain_sync,
    executing,
    interrupted,
)
from workflow_server.execution.serializer import RunSerializer

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
    "RetryAttempt",
    "SerializedContext",
    "StartEvent",
    "StateStore",
    "StepFailedEvent",
    "StepId",
    "StepWorkerFailed",
    "StepWorkerFunction",
    "StepWorkerOutput",
    "StepWorkerResult",
    "StepWorkerState",
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
    "UnhandledEvent",
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
    "context_model",
    "decode_state",
    "encode_state_tree",
    "end_tasks",
    "event_matches",
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
    "rescue_of",
    "run_scope",
    "step_accepts_event",
    "step_functions",
    "stop_event_class",
    "tick_from_json",
    "validate",
    "with_config",
    "with_event",
    "workflow_timeout",
    "writing_invocation",
]


STUBBORN = 0.5
"""Seconds that steps get to heed the end of their run, as the engine means to give them."""


class LoopObserver(Protocol):
    """The events of the engine's loop that a durable run wants to know of."""

    handler_id: str

    def attach(self, loop: ObservedLoop) -> None:
        """The loop is made and will run next."""

    def before_tick(self, tick: WorkflowTick, state: BrokerState) -> None:
        """The tick, stamped with its time, is about to be reduced into this state."""

    def now(self) -> float:
        """The time by which the run's deadlines are told."""

    def send_again(self, ticks: list[WorkflowTick], before: BrokerState) -> None:
        """These were on their way to the run when it left memory, or when the process died, in the state ``before``."""

    def has_untaken(self, before: float) -> bool:
        """Return whether the run was sent an event before this time that it has not taken yet."""

    @property
    def is_ending(self) -> bool:
        """Return whether the loop ends what still runs: its steps are cancelled because the run leaves memory."""
        ...

    def end_steps(self) -> None:
        """The run leaves memory: the steps that still run are cancelled next."""

    def left(self) -> BaseException:
        """Return what the loop raises that was cancelled: why the run leaves memory."""


_running_loop: ContextVar[ObservedLoop | None] = ContextVar("running_loop", default=None)
"""The loop of the durable run that the caller belongs to."""


class ObservedLoop(_ControlLoopRunner):
    """The engine's control loop, with its state in sight."""

    observer: LoopObserver

    async def cleanup_tasks(self) -> None:
        """End the steps that still run, and leave behind those that do not heed it.

        The engine's own limit of half a second waits for a step that swallows its cancellation all the same.
        """
        self.observer.end_steps()
        self.worker_tasks -= await end_tasks(self.worker_tasks)
        await super().cleanup_tasks()

    def _stamp_retry_decisions(
        self,
        step_id: StepId,
        invocation_namespace: tuple[str, ...],
        worker: InProgressState | None,
        results: list[StepFunctionResult],
    ) -> list[StepFunctionResult]:
        # The engine notes a failure by the wall clock, and tells by it how long a step was tried and when it is next.
        now = self.observer.now()
        results = [
            item.model_copy(update={"failed_at": now}) if isinstance(item, StepWorkerFailed) else item
            for item in results
        ]
        try:
            return super()._stamp_retry_decisions(step_id, invocation_namespace, worker, results)
        except BaseException as error:
            return _undecided(results, worker, interrupted(error))

    async def _process_tick(self, tick: WorkflowTick) -> StopEvent | None:
        # Stamped here already, so that the observer and the journal read the same time.
        tick = _stamp_tick(tick, await self.adapter.get_now())
        self.observer.before_tick(tick, self.state)
        buffered, before = len(self.tick_buffer), self.state
        result = await super()._process_tick(tick)
        if isinstance(tick, TickSessionStart):
            # What steps had sent and the run had not taken comes behind the steps that begin again, as it came behind
            # them before.
            resent, self.tick_buffer = self.tick_buffer[buffered:], self.tick_buffer[:buffered]
            self.observer.send_again(resent, before)
        return result

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
        """Return when the run's next own deadline is: a retry's delay or the timeout of a wait. The workflow's timeout
        is none: its clock stands still while the server is down."""
        times = [at for at, _, tick in self.scheduled_wakeups if not isinstance(tick, TickTimeout)]
        return min(times, default=None)


async def end_tasks(tasks: Iterable[asyncio.Task[Any]]) -> set[asyncio.Task[Any]]:
    """Cancel these, and return those that do not heed it."""
    waiting = set(tasks)
    for task in waiting:
        task.cancel()
    if not waiting:
        return waiting
    _, stubborn = await asyncio.wait(waiting, timeout=STUBBORN)
    for task in stubborn:
        # Nobody is left to ask how it ended.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
    return stubborn


def register(
    workflow: Workflow,
    observer_of: Callable[[str], LoopObserver],
    told: Callable[[StepWorkerFunction], StepWorkerFunction],
) -> RegisteredWorkflow:
    """The workflow with its steps wrapped once, each also in ``told``, and its loop observed; ``observer_of`` finds a
    run's by its id."""

    async def loop(start_event: Event | None, init_state: BrokerState | None, run_id: str) -> StopEvent:
        run = consume_current_run()
        state = init_state or BrokerState.from_workflow(run.workflow)
        observed = ObservedLoop(contained, run.run_adapter, run.context, run.steps, state)
        observed.observer = observer_of(run_id)
        observed.observer.attach(observed)
        _running_loop.set(observed)
        try:
            return await observed.run(start_event=start_event)
        except asyncio.CancelledError as error:
            # Told here, where the run's span still is open: a run that leaves memory is no error.
            task = asyncio.current_task()
            if task is None or not task.cancelling():
                # Nobody has cancelled it: a value's own code raised this.
                raise interrupted(error) from error
            raise observed.observer.left() from None

    contained = cast(Workflow, _ContainedSteps(workflow))
    return RegisteredWorkflow(
        workflow=workflow,
        workflow_run_fn=create_workflow_run_function(workflow, loop),
        steps={name: told(_contained_worker(work)) for name, work in as_step_worker_functions(contained).items()},
    )


class _ContainedSteps:
    """A workflow whose steps raise nothing but ``Exception``: what the engine's workers get in its place."""

    def __init__(self, workflow: Workflow) -> None:
        self._workflow = workflow
        self._contained: dict[str, tuple[object, Callable[..., Any]]] = {}
        self._steps: tuple[int, dict[str, Any]] | None = None

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._workflow, name)
        return self._contain(name, found) if hasattr(found, "_step_config") else found

    def _get_steps(self) -> dict[str, Any]:
        """The steps, found once: the engine looks through all attributes of a workflow whenever a step runs."""
        version = type(self._workflow)._step_functions_version
        if self._steps is None or self._steps[0] != version:
            steps = self._workflow._get_steps()
            free = {
                name: self._contain(name, found) for name, found in steps.items() if not hasattr(self._workflow, name)
            }
            self._steps = (version, {**steps, **free})
        return self._steps[1]

    def _contain(self, name: str, found: Callable[..., Any]) -> Callable[..., Any]:
        known = self._contained.get(name)
        if known is None or known[0] != found:
            contained = _contained_step(name, found)
            # Read by the instrumentation at each call; found by Python itself, it costs as much as all of this.
            vars(contained)["__signature__"] = inspect.signature(found)
            known = self._contained[name] = (found, contained)
        return known[1]


def _contained_step(name: str, found: Callable[..., Any]) -> Callable[..., Any]:
    """The step, inside the engine's own handling: what it sent and took before it failed counts as with any failure."""
    if asyncio.iscoroutinefunction(found):

        @functools.wraps(found)
        async def step(*args: Any, **options: Any) -> Any:
            return await contain(functools.partial(found, *args, **options), *_execution(name))

        return step

    @functools.wraps(found)
    def sync_step(*args: Any, **options: Any) -> Any:
        return contain_sync(functools.partial(found, *args, **options))

    return sync_step


def _contained_worker(work: StepWorkerFunction) -> StepWorkerFunction:
    """The engine's work around a step: what it raises (a resource's factory, say) is a failure of the step, too."""

    async def worker(**options: Any) -> list[StepWorkerOutput]:
        try:
            return await contain(functools.partial(work, **options), *_execution(options["step_name"]))
        except Exception as error:
            return [StepWorkerFailed(exception=error, failed_at=time.time())]

    return cast(StepWorkerFunction, worker)


def _execution(step_name: str) -> tuple[Execution, Callable[[], bool]]:
    """The step that runs, and whether what it is part of has ended. In a nested run of a workflow that is served, too,
    whoever has cancelled the step is taken to have ended that run."""
    loop = _running_loop.get()
    if loop is not None and loop.adapter.run_id == get_current_run_id():
        return Execution(loop.observer.handler_id, step_name), lambda: loop.observer.is_ending
    task = asyncio.current_task()
    around = executing.get()
    execution = around or Execution("", step_name)
    return execution, lambda: task is not None and task.cancelling() > 0


def _undecided(
    results: list[StepFunctionResult], worker: InProgressState | None, error: Exception
) -> list[StepFunctionResult]:
    """The results of a step whose retry policy failed: it is not tried again, and fails for the policy's reason."""
    stopped: list[StepFunctionResult] = []
    for result in results:
        if isinstance(result, StepWorkerFailed) and result.retry_decision is None:
            error.__cause__ = error.__cause__ or result.exception
            first = worker.first_attempt_at if worker is not None else None
            decision = {"retry_decision": RetryDecision(delay=None), "first_attempt_at": first, "exception": error}
            result = result.model_copy(update=decision)
        stopped.append(result)
    return stopped


def rescue_of(work: object) -> Rescue | None:
    """The rescue of a coroutine that is a step of a nested run: its failure is one of that step, as it is of a durable
    run's. The engine's loop would wait for it for ever."""
    if not (inspect.iscoroutine(work) and work.cr_code is _NESTED_STEP):
        return None
    found = inspect.getcoroutinelocals(work)
    loop, command = found["self"], found["command"]

    def failed(error: BaseException) -> TickStepResult | None:
        task = asyncio.current_task()
        ended = task.ended_by_maker if isinstance(task, ServedTask) else task is None or task.cancelling() > 0
        if isinstance(error, (asyncio.CancelledError, GeneratorExit)) and ended:
            # The nested run has ended, and its loop has cancelled the step.
            return None
        failure = StepWorkerFailed(exception=interrupted(error), failed_at=time.time())
        running = loop.state.workers[command.step_id].in_progress
        worker = next((one for one in running if one.invocation_id == command.invocation_id), None)
        try:
            results = loop._stamp_retry_decisions(command.step_id, command.invocation_namespace, worker, [failure])
        except BaseException as policy_error:
            results = _undecided([failure], worker, interrupted(policy_error))
        return TickStepResult(
            step_id=command.step_id,
            worker_id=command.id,
            invocation_namespace=command.invocation_namespace,
            event=command.event,
            result=results,
            invocation_id=command.invocation_id,
        )

    return failed


_NESTED_STEP = next(
    code
    for code in _ControlLoopRunner.run_worker.__code__.co_consts
    if inspect.iscode(code) and code.co_name == "_run_worker"
)
"""The code that a run of the basic runtime runs a step with."""


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
    """Return whether the caller runs inside a step."""
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
    """Return how many runs of the workflow may run at once; None where there is no limit."""
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


def step_functions(workflow: Workflow) -> dict[str, Callable[..., Any]]:
    """The functions of the workflow's steps, by name."""
    return {name: inspect.unwrap(getattr(step, "__func__", step)) for name, step in workflow._get_steps().items()}


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


def context_model(
    context: dict[str, Any],
) -> tuple[type[SerializedContext | SerializedContextV0], dict[str, Any]]:
    """The model that the engine validates a ``Context.to_dict()`` with, and the context as that has it."""
    version = context.get("version")
    if version is None or (isinstance(version, int) and version < 1):
        return SerializedContextV0, context
    if version != 1:
        return SerializedContext, context
    workers = {name: {**worker, "in_progress": []} for name, worker in (context.get("workers") or {}).items()}
    for name, worker in workers.items():
        # The engine takes what was a text for the event of an attempt.
        attempts = context["workers"][name].get("in_progress", [])
        worker["in_progress"] = [{"event": item} if isinstance(item, str) else item for item in attempts]
    return SerializedContext, {**context, "version": 2, "workers": workers}


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


def compact_layouts() -> list[CompactLayout]:
    """Return the layouts by which the engine's own objects are kept: with short tags, and without what is as it always
    is."""
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
        Undecodable: a step that has work is gone from the code.
    """
    fresh = new_state(workflow)
    for step_id, worker in list(state.workers.items()):
        if step_id in fresh.workers:
            worker.config = fresh.workers[step_id].config
        elif worker.queue or worker.in_progress or worker.collected_waiters:
            raise Undecodable(f"its step '{step_id}' is gone from the code")
        else:
            del state.workers[step_id]
    # In the order of the code, with the steps that are new.
    state.workers = {step_id: state.workers.get(step_id, worker) for step_id, worker in fresh.workers.items()}
    state.config = fresh.config
    return state
