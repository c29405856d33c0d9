"""The events of steps that will begin again, as the steps left them.

A step may change its own event before it waits or fails, and is given that very object when it begins again: a retry
counts its attempts there, say. The journal has the event as it was sent, so what became of it stands beside the result.
"""

from __future__ import annotations

from hashlib import blake2b

from workflow_server.runtime.codec import Codec, text_of
from workflow_server.runtime.engine import (
    AddWaiter,
    BrokerState,
    InProgressState,
    StepWorkerFailed,
    TickStepResult,
    WorkflowTick,
)
from workflow_server.runtime.patches import Json
from workflow_server.runtime.sends import Item, under_way


class HeldInputs:
    """The events of one run's steps that have waited or failed. One that is as it was when this was last recorded is
    not recorded again."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._recorded: dict[Item, bytes] = {}
        """By work item: a digest of what was recorded last."""
        self._held: tuple[Item, InProgressState] | None = None

    def note(self, tick: WorkflowTick, state: BrokerState) -> None:
        """Look at what the tick finds in ``state``, which is about to take it in."""
        self._held = None
        if not isinstance(tick, TickStepResult) or tick.invocation_id is None:
            return
        begins_again = _begins_again(tick, state)
        if not (begins_again or self._recorded):
            return
        found = under_way(state, tick.invocation_id)
        if found is None:
            return
        if begins_again:
            self._held = found
        else:
            self._recorded.pop(found[0], None)

    def to_record(self) -> Json | None:
        """The tree of what the step that was noted was run for, where it begins again and that is not recorded yet.

        Raises:
            Unstorable: the step put into it what cannot be kept.
        """
        if self._held is None:
            return None
        item, execution = self._held
        tree = {"event": self._codec.encode(execution.event, type(execution.event).__name__)}
        if execution.bound_events:
            tree["bound"] = self._codec.encode(execution.bound_events, f"An event of step '{item[0]}'")
        digest = _digest(tree)
        if self._recorded.get(item) == digest:
            return None
        self._recorded[item] = digest
        return tree

    def restore(self, tree: Json) -> None:
        """Give the step that was noted what was recorded.

        Raises:
            Undecodable: see ``Codec.decode``.
        """
        if self._held is not None:
            item, execution = self._held
            execution.event = self._codec.decode(tree["event"])
            if "bound" in tree:
                execution.bound_events = self._codec.decode(tree["bound"])
            self._recorded[item] = _digest(tree)


def _begins_again(tick: TickStepResult, state: BrokerState) -> bool:
    """Return whether the step will begin again with its event, or another one that catches its error is shown that."""
    return any(
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
