"""The differences between two trees of the engine's objects, down to the types, and the order of dictionaries."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

UNCOMPARED = {"config", "shared"}
"""Attributes of the engine's states that are the code's, or that only make a live state faster."""


def differences(ours: Any, theirs: Any, place: str = "") -> Iterator[str]:
    """Return where two values differ. Equal is what is the same object, or of one class with equal parts."""
    if ours is theirs:
        return
    parts = _parts(ours), _parts(theirs)
    if type(ours) is not type(theirs) or (parts[0] is None and ours != theirs):
        yield f"{place}: {ours!r} instead of {theirs!r}"
    elif parts[0] is not None and parts[1] is not None:
        if list(parts[0]) != list(parts[1]):
            yield f"{place}: {list(parts[0])} instead of {list(parts[1])}"
        for name in parts[0].keys() & parts[1].keys():
            yield from differences(parts[0][name], parts[1][name], f"{place}.{name}")


def frozen(value: Any) -> Any:
    """Return a copy of a tree, to compare the tree with later; what it holds of events are the events themselves."""
    if isinstance(value, dict):
        return {key: frozen(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return type(value)(frozen(item) for item in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        copied = object.__new__(type(value))
        vars(copied).update({name: frozen(item) for name, item in vars(value).items() if name != "config"})
        return copied
    return value


def _parts(value: Any) -> dict[Any, Any] | None:
    """Return the parts that an object consists of, in order; None for a value without any."""
    if isinstance(value, BaseModel):
        own = ("__dict__", "__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__")
        return {name: getattr(value, name) for name in own}
    if dataclasses.is_dataclass(value):
        return {name: part for name, part in vars(value).items() if name not in UNCOMPARED}
    if isinstance(value, dict):
        return value
    if isinstance(value, (list, tuple)):
        return dict(enumerate(value))
    if isinstance(value, BaseException):
        return {"args": value.args}
    return None
