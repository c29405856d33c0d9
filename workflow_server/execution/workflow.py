"""A workflow as it is served: its types, its state, and how what is kept of its runs is written and read."""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from workflows.representation import get_workflow_representation

from workflow_server.errors import ResumeFailed, Unstorable
from workflow_server.execution.codec import NAMED, Codec, Undecodable
from workflow_server.execution.engine import (
    DictState,
    Event,
    StartEvent,
    Workflow,
    WorkflowRunFunction,
    compact_layouts,
    concurrent_runs,
    context_model,
    events_of,
    infer_state_type,
    step_functions,
    stop_event_class,
    workflow_timeout,
)
from workflow_server.execution.event_input import EventInput
from workflow_server.execution.exceptions import InvalidEvent, NoRepresentation
from workflow_server.execution.journal import Journal
from workflow_server.execution.legacy import LegacyFormat, is_legacy_event
from workflow_server.execution.patches import Json, Patch, apply, diff
from workflow_server.execution.renaming import NOTHING_RENAMED, Renamed, Renaming
from workflow_server.execution.schemas import json_schema
from workflow_server.execution.serializer import RunSerializer
from workflow_server.execution.standing import awaited_from_outside
from workflow_server.execution.state import PatchSink, RecordingStateStore, decode_state, encode_state
from workflow_server.execution.sums import StepSums
from workflow_server.execution.takers import Takers
from workflow_server.execution.unreadable import resume_failure
from workflow_server.execution.versions import checked, version_of
from workflow_server.execution.waits import KnownWaits
from workflow_server.printable import printable
from workflow_server.protocol.bounded import try_first
from workflow_server.records import InboxPosted

logger = logging.getLogger(__name__)

LONGEST_STEP = 80
"""Characters that are shown of the name of a step that the code does not have."""


class ServedWorkflow:
    """One workflow under its name, with all that is worked out once for all of its runs."""

    def __init__(
        self,
        name: str,
        workflow: Workflow,
        additional_events: Sequence[type[Event]],
        *,
        renamed: Renamed | None = None,
        version: str | None = None,
    ) -> None:
        self.name = name
        self.workflow = workflow
        self.concurrent_runs = concurrent_runs(workflow)
        """Number of runs that may run at once; None where there is no limit."""
        self.timeout = workflow_timeout(workflow)
        self.run_function: WorkflowRunFunction
        self._state_type = infer_state_type(workflow)
        self.has_typed_state = self._state_type is not DictState
        """The state is a model that the steps declare, and no dictionary."""
        self._listed = list(dict.fromkeys([*workflow.events, *additional_events]))
        self.waits = KnownWaits(workflow)
        self.step_sums = defaultdict(StepSums, {step: StepSums() for step in step_functions(workflow)})
        """By step; a step that was added to the workflow later comes in when it first runs."""
        self.step_names = frozenset(step_functions(workflow))
        self.awaited = awaited_from_outside(workflow, additional_events)
        """The steps that accept what comes from outside of the workflow, with the types."""
        self._stop_event_class: type[Event] = stop_event_class(workflow)
        own: list[type[Event]] = [workflow.start_event_class, self._stop_event_class, *self._listed]
        _check_names(own)
        types = [self._state_type, *own]
        self._renaming = Renaming(renamed or {}, list(step_functions(workflow)), types)
        self.code_version = version_of(workflow, types) if version is None else checked(version)
        """The version of its code, which is noted with each run that starts."""
        self.codec = Codec(types, compact_layouts(self._renaming), self._renaming)
        self._serializer = RunSerializer(types, self._renaming.types)
        self.legacy = LegacyFormat(self._serializer)
        self._input = EventInput(name, workflow, own, self._serializer.closed())
        self.empty_state = _empty_state(self._state_type, self.codec)
        """The tree of the state that a run begins with."""
        self._takers = Takers()

    # -- Types ---------------------------------------------------------------------------------

    def learn(self, kind: type[Event]) -> None:
        """A run waits for events of this type: they may be sent to it, and steps may wait for them again."""
        self._input.learn(kind)
        self.waits.learn(kind)

    def knows(self, data: object) -> bool:
        """Return whether this is an envelope that names a known type."""
        return self._input.knows(data)

    def event_schemas(self, *, with_waited_for: bool = False) -> list[dict[str, Any]]:
        """The JSON schemas of the workflow's events, in a fixed order; behind them, if asked for, those of the events
        for which steps wait, as far as that is known."""
        waited_for = [kind for kind in self.waits.kinds() if kind not in self._listed] if with_waited_for else []
        return [json_schema(kind) for kind in (*self._listed, *waited_for)]

    def start_schema(self) -> dict[str, Any]:
        """The JSON schema of the start event."""
        return json_schema(self.workflow.start_event_class)

    def stop_schema(self) -> dict[str, Any]:
        """The JSON schema of the stop event."""
        return json_schema(self._stop_event_class)

    def representation(self) -> dict[str, Any]:
        """The workflow's steps and events as a graph.

        Raises:
            NoRepresentation: the engine cannot describe one of its events or resources.
        """
        try:
            return get_workflow_representation(self.workflow).model_dump(mode="json")
        except Exception as error:
            logger.warning("The graph of workflow '%s' cannot be made", self.name, exc_info=error)
            raise NoRepresentation(self.name) from error

    # -- What clients send ---------------------------------------------------------------------

    def start_event(self, data: object) -> StartEvent:
        """The start event of a client's fields, envelope or string; see ``EventInput.start_event``."""
        return self._input.start_event(data)

    def posted_event(self, data: object, step: str | None) -> Event:
        """The event of a client's envelope; see ``EventInput.posted_event``."""
        return self._input.posted_event(data, step)

    def accepts(self, event: Event) -> bool:
        """Return whether a step takes the event when a client posts it; otherwise only a wait can."""
        return self._input.accepts(event)

    def encode(self, event: Event) -> str:
        """A client's event for the store.

        Raises:
            InvalidEvent: a value in it cannot be kept.
        """
        try:
            return self.codec.dumps(event, type(event).__name__)
        except Unstorable as error:
            raise InvalidEvent(f"This '{type(event).__name__}' cannot be stored and read back.") from error

    def stored_event(self, data: str) -> Event:
        """An event from the store.

        Raises:
            ValueError: it cannot be read any more.
        """
        event: Event = self.legacy.event(data) if is_legacy_event(data) else self.codec.loads(data)
        return event

    def inbox_event(self, posted: InboxPosted) -> tuple[InboxPosted, Event]:
        """A posted event from the store, and its record with the present name of its step.

        Raises:
            ResumeFailed: it cannot be read any more, or its step is gone.
        """
        if posted.step is not None:
            step = self._renaming.step(posted.step)
            if step not in step_functions(self.workflow):
                step = printable(step, LONGEST_STEP)
                raise ResumeFailed(f"a posted event is for step '{step}', which is no longer in the code", NAMED)
            posted = posted._replace(step=step)
        try:
            return posted, self.stored_event(posted.event)
        except BaseException as error:
            raise resume_failure(error, "a posted event") from None

    def journal(self, run_id: str, start_event: StartEvent | None) -> Journal:
        """The journal of one run."""
        return Journal(self.workflow, run_id, self.codec, self.legacy, start_event, self._takers, self._renaming)

    # -- State ---------------------------------------------------------------------------------

    def state_store(self, tree: Json | None, *, unattended: PatchSink) -> RecordingStateStore[Any]:
        """``ctx.store`` as this tree has it; without one, as the workflow declares it.

        Raises:
            ValueError: the tree cannot be read any more.
        """
        fresh = tree is None or tree is self.empty_state
        state = self._state_type() if fresh else decode_state(tree, self.codec)
        if not isinstance(state, self._state_type):
            raise Undecodable("the state is not of the class that the workflow's steps declare now", remedy=NAMED)
        return RecordingStateStore(
            state, self.codec, durable=self.empty_state if fresh else tree, unattended=unattended
        )

    def state_tree(
        self, record: str | None, patches: Sequence[Patch], left_out: Collection[int] = ()
    ) -> tuple[Json | None, bool]:
        """The tree of a stored record and the patches after it, None where nothing was stored; and whether a first
        build or the engine wrote it, so that it must be written anew before patches follow. ``left_out``: the places of
        patches that do not count.

        Raises:
            ValueError: it cannot be read any more.
        """
        if record is None and not patches:
            return None, False
        if record is None:
            if not self.legacy.wrote(patches):
                return _patched(self.empty_state, patches, left_out), False
            payload = {"state_data": self.legacy.empty_state(self._state_type)}
        else:
            payload = json.loads(record)
            if "state" in payload:
                return _patched(payload["state"], patches, left_out), False
        tree = _patched(payload.get("state_data"), patches, left_out)
        return encode_state(self.legacy.state({**payload, "state_data": tree}), self.codec), True

    def changes_to(self, tree: Json) -> Patch:
        """Return the patch that makes this state of the one that the workflow declares."""
        return diff(self.empty_state, tree)

    def state_record(self, tree: Json) -> str:
        """A state's tree in full, for the store."""
        return json.dumps({"state": tree})

    def context_snapshot(self, context: dict[str, Any]) -> tuple[str, str | None]:
        """A client's serialized ``Context`` as the snapshot and the state record that a run begins with.

        Raises:
            InvalidEvent: it is not a context of this workflow.
        """
        # A client's names resolve to the workflow's own types and to nothing else: none of them imports anything.
        serializer = self._serializer.closed()
        closed = LegacyFormat(serializer)
        journal = Journal(self.workflow, "", self.codec, closed, None, self._takers, NOTHING_RENAMED)
        try:
            with serializer.validation_context():
                try_first(*context_model(context))
            broker = journal.restore(json.dumps({"broker": context, "waits": []}))
            if not all(isinstance(event, Event) for event in events_of(broker)):
                raise ValueError("something in it stands for an event and is none")  # noqa: TRY301
            snapshot = journal.snapshot(broker)
            payload = context.get("state")
            if not payload:
                return snapshot, None
            tree = encode_state(closed.state(payload), self.codec)
        except BaseException as error:
            raise InvalidEvent("context: this is not a serialized Context of this workflow.") from error
        return snapshot, self.state_record(tree)


def _patched(tree: Json, patches: Sequence[Patch], left_out: Collection[int]) -> Json:
    whole = tree
    for place, patch in enumerate(patches):
        whole = apply(whole, patch)
        if place not in left_out:
            # An object that a patch changes in part may be the work of one that is left out.
            tree = apply(tree, patch, whole) if left_out else whole
    return tree


def _check_names(own: Sequence[type[Event]]) -> None:
    """Refuse classes that the store could not tell apart.

    Raises:
        ValueError: two have one name.
    """
    named: dict[str, type[Event]] = {}
    for kind in own:
        name = f"{kind.__module__}.{kind.__qualname__}"
        if named.setdefault(name, kind) is not kind:
            raise ValueError(f"two of its events have the same name, {name}: give them names of their own")


def _empty_state(kind: type[BaseModel], codec: Codec) -> Json:
    """The state that a run begins with, as a tree.

    Raises:
        ValueError: it cannot be made, or would not be read back.
    """
    try:
        tree = encode_state(kind(), codec)
        decode_state(tree, codec)
    except (ValidationError, Unstorable, ValueError) as error:
        reason = "a field has no default" if isinstance(error, ValidationError) else str(error)
        raise ValueError(
            f"its state {kind.__name__} cannot be made without values, or not be read back: {reason}"
        ) from error
    return tree
