"""The steps and waits that would take an event: the engine's own rules, asked of the state of its loop without changing
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
        """Return whether the event is of its type, as the engine has it."""
        return event_matches(event, self.kind, allow_subclasses=self.with_subclasses)


def accepting_steps(state: BrokerState, event: Event, step: StepId | None) -> list[StepId]:
    """The steps that take the event where it comes from outside of a fan-out: those that collect a list do not."""
    return [
        step_id
        for step_id, config in state.config.steps.items()
        if (step is None or step == step_id)
        and config.collection_param is None
        and step_accepts_event(event, config.accepted_events, allow_subclasses=config.accept_event_subclasses)
    ]


def is_ignored(state: BrokerState, event: Event) -> bool:
    """Return whether the engine takes the event for nothing: only steps accept it that collect what a fan-out emits,
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
    """Return whether every worker of the step is at work."""
    worker = state.workers[step_id]
    return len(worker.in_progress) >= worker.config.num_workers


def answers(state: BrokerState, event: Event) -> bool:
    """Return whether the event answers a wait that is open."""
    return any(
        event_matches(event, waiter.waiting_for_event, allow_subclasses=with_subclasses)
        and meets(event, waiter.requirements)
        for waiter, with_subclasses in _open_waits(state)
    )


def meets(event: Event, requirements: dict[str, Any]) -> bool:
    """Return whether the event has what a wait requires.

    Where the values themselves cannot tell (arrays do not), it is taken to have: the engine asks them again, and what
    they raise then ends the run.
    """
    try:
        return all(getattr(event, name, None) == value for name, value in requirements.items())
    except BaseException:
        return True


def beginning_waits(tick: WorkflowTick, state: BrokerState) -> list[BeginningWait]:
    """The waits that begin with this tick, which ``state`` is about to take in; not those that go on."""
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
    """Return whether a step runs or has work that waits for it."""
    return any(worker.queue or worker.in_progress for worker in state.workers.values())


def _open_waits(state: BrokerState) -> Iterator[tuple[StepWorkerWaiter[Event], bool]]:
    for step_id, worker in state.workers.items():
        config = state.config.steps.get(step_id)
        for waiter in worker.collected_waiters:
            if config is not None and waiter.resolved_event is None and not waiter.timed_out:
                yield waiter, config.accept_event_subclasses


class Weights:
    """Bytes that the events in a loop's state take up in a snapshot, about. Measuring takes the time of a look at each
    event, and each is looked at once."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Event, int]] = {}

    def note(self, event: Event, size: int) -> None:
        """The size of an event that comes into the state is known."""
        # Holding the event keeps its identity its own.
        self._known[id(event)] = (event, size)

    def of(self, state: BrokerState) -> int:
        """The weight of all events in the state."""
        found: dict[int, tuple[Event, int]] = {}
        for event in events_of(state):
            if isinstance(event, Event) and id(event) not in found:
                found[id(event)] = self._known.get(id(event)) or (event, _weight(vars(event), event._data))
        self._known = found
        return sum(size for _, size in found.values())


def _weight(*values: object) -> int:
    """Bytes of these values; what they hold more than once, or hold each other by, counts once."""
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
