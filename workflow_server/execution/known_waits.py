"""The events that the steps of a workflow may wait for, as far as that is known before they do.

A step waits by calling ``wait_for_event``, not by declaring anything. Three things are known: the types that runs have
waited for before; whether the step has ever begun; and the names in its code, and in the workflow's own functions that
it calls.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType
from typing import Any

from workflows.events import HumanResponseEvent

from workflow_server.execution.engine import Event, Workflow, step_functions

WAITING = "wait_for_event"
MOST_FUNCTIONS = 200
"""Functions searched for one step at most: a step that calls more is in the code of libraries."""


class KnownWaits:
    """The events that the steps of one workflow may wait for."""

    def __init__(self, workflow: Workflow) -> None:
        self._kinds: set[type[Event]] = {HumanResponseEvent}
        self._begun: set[str] = set()
        self._named = {name: _names(step, workflow) for name, step in step_functions(workflow).items()}

    def learn(self, kind: type[Event]) -> None:
        """Note that a run waits for events of this type."""
        self._kinds.add(kind)

    def began(self, step: str) -> None:
        """Note that the step has begun once: if it waited at its beginning, that wait is known now."""
        self._begun.add(step)

    def may_wait(self, step: str, event: Event) -> bool:
        """Return whether the step may wait for such an event at its beginning."""
        if step not in self._begun or isinstance(event, tuple(self._kinds)):
            return True
        named = self._named.get(step, frozenset())
        return WAITING in named and any(kind.__name__ in named for kind in type(event).__mro__)


def _names(step: Callable[..., Any], workflow: Workflow) -> frozenset[str]:
    """Return the names in a step's code, and in the functions that it names."""
    named: set[str] = set()
    seen: set[int] = set()
    left = [function.__code__ for function in (step,) if isinstance(function, FunctionType)]
    scopes = {id(code): step.__globals__ for code in left}
    while left and len(seen) < MOST_FUNCTIONS:
        code = left.pop()
        if id(code) in seen:
            continue
        seen.add(id(code))
        named.update(code.co_names, code.co_freevars)
        scope = scopes[id(code)]
        for inner in code.co_consts:
            if isinstance(inner, CodeType):
                scopes[id(inner)] = scope
                left.append(inner)
        for function in _called(code, scope, type(workflow)):
            scopes[id(function.__code__)] = function.__globals__
            left.append(function.__code__)
    return frozenset(named)


def _called(code: CodeType, scope: dict[str, Any], workflow: type[Workflow]) -> Iterator[FunctionType]:
    for name in code.co_names:
        for found in (scope.get(name), getattr(workflow, name, None)):
            function = inspect.unwrap(found) if isinstance(found, FunctionType) else None
            if isinstance(function, FunctionType) and not (function.__module__ or "").startswith("workflows."):
                yield function
