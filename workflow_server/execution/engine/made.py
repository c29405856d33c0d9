"""Objects of the engine's classes, made without their constructors, which take longer than all else that is done with
them: a frozen dataclass sets its fields one by one, and a model validates what the engine itself has just made."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

_set = object.__setattr__
_given: dict[type[BaseModel], set[str]] = {}
"""The names of the fields of each class. Its objects share them: all are given, so that pydantic adds none."""


def frozen(kind: type[T], **values: Any) -> T:
    """Return a dataclass with these values, all that it has."""
    made = object.__new__(kind)
    vars(made).update(values)
    return made


def model(kind: type[M], values: dict[str, Any], private: dict[str, Any] | None = None) -> M:
    """Return a model with the ``values`` of its fields, all that it has, and of its private attributes, None where its
    class has none. It takes over both."""
    given = _given.get(kind)
    if given is None:
        given = _given[kind] = set(values)
    made = object.__new__(kind)
    _set(made, "__dict__", values)
    _set(made, "__pydantic_fields_set__", given)
    _set(made, "__pydantic_extra__", None)
    _set(made, "__pydantic_private__", private)
    return made
