"""The state of a run's loop in a form that is changed in place: see ``reducing``."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any, NoReturn, SupportsIndex

from workflows.events import Event
from workflows.runtime.types.internal_state import BrokerState, InternalStepConfig, InternalStepWorkerState
from workflows.runtime.types.results import StepWorkerWaiter
from workflows.runtime.types.step_id import StepId


@dataclass
class LiveState(BrokerState):
    """The state of a run's loop that its reducer changes in place; made by ``live``."""

    steps: list[tuple[StepId, InternalStepConfig, LiveWorker]] = field(default_factory=list, compare=False, repr=False)
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
    """Return the state in a form that is changed in place; it takes over all that ``state`` consists of."""
    workers = {step_id: LiveWorker(**_values(worker, _WORKER)) for step_id, worker in state.workers.items()}
    taken = LiveState(**{**_values(state, _STATE), "workers": workers})
    taken.steps = [(step_id, config, workers[step_id]) for step_id, config in state.config.steps.items()]
    return taken


def plain(state: BrokerState) -> BrokerState:
    """Return a live state in the engine's own classes, to be read or copied before the next tick: it shares its
    parts."""
    workers = {
        step_id: InternalStepWorkerState(**_values(worker, _WORKER)) for step_id, worker in state.workers.items()
    }
    return BrokerState(**{**_values(state, _STATE), "workers": workers})


_STATE = tuple(field.name for field in fields(BrokerState))
_WORKER = tuple(field.name for field in fields(InternalStepWorkerState))


def _values(held: BrokerState | InternalStepWorkerState, names: tuple[str, ...]) -> dict[str, Any]:
    values = vars(held)
    return {name: values[name] for name in names}
