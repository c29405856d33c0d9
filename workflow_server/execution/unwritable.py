"""Values of an event that clients cannot be given as JSON, with their place and their type."""

from __future__ import annotations

import dataclasses
import json
import re
from collections import deque
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticSerializationError, to_json

from workflow_server.errors import Unstorable
from workflow_server.execution.codec.failures import Unkeepable
from workflow_server.printable import printable, without_inputs

LONGEST_NUMBER = 4_300
"""Digits that Python reads of one number: https://docs.python.org/3/library/stdtypes.html#int-max-str-digits"""
NO_JSON = (PydanticSerializationError, ValueError, RecursionError)
"""Exceptions that pydantic raises for what it does not write."""
LONGEST_PROBLEM = 300
"""Characters that are shown of what pydantic, or a serializer of a user's, says."""

_REMEDY = "publish and return plain data or models, and keep the rest in ctx.store"
_LONG_NUMBER = re.compile(f"[0-9]{{{LONGEST_NUMBER}}}")


def unwritable(event: BaseModel, error: Exception | None = None) -> Unstorable:
    """Return the refusal of an event: ``error`` says why it cannot be written, or a number in it is too long."""
    name = type(event).__name__
    for field, value in _fields(event).items():
        found = _found(value, frozenset())
        if found is not None:
            found.at_attribute(field)
            return Unstorable(what=found.place(name), reason=f"it is of type {found.kind}, and {found.reason}")
    # A serializer of the class has failed, say.
    return Unstorable(what=f"A {name}", reason=f"it {_reason(_said(error) if error is not None else _TOO_LONG)}")


def _found(value: Any, around: frozenset[int]) -> Unkeepable | None:
    """The innermost value that cannot be written; None where all of it can. ``around`` are those that it is in."""
    problem = _problem(value)
    if problem is None:
        return None
    inside = None
    if id(value) not in around and _TOO_DEEP not in problem:
        inside = _found_inside(value, around | {id(value)})
    return inside or Unkeepable(_reason(problem)).of(type(value))


def _found_inside(value: Any, around: frozenset[int]) -> Unkeepable | None:
    outwards: Callable[[Unkeepable, Any], Unkeepable] = Unkeepable.at_index
    if isinstance(value, dict):
        names, parts = list(value), list(value.values())
    elif isinstance(value, (list, tuple, deque)):
        names, parts = list(range(len(value))), list(value)
    elif isinstance(value, (set, frozenset)):
        names = parts = list(value)
        outwards = Unkeepable.at_key
    else:
        fields = _fields(value)
        names, parts = list(fields), list(fields.values())
        outwards = Unkeepable.at_attribute
    place = _first(parts, _problem)
    if place is not None:
        found = _found(parts[place], around)
        return outwards(found, names[place]) if found is not None else None
    return _found_key(names, around) if isinstance(value, dict) else None


def _found_key(keys: list[Any], around: frozenset[int]) -> Unkeepable | None:
    place = _first(keys, _problem_of_keys)
    if place is None:
        return None
    key = keys[place]
    found = _found(key, around) or Unkeepable(_reason(_problem_of_keys([key]) or "")).of(type(key))
    return found.at_key(key)


def _first(parts: list[Any], problem: Callable[[list[Any]], str | None]) -> int | None:
    """The place of the first part that cannot be written. By halves: of a million numbers that takes 30 ms, and one
    after the other 500 ms, in which the event loop would stand still."""
    if not parts or problem(parts) is None:
        return None
    begin, end = 0, len(parts)
    while end - begin > 1:
        middle = (begin + end) // 2
        if problem(parts[begin:middle]) is not None:
            end = middle
        else:
            begin = middle
    return begin


def _fields(value: Any) -> dict[str, Any]:
    """The fields of a model or a dataclass that are written, as users know them."""
    if isinstance(value, BaseModel):
        declared = type(value).model_fields
        shown = {name: item for name, item in vars(value).items() if name in declared and not declared[name].exclude}
        own = value.__pydantic_private__ or {}
        result = {"result": own["_result"]} if "_result" in own else {}
        return {**shown, **(value.__pydantic_extra__ or {}), **(own.get("_data") or {}), **result}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return {}


_TOO_DEEP = "depth exceeded"
_TOO_LONG = f"holds a number of more than {LONGEST_NUMBER:,} digits, which is not read back"
_UNKNOWN = "Unable to serialize unknown type"


def _problem(value: Any) -> str | None:
    """Return why the value cannot be written; None where it can."""
    try:
        data = to_json(value).decode()
    except NO_JSON as error:
        return _said(error)
    return _TOO_LONG if has_unreadable_number(data) else None


def _problem_of_keys(keys: list[Any]) -> str | None:
    return _problem(dict.fromkeys(keys))


def _said(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return _TOO_DEEP
    text = str(error).removeprefix("Error serializing to JSON: ").removeprefix("PydanticSerializationError: ")
    return printable(without_inputs(text), LONGEST_PROBLEM)


def _reason(problem: str) -> str:
    if problem == _TOO_LONG:
        return problem
    if _TOO_DEEP in problem:
        return "is nested too deep for JSON, as clients read it: publish and return flatter data"
    detail = "" if _UNKNOWN in problem else f" ({problem})"
    return f"cannot be written as JSON, as clients read it{detail}: {_REMEDY}"


def has_unreadable_number(data: str) -> bool:
    """Return whether this JSON holds a number with more digits than Python reads."""
    if not _has_many_digits(data) or not _LONG_NUMBER.search(data):
        return False
    try:
        json.loads(data)
    except ValueError:
        return True
    return False


def _has_many_digits(data: str) -> bool:
    """Return whether there may be a run of ``LONGEST_NUMBER`` digits: it would hold one of the places that are looked
    at, and half of it on one side of that."""
    half = LONGEST_NUMBER // 2
    return any(
        data[place].isdigit() and (data[place - half : place].isdigit() or data[place : place + half].isdigit())
        for place in range(LONGEST_NUMBER - 1, len(data), LONGEST_NUMBER)
    )
