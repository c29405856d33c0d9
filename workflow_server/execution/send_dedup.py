"""Deduplication of sends: a step that was interrupted and begins again does not send the same event twice.

The engine numbers the sends of one execution, and drops a number that it has already seen. A step that begins again is
another execution with numbers of its own. The sends of an interrupted execution are therefore remembered for the next
execution of the same work item: where that sends an equal event to the same step, the engine is told that it has seen
it. A retry, or a step that its own wait runs again, sends anew, as in the basic runtime: its earlier execution had
ended.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any

from pydantic_core import to_json

from workflow_server.errors import Unstorable
from workflow_server.execution.codec import Codec
from workflow_server.execution.engine import (
    BrokerState,
    EmissionKey,
    Event,
    InProgressState,
    StepId,
    TickAddEvent,
    TickSessionStart,
    TickStepResult,
    WorkflowTick,
)
from workflow_server.execution.renaming import NOTHING_RENAMED, Renaming

Item = tuple[str, str | None]
"""A step and one of its work items."""


FEW = 16
"""Results of steps up to which none is forgotten."""

Sent = str
"""A digest of a sent event and its target step, since a step may send very many."""


class Sends:
    """The sends of the running executions of one run."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._sent: dict[str, Counter[Sent]] = {}
        """By invocation: the sends that the run has taken."""
        self._before: dict[Item, Counter[Sent]] = {}
        """By work item: the sends of an interrupted execution that the present one has not repeated yet."""
        self._is_legacy = False
        """True if a first build noted some of this."""

    def note(self, tick: WorkflowTick, state: BrokerState, repeated: list[int] | None = None) -> list[int]:
        """Note the sends of a tick that is about to be reduced into ``state``.

        Returns the numbers of those that only repeat earlier ones; ``state`` is made to ignore them. On replay the
        journal says which these are, and they are passed in.
        """
        if isinstance(tick, TickSessionStart):
            self._interrupt(state)
        elif isinstance(tick, TickAddEvent) and tick.emission is not None:
            found = under_way(state, tick.emission.invocation_id)
            if found is not None and tick.emission.index not in found[1].received:
                return self._take(found, tick.emission.index, tick.event, tick.step_id, repeated)
        elif isinstance(tick, TickStepResult) and tick.invocation_id is not None:
            return self._end(tick, tick.invocation_id, state, repeated)
        return []

    def _interrupt(self, state: BrokerState) -> None:
        """Note that all running executions begin again, as other executions."""
        before: dict[Item, Counter[Sent]] = {}
        for item, execution in executions(state):
            sent = self._before.pop(item, Counter()) + self._sent.get(execution.invocation_id or "", Counter())
            if sent:
                before[item] = before.get(item, Counter()) + sent
        self._before, self._sent = before, {}

    def _end(
        self, tick: TickStepResult, invocation_id: str, state: BrokerState, repeated: list[int] | None
    ) -> list[int]:
        """Note that an execution has ended; its last sends may still be on their way."""
        found = under_way(state, invocation_id) if self._before else None
        marked: list[int] = []
        if found is not None and found[0] in self._before:
            for sent in tick.sends:
                if sent.index not in found[1].received:
                    marked += self._take(found, sent.index, sent.event, sent.step_id, repeated)
            del self._before[found[0]]
        self._sent.pop(invocation_id, None)
        return marked

    def _take(
        self,
        found: tuple[Item, InProgressState],
        index: int,
        event: Event,
        step_id: StepId | None,
        repeated: list[int] | None,
    ) -> list[int]:
        item, execution = found
        sent = _digest(event, step_id, self._codec)
        self._sent.setdefault(execution.invocation_id or "", Counter())[sent] += 1
        before = self._before.get(item)
        if not before or not (repeated is None or index in repeated):
            return []
        if self._is_legacy and not before[sent]:
            sent = _legacy_digest(event, step_id)
        if not before[sent]:
            return []
        before[sent] -= 1
        execution.received.add(index)
        return [index]

    # -- Snapshots -----------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        """Return everything, for a snapshot."""
        return {"sent": self._sent, "before": [[*item, sent] for item, sent in self._before.items()]}

    def restore(self, data: dict[str, Any], renaming: Renaming = NOTHING_RENAMED, *, is_legacy: bool = False) -> None:
        """Restore from a snapshot; one of an earlier version has none of this."""
        self._is_legacy = is_legacy
        self._sent = {invocation: Counter(sent) for invocation, sent in data.get("sent", {}).items()}
        self._before = {
            (renaming.step(step), work_item and renaming.identifier(work_item)): Counter(sent)
            for step, work_item, sent in data.get("before", [])
        }


def source_of(tick: WorkflowTick, state: BrokerState) -> str | None:
    """Return the step that made what the tick brings, its result or what it sent; None of what comes from elsewhere."""
    if isinstance(tick, TickStepResult):
        return str(tick.step_id)
    if isinstance(tick, TickAddEvent) and tick.emission is not None:
        found = under_way(state, tick.emission.invocation_id)
        return found[0][0] if found is not None else None
    return None


def executions(state: BrokerState) -> Iterator[tuple[Item, InProgressState]]:
    """Yield the executions that are under way, each with its step and work item."""
    for step_id, worker in state.workers.items():
        for execution in worker.in_progress:
            yield (str(step_id), execution.work_item_id), execution


def under_way(state: BrokerState, invocation_id: str) -> tuple[Item, InProgressState] | None:
    """The execution of this id, with its step and work item; None where it has ended."""
    return next((found for found in executions(state) if found[1].invocation_id == invocation_id), None)


def _digest(event: Event, step_id: StepId | None, codec: Codec) -> Sent:
    kind = type(event)
    try:
        # The members of a set have no order: sort the keys that they are written as.
        value = json.dumps(codec.encode(event), sort_keys=True)
    except Unstorable:
        # The journal refuses it next, and says why.
        value = ""
    named = f"{kind.__module__}.{kind.__qualname__} {step_id} "
    return blake2b((named + value).encode(), digest_size=16).hexdigest()


def _legacy_digest(event: Event, step_id: StepId | None) -> Sent:
    """Return the digest that the first builds made: of the event as pydantic dumps it."""
    kind = type(event)
    try:
        value = to_json(_in_order(event.model_dump()))
    except Exception:
        value = b""
    named = f"{kind.__module__}.{kind.__qualname__} {step_id} "
    return blake2b(named.encode() + value, digest_size=16).hexdigest()


def _in_order(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _in_order(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_in_order(item) for item in value]
    return sorted(map(_in_order, value), key=repr) if isinstance(value, (set, frozenset)) else value


class Pulls:
    """A record of whether a run had taken what a step sent out of its mailbox, when its process died before that was
    recorded.

    While a step ends, the first of its sends that are on their way is taken out of the mailbox, and is reduced before
    the steps begin that start with the result. At a resume that send does not wait for them either. Any other does.
    """

    def __init__(self) -> None:
        self._results: dict[str, tuple[int, int]] = {}
        """By invocation: the number of the last invocation before its result, and how often it had sent."""
        self._most = FEW

    def note(self, tick: WorkflowTick, state: BrokerState) -> None:
        """Take note of the tick, which ``state`` is about to take in."""
        if isinstance(tick, TickStepResult) and tick.invocation_id is not None:
            self._forget_delivered(state)
            self._results[tick.invocation_id] = (state.invocation_seq, len(tick.sends))
        elif isinstance(tick, TickAddEvent) and not self._was_returned(tick.emission):
            self._results.clear()

    def _forget_delivered(self, state: BrokerState) -> None:
        """Forget the invocations of which nothing is on its way: in a loop of steps there are always more."""
        if len(self._results) > self._most:
            under_way = {key.invocation_id for key in state.deliveries}
            self._results = {name: result for name, result in self._results.items() if name in under_way}
            self._most = 2 * len(self._results) + FEW

    def _was_returned(self, key: EmissionKey | None) -> bool:
        """Return whether a step returned the event, so that it never was in the mailbox."""
        result = None if key is None else self._results.get(key.invocation_id)
        return key is not None and result is not None and key.index >= result[1]

    def had_taken(self, key: EmissionKey | None, state: BrokerState) -> bool:
        """Return whether the run had taken this send, the first that is on its way: nothing else was since the step
        ended that sent it, and what is under way in ``state`` started after that."""
        result = None if key is None else self._results.get(key.invocation_id)
        if result is None:
            return False
        return all(
            _number(execution.invocation_id) > result[0]
            for worker in state.workers.values()
            for execution in worker.in_progress
        )

    def to_json(self) -> dict[str, list[int]]:
        """Return what a snapshot keeps."""
        return {invocation: list(result) for invocation, result in self._results.items()}

    def restore(self, data: dict[str, list[int]]) -> None:
        """Take up what a snapshot kept."""
        self._results = {invocation: (last, sends) for invocation, (last, sends) in data.items()}


def _number(invocation_id: str | None) -> int:
    number = (invocation_id or "").rpartition("_")[2]
    return int(number) if number.isdigit() else 0
