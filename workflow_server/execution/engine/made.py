"""Objects of the engine's classes, made without their constructors, which take longer than all else that is done with
them: a frozen dataclass sets its fields one by one, and a model validates what the engine itself has just made."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel
from workflows.events import Event
from workflows.runtime.types.commands import CommandQueueEvent, CommandRunWorker
from workflows.runtime.types.results import SentEvent, StepFunctionResult, StepWorkerResult
from workflows.runtime.types.step_id import StepId
from workflows.runtime.types.ticks import TickAddEvent, TickStepResult

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

_set = object.__setattr__
_given: dict[type[BaseModel], set[str]] = {}
"""The names of the fields of each class. Its objects share them: all are given, so that pydantic adds none."""


def frozen(kind: type[T], **values: Any) -> T:
    """Return a dataclass with these values, all that it has."""
    made = object.__new__(kind)
    vars(made).update(values)
    return made


def model(kind: type[M], values: dict[str, Any], private: dict[str, Any] | None = None) -> M:
    """Return a model with the ``values`` of its fields, all that it has, and of its private attributes, None where its
    class has none. It takes over both."""
    given = _given.get(kind)
    if given is None:
        given = _given[kind] = set(values)
    made = object.__new__(kind)
    _set(made, "__dict__", values)
    _set(made, "__pydantic_fields_set__", given)
    _set(made, "__pydantic_extra__", None)
    _set(made, "__pydantic_private__", private)
    return made


# -- Ticks ----------------------------------------------------------------------------------------

_STEP_RESULT = vars(TickStepResult(step_id=StepId.root("step"), worker_id=0, event=Event(), result=[]))
_ADDED_EVENT = vars(TickAddEvent(event=Event()))
"""The fields of ticks, with what they have where nothing else is said."""


def step_ended(command: CommandRunWorker, results: list[StepFunctionResult], sends: list[SentEvent]) -> TickStepResult:
    """Return the tick of a step that ended with these results."""
    fields = {
        "step_id": command.step_id,
        "worker_id": command.id,
        "invocation_namespace": command.invocation_namespace,
        "event": command.event,
        "result": results,
        "invocation_id": command.invocation_id,
        "sends": sends,
    }
    if len(results) == 1 and type(results[0]) is StepWorkerResult:
        return model(TickStepResult, {**_STEP_RESULT, **fields})
    # Some are of generic classes, and become those that the tick declares.
    return TickStepResult(**fields)


def event_added(event: Event) -> TickAddEvent:
    """Return the tick that adds a start event."""
    return model(TickAddEvent, {**_ADDED_EVENT, "event": event, "recovery_counts": {}})


def event_delivered(command: CommandQueueEvent) -> TickAddEvent:
    """Return the tick that the engine's loop makes of an event that a step returned."""
    return model(
        TickAddEvent,
        {
            **_ADDED_EVENT,
            "event": command.event,
            "step_id": command.step_id,
            "origin_namespace": command.origin_namespace,
            "recovery_counts": dict(command.recovery_counts),
            "scope_path": command.scope_path,
            "emission": command.emission,
        },
    )
