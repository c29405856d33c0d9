"""The steps of a workflow without the engine's spans: for plain asynchronous steps, while nobody listens to spans.

The engine opens a span around each step and each run, which costs more than all else that it does for a step. Where
every span and event handler of every dispatcher is a null handler, they are left out; handlers may be attached at any
time, so that is looked at whenever a step begins. A result that is neither an event nor None is given to the engine's
own worker, which knows what to do with it.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import Callable, Coroutine
from typing import Any, cast

from llama_index_instrumentation import get_dispatcher, root_manager
from llama_index_instrumentation.dispatcher import active_instrument_tags
from llama_index_instrumentation.event_handlers import NullEventHandler
from llama_index_instrumentation.span_handlers import NullSpanHandler
from workflows import Context, Workflow
from workflows.context.internal_context import InternalContext
from workflows.events import Event, StartEvent, StopEvent
from workflows.runtime.types.internal_state import BrokerState
from workflows.runtime.types.plugin import (
    ControlLoopFunction,
    InternalRunAdapter,
    RunContext,
    WorkflowRunFunction,
)
from workflows.runtime.types.results import (
    InternalContextVar,
    RetryAttempt,
    Returns,
    StepSends,
    StepWorkerContext,
    StepWorkerFailed,
    StepWorkerOutput,
    StepWorkerResult,
    StepWorkerState,
    StepWorkerStateContextVar,
    WaitingForEvent,
)
from workflows.runtime.types.step_function import StepWorkerFunction, create_workflow_run_function

from workflow_server.execution.containment import DONE
from workflow_server.execution.engine.made import frozen, model
from workflow_server.execution.engine.workflow import propagated_tags

_WORKFLOWS = get_dispatcher("workflows.workflow")
"""The dispatcher to which the engine reports steps, unless a workflow has one of its own."""


def is_observed(workflow: Workflow) -> bool:
    """Return whether anybody listens to spans or to events about them.

    A handler of any dispatcher counts: the spans and events that a step's own code reports there have the step's span
    as their parent, and its tags.
    """
    if workflow._dispatcher is not _WORKFLOWS:
        return True
    # A copy: other threads may be importing modules, which make dispatchers of their own.
    for dispatcher in list(root_manager.dispatchers.values()):
        for span_handler in dispatcher.span_handlers:
            if type(span_handler) is not NullSpanHandler:
                return True
        for event_handler in dispatcher.event_handlers:
            if type(event_handler) is not NullEventHandler:
                return True
    return False


class _Known:
    """The function of a step, looked at once: whether it is asynchronous."""

    def __init__(self) -> None:
        self._function: Callable[..., Any] | None = None
        self._is_asynchronous = False

    def is_asynchronous(self, function: Callable[..., Any]) -> bool:
        """Return whether calling the function makes a coroutine."""
        if function is not self._function:
            self._function, self._is_asynchronous = function, asyncio.iscoroutinefunction(function)
        return self._is_asynchronous


class StepContext(InternalContext[Any]):
    """A step's context that makes no task of what is done already, as a publication is."""

    def _execute_task(self, coro: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        return _NO_TASK if coro is DONE else super()._execute_task(coro)


_NO_TASK = cast("asyncio.Task[Any]", None)
"""Stands for the task of a publication, which nobody looks at."""


def plain_worker(step: Any, engine_worker: StepWorkerFunction, served: Workflow) -> StepWorkerFunction | None:
    """Return a worker for the step that opens no span; None where the step is not plain.

    A plain step is asynchronous, takes one event and perhaps a context, needs no resources, and does not fan out.
    ``engine_worker`` is the engine's own, to which results of other kinds are given; ``served`` is the workflow itself.
    """
    config = step._step_config
    if config.resources or config.collection_param is not None or config.collect_params or config.is_fan_out:
        return None
    event_name, context_name = config.event_name, config.context_parameter
    known = _Known()

    async def worker(
        state: StepWorkerState,
        step_name: str,
        event: Event,
        workflow: Workflow,
        bound_events: dict[str, Event] | None = None,  # noqa: ARG001 only a step that collects has any
        retry: RetryAttempt = _FIRST_ATTEMPT,
    ) -> list[StepWorkerOutput]:
        function = getattr(workflow, step_name, step)
        if not known.is_asynchronous(function):
            return await engine_worker(state=state, step_name=step_name, event=event, workflow=workflow, retry=retry)
        context = _context(served._runtime.get_internal_adapter(workflow), workflow)
        returns, sends = Returns(return_values=[]), StepSends()
        step_context = frozen(StepWorkerContext, event=event, state=state, returns=returns, retry=retry, sends=sends)
        step_token = StepWorkerStateContextVar.set(step_context)
        context_token = InternalContextVar.set(weakref.ref(context))
        tags_token = active_instrument_tags.set(
            {**active_instrument_tags.get(), "llamaindex.step.input_event": type(event).__name__}
        )
        arguments = {event_name: event, context_name: context} if context_name else {event_name: event}
        try:
            try:
                result = await function(**arguments)
                if result is None or isinstance(result, Event):
                    returns.return_values.append(model(StepWorkerResult, {**_RESULT, "result": result}))
                else:
                    returns.return_values += await _judged(engine_worker, result, state, step_name, event, workflow)
            except WaitingForEvent as waiting:
                await asyncio.sleep(0)
                returns.return_values.append(waiting.add)
            except Exception as error:
                returns.return_values.append(StepWorkerFailed(exception=error, failed_at=time.time()))
            await cast(Any, context._face)._finalize_step()
            return [*returns.return_values, *sends.entries]
        finally:
            sends.closed = True
            active_instrument_tags.reset(tags_token)
            InternalContextVar.reset(context_token)
            StepWorkerStateContextVar.reset(step_token)

    return cast(StepWorkerFunction, worker)


_FIRST_ATTEMPT = RetryAttempt()
_RESULT = vars(StepWorkerResult())


def observed_run(workflow: Workflow, loop: ControlLoopFunction) -> WorkflowRunFunction:
    """Return the engine's function that runs the workflow in the given loop, within a span."""
    engine_run = create_workflow_run_function(workflow, loop)

    async def run(
        init_state: BrokerState, start_event: StartEvent | None = None, tags: dict[str, Any] | None = None
    ) -> StopEvent:
        return await engine_run(init_state, start_event, tags or propagated_tags())

    return run


Drive = Callable[[RunContext, StartEvent | None, BrokerState], Coroutine[Any, Any, StopEvent]]
"""Runs a workflow's loop from this state, with a start event or none."""


def plain_run(workflow: Workflow, loop: ControlLoopFunction, drive: Drive) -> WorkflowRunFunction:
    """Return a function that runs the workflow in the given loop, and opens no span while nobody listens to spans.

    ``drive`` is that loop without the context variable through which the engine hands it over.
    """
    observed = observed_run(workflow, loop)

    async def run(
        init_state: BrokerState, start_event: StartEvent | None = None, tags: dict[str, Any] | None = None
    ) -> StopEvent:
        if is_observed(workflow):
            return await observed(init_state, start_event, tags)
        adapter = workflow._runtime.get_internal_adapter(workflow)
        context = _context(adapter, workflow)
        steps = workflow._runtime.get_or_register(workflow).steps
        run_context = RunContext(workflow=workflow, run_adapter=adapter, context=context, steps=steps)
        return await drive(run_context, start_event, init_state)

    return run


def _context(adapter: InternalRunAdapter, workflow: Workflow) -> Context[Any]:
    return Context._create_face(StepContext(adapter, workflow))


async def _judged(
    engine_worker: StepWorkerFunction,
    result: object,
    state: StepWorkerState,
    step_name: str,
    event: Event,
    workflow: Workflow,
) -> list[Any]:
    """Return what the engine makes of a step's result that is not an event."""
    returning = cast(Workflow, _Returning(workflow, step_name, result))
    return await engine_worker(state=state, step_name=step_name, event=event, workflow=returning)


class _Returning:
    """A workflow of which one step returns a given result."""

    def __init__(self, workflow: Workflow, step_name: str, result: object) -> None:
        self._workflow = workflow

        async def step(*args: object, **options: object) -> object:  # noqa: ARG001 it is called as the step is
            return result

        setattr(self, step_name, step)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._workflow, name)
