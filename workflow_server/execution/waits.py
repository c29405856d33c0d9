"""The waits of runs: those that last, the types for which waits have begun, and those for which steps may wait.

A step waits by calling ``wait_for_event``, not by declaring anything. Three things are known before it waits: the types
that runs have waited for before; whether the step has ever begun; and the names in its code, and in the workflow's own
functions that it calls. An event is early until the first wait for its type begins.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import CodeType, FunctionType
from typing import Any

from workflows.events import HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent

from workflow_server.execution.engine import (
    AddWaiter,
    BrokerState,
    DeleteWaiter,
    Event,
    StepId,
    StepWorkerResult,
    StepWorkerWaiter,
    TickAddEvent,
    TickStepResult,
    TickWaiterTimeout,
    Workflow,
    WorkflowTick,
    step_functions,
)
from workflow_server.execution.questions import Asked, question_text
from workflow_server.execution.renaming import NOTHING_RENAMED, Renaming

WaitKey = tuple[str, str]
"""The step and the waiter id of a wait."""
WAITING = "wait_for_event"
_NEVER_AWAITED = (StartEvent, StopEvent, InputRequiredEvent)
MOST_FUNCTIONS = 200
"""Functions that are looked into for a step: beyond these it is in the code of libraries."""


class BegunWaits:
    """Types by name, so that they are kept without being found again: after a deploy one may be gone."""

    def __init__(self) -> None:
        # Tuples: most runs wait for one type or two, and an empty set takes five times as much.
        self._exact: tuple[str, ...] = ()
        self._with_subclasses: tuple[str, ...] = ()

    def add(self, kind: type[Event], *, with_subclasses: bool) -> None:
        """A wait for this type has begun, in a step that takes subclasses or does not."""
        if with_subclasses:
            self._with_subclasses = _with(self._with_subclasses, [_type_name(kind)])
        else:
            self._exact = _with(self._exact, [_type_name(kind)])

    def cover(self, kind: type[Event]) -> bool:
        """Return whether a wait that an event of this class could have answered has begun."""
        bases = kind.__mro__
        return _type_name(kind) in self._exact or any(_type_name(base) in self._with_subclasses for base in bases)

    def to_json(self) -> dict[str, list[str]]:
        """Return what a snapshot keeps."""
        return {"exact": sorted(self._exact), "subclasses": sorted(self._with_subclasses)}

    def restore(self, data: Mapping[str, Iterable[str]], renaming: Renaming = NOTHING_RENAMED) -> None:
        """Add what a snapshot kept."""
        exact, with_subclasses = data.get("exact", ()), data.get("subclasses", ())
        self._exact = _with(self._exact, [renaming.identifier(name) for name in exact])
        self._with_subclasses = _with(self._with_subclasses, [renaming.identifier(name) for name in with_subclasses])


@dataclass(slots=True)
class Waits:
    """Until when the waits of a run last, in Unix seconds; one without a timeout is not listed."""

    deadlines: dict[WaitKey, float] = field(default_factory=dict)
    questions: dict[WaitKey, str] = field(default_factory=dict)
    """The classes of the events that were published with them; a wait without one is not listed."""
    prompts: dict[WaitKey, str | None] = field(default_factory=dict)
    """The texts of these events."""
    asked: Asked | None = None
    """The question that a step has returned last, until something is posted to the run."""
    since: dict[WaitKey, float | None] = field(default_factory=dict)
    """The times at which they began; None where that is not known."""
    begun: BegunWaits = field(default_factory=BegunWaits)
    """The types for which a wait has begun, whether it lasts or not."""

    def note(self, tick: WorkflowTick, state: BrokerState) -> None:
        """Take note of the waits that begin with this tick, which ``state`` is about to take in."""
        if not isinstance(tick, TickStepResult):
            if self.asked is not None and isinstance(tick, TickAddEvent) and tick.emission is None:
                self.asked = None
            return
        for item in tick.result:
            if isinstance(item, DeleteWaiter):
                self._forget((str(tick.step_id), item.waiter_id))
        for item in tick.result:
            if isinstance(item, AddWaiter):
                self._note_wait(item, tick, state)
            elif isinstance(item, StepWorkerResult):
                self._note_question(item, tick)

    def note_end(self, tick: TickStepResult) -> None:
        """Take note of the question that a step has returned, whose tick says nothing but that it ended."""
        for item in tick.result:
            if isinstance(item, StepWorkerResult):
                self._note_question(item, tick)

    def _note_question(self, ended: StepWorkerResult, tick: TickStepResult) -> None:
        if InputRequiredEvent in type(ended.result).__mro__:
            self.asked = Asked(question_text(ended.result), tick.stamped_at)

    def _note_wait(self, item: AddWaiter[Event], tick: TickStepResult, state: BrokerState) -> None:
        key = (str(tick.step_id), item.waiter_id)
        self._note_type(state, tick.step_id, item.event_type)
        if find_waiter(state, key) is None:
            self._forget(key)
            self.since[key] = tick.stamped_at
            if item.waiter_event is not None:
                self.questions[key] = type(item.waiter_event).__name__
                self.prompts[key] = question_text(item.waiter_event)
            if item.timeout is not None and tick.stamped_at is not None:
                self.deadlines[key] = tick.stamped_at + item.timeout

    def postpone(self, seconds: float) -> None:
        """Move all deadlines: the run did not go on for so long."""
        self.deadlines = {key: deadline + seconds for key, deadline in self.deadlines.items()}

    def _forget(self, key: WaitKey) -> None:
        self.deadlines.pop(key, None)
        self.questions.pop(key, None)
        self.prompts.pop(key, None)
        self.since.pop(key, None)

    def restore(self, state: BrokerState, data: Mapping[str, Any], renaming: Renaming) -> None:
        """Take up what a snapshot kept; one of an earlier version kept the open waits only."""
        known: dict[str, dict[WaitKey, Any]] = {
            "deadlines": self.deadlines,
            "questions": self.questions,
            "prompts": self.prompts,
            "since": self.since,
        }
        for name, values in known.items():
            for step, waiter, value in data.get(name, []):
                values[renaming.step(step), renaming.waiter(waiter)] = value
        self.begun.restore(data.get("begun") or {}, renaming)
        self.asked = Asked(*data["asked"]) if data.get("asked") else None
        for step_id, waiter in all_waiters(state):
            self._note_type(state, step_id, waiter.waiting_for_event)
            self.since.setdefault((str(step_id), waiter.waiter_id), None)

    def _note_type(self, state: BrokerState, step_id: StepId, kind: type[Event]) -> None:
        config = state.config.steps.get(step_id)
        self.begun.add(kind, with_subclasses=config is not None and config.accept_event_subclasses)

    def timeouts(self, state: BrokerState) -> Iterator[tuple[TickWaiterTimeout, float]]:
        """The timeouts of the waits that still last, with their deadlines."""
        for step_id, waiter in all_waiters(state):
            deadline = self.deadlines.get((str(step_id), waiter.waiter_id))
            if deadline is not None and waiter.resolved_event is None and not waiter.timed_out:
                timeout = {"step_id": step_id, "waiter_id": waiter.waiter_id}
                yield TickWaiterTimeout.model_validate(timeout), deadline

    def to_json(self, state: BrokerState) -> dict[str, Any]:
        """Return what a snapshot keeps, of the waits that the state holds."""
        held = {(str(step_id), waiter.waiter_id) for step_id, waiter in all_waiters(state)}
        told: dict[str, Mapping[WaitKey, Any]] = {
            "deadlines": self.deadlines,
            "questions": self.questions,
            "prompts": self.prompts,
            "since": self.since,
        }
        kept: dict[str, Any] = {
            name: [[*key, value] for key, value in values.items() if key in held] for name, values in told.items()
        }
        return {**kept, "asked": self.asked, "begun": self.begun.to_json()}


class KnownWaits:
    """The events for which the steps of one workflow may wait."""

    def __init__(self, workflow: Workflow) -> None:
        self._kinds: set[type[Event]] = {HumanResponseEvent}
        self._begun: set[str] = set()
        steps = step_functions(workflow)
        self._named = {name: _names(step, workflow) for name, step in steps.items()}
        self._scopes = {name: getattr(step, "__globals__", {}) for name, step in steps.items()}

    def learn(self, kind: type[Event]) -> None:
        """A run waits for events of this type."""
        self._kinds.add(kind)

    def began(self, step: str) -> None:
        """The step has begun once: had it waited at its beginning, its wait would be known."""
        self._begun.add(step)

    def may_wait(self, step: str, event: Event) -> bool:
        """Return whether the step may wait for such an event at its beginning."""
        if step not in self._begun or isinstance(event, tuple(self._kinds)):
            return True
        named = self._named.get(step, frozenset())
        return WAITING in named and any(kind.__name__ in named for kind in type(event).__mro__)

    def kinds(self) -> list[type[Event]]:
        """Return the events for which runs have waited, and those that the code of steps that wait names, by name."""
        found = self._kinds | {kind for name in self._named for kind in self._named_kinds(name)}
        return sorted(found - {HumanResponseEvent}, key=_type_name)

    def _named_kinds(self, step: str) -> Iterator[type[Event]]:
        named = self._named[step]
        for name in named if WAITING in named else ():
            kind = self._scopes[step].get(name)
            if isinstance(kind, type) and issubclass(kind, Event) and not issubclass(kind, _NEVER_AWAITED):
                yield kind


def _names(step: Callable[..., Any], workflow: Workflow) -> frozenset[str]:
    """The names in a step's code, and in that of the functions that it names."""
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


def _with(names: tuple[str, ...], more: Iterable[str]) -> tuple[str, ...]:
    return names if all(name in names for name in more) else tuple(dict.fromkeys([*names, *more]))


@lru_cache(maxsize=4096)
def _type_name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def all_waiters(state: BrokerState) -> Iterator[tuple[StepId, StepWorkerWaiter[Event]]]:
    """Every wait that the state holds, with its step."""
    for step_id, worker in state.workers.items():
        for waiter in worker.collected_waiters:
            yield step_id, waiter


def find_waiter(state: BrokerState, key: WaitKey) -> StepWorkerWaiter[Event] | None:
    """The wait of this step and id."""
    for step_id, waiter in all_waiters(state):
        if waiter.waiter_id == key[1] and str(step_id) == key[0]:
            return waiter
    return None
