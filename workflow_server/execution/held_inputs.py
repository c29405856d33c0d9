"""The events of steps that will begin again, as the steps left them.

A step may change its own event, the events that it collected and the answers to its waits before it waits or fails, and
gets the same objects when it begins again: a retry may count its attempts there. The journal has the events as they
were sent, so their changed form is stored beside the step's result.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any, NamedTuple

from workflow_server.execution.codec import Codec, text_of
from workflow_server.execution.engine import (
    AddWaiter,
    BrokerState,
    DeleteCollectedEvent,
    InProgressState,
    InternalStepWorkerState,
    StepWorkerFailed,
    TickStepResult,
    WorkflowTick,
    just_ended,
)
from workflow_server.execution.patches import Json
from workflow_server.execution.send_dedup import Item, under_way


class HeldInputs:
    """The events that one run's steps had when they waited or failed; unchanged ones are not recorded again."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._recorded: dict[Item, dict[str, bytes]] = {}
        """By work item: digests of what was recorded last."""
        self._held: tuple[Item, _Held] | None = None
        self._parts: list[tuple[str, Any]] = []
        """Its events, as they are before the tick, which may be reduced before they are recorded."""

    def note(self, tick: WorkflowTick, state: BrokerState) -> None:
        """Note the step of the tick, in the state before it."""
        self._held = None
        if not isinstance(tick, TickStepResult) or tick.invocation_id is None:
            return
        begins_again = _begins_again(tick, state)
        if not (begins_again or self._recorded):
            return
        found = under_way(state, tick.invocation_id)
        if found is None:
            return
        item, execution = found
        if begins_again:
            held = _Held(tick, execution, state.workers[tick.step_id])
            self._held, self._parts = (item, held), list(held.parts())
        else:
            self._recorded.pop(item, None)

    def to_record(self) -> dict[str, Json]:
        """Return the trees of the noted step's events, if it begins again, as far as they are not recorded yet.

        Raises:
            Unstorable: the step put into it what cannot be kept.
        """
        if self._held is None:
            return {}
        # The run may wait for long now, and needs them no more.
        (item, _), self._held = self._held, None
        parts, self._parts = self._parts, []
        recorded = self._recorded.setdefault(item, {})
        trees: dict[str, Json] = {}
        for name, value in parts:
            tree = self._codec.encode(value, type(value).__name__ if name == _EVENT else f"An event of '{item[0]}'")
            digest = _digest(tree)
            if recorded.get(name) != digest:
                recorded[name] = digest
                trees[name] = tree
        return trees

    def restore(self, trees: dict[str, Json]) -> None:
        """Put the recorded events into the noted step.

        Raises:
            Undecodable: see ``Codec.decode``.
        """
        if self._held is not None:
            item, held = self._held
            for name, tree in trees.items():
                held.put(name, self._codec.decode(tree))
                self._recorded.setdefault(item, {})[name] = _digest(tree)


_EVENT, _BOUND, _BATCH, _ANSWERS, _COLLECTED = "event", "bound", "batch", "answers", "collected"


class _Held(NamedTuple):
    """The places in a loop's state from which a step is given its events when it begins again."""

    tick: TickStepResult
    execution: InProgressState
    worker: InternalStepWorkerState

    def parts(self) -> Iterator[tuple[str, Any]]:
        """Return the values there, each under its name in the journal."""
        yield _EVENT, self.execution.event
        if self.execution.bound_events:
            yield _BOUND, self.execution.bound_events
        if self.execution.shared_state.collection_release_payload is not None:
            yield _BATCH, self.execution.shared_state.collection_release_payload
        answers = {
            waiter.waiter_id: waiter.resolved_event
            for waiter in self.worker.collected_waiters
            if waiter.resolved_event is not None and waiter.work_item_id == self.execution.work_item_id
        }
        if answers:
            yield _ANSWERS, answers
        took = [result.event_id for result in self.tick.result if isinstance(result, DeleteCollectedEvent)]
        held = self.worker.collected_events
        collected = {name: list(held[name]) for name in took if name in held}
        if collected:
            yield _COLLECTED, collected

    def put(self, name: str, value: Any) -> None:
        """Put something else there."""
        if name == _EVENT:
            self.execution.event = value
        elif name == _BOUND:
            self.execution.bound_events = value
        elif name == _BATCH:
            shared = dataclasses.replace(self.execution.shared_state, collection_release_payload=value)
            self.execution.shared_state = shared
        elif name == _COLLECTED:
            self.worker.collected_events.update(value)
        else:
            for waiter in self.worker.collected_waiters:
                waiter.resolved_event = value.get(waiter.waiter_id, waiter.resolved_event)


def _begins_again(tick: TickStepResult, state: BrokerState) -> bool:
    """Return whether the step will begin again with its events, or another one that catches its error is shown them."""
    return not just_ended(tick) and any(
        isinstance(result, AddWaiter)
        or (
            isinstance(result, StepWorkerFailed)
            and (
                (result.retry_decision is not None and result.retry_decision.delay is not None)
                or tick.step_id in state.config.handler_for_step
            )
        )
        for result in tick.result
    )


def _digest(tree: Json) -> bytes:
    return blake2b(text_of(tree).encode(), digest_size=16).digest()
