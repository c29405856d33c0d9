"""The steps of a workflow as the engine runs them: contained, observed, and known to the code that they call."""

from __future__ import annotations

import asyncio
import functools
import inspect
import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any, cast

from workflows import Workflow
from workflows.events import Event, StopEvent
from workflows.plugins.basic import get_current_run_id
from workflows.runtime.control_loop.runner import _ControlLoopRunner
from workflows.runtime.types.internal_state import BrokerState
from workflows.runtime.types.plugin import RegisteredWorkflow, RunContext, consume_current_run
from workflows.runtime.types.results import StepWorkerFailed, StepWorkerOutput, StepWorkerStateContextVar
from workflows.runtime.types.step_function import StepWorkerFunction, as_step_worker_functions
from workflows.runtime.types.ticks import TickStepResult

from workflow_server.execution.containment import (
    Execution,
    Rescue,
    ServedTask,
    executing,
    interrupted,
)
from workflow_server.execution.engine.lean_loop import LeanLoop
from workflow_server.execution.engine.loop import LoopObserver, ObservedLoop, running_loop, undecided
from workflow_server.execution.engine.plain_steps import is_observed, observed_run, plain_run, plain_worker
from workflow_server.execution.step_containment import contain, contain_sync


def register(
    workflow: Workflow,
    observer_of: Callable[[str], LoopObserver],
    wrap: Callable[[StepWorkerFunction], StepWorkerFunction],
    *,
    lean: bool,
) -> RegisteredWorkflow:
    """Return the workflow as the engine runs it: with contained steps and an observed loop.

    ``wrap`` wraps each step once more; ``observer_of`` finds the observer of a run by the run's id. ``lean``: run in
    the lean loop, and without spans where nobody listens to them.
    """

    async def loop(start_event: Event | None, init_state: BrokerState | None, run_id: str) -> StopEvent:  # noqa: ARG001
        run = consume_current_run()
        return await drive(run, start_event, init_state or BrokerState.from_workflow(run.workflow))

    async def drive(run: RunContext, start_event: Event | None, state: BrokerState) -> StopEvent:
        observer = observer_of(run.run_adapter.run_id)
        # A verbose workflow prints what passes through its adapter, which only the engine's own loop calls.
        is_lean = lean and cast(object, run.run_adapter) is observer
        kind = LeanLoop if is_lean else ObservedLoop
        observed = kind(contained, run.run_adapter, run.context, run.steps, state)
        observed.observer = observer
        observed.observer.attach(observed)
        running_loop.set(observed)
        try:
            return await observed.run(start_event=start_event)
        except asyncio.CancelledError as error:
            # Replaced here, while the run's span is open: a run that leaves memory is not an error in a trace.
            task = asyncio.current_task()
            if task is None or not task.cancelling():
                # Nobody cancelled this task: user code of a value raised the exception.
                raise interrupted(error) from error
            raise observed.observer.left() from None

    contained = cast(Workflow, _ContainedSteps(workflow))
    return RegisteredWorkflow(
        workflow=workflow,
        workflow_run_fn=plain_run(workflow, loop, drive) if lean else observed_run(workflow, loop),
        steps={name: wrap(_contained_worker(work)) for name, work in _workers(workflow, contained, lean=lean).items()},
    )


def _workers(workflow: Workflow, contained: Workflow, *, lean: bool) -> dict[str, StepWorkerFunction]:
    """Return the workers of the steps: those that open no span, where nobody listens to them and the step is plain."""
    steps = contained._get_steps()

    def worker(name: str, engine_worker: StepWorkerFunction) -> StepWorkerFunction:
        plain = plain_worker(steps[name], engine_worker, workflow) if lean else None
        if plain is None:
            return engine_worker

        def chosen(**options: Any) -> Awaitable[list[StepWorkerOutput]]:
            return (engine_worker if is_observed(workflow) else plain)(**options)

        return cast(StepWorkerFunction, chosen)

    return {name: worker(name, work) for name, work in as_step_worker_functions(contained).items()}


class _ContainedSteps:
    """A proxy of a workflow whose steps raise nothing but ``Exception``; the engine's workers get it instead."""

    def __init__(self, workflow: Workflow) -> None:
        self._workflow = workflow
        self._contained: dict[str, tuple[object, Callable[..., Any]]] = {}
        self._steps: tuple[int, dict[str, Any]] | None = None

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._workflow, name)
        return self._contain(name, found) if hasattr(found, "_step_config") else found

    def _get_steps(self) -> dict[str, Any]:
        """Return the steps from a cache: the engine searches all attributes of a workflow whenever a step runs."""
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
            # The instrumentation reads it at each call, and computing it there costs as much as the containment.
            vars(contained)["__signature__"] = inspect.signature(found)
            known = self._contained[name] = (found, contained)
        return known[1]


def _contained_step(name: str, found: Callable[..., Any]) -> Callable[..., Any]:
    """Return the step, contained inside the engine's own worker, so that what it sent and took before it failed counts
    as with any other failure."""
    if asyncio.iscoroutinefunction(found):

        @functools.wraps(found)
        async def step(*args: Any, **options: Any) -> Any:
            return await contain(functools.partial(found, *args, **options), *(_around.get() or _execution(name)))

        return step

    @functools.wraps(found)
    def sync_step(*args: Any, **options: Any) -> Any:
        return contain_sync(functools.partial(found, *args, **options))

    return sync_step


def _contained_worker(work: StepWorkerFunction) -> StepWorkerFunction:
    """Return the engine's worker with its own errors (a resource's factory, say) as failures of the step."""

    async def worker(**options: Any) -> list[StepWorkerOutput]:
        around = _execution(options["step_name"])
        _around.set(around)
        try:
            return await contain(functools.partial(work, **options), *around)
        except Exception as error:
            return [StepWorkerFailed(exception=error, failed_at=time.time())]

    return cast(StepWorkerFunction, worker)


_Around = tuple[Execution, Callable[[], bool]]

_around: ContextVar[_Around | None] = ContextVar("around", default=None)
"""Of the worker that the step is called in, which runs in the same task."""


def _execution(step_name: str) -> _Around:
    """Return the running step, and a function that says whether its run has ended.

    A nested run has no observer to ask: there, a step that is being cancelled counts as ended by its run.
    """
    loop = running_loop.get()
    if loop is not None and loop.adapter.run_id == get_current_run_id():
        return Execution(loop.observer.handler_id, step_name), lambda: loop.observer.is_ending
    task = asyncio.current_task()
    around = executing.get()
    execution = around or Execution("", step_name)
    return execution, lambda: task is not None and task.cancelling() > 0


def rescue_of(work: object) -> Rescue | None:
    """Return the rescue for a step of a nested run, None for any other coroutine.

    It makes a failure of that step of what the step raises; the engine's loop would wait for the step for ever.
    """
    if not (inspect.iscoroutine(work) and work.cr_code is _NESTED_STEP):
        return None
    found = inspect.getcoroutinelocals(work)
    loop, command = found["self"], found["command"]

    def failed(error: BaseException) -> TickStepResult | None:
        task = asyncio.current_task()
        ended = task.ended_by_maker if isinstance(task, ServedTask) else task is None or task.cancelling() > 0
        if isinstance(error, (asyncio.CancelledError, GeneratorExit)) and ended:
            # The nested run has ended, and its loop cancelled the step.
            return None
        failure = StepWorkerFailed(exception=interrupted(error), failed_at=time.time())
        running = loop.state.workers[command.step_id].in_progress
        worker = next((one for one in running if one.invocation_id == command.invocation_id), None)
        try:
            results = loop._stamp_retry_decisions(command.step_id, command.invocation_namespace, worker, [failure])
        except BaseException as policy_error:
            results = undecided([failure], worker, interrupted(policy_error))
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
"""The code object with which a run of the basic runtime runs a step."""


def in_step() -> bool:
    """Return whether the caller runs inside a step."""
    return StepWorkerStateContextVar.get(None) is not None


def running_step() -> str | None:
    """Return the name of the step that the caller runs in; None outside."""
    step = StepWorkerStateContextVar.get(None)
    return None if step is None else step.state.step_name


def writing_invocation() -> str | None:
    """Return the id of the step execution that the caller runs in, None outside and in a task that outlived its
    step."""
    step = StepWorkerStateContextVar.get(None)
    return None if step is None or step.sends.closed else step.state.invocation_id


def idempotency_key() -> str:
    """Return a key for the side effects of the running step.

    The key is the same whenever the step runs again for the same event, after a crash or as a retry, also where its
    failed run is retried as another one, and differs for every other step, event and run.

    Raises:
        RuntimeError: called outside a step.
    """
    step = StepWorkerStateContextVar.get(None)
    run_id = get_current_run_id()
    if step is None or run_id is None:
        raise RuntimeError("idempotency_key() may only be called from within a step")
    name, item, loop = step.state.step_name, step.state.work_item_id, running_loop.get()
    if loop is not None and loop.observer.run_id == run_id:
        # An effect of the step under an earlier name, or in the run that this one retries, must not be repeated.
        name, run_id, item = loop.observer.earlier_name(name), loop.observer.begun_in(item), loop.observer.named(item)
    return f"{run_id}:{name}:{item}"
