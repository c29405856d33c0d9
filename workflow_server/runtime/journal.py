"""The journal of a run: ticks as JSON and back, and snapshots that stand for a stretch of it.

A tick names what the state already holds rather than repeating it: the start event, an event that waits for its
delivery, the event that a step was run for. Beside it stands what the engine drops when it encodes a wait: what the
wait requires, and until when; and which of a step's sends only repeat those of an execution that was interrupted.
Design and measurements: ``docs/architecture.md``.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticSerializationError, to_json

from workflow_server.errors import Unstorable
from workflow_server.runtime.begun import BegunWaits
from workflow_server.runtime.engine import (
    AddWaiter,
    BrokerState,
    DeleteWaiter,
    EmissionKey,
    Event,
    StartEvent,
    StepId,
    StepWorkerResult,
    StepWorkerWaiter,
    TickAddEvent,
    TickIdleCheck,
    TickPublishEvent,
    TickStepResult,
    Workflow,
    WorkflowTick,
    broker_from_json,
    broker_to_json,
    event_value,
    new_state,
    reduce,
    tick_from_json,
)
from workflow_server.runtime.pulls import Pulls
from workflow_server.runtime.sends import Sends
from workflow_server.runtime.serializer import RunSerializer

LONGEST_NUMBER = 4_300
"""Digits that Python reads of one number: https://docs.python.org/3/library/stdtypes.html#int-max-str-digits"""
_LONG_NUMBER = re.compile(r"[0-9]{4300}")
_TOO_LONG = f"a number of more than {LONGEST_NUMBER:,} digits is not read back"

WaitKey = tuple[str, str]
"""The step and the waiter id of a wait."""


@dataclass
class Waits:
    """Until when the waits of a run last, in Unix seconds; one without a timeout is not listed."""

    deadlines: dict[WaitKey, float] = field(default_factory=dict)
    begun: BegunWaits = field(default_factory=BegunWaits)
    """The types for which a wait has begun, whether it lasts or not."""

    def note(self, tick: WorkflowTick, state: BrokerState) -> dict[str, dict[str, Any]]:
        """Take note of the waits that begin with this tick, which ``state`` is about to take in, and return what is
        to be kept of them beside it."""
        kept: dict[str, dict[str, Any]] = {}
        if isinstance(tick, TickStepResult):
            for item in tick.result:
                if isinstance(item, DeleteWaiter):
                    self.deadlines.pop((str(tick.step_id), item.waiter_id), None)
        for wait in _added_waits(tick):
            assert isinstance(tick, TickStepResult)
            key = (str(tick.step_id), wait.waiter_id)
            self._note_type(state, tick.step_id, wait.event_type)
            if _find_waiter(state, key) is None:
                self.deadlines.pop(key, None)
                if wait.timeout is not None and tick.stamped_at is not None:
                    self.deadlines[key] = tick.stamped_at + wait.timeout
            if wait.requirements:
                kept[wait.waiter_id] = wait.requirements
        return kept

    def restore_begun(self, state: BrokerState, data: dict[str, list[str]] | None) -> None:
        """Take up what a snapshot kept of the types; one of an earlier version kept the open waits only."""
        self.begun.restore(data or {})
        for step_id, waiter in _all_waiters(state):
            self._note_type(state, step_id, waiter.waiting_for_event)

    def _note_type(self, state: BrokerState, step_id: StepId, kind: type[Event]) -> None:
        config = state.config.steps.get(step_id)
        self.begun.add(kind, with_subclasses=config is not None and config.accept_event_subclasses)

    def open(self, state: BrokerState) -> Iterator[tuple[StepId, str, float]]:
        """The waits that still last, with their deadlines."""
        for step_id, waiter in _all_waiters(state):
            deadline = self.deadlines.get((str(step_id), waiter.waiter_id))
            if deadline is not None and waiter.resolved_event is None and not waiter.timed_out:
                yield step_id, waiter.waiter_id, deadline


class Journal:
    """Encodes the ticks of one run, and decodes them into its state."""

    def __init__(self, workflow: Workflow, run_id: str, serializer: RunSerializer, start: StartEvent | None) -> None:
        self._workflow = workflow
        self._run_id = run_id
        self._serializer = serializer
        self._types = serializer.types
        self._start = start
        self._delivery: EmissionKey | None = None
        self._kept: dict[str, dict[str, Any]] = {}
        self._repeated: list[int] = []
        self._sends = Sends()
        self.waits = Waits()
        self.pulls = Pulls()

    # -- Writing -------------------------------------------------------------------------------

    def before(self, tick: WorkflowTick, state: BrokerState) -> None:
        """Look at what only the state before a stamped tick shows; ``encode`` of the same tick follows."""
        self._kept = self.waits.note(tick, state)
        self._repeated = self._sends.note(tick, state)
        self.pulls.note(tick, state)
        self._delivery = None
        if isinstance(tick, TickAddEvent) and tick.emission is not None and tick.emission in state.deliveries:
            self._delivery = tick.emission

    def encode(self, tick: WorkflowTick) -> str | None:
        """The tick's entry, or None for one that replay does not need.

        Raises:
            Unstorable: a value of an event is no JSON; the message names the field.
        """
        if isinstance(tick, (TickIdleCheck, TickPublishEvent)):
            return None
        if isinstance(tick, TickAddEvent):
            if tick.event is self._start and tick.step_id is None and tick.emission is None:
                return _text({"ref": "start", "stamped_at": tick.stamped_at})
            if self._delivery is not None:
                key = self._delivery
                return _text({"ref": [key.invocation_id, key.index], "stamped_at": tick.stamped_at})
        try:
            data = tick.model_dump_json(exclude={"event"} if isinstance(tick, TickStepResult) else None)
        except (PydanticSerializationError, ValueError, RecursionError) as error:
            raise _unstorable(tick, error) from error
        check_readable(data, *_events_of(tick), types=self._types)
        beside = f',"repeated":{json.dumps(self._repeated)}' if self._repeated else ""
        if self._kept:
            beside += f',"kept":{self._requirements(self._kept)}'
        return f"{data[:-1]}{beside}}}" if beside else data

    def _requirements(self, kept: dict[str, dict[str, Any]]) -> str:
        names = ", ".join(sorted({name for wait in kept.values() for name in wait}))
        what = f"A requirement of wait_for_event ({names})"
        try:
            text = self._serializer.serialize(kept)
        except ValueError as error:
            raise Unstorable(what=what, reason=str(error)) from error
        if self._serializer.deserialize(text) != kept:
            raise Unstorable(what=what, reason="read back it is another value, which no event would match")
        return text

    def snapshot(self, state: BrokerState) -> str:
        """The state, with what the engine leaves out of its own snapshots: see ``_restore_waits``."""
        waits = [
            {
                "step": str(step_id),
                "waiter": waiter.waiter_id,
                "requirements": waiter.requirements,
                "timed_out": waiter.timed_out,
                "deadline": self.waits.deadlines.get((str(step_id), waiter.waiter_id)),
            }
            for step_id, waiter in _all_waiters(state)
        ]
        beside = f'"waits":{self._serializer.serialize(waits)},"sends":{json.dumps(self._sends.to_json())}'
        beside += f',"begun":{json.dumps(self.waits.begun.to_json())},"pulls":{json.dumps(self.pulls.to_json())}'
        return f'{{"broker":{broker_to_json(state, self._serializer)},{beside}}}'

    # -- Reading -------------------------------------------------------------------------------

    def restore(self, snapshot: str | None) -> BrokerState:
        """The state of a snapshot, or the state before the first tick."""
        if snapshot is None:
            return new_state(self._workflow)
        data = json.loads(snapshot)
        state = broker_from_json(data["broker"], self._workflow, self._serializer)
        self._restore_waits(state, self._serializer.deserialize_value(data.get("waits", [])))
        self._sends.restore(data.get("sends", {}))
        self.waits.restore_begun(state, data.get("begun"))
        self.pulls.restore(data.get("pulls", {}))
        return state

    def _restore_waits(self, state: BrokerState, waits: list[dict[str, Any]]) -> None:
        for wait in waits:
            key = (wait["step"], wait["waiter"])
            if wait["deadline"] is not None:
                self.waits.deadlines[key] = wait["deadline"]
            waiter = _find_waiter(state, key)
            if waiter is not None:
                waiter.requirements = wait["requirements"]
                waiter.timed_out = wait["timed_out"]

    def replay(self, state: BrokerState, data: str) -> BrokerState:
        """The state after one entry."""
        return self.reduce(state, self.decode(state, data))

    def reduce(self, state: BrokerState, tick: WorkflowTick) -> BrokerState:
        """The state after one tick."""
        return reduce(state, tick, self._run_id)

    def decode(self, state: BrokerState, data: str) -> WorkflowTick:
        """The tick of an entry that follows on ``state``.

        Raises:
            ValueError: the entry names something that the state does not hold, or a type that is gone.
        """
        entry = json.loads(data)
        ref = entry.get("ref")
        if ref == "start":
            if self._start is None:
                raise ValueError("the journal names a start event, and there is none")
            return TickAddEvent(event=self._start, stamped_at=entry["stamped_at"])
        if ref is not None:
            delivered = self._delivered(state, EmissionKey(*ref), entry["stamped_at"])
            self.pulls.note(delivered, state)
            return delivered
        kept = self._serializer.deserialize_value(entry.pop("kept", {}))
        repeated = entry.pop("repeated", [])
        if entry["type"] == "step_result":
            entry["event"] = _event_of(state, entry["step_id"], entry["invocation_id"])
        tick = _with_requirements(tick_from_json(entry, self._serializer), kept)
        self.waits.note(tick, state)
        self._sends.note(tick, state, repeated)
        self.pulls.note(tick, state)
        return tick

    def _delivered(self, state: BrokerState, key: EmissionKey, stamped_at: float | None) -> TickAddEvent:
        delivery = state.deliveries.get(key)
        if delivery is None:
            raise ValueError(f"the journal delivers {key}, and nothing waits for that")
        return TickAddEvent(
            event=delivery.event,
            step_id=delivery.step_id,
            recovery_counts=dict(delivery.recovery_counts),
            scope_path=delivery.scope_path,
            emission=key,
            stamped_at=stamped_at,
        )


def encode_event(event: BaseModel) -> str:
    """The fields of an event as JSON.

    Raises:
        Unstorable: a value is no JSON; the message names the field.
    """
    try:
        value = event_value(event)
    except (PydanticSerializationError, ValueError, RecursionError) as error:
        raise Unstorable(what=_describe(event), reason=str(error)) from error
    if len(value) > LONGEST_NUMBER and _LONG_NUMBER.search(value):
        raise Unstorable(what=f"A number of {type(event).__name__}", reason=_TOO_LONG)
    return value


def check_readable(data: str, *events: Event, types: Container[type]) -> None:
    """Refuse what could be written but not be read back at a resume.

    Raises:
        Unstorable: a number that JSON does not have, one too long to be read, or a class that only this process knows.
    """
    if len(data) > LONGEST_NUMBER and _LONG_NUMBER.search(data):
        raise Unstorable(what="A number of an event", reason=_TOO_LONG)
    for event in events:
        kind = type(event)
        if "<locals>" in kind.__qualname__ and kind not in types:
            reason = "its class is local to a function, where it is not found again; declare it in a step's signature"
            raise Unstorable(what=f"The event {kind.__name__}", reason=reason)
        # The encoder writes null for such a number.
        if "null" in data:
            for name, value in _values_of(event).items():
                if _has_nonfinite(value):
                    raise Unstorable(what=f"Field '{name}' of {kind.__name__}", reason="NaN and infinities are no JSON")


def _has_nonfinite(value: object) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, BaseModel):
        return any(map(_has_nonfinite, vars(value).values()))
    if isinstance(value, dict):
        return any(map(_has_nonfinite, value.values()))
    return isinstance(value, (list, tuple, set)) and any(map(_has_nonfinite, value))


def _values_of(event: BaseModel) -> dict[str, Any]:
    return {**vars(event), **getattr(event, "_data", {}), "result": getattr(event, "_result", None)}


def _added_waits(tick: WorkflowTick) -> list[AddWaiter[Event]]:
    return [item for item in tick.result if isinstance(item, AddWaiter)] if isinstance(tick, TickStepResult) else []


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


def _event_of(state: BrokerState, step: str, invocation_id: str) -> Event:
    worker = state.workers.get(StepId.from_str(step))
    for execution in worker.in_progress if worker is not None else ():
        if execution.invocation_id == invocation_id:
            return execution.event
    raise ValueError(f"the journal holds a result of step '{step}', which the workflow did not run ({invocation_id})")


def _all_waiters(state: BrokerState) -> Iterator[tuple[StepId, StepWorkerWaiter[Event]]]:
    for step_id, worker in state.workers.items():
        for waiter in worker.collected_waiters:
            yield step_id, waiter


def _find_waiter(state: BrokerState, key: WaitKey) -> StepWorkerWaiter[Event] | None:
    for step_id, waiter in _all_waiters(state):
        if waiter.waiter_id == key[1] and str(step_id) == key[0]:
            return waiter
    return None


def _events_of(tick: WorkflowTick) -> list[Event]:
    if isinstance(tick, TickStepResult):
        events = [item.result for item in tick.result if isinstance(item, StepWorkerResult) and item.result is not None]
        return events + [sent.event for sent in tick.sends]
    return [tick.event] if isinstance(tick, TickAddEvent) else []


def _unstorable(tick: WorkflowTick, error: Exception) -> Unstorable:
    for event in _events_of(tick):
        try:
            encode_event(event)
        except Unstorable as found:
            return found
    return Unstorable(what=f"The journal entry '{tick.type}'", reason=str(error))


def _describe(event: BaseModel) -> str:
    """The field of the event that is no JSON, as well as it can be told."""
    name = type(event).__name__
    for key, value in _values_of(event).items():
        try:
            to_json(value)
        except (PydanticSerializationError, ValueError, RecursionError):
            return f"Field '{key}' of {name}"
    return f"A {name}"


def _text(entry: dict[str, Any]) -> str:
    return json.dumps(entry, separators=(",", ":"))
