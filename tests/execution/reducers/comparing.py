"""The differences between two trees of the engine's objects, down to the types, and the order of dictionaries."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from workflows.runtime.types.results import EmissionKey
from workflows.runtime.types.step_id import StepId

WHOLE = {str, int, float, bool, type(None), set, EmissionKey, StepId}
"""Classes whose ``==`` tells all."""


def differences(ours: Any, theirs: Any, place: str = "") -> Iterator[str]:
    """Return where two values differ. Equal is what is the same object, or of one class with equal parts."""
    if is_same(ours, theirs):
        return
    our, their = _parts(ours), _parts(theirs)
    if type(ours) is not type(theirs) or our is None or their is None or list(our) != list(their):
        yield f"{place}: {ours!r} instead of {theirs!r}"
        return
    for name in our:
        yield from differences(our[name], their[name], f"{place}.{name}")


def is_same(ours: Any, theirs: Any) -> bool:
    """Return whether two values do not differ."""
    if ours is theirs:
        return True
    kind = type(ours)
    if kind is not type(theirs):
        return False
    if kind in WHOLE:
        return bool(ours == theirs)
    if kind is list or kind is tuple:
        return len(ours) == len(theirs) and all(map(is_same, ours, theirs))
    our, their = _parts(ours), _parts(theirs)
    if our is None or their is None:
        return bool(ours == theirs)
    return list(our) == list(their) and all(map(is_same, our.values(), their.values()))


def frozen(value: Any) -> Any:
    """Return a copy of a tree, to compare the tree with later; what it holds of events are the events themselves."""
    kind = type(value)
    if kind in WHOLE and kind is not set:
        return value
    if isinstance(value, dict):
        return {key: frozen(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return kind(frozen(item) for item in value)
    if dataclasses.is_dataclass(kind):
        copied = object.__new__(kind)
        vars(copied).update({name: frozen(item) for name, item in vars(value).items() if name != "config"})
        return copied
    return value


def _parts(value: Any) -> dict[Any, Any] | None:
    """Return the parts that an object consists of, in order; None for a value without any."""
    if isinstance(value, dict):
        return value
    if isinstance(value, BaseModel):
        own = ("__dict__", "__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__")
        return {name: getattr(value, name) for name in own}
    if dataclasses.is_dataclass(type(value)):
        return {name: part for name, part in vars(value).items() if name != "config"}
    if isinstance(value, (list, tuple)):
        return dict(enumerate(value))
    if isinstance(value, BaseException):
        return {"args": value.args}
    return None
