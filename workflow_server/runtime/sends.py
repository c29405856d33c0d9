"""What steps have sent that were interrupted: a step that begins again and sends the same does not send it twice.

The engine numbers the sends of one execution, and drops a number that it has had. A step that begins again is another
execution, with numbers of its own. So what an interrupted execution had sent is remembered for the next one of the
same work item: where that sends an equal event to the same step, the engine is told that it has had it. A retry, or a
step that is run again by its wait, sends anew, as in the basic runtime: there the execution before had ended.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from workflow_server.runtime.engine import (
    BrokerState,
    Event,
    InProgressState,
    StepId,
    TickAddEvent,
    TickSessionStart,
    TickStepResult,
    WorkflowTick,
)
from workflow_server.runtime.serializer import RunSerializer

Item = tuple[str, str | None]
"""A step and one of its work items."""


class Sent(NamedTuple):
    """An event that a step sent, to one step or to all."""

    event: Event
    step: str | None


class Sends:
    """The sends of the executions that are under way in one run."""

    def __init__(self, serializer: RunSerializer) -> None:
        self._serializer = serializer
        self._sent: dict[str, list[Sent]] = {}
        """By invocation: what it has sent and the run has taken."""
        self._before: dict[Item, list[Sent]] = {}
        """By work item: what an interrupted execution had sent, and the present one has not sent again."""

    def note(self, tick: WorkflowTick, state: BrokerState, repeated: list[int] | None = None) -> list[int]:
        """Take note of what the tick brings, which ``state`` is about to take in.

        Returns the numbers of the sends in it that only repeat what was sent; ``state`` is made to ignore them. Where
        the journal has told which these are, they are given.
        """
        if isinstance(tick, TickSessionStart):
            self._interrupt(state)
        elif isinstance(tick, TickAddEvent) and tick.emission is not None:
            if tick.emission not in state.deliveries:
                found = _under_way(state, tick.emission.invocation_id)
                sent = Sent(tick.event, _name(tick.step_id))
                return self._take(found, tick.emission.index, sent, repeated)
        elif isinstance(tick, TickStepResult) and tick.invocation_id is not None:
            found = _under_way(state, tick.invocation_id)
            sends = {sent.index: Sent(sent.event, _name(sent.step_id)) for sent in tick.sends}
            marked = [self._take(found, index, sent, repeated) for index, sent in sends.items()]
            self._sent.pop(tick.invocation_id, None)
            self._before.pop((str(tick.step_id), found[1].work_item_id if found is not None else None), None)
            return [index for indexes in marked for index in indexes]
        return []

    def _interrupt(self, state: BrokerState) -> None:
        """What was under way begins again, as another execution."""
        before: dict[Item, list[Sent]] = {}
        for step, execution in _executions(state):
            item = (step, execution.work_item_id)
            sent = [*self._before.get(item, ()), *self._sent.get(execution.invocation_id or "", ())]
            if sent:
                before.setdefault(item, []).extend(sent)
        self._before, self._sent = before, {}

    def _take(
        self, found: tuple[str, InProgressState] | None, index: int, sent: Sent, repeated: list[int] | None
    ) -> list[int]:
        if found is None or index in found[1].received:
            return []
        step, execution = found
        before = self._before.get((step, execution.work_item_id), [])
        same = self._find(before, sent) if before and (repeated is None or index in repeated) else None
        self._sent.setdefault(execution.invocation_id or "", []).append(sent)
        if same is None:
            return []
        del before[same]
        execution.received.add(index)
        return [index]

    def _find(self, before: list[Sent], sent: Sent) -> int | None:
        for place, earlier in enumerate(before):
            if earlier.step == sent.step and type(earlier.event) is type(sent.event) and self._equal(earlier, sent):
                return place
        return None

    def _equal(self, one: Sent, other: Sent) -> bool:
        return self._serializer.serialize(one.event) == self._serializer.serialize(other.event)

    # -- Snapshots -----------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        """All of it, for a snapshot."""
        return {
            "sent": [[invocation, *sent] for invocation, events in self._sent.items() for sent in events],
            "before": [[*item, *sent] for item, events in self._before.items() for sent in events],
        }

    def restore(self, data: dict[str, Any]) -> None:
        """Go on from a snapshot; one that was taken by an earlier version has nothing of it."""
        for invocation, event, step in data.get("sent", []):
            self._sent.setdefault(invocation, []).append(Sent(event, step))
        for name, work_item, event, step in data.get("before", []):
            self._before.setdefault((name, work_item), []).append(Sent(event, step))


def _executions(state: BrokerState) -> Iterator[tuple[str, InProgressState]]:
    for step_id, worker in state.workers.items():
        for execution in worker.in_progress:
            yield str(step_id), execution


def _under_way(state: BrokerState, invocation_id: str) -> tuple[str, InProgressState] | None:
    return next((found for found in _executions(state) if found[1].invocation_id == invocation_id), None)


def _name(step_id: StepId | None) -> str | None:
    return str(step_id) if step_id is not None else None
