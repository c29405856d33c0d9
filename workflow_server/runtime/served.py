"""A workflow as it is served: its types, its state, and what clients may send it."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from workflows.events import HumanResponseEvent
from workflows.representation import get_workflow_representation

from workflow_server.errors import (
    InvalidBody,
    InvalidEvent,
    NoRepresentation,
    StepRefusesEvent,
    UnknownStep,
    Unstorable,
)
from workflow_server.protocol.strict_json import parse_json
from workflow_server.runtime.engine import (
    Event,
    StartEvent,
    Workflow,
    WorkflowRunFunction,
    accepted_events,
    concurrent_runs,
    events_of,
    infer_state_type,
    stop_event_class,
    workflow_timeout,
)
from workflow_server.runtime.journal import Journal
from workflow_server.runtime.known_waits import KnownWaits
from workflow_server.runtime.patches import Patch, apply
from workflow_server.runtime.schemas import json_schema
from workflow_server.runtime.serializer import RunSerializer
from workflow_server.runtime.slots import Slots
from workflow_server.runtime.state import PatchSink, RecordingStateStore, decode_tree, encode_tree

logger = logging.getLogger(__name__)

_GENERAL_START = frozenset({"StartEvent", "workflows.events.StartEvent"})
_ENVELOPE_KEYS = frozenset({"type", "types", "value", "data", "qualified_name", "sequence"})


class ServedWorkflow:
    """One workflow under its name, with all that is worked out once for all of its runs."""

    def __init__(self, name: str, workflow: Workflow, additional_events: Sequence[type[Event]]) -> None:
        self.name = name
        self.workflow = workflow
        self.slots = Slots(concurrent_runs(workflow))
        self.timeout = workflow_timeout(workflow)
        self.run_function: WorkflowRunFunction
        self._state_type = infer_state_type(workflow)
        self._listed = list(dict.fromkeys([*workflow.events, *additional_events]))
        self._steps = accepted_events(workflow)
        self.waits = KnownWaits(workflow)
        self._stop_event_class: type[Event] = stop_event_class(workflow)
        own: list[type[Event]] = [workflow.start_event_class, self._stop_event_class, *self._listed]
        self.serializer = RunSerializer([self._state_type, *own])
        self._empty_state = _empty_state(self._state_type, self.serializer)
        # The engine's general answer of a human needs no declaration.
        self._types: dict[str, type[Event]] = {}
        self._know(HumanResponseEvent)
        for kind in own:
            self._know(kind)

    # -- Types ---------------------------------------------------------------------------------

    def learn(self, kind: type[Event]) -> None:
        """A run waits for events of this type: they may be sent to it."""
        if kind.__name__ not in self._types:
            self._know(kind)
            self.serializer.add(kind)

    def knows(self, data: object) -> bool:
        """Whether the type that this envelope names is known; an envelope that is none is not."""
        try:
            self._type_of(_object(data, "event"), "event")
        except InvalidEvent:
            return False
        return True

    def _know(self, kind: type[Event]) -> None:
        self._types[kind.__name__] = kind
        self._types[f"{kind.__module__}.{kind.__name__}"] = kind
        self._types[f"{kind.__module__}.{kind.__qualname__}"] = kind

    def event_schemas(self) -> list[dict[str, Any]]:
        """The JSON schemas of the workflow's events, in a fixed order."""
        return [json_schema(kind) for kind in self._listed]

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
        """The start event of a client's fields, envelope or string; None stands for no fields.

        Raises:
            InvalidEvent: it does not validate, or is of a type that does not start this workflow.
        """
        expected = self.workflow.start_event_class
        fields = _object(data if data is not None and data != "" else {}, "start_event")
        if _is_envelope(fields):
            # Both Python clients name the engine's general start event when they are given none.
            general = (fields.get("type") or fields.get("qualified_name")) in _GENERAL_START
            named = fields.get("type") or fields.get("qualified_name")
            kind = expected if general else self._types.get(str(named), Event)
            if not issubclass(kind, expected):
                raise InvalidEvent(f"start_event: this workflow is started by '{expected.__name__}', not by '{named}'.")
            fields = _object(fields.get("value", fields.get("data")), "start_event.value")
        else:
            kind = expected
        event = self._validated(kind, fields, "start_event")
        assert isinstance(event, StartEvent)
        return event

    def posted_event(self, data: object, step: str | None) -> Event:
        """The event of a client's envelope, for one step or for all that accept it.

        Raises:
            InvalidEvent: it has no type of this workflow, or does not validate.
            UnknownStep: there is no such step.
            StepRefusesEvent: the step does not accept it.
        """
        fields = _object(data, "event")
        kind = self._type_of(fields, "event")
        value = fields.get("value", fields.get("data"))
        event = self._validated(kind, _object({} if value is None else value, "event.value"), "event")
        if step is not None:
            self._check_step(step, event)
        return event

    def _type_of(self, fields: Mapping[str, Any], where: str) -> type[Event]:
        name = fields.get("type") or fields.get("qualified_name")
        if not isinstance(name, str):
            raise InvalidEvent(f"{where}: needs a 'type', one of: {self._names()}.")
        kind = self._types.get(name)
        if kind is None:
            raise InvalidEvent(f"{where}: '{name}' is no event of this workflow. Accepted are: {self._names()}.")
        return kind

    def _names(self) -> str:
        return ", ".join(sorted({kind.__name__ for kind in self._types.values()}))

    def _validated(self, kind: type[Event], fields: dict[str, Any], where: str) -> Event:
        own = kind.model_fields
        hidden = [key for key in fields if key.startswith("_") and key not in own and key != "_data"]
        if hidden or not isinstance(fields.get("_data", {}), dict):
            raise InvalidEvent(f"{where}: '{(hidden or ['_data'])[0]}' is no field of '{kind.__name__}'.")
        # A client that only knows the general event sends its fields there.
        dynamic = fields.get("_data", {})
        fields = {**fields, **{key: value for key, value in dynamic.items() if key in own and key not in fields}}
        try:
            event = kind.model_validate(fields)
        except ValidationError as error:
            raise InvalidEvent(f"{where}: {_explain(error)}") from error
        except Exception as error:
            raise InvalidEvent(f"{where}: these fields do not make a '{kind.__name__}'.") from error
        return self._stored_and_read(event, where)

    def _stored_and_read(self, event: Event, where: str) -> Event:
        """The event as it will be after a restart: what cannot be read back is refused at the door."""
        try:
            read = self.serializer.deserialize(self.encode(event))
        except Exception as error:
            raise InvalidEvent(f"{where}: this '{type(event).__name__}' cannot be stored and read back.") from error
        if type(read) is not type(event):
            raise InvalidEvent(f"{where}: this '{type(event).__name__}' cannot be stored and read back.")
        return read

    def _check_step(self, step: str, event: Event) -> None:
        if step not in self._steps:
            raise UnknownStep(self.name, step, ", ".join(sorted(self._steps)))
        accepted, with_subclasses, addressable = self._steps[step]
        fits = isinstance(event, accepted) if with_subclasses else type(event) in accepted
        if not fits or not addressable:
            names = ", ".join(kind.__name__ for kind in accepted) if addressable else "only what is collected for it"
            raise StepRefusesEvent(step, type(event).__name__, names)

    def accepts(self, event: Event) -> bool:
        """Whether a step takes the event when a client posts it; otherwise only a wait can."""
        return any(
            addressable and (isinstance(event, accepted) if with_subclasses else type(event) in accepted)
            for accepted, with_subclasses, addressable in self._steps.values()
        )

    def encode(self, event: Event) -> str:
        """An event for the store."""
        return self.serializer.serialize(event)

    def stored_event(self, data: str) -> Event:
        """An event from the store."""
        event: Event = self.serializer.deserialize(data)
        return event

    # -- State ---------------------------------------------------------------------------------

    def state_store(
        self, record: str | None, patches: list[Patch], *, unattended: PatchSink
    ) -> RecordingStateStore[Any]:
        """``ctx.store`` as a record and the patches after it make it; without them, as the workflow declares it."""
        tree = self._empty_state if record is None else self._state_tree(json.loads(record))
        for patch in patches:
            tree = apply(tree, patch)
        state = self._state_type() if tree is self._empty_state else decode_tree(tree, self.serializer)
        return RecordingStateStore(state, self.serializer, durable=tree, unattended=unattended)

    def _state_tree(self, payload: dict[str, Any]) -> Any:
        data = payload.get("state_data")
        if isinstance(data, dict) and "_tree" in data:
            return data
        # A state that was serialized by the engine itself, in a client's context or by another server.
        return encode_tree(decode_tree(data, self.serializer), self.serializer)

    def state_record(self, state: RecordingStateStore[Any]) -> str:
        """The durable part of a state in full."""
        return json.dumps({"store_type": "in_memory", "state_data": state.durable})

    def context_snapshot(self, context: dict[str, Any]) -> tuple[str, str | None]:
        """A client's serialized ``Context`` as the snapshot and the state record that a run begins with.

        Raises:
            InvalidEvent: it is none of this workflow.
        """
        # A client's names resolve to the workflow's own types and to nothing else: none of them imports anything.
        closed = self.serializer.closed()
        journal = Journal(self.workflow, "", closed, None)
        try:
            broker = journal.restore(json.dumps({"broker": context, "waits": []}))
            if not all(isinstance(event, Event) for event in events_of(broker)):
                raise ValueError("something in it stands for an event and is none")  # noqa: TRY301
            snapshot = journal.snapshot(broker)
            payload = context.get("state")
            if not payload:
                return snapshot, None
            tree = encode_tree(decode_tree(payload.get("state_data"), closed), closed)
        except Exception as error:
            raise InvalidEvent("context: this is no serialized Context of this workflow.") from error
        return snapshot, json.dumps({"store_type": "in_memory", "state_data": tree})


def _empty_state(kind: type[BaseModel], serializer: RunSerializer) -> Any:
    """The state that a run begins with, as a tree.

    Raises:
        ValueError: it cannot be made, or would not be read back as it was.
    """
    try:
        tree = encode_tree(kind(), serializer)
        decode_tree(tree, serializer)
    except (ValidationError, Unstorable, ValueError) as error:
        raise ValueError(
            f"its state {kind.__name__} cannot be made without values, or not be read back: {error}"
        ) from error
    by_name = kind.model_config.get("populate_by_name") or kind.model_config.get("validate_by_name")
    aliased = [name for name, field in kind.model_fields.items() if field.validation_alias is not None]
    if aliased and not by_name:
        raise ValueError(
            f"its state {kind.__name__} would lose '{aliased[0]}', which has an alias: add populate_by_name=True to "
            "its model_config."
        )
    return tree


def _object(data: object, where: str) -> dict[str, Any]:
    if isinstance(data, str):
        try:
            data = parse_json(data, f"{where}: the string")
        except InvalidBody as error:
            raise InvalidEvent(str(error)) from None
    if not isinstance(data, dict):
        raise InvalidEvent(f"{where}: must be a JSON object, or a string that holds one.")
    return data


def _is_envelope(fields: Mapping[str, Any]) -> bool:
    named = isinstance(fields.get("type") or fields.get("qualified_name"), str)
    return named and ("value" in fields or "data" in fields) and fields.keys() <= _ENVELOPE_KEYS


def _explain(error: ValidationError) -> str:
    problems = [
        f"'{'.'.join(str(part) for part in problem['loc'])}': {problem['msg']}" if problem["loc"] else problem["msg"]
        for problem in error.errors(include_url=False, include_context=False, include_input=False)
    ]
    return "; ".join(problems)
