"""The fields that a class declares, for completing objects that were stored by an older version of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from workflow_server.execution.codec.failures import Undecodable
from workflow_server.execution.codec.layout import slots_of

Default = Callable[[Any], Any] | None
"""Returns the default of a field for an object; None where it has none."""

_GENERATED = ("_dataclass_getstate", "slots_getstate")
"""Names of the pickling methods that dataclasses and attrs generate, which return only the fields, by position."""


def declared_fields(kind: type[Any]) -> Mapping[str, Default]:
    """Return the fields of a dataclass or an attrs class; none for any other class."""
    known: Any = kind
    return _fields_of(known)


@lru_cache(maxsize=10_000)
def _fields_of(kind: Any) -> Mapping[str, Default]:
    if dataclasses.is_dataclass(kind):
        return {part.name: _default(part) for part in dataclasses.fields(kind)}
    return {part.name: _attrs_default(part.default) for part in getattr(kind, "__attrs_attrs__", ())}


def _default(part: dataclasses.Field[Any]) -> Default:
    factory: Any = part.default_factory
    if factory is not dataclasses.MISSING:
        return lambda made: factory()  # noqa: ARG005
    return None if part.default is dataclasses.MISSING else lambda made: part.default  # noqa: ARG005


def _attrs_default(default: Any) -> Default:
    factory = getattr(default, "factory", None)
    if callable(factory):
        return factory if default.takes_self else lambda made: factory()  # noqa: ARG005
    # Without a default, the module of attrs is not needed.
    return None if repr(default) == "NOTHING" else lambda made: default  # noqa: ARG005


def generates_state(kind: type[Any]) -> bool:
    """Return whether the pickling methods of a class were generated from its fields: then its attributes are its
    state."""
    method = getattr(kind, "__getstate__", None)
    reduces = any(getattr(kind, name) is not getattr(object, name) for name in ("__reduce_ex__", "__reduce__"))
    return (
        getattr(method, "__name__", "") in _GENERATED
        and bool(declared_fields(kind))
        and not reduces
        and "_attrs_cached_hash" not in slots_of(kind)
    )


def complete(made: Any, present: Mapping[str, Any], never: list[str]) -> dict[str, Any]:
    """Return the fields that a newer version of the class has in addition, with their defaults.

    Raises:
        Undecodable: one has no default.
    """
    more: dict[str, Any] = {}
    for name, default in declared_fields(type(made)).items():
        if name not in present and name not in never:
            if default is None:
                raise Undecodable(
                    f"the field '{name}' of '{type(made).__name__}' is new and has no default",
                    remedy="give it a default, or deploy code without it",
                )
            more[name] = default(made)
    return more
