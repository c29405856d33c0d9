"""Events as clients read them, encoded once."""

from __future__ import annotations

import json
import re
from functools import lru_cache

from pydantic import BaseModel
from pydantic_core import PydanticSerializationError, to_json

from workflow_server.errors import Unstorable
from workflow_server.protocol.events import event_base_names
from workflow_server.runtime.engine import event_value

LONGEST_NUMBER = 4_300
"""Digits that Python reads of one number: https://docs.python.org/3/library/stdtypes.html#int-max-str-digits"""
_LONG_NUMBER = re.compile(r"[0-9]{4300}")


def envelope(event: BaseModel) -> str:
    """The read envelope of an event, as JSON.

    Raises:
        Unstorable: a value of the event is no JSON; the message names the field.
    """
    return f'{{"value":{encode_event(event)},{_type_of(type(event))}}}'


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
        reason = f"a number of more than {LONGEST_NUMBER:,} digits is not read back"
        raise Unstorable(what=f"A number of {type(event).__name__}", reason=reason)
    return value


def _describe(event: BaseModel) -> str:
    name = type(event).__name__
    values = {**vars(event), **getattr(event, "_data", {}), "result": getattr(event, "_result", None)}
    for key, value in values.items():
        try:
            to_json(value)
        except (PydanticSerializationError, ValueError, RecursionError):
            return f"Field '{key}' of {name}"
    return f"A {name}"


@lru_cache(maxsize=4096)
def _type_of(kind: type[BaseModel]) -> str:
    types = list(event_base_names(kind)) or None
    fields = {"type": kind.__name__, "types": types, "qualified_name": f"{kind.__module__}.{kind.__name__}"}
    return json.dumps(fields, separators=(",", ":"))[1:-1]
