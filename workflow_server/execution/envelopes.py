"""Events in the form in which clients read them, encoded once."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import PydanticSerializationError, from_json, to_json

from workflow_server.errors import Unstorable
from workflow_server.execution.failures import said
from workflow_server.protocol.client_json import to_client_json
from workflow_server.protocol.events import event_base_names

LONGEST_NUMBER = 4_300
"""Digits of one number that Python reads: https://docs.python.org/3/library/stdtypes.html#int-max-str-digits"""
_REMEDY = "publish and return plain data or models, and keep the rest in ctx.store"
_LONG_NUMBER = re.compile(f"[0-9]{{{LONGEST_NUMBER}}}")


def envelope(event: BaseModel) -> str:
    """Return an event as clients read it: its envelope, as JSON.

    Raises:
        Unstorable: a value of the event cannot be written as JSON; the message names the field.
    """
    try:
        value = to_client_json(event)
    except (PydanticSerializationError, ValueError, RecursionError) as error:
        reason = f"clients read it as JSON, which cannot represent it ({error}): {_REMEDY}"
        raise Unstorable(what=_describe(event), reason=reason) from error
    for name in _exceptions_of(type(event)):
        value = _with_said(value, name, getattr(event, name, None))
    if _has_unreadable_number(value):
        reason = f"a number of more than {LONGEST_NUMBER:,} digits cannot be read back"
        raise Unstorable(what=_describe(event), reason=reason)
    return f'{{"value":{value},{_type_of(type(event))}}}'


@lru_cache(maxsize=4096)
def _exceptions_of(kind: type[BaseModel]) -> list[str]:
    """Return the names of the fields that hold exceptions, as in the engine's events about failures."""
    return [name for name, field in kind.model_fields.items() if Exception in _parts(field.annotation)]


def _parts(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) or (annotation,)


def _with_said(value: str, name: str, error: object) -> str:
    """Return an event's JSON with an exception's message as in the handler's ``error``.

    The engine writes the whole message, and pydantic's exceptions quote the values that they refused.
    """
    fields = from_json(value)
    written = fields.get(name)
    if not isinstance(error, Exception) or not isinstance(written, dict) or "exception_message" not in written:
        return value
    message = said(error) or ""
    if message == written["exception_message"]:
        return value
    return to_json({**fields, name: {**written, "exception_message": message}}).decode()


@lru_cache(maxsize=4096)
def _type_of(kind: type[BaseModel]) -> str:
    types = list(event_base_names(kind)) or None
    fields = {"type": kind.__name__, "types": types, "qualified_name": f"{kind.__module__}.{kind.__name__}"}
    return json.dumps(fields, separators=(",", ":"))[1:-1]


def _has_unreadable_number(data: str) -> bool:
    if not _has_many_digits(data) or not _LONG_NUMBER.search(data):
        return False
    try:
        json.loads(data)
    except ValueError:
        return True
    return False


def _has_many_digits(data: str) -> bool:
    """Return whether there may be a run of ``LONGEST_NUMBER`` digits.

    Only every ``LONGEST_NUMBER``-th character is looked at: such a run covers one of them, and half of it lies on one
    side of that.
    """
    half = LONGEST_NUMBER // 2
    return any(
        data[place].isdigit() and (data[place - half : place].isdigit() or data[place : place + half].isdigit())
        for place in range(LONGEST_NUMBER - 1, len(data), LONGEST_NUMBER)
    )


def _describe(event: BaseModel) -> str:
    """Name the field of the event that cannot be written, if one is found, or else the event."""
    name = type(event).__name__
    fields: dict[str, Any] = {**vars(event), **getattr(event, "_data", {}), "result": getattr(event, "_result", None)}
    for key, value in fields.items():
        try:
            unreadable = _has_unreadable_number(to_json(value).decode())
        except (PydanticSerializationError, ValueError, RecursionError):
            unreadable = True
        if unreadable:
            return f"Field '{key}' of {name}"
    return f"A {name}"
