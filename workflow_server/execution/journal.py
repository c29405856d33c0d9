"""The journal of a run: its ticks as JSON and back, and snapshots that replace a stretch of it.

A tick refers to what the state already holds instead of repeating it: the start event, an event that waits for its
delivery, the event that a step ran for. An entry also names those sends of a step that only repeat sends of an
interrupted execution, and has the events of a step that will begin again as the step left them (``held_inputs``).
Design and measurements: ``docs/architecture.md``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from workflow_server.errors import Unstorable
from workflow_server.execution.codec import Codec, Undecodable, text_of, tree_of
from workflow_server.execution.engine import (
    BrokerState,
    EmissionKey,
    Event,
    StartEvent,
    StepId,
    TickAddEvent,
    TickIdleCheck,
    TickPublishEvent,
    TickStepResult,
    Workflow,
    WorkflowTick,
    just_ended,
    new_state,
    plain,
    reduce,
    with_config,
    with_event,
)
from workflow_server.execution.entries import delivery_text, result_text, with_takers
from workflow_server.execution.held_inputs import HeldInputs
from workflow_server.execution.legacy import LegacyFormat
from workflow_server.execution.patches import Json
from workflow_server.execution.renaming import Renaming
from workflow_server.execution.send_dedup import Pulls, Sends, source_of
from workflow_server.execution.step_keys import StepKeys
from workflow_server.execution.takers import Takers, check_step
from workflow_server.execution.waits import Waits

UNCHANGED = "deploy code whose steps take the events that they took"


class Journal:
    """Encodes the ticks of one run, and decodes them into its state."""

    def __init__(
        self,
        workflow: Workflow,
        run_id: str,
        codec: Codec,
        legacy: LegacyFormat,
        start: StartEvent | None,
        takers: Takers,
        renaming: Renaming,
    ) -> None:
        self._workflow = workflow
        self._takers = takers
        self._renaming = renaming
        self._to = ""
        self._run_id = run_id
        self._codec = codec
        self._legacy = legacy
        self._start = start
        self._delivery: EmissionKey | None = None
        self._repeated: list[int] = []
        self._sends = Sends(codec)
        self._present: tuple[WorkflowTick, BrokerState] | None = None
        self._held_inputs = HeldInputs(codec)
        self.waits = Waits()
        self.earlier_names: dict[str, str] = {}
        """By the present names of steps: those under which the run came to them first, where steps are renamed."""
        self.pulls = Pulls()
        self.keys = StepKeys()

    # -- Writing -------------------------------------------------------------------------------

    def before(self, tick: WorkflowTick, state: BrokerState) -> None:
        """Note what only the state before a stamped tick shows; ``encode`` of the same tick follows."""
        self._present = tick, state
        if isinstance(tick, TickStepResult) and just_ended(tick):
            self.waits.note_end(tick)
        else:
            self.waits.note(tick, state)
        self._repeated = self._sends.note(tick, state)
        self._held_inputs.note(tick, state)
        self.pulls.note(tick, state)
        self._delivery = None
        if isinstance(tick, TickAddEvent):
            self._to = self._takers.of(tick, state).text
            if tick.emission is not None and tick.emission in state.deliveries:
                self._delivery = tick.emission

    def forget(self) -> None:
        """Keep nothing of the present tick, whose consequences are written."""
        self._present = None

    @property
    def source(self) -> str | None:
        """Return the step that made what the present tick brings; None of what comes from elsewhere."""
        return None if self._present is None else source_of(*self._present)

    def encode(self, tick: WorkflowTick) -> str | None:
        """Return the tick's entry, or None for a tick that replay does not need.

        Raises:
            Unstorable: a value of an event cannot be stored; the message names the field.
        """
        if isinstance(tick, (TickIdleCheck, TickPublishEvent)):
            return None
        if isinstance(tick, TickAddEvent):
            if tick.event is self._start and tick.step_id is None and tick.emission is None:
                return self._with_takers({"ref": "start", "stamped_at": tick.stamped_at})
            if self._delivery is not None:
                return delivery_text(self._delivery, tick.stamped_at, self._to)
        text = result_text(tick, self._codec) if isinstance(tick, TickStepResult) else None
        if text is None:
            text = self._codec.dumps(tick, f"The journal entry '{tick.type}'")
        beside: dict[str, Any] = {"repeated": self._repeated} if self._repeated else {}
        held = self._held_inputs.to_record()
        if held:
            beside["held"] = held
        to = self._to if isinstance(tick, TickAddEvent) else ""
        return f'{{"tick":{text}{to},{text_of(beside)[1:]}' if beside else f'{{"tick":{text}{to}}}'

    def _with_takers(self, entry: dict[str, Any]) -> str:
        return with_takers(entry, self._to)

    def snapshot(self, state: BrokerState) -> str:
        """Return the whole state of the loop, with the records kept beside it.

        Raises:
            Unstorable: a value in it cannot be stored.
        """
        if state.children:
            raise Unstorable(what="A child workflow of the engine", reason="the runs of its steps are not stored")
        names = {present: name for present, name in self.earlier_names.items() if name != present}
        earlier = {"earlier": names} if names else {}
        return text_of({
            **earlier,
            "loop": self._codec.encode(plain(state), "The state of the run"),
            **self.waits.to_json(state),
            "sends": self._sends.to_json(),
            "pulls": self.pulls.to_json(),
            "keys": self.keys.to_json(),
        })  # fmt: skip

    # -- Reading -------------------------------------------------------------------------------

    def restore(self, snapshot: str | None) -> BrokerState:
        """Return the state of a snapshot, or the state before the first tick.

        Raises:
            Undecodable: it cannot be read, or the code no longer has a step for which there is work.
        """
        if snapshot is None:
            return new_state(self._workflow)
        data = json.loads(snapshot)
        for present, name in data.get("earlier", {}).items():
            self.earlier_names[self._renaming.step(present)] = name
        self._sends.restore(data.get("sends", {}), self._renaming, is_legacy="broker" in data)
        if "broker" in data:
            state, deadlines = self._legacy.restore(data, self._workflow)
            self.waits.deadlines.update(deadlines)
        else:
            state = with_config(self._loop_of(data["loop"]), self._workflow)
        self.waits.restore(state, data, self._renaming)
        self.pulls.restore(data.get("pulls", {}))
        self.keys.restore(data.get("keys", {}))
        return state

    def _loop_of(self, tree: Json) -> BrokerState:
        state: BrokerState = self._codec.decode(tree)
        if self._renaming:
            node = tree.get("v", tree)
            names = _step_names(node["workers"])
            if len(state.workers) < len(names):
                raise Undecodable("two of its steps were renamed to one")
            self._note_names(names)
        return state

    def _note_names(self, steps: Iterable[str]) -> None:
        if self._renaming:
            for name in steps:
                # The first is kept, also where it is the present one: the step may have had another between.
                self.earlier_names.setdefault(self._renaming.step(name), name)

    def replay(self, state: BrokerState, data: str) -> BrokerState:
        """Return the state after one entry."""
        return self.reduce(state, self.decode(state, data))

    def reduce(self, state: BrokerState, tick: WorkflowTick) -> BrokerState:
        """Return the state after one tick."""
        return reduce(state, tick, self._run_id)

    def decode(self, state: BrokerState, data: str) -> WorkflowTick:
        """Return the tick of an entry that follows on ``state``.

        Raises:
            Undecodable: the entry refers to something that the state does not hold, or to a type or a step that is
                gone.
        """
        entry = tree_of(data)
        tick = self._decoded(state, entry)
        if isinstance(tick, TickAddEvent):
            before = entry.get("to", ())
            self._note_names(before)
            self._takers.check(tick, state, map(self._renaming.step, before))
        return tick

    def _decoded(self, state: BrokerState, entry: dict[str, Any]) -> WorkflowTick:
        ref = entry.get("ref")
        if ref == "start":
            if self._start is None:
                raise Undecodable("the journal refers to a start event, and the run has none")
            return TickAddEvent(event=self._start, stamped_at=entry["stamped_at"])
        if ref is not None:
            delivered = self._delivered(state, EmissionKey(*ref), entry["stamped_at"])
            self.pulls.note(delivered, state)
            return delivered
        repeated = entry.pop("repeated", [])
        if "tick" in entry:
            tick: WorkflowTick = self._codec.decode(entry["tick"])
            step_id: StepId | None = getattr(tick, "step_id", None)
            if step_id is not None:
                check_step(step_id, state)
                self._note_names(_step_of(entry["tick"]))
            self._held_inputs.note(tick, state)
            if "held" in entry:
                self._held_inputs.restore(entry["held"])
            if isinstance(tick, TickStepResult):
                tick = with_event(tick, _event_of(state, str(tick.step_id), tick.invocation_id))
        else:
            event = entry["type"] == "step_result" and _event_of(state, entry["step_id"], entry["invocation_id"])
            tick = self._legacy.tick(entry, event or None)
        self.waits.note(tick, state)
        self._sends.note(tick, state, repeated)
        self.pulls.note(tick, state)
        return tick

    def _delivered(self, state: BrokerState, key: EmissionKey, stamped_at: float | None) -> TickAddEvent:
        delivery = state.deliveries.get(key)
        if delivery is None:
            raise Undecodable(f"the journal delivers {key}, which is not waiting for delivery")
        return TickAddEvent(
            event=delivery.event,
            step_id=delivery.step_id,
            recovery_counts=dict(delivery.recovery_counts),
            scope_path=delivery.scope_path,
            emission=key,
            stamped_at=stamped_at,
        )


def _step_names(workers: Json) -> list[str]:
    """Return the names of the steps that a stored state has."""
    long = workers.get("k", {})
    return [(long[key] if key in long else json.loads(key))["name"] for key in workers["v"]]


def _step_of(tick: Json) -> list[str]:
    """Return the name of the step that a stored tick is of: journals of earlier builds do not name those that take an
    event."""
    step = tick.get("v", tick).get("step_id")
    return [step["name"]] if isinstance(step, dict) else []


def _event_of(state: BrokerState, step: str, invocation_id: str | None) -> Event:
    worker = state.workers.get(StepId.from_str(step))
    for execution in worker.in_progress if worker is not None else ():
        if execution.invocation_id == invocation_id:
            return execution.event
    if worker is None:
        check_step(StepId.from_str(step), state)
    raise Undecodable(
        f"the journal holds a result of step '{step}', which would not have run with this code", remedy=UNCHANGED
    )
