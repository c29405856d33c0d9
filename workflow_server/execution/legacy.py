"""Records of the first builds, which used the engine's own JSON for events, ticks and states."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from workflow_server.execution.engine import (
    AddWaiter,
    BrokerState,
    Event,
    TickStepResult,
    Workflow,
    WorkflowTick,
    broker_from_json,
    decode_state,
    encode_state_tree,
    tick_from_json,
)
from workflow_server.execution.patches import Patch
from workflow_server.execution.serializer import RunSerializer
from workflow_server.execution.state import ROOTS

Deadlines = dict[tuple[str, str], float]


class LegacyFormat:
    """Reads the records of the first builds of one workflow."""

    def __init__(self, serializer: RunSerializer) -> None:
        self._serializer = serializer

    def event(self, data: str) -> Event:
        """Return a start event or a posted event."""
        event: Event = self._serializer.deserialize(data)
        return event

    def tick(self, entry: dict[str, Any], event: Event | None) -> WorkflowTick:
        """Return a tick. ``event`` is that of its step, which was not written with its result."""
        kept = self._serializer.deserialize_value(entry.pop("kept", {}))
        if event is not None:
            entry["event"] = event
        return _with_requirements(tick_from_json(entry, self._serializer), kept)

    def restore(self, snapshot: dict[str, Any], workflow: Workflow) -> tuple[BrokerState, Deadlines]:
        """Return the loop's state of a snapshot, and the deadlines of its waits."""
        state = broker_from_json(snapshot["broker"], workflow, self._serializer)
        waits = {(wait["step"], wait["waiter"]): wait for wait in self._serializer.deserialize_value(snapshot["waits"])}
        for step_id, worker in state.workers.items():
            for waiter in worker.collected_waiters:
                wait = waits.get((str(step_id), waiter.waiter_id))
                if wait is not None:
                    waiter.requirements = wait["requirements"]
                    waiter.timed_out = wait["timed_out"]
        return state, {key: wait["deadline"] for key, wait in waits.items() if wait["deadline"] is not None}

    def state(self, payload: dict[str, Any]) -> BaseModel:
        """Return a state that the engine encoded: in a first build, in a client's context, or on another server."""
        return decode_state(payload.get("state_data"), self._serializer)

    def empty_state(self, kind: type[BaseModel]) -> Any:
        """Return the tree of a state to which nothing was written."""
        return encode_state_tree(kind(), self._serializer)

    def wrote(self, patches: Sequence[Patch]) -> bool:
        """Return whether a first build wrote these patches of a state."""
        operation = next((operation for patch in patches for operation in patch), None)
        if operation is None:
            return False
        if operation["path"]:
            return operation["path"][0] not in ROOTS
        return "_tree" in operation.get("value", ())


def is_legacy_event(data: str) -> bool:
    """Return whether an event was written by a first build."""
    entry = json.loads(data)
    return isinstance(entry, dict) and ("__is_pydantic" in entry or "__is_component" in entry)


def _with_requirements(tick: WorkflowTick, kept: dict[str, dict[str, Any]]) -> WorkflowTick:
    if not kept:
        return tick
    assert isinstance(tick, TickStepResult)
    result = [
        item.model_copy(update={"requirements": kept[item.waiter_id]})
        if isinstance(item, AddWaiter) and item.waiter_id in kept
        else item
        for item in tick.result
    ]
    return tick.model_copy(update={"result": result})
