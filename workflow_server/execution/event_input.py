"""The events that clients may send to one workflow: their types, their envelopes, and their validation.

A client's event is validated once, by its own class, and the step gets that very object. Names that a client sends
resolve to the workflow's own events and to nothing else, also inside of an event.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from pydantic import AliasChoices, AliasPath, ValidationError
from workflows.events import HumanResponseEvent, InputRequiredEvent

from workflow_server.errors import FieldProblem, InvalidBody
from workflow_server.execution.engine import Event, StartEvent, StopEvent, Workflow, accepted_events
from workflow_server.execution.exceptions import InvalidEvent, StepRefusesEvent, UnknownStep
from workflow_server.execution.serializer import RunSerializer
from workflow_server.protocol.bounded import try_first
from workflow_server.protocol.explaining import explained
from workflow_server.protocol.strict_json import parse_json

logger = logging.getLogger(__name__)

_GENERAL_START = frozenset({"StartEvent", "workflows.events.StartEvent"})
_ENVELOPE_KEYS = frozenset({
    "type", "types", "value", "data", "qualified_name", "sequence", "time", "__is_pydantic", "__is_component"
})  # fmt: skip
_DERIVED_FROM = (Event, InputRequiredEvent, HumanResponseEvent)
"""The engine's base types of events that clients may send."""
_NAMES_SHOWN = 20
_LONGEST_NAME = 100


class EventInput:
    """Validation of everything that clients send to one workflow."""

    def __init__(self, name: str, workflow: Workflow, own: Sequence[type[Event]], closed: RunSerializer) -> None:
        self._name = name
        self._start = workflow.start_event_class
        self._steps = accepted_events(workflow)
        self._closed = closed
        self._types: dict[str, set[type[Event]]] = {}
        # The engine's general HumanResponseEvent needs no declaration.
        self.learn(HumanResponseEvent)
        for kind in own:
            self.learn(kind)

    # -- Types ---------------------------------------------------------------------------------

    def learn(self, kind: type[Event]) -> None:
        """Accept events of this type as events of the workflow."""
        for name in (kind.__name__, f"{kind.__module__}.{kind.__name__}", f"{kind.__module__}.{kind.__qualname__}"):
            self._types.setdefault(name, set()).add(kind)

    def knows(self, data: object) -> bool:
        """Return whether this is an envelope of a type that is known."""
        try:
            self._type_of(_object(data, "event"), "event")
        except InvalidEvent:
            return False
        return True

    def _named(self, name: str, where: str) -> type[Event] | None:
        kinds = self._types.get(name, ())
        if len(kinds) > 1:
            full = ", ".join(sorted(f"'{kind.__module__}.{kind.__qualname__}'" for kind in kinds))
            raise InvalidEvent(
                f"{where}: this workflow has several events '{name}': send one of {full} as 'qualified_name'."
            )
        return next(iter(kinds), None)

    def _names(self) -> str:
        kinds = {kind for named in self._types.values() for kind in named}
        names = sorted({kind.__name__ for kind in kinds if _why_not_posted(kind) is None})
        more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
        return ", ".join(names[:_NAMES_SHOWN]) + more

    # -- Start events --------------------------------------------------------------------------

    def start_event(self, data: object) -> StartEvent:
        """Return the start event of a client's fields, envelope or string; None stands for no fields.

        Raises:
            InvalidEvent: it does not validate, or its type does not start this workflow.
        """
        fields = _object(data if data is not None and data != "" else {}, "start_event")
        kind, fields = self._start_fields(fields)
        event = self._validated(kind, fields, "start_event")
        assert isinstance(event, StartEvent)
        return event

    def _start_fields(self, fields: dict[str, Any]) -> tuple[type[Event], dict[str, Any]]:
        """Return the class and the fields: of an envelope that names an event of the workflow, or else of bare
        fields."""
        expected = self._start
        marked = fields.get("__is_pydantic") is True
        names = _names_in(fields)
        if names and fields.keys() <= _ENVELOPE_KEYS:
            kind = self._start_class(names)
            if marked and kind is None:
                raise InvalidEvent(f"start_event: this workflow is started by '{expected.__name__}'.")
            if kind is not None and (marked or self._is_envelope(fields, kind)):
                if not issubclass(kind, expected):
                    raise InvalidEvent(
                        f"start_event: this workflow is started by '{expected.__name__}', not by '{kind.__name__}'."
                    )
                value = fields.get("value", fields.get("data"))
                return kind, _object({} if value is None else value, "start_event.value")
        stray = [key for key in ("value", "data") if key in fields]
        if stray and not names and fields.keys() <= _ENVELOPE_KEYS and not self._has_field(expected, stray[0]):
            raise InvalidEvent(
                f"start_event: '{stray[0]}' without a 'type' is not an event. Send the fields of '{expected.__name__}' "
                "themselves, or name its type."
            )
        return expected, fields

    def _start_class(self, names: list[str]) -> type[Event] | None:
        # Without a start event, both Python clients send the engine's general StartEvent by name.
        if not _GENERAL_START.isdisjoint(names):
            return self._start
        return next((kind for name in names if (kind := self._named(name, "start_event")) is not None), None)

    def _is_envelope(self, fields: Mapping[str, Any], kind: type[Event]) -> bool:
        return "value" in fields or "data" in fields or not self._has_field(kind, "type")

    def _has_field(self, kind: type[Event], name: str) -> bool:
        return name in kind.model_fields or name in _aliases(kind)

    # -- Posted events -------------------------------------------------------------------------

    def posted_event(self, data: object, step: str | None) -> Event:
        """Return the event of a client's envelope, for one step or for all that accept it.

        Raises:
            InvalidEvent: clients may not send this type to a run of this workflow, or it does not validate.
            UnknownStep: there is no such step.
            StepRefusesEvent: the step does not accept it.
        """
        fields = _object(data, "event")
        kind = self._type_of(fields, "event")
        why_not = _why_not_posted(kind)
        if why_not is not None:
            raise InvalidEvent(f"event: '{kind.__name__}' {why_not}. Accepted are: {self._names()}.")
        stray = sorted(fields.keys() - _ENVELOPE_KEYS)
        if stray:
            raise InvalidEvent(
                f"event: '{_cut(stray[0])}' is not a key of an event's envelope: put fields inside 'value'."
            )
        value = fields.get("value", fields.get("data"))
        event = self._validated(kind, _object({} if value is None else value, "event.value"), "event")
        if step is not None:
            self._check_step(step, event)
        return event

    def _type_of(self, fields: Mapping[str, Any], where: str) -> type[Event]:
        names = _names_in(fields)
        if not names:
            raise InvalidEvent(f"{where}: needs a 'type', one of: {self._names()}.")
        for name in names:
            kind = self._named(name, where)
            if kind is not None:
                return kind
        raise InvalidEvent(
            f"{where}: '{_cut(names[-1])}' is not an event of this workflow. Accepted are: {self._names()}. "
            "A type that only wait_for_event names is accepted once a run has waited for it, and always as one of "
            "additional_events."
        )

    def accepts(self, event: Event) -> bool:
        """Return whether a step takes the event when a client posts it; otherwise only a wait can take it."""
        return any(addressable and _fits(event, accepted, with_subclasses=with_subclasses)
                   for accepted, with_subclasses, addressable in self._steps.values())  # fmt: skip

    def _check_step(self, step: str, event: Event) -> None:
        if step not in self._steps:
            raise UnknownStep(self._name, _cut(step), ", ".join(sorted(self._steps)))
        accepted, with_subclasses, addressable = self._steps[step]
        if not addressable or not _fits(event, accepted, with_subclasses=with_subclasses):
            names = ", ".join(kind.__name__ for kind in accepted) if addressable else "only events collected for it"
            raise StepRefusesEvent(step, type(event).__name__, names)

    # -- Validation ----------------------------------------------------------------------------

    def _validated(self, kind: type[Event], fields: dict[str, Any], where: str) -> Event:
        own = kind.model_fields
        hidden = [key for key in fields if key.startswith("_") and not self._has_field(kind, key) and key != "_data"]
        if hidden or not isinstance(fields.get("_data", {}), dict):
            raise InvalidEvent(f"{where}: '{_cut((hidden or ['_data'])[0])}' is not a field of '{kind.__name__}'.")
        # A client that knows only the general event type sends its fields in ``_data``.
        dynamic = fields.get("_data", {})
        fields = {**fields, **{key: value for key, value in dynamic.items() if key in own and key not in fields}}
        try:
            # Nested events name their types, too: only the workflow's own are found.
            with self._closed.validation_context():
                try_first(kind, fields)
                return _aliased(kind, fields) if _aliases(kind) else kind.model_validate(fields)
        except ValidationError as error:
            text, problems = explained(error, fields, kind)
            placed = tuple(FieldProblem((where, *path), message) for path, message in problems)
            raise InvalidEvent(f"{where}: {text}", placed) from None
        except BaseException as error:
            # Nothing here suspends, so that even a CancelledError comes from a validator.
            logger.debug("The fields of a '%s' raised %s", kind.__name__, type(error).__name__)
            raise InvalidEvent(f"{where}: these fields are not valid for '{kind.__name__}'.") from None


@lru_cache(maxsize=1_000)
def _aliases(kind: type[Event]) -> frozenset[str]:
    """Return the other names under which clients may send the fields of an event."""
    names: set[str] = set()
    for field in kind.model_fields.values():
        alias = field.validation_alias
        for choice in alias.choices if isinstance(alias, AliasChoices) else [alias]:
            first = choice.path[0] if isinstance(choice, AliasPath) else choice
            if isinstance(first, str):
                names.add(first)
    return frozenset(names)


def _aliased(kind: type[Event], fields: dict[str, Any]) -> Event:
    """Return an event with aliased fields, which the engine's own initialiser would take for undeclared ones."""
    initialiser: Any = kind.__init__
    if initialiser not in (Event.__init__, StartEvent.__init__):
        return kind.model_validate(fields)
    declared = {name: value for name, value in fields.items() if name in kind.model_fields or name in _aliases(kind)}
    event = kind.__new__(kind)
    kind.__pydantic_validator__.validate_python(declared, self_instance=event)
    undeclared = {name: value for name, value in fields.items() if name not in declared and name != "_data"}
    for name, value in {**fields.get("_data", {}), **undeclared}.items():
        event[name] = value
    return event


def _object(data: object, where: str) -> dict[str, Any]:
    if isinstance(data, str):
        try:
            data = parse_json(data, f"{where}: the string")
        except InvalidBody as error:
            raise InvalidEvent(str(error)) from None
    if not isinstance(data, dict):
        raise InvalidEvent(f"{where}: must be a JSON object, or a string that holds one.")
    return data


def _fits(event: Event, accepted: tuple[type[Event], ...], *, with_subclasses: bool) -> bool:
    return isinstance(event, accepted) if with_subclasses else type(event) in accepted


def _why_not_posted(kind: type[Event]) -> str | None:
    """Return the reason why clients may not send such an event to a run; None where they may."""
    if issubclass(kind, StartEvent):
        return "starts runs, and cannot be sent to one"
    if issubclass(kind, StopEvent):
        return "ends runs, and cannot be sent to one"
    engines = {base for base in kind.__mro__ if base.__module__.partition(".")[0] == "workflows"}
    if (kind in engines and kind is not HumanResponseEvent) or any(
        issubclass(base, Event) and base not in _DERIVED_FROM for base in engines
    ):
        return "is made by the workflow or the engine, and cannot be sent"
    return None


def _names_in(fields: Mapping[str, Any]) -> list[str]:
    """Return the type names of an envelope, the qualified one first."""
    return [name for key in ("qualified_name", "type") if isinstance(name := fields.get(key), str) and name]


def _cut(name: str) -> str:
    """Return a name that a client sent, shortened for an error message."""
    return name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}…"
