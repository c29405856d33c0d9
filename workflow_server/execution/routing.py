"""The steps and waits that would take an event: the engine's own rules, applied to the loop's state without changing
it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

from workflow_server.execution.engine import (
    AddWaiter,
    BrokerState,
    Event,
    StepId,
    StepWorkerWaiter,
    TickStepResult,
    WorkflowTick,
    event_matches,
    events_of,
    step_accepts_event,
)


class BeginningWait(NamedTuple):
    """A wait that begins with a tick."""

    kind: type[Event]
    with_subclasses: bool
    requirements: dict[str, Any]

    def is_for(self, event: Event) -> bool:
        """Return whether the event matches its type, by the engine's rule."""
        return event_matches(event, self.kind, allow_subclasses=self.with_subclasses)


def accepting_steps(state: BrokerState, event: Event, step: StepId | None) -> list[StepId]:
    """Return the steps that take an event from outside of a fan-out: not those that collect a list."""
    return [
        step_id
        for step_id, config in state.config.steps.items()
        if (step is None or step == step_id)
        and config.collection_param is None
        and step_accepts_event(event, config.accepted_events, allow_subclasses=config.accept_event_subclasses)
    ]


def is_ignored(state: BrokerState, event: Event) -> bool:
    """Return whether the engine would drop the event silently: only steps that collect a fan-out's events accept it,
    and no wait is for it."""
    collecting = any(
        config.collection_param is not None
        and step_accepts_event(event, config.accepted_events, allow_subclasses=config.accept_event_subclasses)
        for config in state.config.steps.values()
    )
    return (
        collecting
        and not accepting_steps(state, event, None)
        and not any(
            event_matches(
                event, waiter.waiting_for_event, allow_subclasses=state.config.steps[step_id].accept_event_subclasses
            )
            for step_id, worker in state.workers.items()
            for waiter in worker.collected_waiters
        )
    )


def would_queue(state: BrokerState, step_id: StepId) -> bool:
    """Return whether all workers of the step are busy."""
    worker = state.workers[step_id]
    return len(worker.in_progress) >= worker.config.num_workers


def answers(state: BrokerState, event: Event) -> bool:
    """Return whether the event answers an open wait."""
    return any(
        event_matches(event, waiter.waiting_for_event, allow_subclasses=with_subclasses)
        and meets(event, waiter.requirements)
        for waiter, with_subclasses in _open_waits(state)
    )


def answered_waits(state: BrokerState, event: Event) -> list[tuple[str, str]]:
    """Return the open waits that the event answers, each with its step and its waiter id."""
    return [
        (step, waiter.waiter_id)
        for step, waiter, with_subclasses in _waits_of_steps(state)
        if event_matches(event, waiter.waiting_for_event, allow_subclasses=with_subclasses)
        and meets(event, waiter.requirements)
    ]


def meets(event: Event, requirements: dict[str, Any]) -> bool:
    """Return whether the event meets the requirements of a wait.

    Values that cannot be compared (arrays cannot) count as met: the engine compares them again, and what they raise
    there ends the run.
    """
    try:
        return all(getattr(event, name, None) == value for name, value in requirements.items())
    except BaseException:
        return True


def beginning_waits(tick: WorkflowTick, state: BrokerState) -> list[BeginningWait]:
    """Return the waits that begin with this tick, which is about to be reduced into ``state``; not those that go on."""
    if not isinstance(tick, TickStepResult):
        return []
    worker = state.workers.get(tick.step_id)
    config = state.config.steps.get(tick.step_id)
    if worker is None or config is None:
        return []
    known = {waiter.waiter_id for waiter in worker.collected_waiters}
    return [
        BeginningWait(item.event_type, config.accept_event_subclasses, item.requirements)
        for item in tick.result
        if isinstance(item, AddWaiter) and item.waiter_id not in known
    ]


def is_at_work(state: BrokerState) -> bool:
    """Return whether a step runs, or has work in its queue."""
    return any(worker.queue or worker.in_progress for worker in state.workers.values())


def _open_waits(state: BrokerState) -> Iterator[tuple[StepWorkerWaiter[Event], bool]]:
    return ((waiter, with_subclasses) for _, waiter, with_subclasses in _waits_of_steps(state))


def _waits_of_steps(state: BrokerState) -> Iterator[tuple[str, StepWorkerWaiter[Event], bool]]:
    for step_id, worker in state.workers.items():
        config = state.config.steps.get(step_id)
        for waiter in worker.collected_waiters:
            if config is not None and waiter.resolved_event is None and not waiter.timed_out:
                yield str(step_id), waiter, config.accept_event_subclasses


FEW = 64
"""Events that came to a run up to which it is not looked whether they are still in its state."""


class Weights:
    """The approximate size in bytes, in a snapshot, of the events in a loop's state. Each event is measured once."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Event, int]] = {}
        self._most = FEW

    @property
    def is_full(self) -> bool:
        """Return whether it is time to look which of the events are still in the state."""
        return len(self._known) > self._most

    def note(self, event: Event, size: int) -> None:
        """Note the known size of an event that enters the state."""
        # Keep a reference to the event: otherwise another object could get its id.
        self._known[id(event)] = (event, size)

    def of(self, state: BrokerState) -> int:
        """Return the size of all events in the state."""
        found: dict[int, tuple[Event, int]] = {}
        for event in events_of(state):
            if isinstance(event, Event) and id(event) not in found:
                found[id(event)] = self._known.get(id(event)) or (event, _weight(vars(event), event._data))
        self._known = found
        self._most = 2 * len(found) + FEW
        return sum(size for _, size in found.values())


def _weight(*values: object) -> int:
    """Return the size of these values in bytes; shared and cyclic parts count once."""
    total = 0
    left, seen = list(values), set[int]()
    while left:
        value = left.pop()
        if isinstance(value, (str, bytes, bytearray)):
            total += len(value)
            continue
        if id(value) in seen:
            continue
        parts = _parts(value)
        total += 16 if parts is None else 8 + 8 * len(parts)
        if parts:
            seen.add(id(value))
            left.extend(parts)
    return total


def _parts(value: object) -> list[object] | None:
    if isinstance(value, dict):
        return [*value, *value.values()]
    if isinstance(value, (list, tuple, set, frozenset, deque)):
        return list(value)
    try:
        fields = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return None
    return [fields] if isinstance(fields, dict) else None
