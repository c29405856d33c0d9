"""The parts of an object that are stored, by its class."""

from __future__ import annotations

import copyreg
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import BaseModel, RootModel
from pydantic_core import PydanticUndefined

from workflow_server.execution.codec.failures import Undecodable
from workflow_server.execution.codec.field_types import fingerprint, fitted

if TYPE_CHECKING:
    from workflow_server.execution.codec.decoding import Decoding
    from workflow_server.execution.codec.run import Run

Json = Any

TAG = "$"
"""The key that marks an object as anything but a plain dictionary. A dictionary with this key is written as pairs."""


def escaped(name: str) -> str:
    """Return a name as it is written in a tree, where ``$`` alone is the tag."""
    return name + TAG if name[:1] == TAG and not name.strip(TAG) else name


def unescaped(name: str) -> str:
    """Return the original of an escaped name."""
    return name[1:] if name[:1] == TAG and not name.strip(TAG) else name


def slots_of(kind: type) -> list[str]:
    """Return the names of the slots of a class and its bases."""
    return list(copyreg._slotnames(kind))  # type: ignore[attr-defined]


def attributes_of(value: Any) -> dict[str, Any]:
    """Return the attributes of the object itself: its ``__dict__`` and its slots, whatever its class overrides."""
    attributes = dict(_dict_of(value))
    for name in slots_of(type(value)):
        try:
            attributes[name] = object.__getattribute__(value, name)
        except AttributeError:
            continue
    return attributes


def _dict_of(value: Any) -> Mapping[str, Any]:
    try:
        found: Mapping[str, Any] = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return {}
    return found


def is_component(kind: type) -> bool:
    """Return whether the engine would treat an object of this class as one of its components."""
    return all(callable(getattr(kind, name, None)) for name in ("class_name", "to_dict", "from_dict"))


class AttributeEncoder(Protocol):
    """Encodes named values."""

    def attributes(self, attributes: Mapping[str, Any], run: Run) -> dict[str, Json]:
        """Return the trees of the values, under their names."""


NOTHING_BESIDE: dict[str, Any] = {"_data": {}}
"""The private attributes of an event without undeclared fields."""


class ModelLayout:
    """A pydantic model: its ``__dict__``, its extra and private attributes, and the names of the fields that were
    set."""

    def __init__(self, kind: type[BaseModel]) -> None:
        self._kind = kind
        self.fields = kind.model_fields.keys()
        self.fingerprint = fingerprint(kind)
        self.private = kind.__private_attributes__
        self.has_only_data = set(self.private) == {"_data"}
        self._is_root = issubclass(kind, RootModel)
        self._slots = [name for name in slots_of(kind) if not name.startswith("__pydantic_")]
        self.has_slots = bool(self._slots)
        self.overrides_state = (
            kind.__getstate__ is not BaseModel.__getstate__
            or kind.__setstate__ is not BaseModel.__setstate__
            or kind.__reduce_ex__ is not object.__reduce_ex__
            or kind.__reduce__ is not object.__reduce__
        )

    def write(self, node: dict[str, Json], value: BaseModel, encoder: AttributeEncoder, run: Run) -> None:
        """Enter a model's parts into its node."""
        values = value.__dict__
        if self.fingerprint:
            node["h"] = self.fingerprint
        node["v"] = encoder.attributes(values, run)
        if values.keys() != self.fields:
            # The class has not changed: fields missing here never existed, and extra ones were added by hand.
            node["u"] = [name for name in self.fields if name not in values]
            node["o"] = [name for name in values if name not in self.fields]
        if value.__pydantic_fields_set__ != values.keys():
            node["s"] = sorted(value.__pydantic_fields_set__)
        if value.__pydantic_extra__ is not None:
            node["x"] = encoder.attributes(value.__pydantic_extra__, run)
        private = value.__pydantic_private__
        if private is not None and not (self.has_only_data and private == NOTHING_BESIDE):
            given = {name: item for name, item in private.items() if item is not PydanticUndefined}
            node["p"] = encoder.attributes(given, run)
            never = [name for name in self.private if name not in given]
            if never:
                node["q"] = never
        if self._slots:
            found = attributes_of(value)
            node["l"] = encoder.attributes({name: found[name] for name in self._slots if name in found}, run)

    def restore(self, value: BaseModel, node: Mapping[str, Json], decoding: Decoding) -> None:
        """Restore a model's state, without any validator, default or ``__init__``."""
        values = decoding.attributes(node["v"])
        fields_set = set(node["s"]) if "s" in node else set(values)
        if node.get("h", "") != self.fingerprint:
            values = fitted(self._kind, values)
        if values.keys() != self.fields:
            self._follow_the_class(values, node)
        extra = node.get("x")
        set_state = object.__setattr__
        set_state(value, "__dict__", values)
        set_state(value, "__pydantic_fields_set__", fields_set)
        if not self._is_root:
            set_state(value, "__pydantic_extra__", None if extra is None else decoding.attributes(extra))
            set_state(value, "__pydantic_private__", self._private_attributes(node, values, decoding))
        if "l" in node:
            for name, item in decoding.attributes(node["l"]).items():
                set_state(value, name, item)

    def _private_attributes(
        self, node: Mapping[str, Json], fields: dict[str, Any], decoding: Decoding
    ) -> dict[str, Any] | None:
        private = node.get("p")
        if private is None and self.has_only_data:
            return {"_data": {}}
        if not self.private:
            return None
        values = decoding.attributes(private or {})
        never = node.get("q", ())
        for name, attribute in self.private.items():
            if name not in values and name not in never:
                factory: Any = attribute.default_factory
                takes_values = getattr(attribute, "default_factory_takes_validated_data", False)
                default = (
                    attribute.get_default()
                    if factory is None
                    else factory({**fields, **values})
                    if takes_values
                    else factory()
                )
                if default is not PydanticUndefined:
                    values[name] = default
        return values

    def _follow_the_class(self, values: dict[str, Any], node: Mapping[str, Json]) -> None:
        """Adapt to a class that has changed since: new fields get their defaults, and removed ones are dropped."""
        never = node.get("u", ())
        for name, field in self._kind.model_fields.items():
            if name not in values and name not in never:
                if field.is_required():
                    raise Undecodable(
                        f"the field '{name}' of '{self._kind.__name__}' is new and has no default",
                        remedy="give it a default, or deploy code without it",
                    )
                values[name] = field.get_default(call_default_factory=True, validated_data=values)
        beside = node.get("o", ())
        for name in list(values):
            kept = name in beside or isinstance(getattr(self._kind, name, None), cached_property)
            if name not in self.fields and not kept:
                del values[name]


_MISSING: Any = object()


class CompactLayout:
    """A class of the engine: a short tag, and the fields that differ from their defaults.

    ``exceptions`` are fields whose exceptions are stored as completely as possible; ``left_out`` are fields that are
    not stored, and that the reader restores. ``adapted`` are functions by field that return what is read instead of
    what was stored, where names have changed since.
    """

    def __init__(
        self,
        kind: type[Any],
        tag: str,
        *,
        exceptions: frozenset[str] = frozenset(),
        left_out: Mapping[str, Any] = {},
        adapted: Mapping[str, Callable[[Any], Any]] = {},
    ) -> None:
        self.kind = kind
        self.tag = tag
        self.exceptions = exceptions
        self._left_out = left_out
        self._adapted = adapted
        self._is_model = issubclass(kind, BaseModel)
        self._defaults = {name: value for name, value in _defaults_of(kind) if name not in left_out}

    @property
    def fields(self) -> set[str]:
        """Return the names of the stored fields."""
        return set(self._defaults)

    def differing(self, value: Any) -> dict[str, Any]:
        """Return the fields that differ from their defaults."""
        values = value.__dict__
        found: dict[str, Any] = {}
        for name, default in self._defaults.items():
            item = values[name]
            if item is default or (type(item) is type(default) and ((not item and not default) or item == default)):
                continue
            found[name] = item
        return found

    def restore(self, value: Any, node: Mapping[str, Json], decoding: Decoding) -> None:
        """Restore the fields of an object."""
        values = dict(self._left_out)
        decoded = decoding.value
        for name, item in node.items():
            values[name] = decoded(item) if type(item) is dict or type(item) is list else item
        del values[TAG]
        for name, default in self._defaults.items():
            if name not in values:
                if default is _MISSING:
                    raise Undecodable(f"its field '{name}' is missing")
                values[name] = type(default)() if type(default) in _CONTAINERS else default
        for name, adapt in self._adapted.items():
            values[name] = adapt(values[name])
        if not self._is_model:
            value.__dict__.update(values)
            return
        set_state = object.__setattr__
        set_state(value, "__dict__", values)
        set_state(value, "__pydantic_fields_set__", set(values))
        set_state(value, "__pydantic_extra__", None)
        set_state(value, "__pydantic_private__", None)


_CONTAINERS = frozenset({dict, list, set})


def _defaults_of(kind: type[Any]) -> Iterator[tuple[str, Any]]:
    if issubclass(kind, BaseModel):
        for name, field in kind.model_fields.items():
            yield name, _MISSING if field.is_required() else field.get_default(call_default_factory=True)
        return
    for part in dataclasses.fields(kind):
        made = part.default_factory
        yield (
            part.name,
            made()
            if made is not dataclasses.MISSING
            else (_MISSING if part.default is dataclasses.MISSING else part.default),
        )
