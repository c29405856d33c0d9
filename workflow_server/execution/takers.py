"""The steps that take an event, as the journal names them: after a deploy, one may be gone, or take it no longer.

Without their names a replay would give the event to other steps, or to none, and nobody would be told.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from workflow_server.execution.codec import NAMED, Undecodable, text_of
from workflow_server.execution.engine import BrokerState, Event, StepId, TickAddEvent, step_accepts_event

MOST_CLASSES = 1_000
"""Classes of events whose takers are remembered: a program may create classes without end."""


class Named(NamedTuple):
    """The names of steps, and the text in which an entry of the journal has them."""

    names: tuple[str, ...]
    text: str


class Takers:
    """The steps of one workflow that take events, found once for each class of events."""

    def __init__(self) -> None:
        self._known: dict[tuple[type[Event], StepId | None, int], Named] = {}

    def of(self, tick: TickAddEvent, state: BrokerState) -> Named:
        """Return the steps that take the event of a tick, those that collect a fan-out's included."""
        # Steps can be added to a workflow while its runs go on.
        key = type(tick.event), tick.step_id, len(state.config.steps)
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= MOST_CLASSES:
                self._known.clear()
            known = self._known[key] = _found(tick, state)
        return known

    def check(self, tick: TickAddEvent, state: BrokerState, before: Iterable[str]) -> None:
        """Check that the steps that took the event still do.

        Raises:
            Undecodable: one is gone, or takes other events now.
        """
        present = self.of(tick, state).names
        for name in before:
            if name not in present:
                check_step(StepId.from_str(name), state)
                event = type(tick.event).__name__
                raise Undecodable(
                    f"there is work for step '{name}', which no longer accepts '{event}'",
                    remedy="let it accept these events, or deploy code whose step does",
                )


def check_step(step_id: StepId, state: BrokerState) -> None:
    """Check that the code has the step.

    Raises:
        Undecodable: it has not.
    """
    if step_id not in state.workers:
        raise Undecodable(f"there is work for step '{step_id}', which is no longer in the code", remedy=NAMED)


def check_state(state: BrokerState) -> None:
    """Check that the code has the steps to which events are on their way, and those that collect them.

    Raises:
        Undecodable: it has not.
    """
    for delivery in state.deliveries.values():
        if delivery.step_id is not None:
            check_step(delivery.step_id, state)
    for stream in state.streams.values():
        # The engine names a collection by its steps, its types and its policy, and drops what is for another one.
        if any(name not in state.config.collection_bindings for name in stream.accepting_binding_ids):
            raise Undecodable(
                f"what step '{stream.source_step}' fanned out is no longer collected as it was",
                remedy="deploy code that collects the same types by the same policy, or name renamed steps and classes "
                "with add_workflow(renamed=...)",
            )


def _found(tick: TickAddEvent, state: BrokerState) -> Named:
    names = tuple(
        str(step_id)
        for step_id, config in state.config.steps.items()
        if (tick.step_id is None or tick.step_id == step_id)
        and step_accepts_event(tick.event, config.accepted_events, allow_subclasses=config.accept_event_subclasses)
    )
    return Named(names, f',"to":{text_of(list(names))}' if names else "")
