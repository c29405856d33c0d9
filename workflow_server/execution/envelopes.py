"""Events in the form in which clients read them, encoded once."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import from_json, to_json
from workflows.events import StepState, StepStateChanged

from workflow_server.errors import Unstorable
from workflow_server.execution.codec import Codec, tree_of
from workflow_server.execution.containment import is_cancelled
from workflow_server.execution.failures import message_of, said
from workflow_server.execution.unwritable import LONGEST_NUMBER, NO_JSON, has_unreadable_number, unwritable
from workflow_server.protocol.client_json import to_client_json
from workflow_server.protocol.client_plain import plain_json
from workflow_server.protocol.events import event_base_names

LARGEST_SHOWN = 1_000_000
"""Bytes of the fields of an event that its class does not write."""


def envelope(event: BaseModel) -> str:
    """Return an event as clients read it: its envelope, as JSON.

    Raises:
        Unstorable: a value of the event cannot be written as JSON; the message names its place and its type.
    """
    if type(event) is StepStateChanged:
        known = _of_step_state(event)
        if known is not None:
            return known
    value = plain_json(event)
    if value is None:
        return _general_envelope(event)
    if len(value) >= LONGEST_NUMBER and has_unreadable_number(value):
        raise unwritable(event)
    return f'{{"value":{value},{_type_of(type(event))}}}'


def stored_envelope(data: str, read: Callable[[str], BaseModel], codec: Codec) -> str | None:
    """Return a stored event as clients read it; None where it cannot be read any more, or not be written as JSON."""
    try:
        event = read(data)
        try:
            return envelope(event)
        except Unstorable:
            # Its class does not write each event that it accepts: that of agents writes fields that were not given.
            return _shown(data, type(event), codec)
    except BaseException as error:
        # The event's own code may raise anything.
        if is_cancelled(error):
            raise
        return None


def _shown(data: str, kind: type[BaseModel], codec: Codec) -> str | None:
    showing = codec.showing(LARGEST_SHOWN)
    value = showing.value(tree_of(data))
    if showing.truncated or not isinstance(value, dict):
        return None
    return f'{{"value":{to_json(value).decode()},{_type_of(kind)}}}'


@lru_cache(maxsize=4096)
def step_state_envelope(
    step_state: str, name: str, worker_id: str, input_event_name: str, output_event_name: str | None = None
) -> str:
    """Return the envelope of a ``StepStateChanged``, the same text as ``envelope`` gives: each step has two, and few
    of them differ. ``step_state``: the value of the member, whose own hash is computed in Python."""
    event = StepStateChanged(
        step_state=StepState(step_state),
        name=name,
        worker_id=worker_id,
        input_event_name=input_event_name,
        output_event_name=output_event_name,
    )
    return _general_envelope(event)


def _of_step_state(event: StepStateChanged) -> str | None:
    """Return the envelope of an event that the engine made; None where its fields are not all that it holds."""
    fields = event.__dict__
    if list(fields) != _STEP_STATE_FIELDS or event.__pydantic_private__ != _NOTHING_BESIDE:
        return None
    name, step_state, worker_id, input_name, output_name = fields.values()
    is_plain = type(name) is type(worker_id) is type(input_name) is str and type(step_state) is StepState
    if not is_plain or (type(output_name) is not str and output_name is not None):
        return None
    return step_state_envelope(step_state._value_, name, worker_id, input_name, output_name)


_STEP_STATE_FIELDS = ["name", "step_state", "worker_id", "input_event_name", "output_event_name"]
_NOTHING_BESIDE: dict[str, Any] = {"_data": {}}


def _general_envelope(event: BaseModel) -> str:
    """Return the envelope of any event, through the serializers of its class."""
    failures = {name: getattr(event, name, None) for name in _exceptions_of(type(event))}
    replaced = {name: Exception() for name, failure in failures.items() if not _is_writable(failure)}
    try:
        value = to_client_json(event.model_copy(update=replaced) if replaced else event)
    except NO_JSON as error:
        raise unwritable(event, error) from error
    for name, failure in failures.items():
        value = _with_said(value, name, failure)
    if has_unreadable_number(value):
        raise unwritable(event)
    return f'{{"value":{value},{_type_of(type(event))}}}'


@lru_cache(maxsize=4096)
def _exceptions_of(kind: type[BaseModel]) -> list[str]:
    """Return the names of the fields that hold exceptions, as in the engine's events about failures."""
    return [name for name, field in kind.model_fields.items() if Exception in _parts(field.annotation)]


def _parts(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) or (annotation,)


def _is_writable(error: object) -> bool:
    """Return whether what an exception says can be written: it may name a file whose name is no UTF-8."""
    message = message_of(error) if isinstance(error, Exception) else None
    return message is None or message.isascii() or _text(message) == message


def _text(message: str) -> str:
    return message.encode("utf-8", "backslashreplace").decode()


def _with_said(value: str, name: str, error: object) -> str:
    """Return an event's JSON with an exception's message as in the handler's ``error``.

    The engine writes the whole message, and pydantic's exceptions quote the values that they refused.
    """
    fields = from_json(value)
    written = fields.get(name)
    if not isinstance(error, Exception) or not isinstance(written, dict) or "exception_message" not in written:
        return value
    message = _text(said(error) or "")
    if message == written["exception_message"]:
        return value
    kind = f"{type(error).__module__}.{type(error).__qualname__}"
    return to_json({**fields, name: {"exception_type": kind, "exception_message": message}}).decode()


@lru_cache(maxsize=4096)
def _type_of(kind: type[BaseModel]) -> str:
    types = list(event_base_names(kind)) or None
    fields = {"type": kind.__name__, "types": types, "qualified_name": f"{kind.__module__}.{kind.__name__}"}
    return json.dumps(fields, separators=(",", ":"))[1:-1]
