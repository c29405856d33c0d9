"""The state of a run's loop in a form that is changed in place: see ``reducing``."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NoReturn, SupportsIndex, TypeVar

from workflows.events import Event
from workflows.runtime.types.internal_state import BrokerState, InternalStepConfig, InternalStepWorkerState
from workflows.runtime.types.results import StepWorkerWaiter
from workflows.runtime.types.step_id import StepId

T = TypeVar("T")


class LiveState(BrokerState):
    """The state of a run's loop that its reducer changes in place; made by ``live``."""

    steps: list[tuple[StepId, InternalStepConfig, LiveWorker]]
    """The steps of the workflow in their order: looking one up by its id takes as long as giving it an event."""

    def deepcopy(self) -> BrokerState:
        """Return the state itself: the engine's functions change what they take for their copy."""
        return self

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        """Refuse to be stored under a name that no stored run knows; ``plain`` is what can be stored."""
        raise TypeError("a live state cannot be stored: take plain(state)")


class LiveWorker(InternalStepWorkerState):
    """The state of a step in a live state."""

    def _deepcopy(self) -> InternalStepWorkerState:
        """Return what a step that begins is given of this: the engine takes nothing else from the copy."""
        return InternalStepWorkerState(
            queue=[],
            config=self.config,
            in_progress=[],
            collected_events=self.buffers(),
            collected_waiters=self.waiters(),
        )

    def buffers(self) -> dict[str, list[Event]]:
        """Return the collected events as they are now."""
        return {name: list(events) for name, events in self.collected_events.items()}

    def waiters(self) -> list[StepWorkerWaiter[Any]]:
        """Return the waits as they are now."""
        return [replace(waiter) for waiter in self.collected_waiters]


def live(state: BrokerState) -> LiveState:
    """Return the state in a form that is changed in place. It takes over all that ``state`` consists of, which is not
    used any more then."""
    taken = _as(LiveState, state)
    workers = {step_id: _as(LiveWorker, worker) for step_id, worker in state.workers.items()}
    steps = [(step_id, config, workers[step_id]) for step_id, config in state.config.steps.items()]
    vars(taken).update(workers=workers, steps=steps)
    return taken


def plain(state: BrokerState) -> BrokerState:
    """Return a live state in the engine's own classes, to be stored or copied before the next tick: it shares its
    parts."""
    shown = _as(BrokerState, state)
    vars(shown).pop("steps", None)
    shown.workers = {step_id: _as(InternalStepWorkerState, worker) for step_id, worker in state.workers.items()}
    return shown


def _as(kind: type[T], held: object) -> T:
    """Return an object of another class with the same attributes."""
    made = object.__new__(kind)
    vars(made).update(vars(held))
    return made
