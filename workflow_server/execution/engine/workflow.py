"""The parts of a workflow that the engine keeps to itself: its timeout, its graph, its steps and its runtime."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextvars import Token
from typing import Any

from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.dispatcher import active_instrument_tags
from workflows import Workflow
from workflows.events import Event, StopEvent
from workflows.plugins.basic import _current_run_id
from workflows.runtime.types.plugin import Runtime
from workflows.runtime.verbose import VerboseDecorator


def adopt(workflow: Workflow, runtime: Runtime) -> None:
    """Make this runtime the workflow's own, also when the workflow has already run in another."""
    workflow._runtime.untrack_workflow(workflow)
    workflow._runtime = VerboseDecorator(runtime) if workflow._verbose else runtime


def workflow_timeout(workflow: Workflow) -> float | None:
    """Return the seconds that a run of the workflow may live, None for no limit."""
    return workflow._timeout


def stop_event_class(workflow: Workflow) -> type[Event]:
    """Return the type of event that ends a run of the workflow, as its steps declare it."""
    kind: Any = workflow.stop_event_class
    return kind if isinstance(kind, type) and issubclass(kind, Event) else StopEvent


def concurrent_runs(workflow: Workflow) -> int | None:
    """Return the number of runs of the workflow that may run at once, None for no limit."""
    return workflow._num_concurrent_runs


def validate(workflow: Workflow) -> None:
    """Check the workflow's graph, unless its author has switched that off.

    Raises:
        WorkflowValidationError: the graph is not valid.
    """
    workflow._validate()


def accepted_events(workflow: Workflow) -> dict[str, tuple[tuple[type[Event], ...], bool, bool]]:
    """Return for each step: the types it accepts, whether subclasses count, and whether events can be sent to it by
    name (not to a step that collects a list)."""
    return {
        name: (
            tuple(kind for kind in config.accepted_events if isinstance(kind, type)),
            config.accept_event_subclasses,
            config.collection_param is None,
        )
        for name, config in workflow._step_configs().items()
    }


def step_functions(workflow: Workflow) -> dict[str, Callable[..., Any]]:
    """Return the functions of the workflow's steps, by name."""
    return {name: inspect.unwrap(getattr(step, "__func__", step)) for name, step in workflow._get_steps().items()}


class RunScope:
    """A block in which this run is the engine's current one, with these tags for instrumentation.

    The engine's own context managers are generators: three of them take 1.4 kB for as long as a run is in memory.
    """

    __slots__ = ("_run_id", "_tags", "_tokens")

    def __init__(self, run_id: str, tags: dict[str, Any]) -> None:
        self._run_id = run_id
        self._tags = tags
        self._tokens: tuple[Token[Any], Token[Any]] | None = None

    def __enter__(self) -> None:
        self._tokens = _current_run_id.set(self._run_id), active_instrument_tags.set(self._tags)

    def __exit__(self, *_: object) -> None:
        if self._tokens is not None:
            run_id, tags = self._tokens
            active_instrument_tags.reset(tags)
            _current_run_id.reset(run_id)


def propagated_tags() -> dict[str, Any]:
    """Return the caller's instrumentation context, for the run function to restore."""
    context: dict[str, Any] = get_dispatcher().capture_propagation_context()
    return context
