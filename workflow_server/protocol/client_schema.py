"""Core schemas of pydantic, rewritten so that their serializers write NaN and infinities as strings.

https://docs.pydantic.dev/latest/internals/architecture/#core-schema
"""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import Enum
from functools import lru_cache, wraps
from typing import Any

STRINGS = {"ser_json_inf_nan": "strings"}

Node = dict[str, Any]
"""A core schema, or a part of one."""

# Keys with a schema, or with several: a list, or a mapping from names or tags.
_CHILDREN = (
    "schema", "keys_schema", "values_schema", "items_schema", "extras_schema", "return_schema", "lax_schema",
    "strict_schema", "json_schema", "python_schema", "fields", "computed_fields", "choices", "steps", "definitions",
)  # fmt: skip
_CONFIGURED = frozenset({"model", "dataclass", "typed-dict"})
_FIELDS = frozenset({"model-fields", "dataclass-args", "typed-dict"})
_ARRAYS = frozenset({"list", "set", "frozenset", "generator"})
# Types whose values are written by what they turn out to be.
_ANY = frozenset({"any", "is-instance", "is-subclass", "callable", "function-plain", "call"})
# Types of dictionary keys that are never NaN.
_NO_NUMBERS = frozenset(
    {
        "str",
        "int",
        "bool",
        "bytes",
        "uuid",
        "date",
        "time",
        "datetime",
        "timedelta",
        "decimal",
        "url",
        "tuple",
        "literal",
    }
)


def root_config(schema: Node, kind: type[Any]) -> dict[str, Any]:
    """Return the configuration of the class whose schema this is."""
    found = [schema]
    while found[0]["type"] == "definitions":
        found = [found[0]["schema"], *found[0]["definitions"], *found[1:]]
    return next((node["config"] for node in found if node.get("cls") is kind and "config" in node), {})


class ClientSchema:
    """Rewrites schemas. ``readable`` converts each value whose type is known only when it is written."""

    def __init__(self, readable: Callable[[Any], Any]) -> None:
        self._readable = readable
        self._any = {"type": "function-plain", "function": readable}
        self._definitions: dict[str, Node] = {}

    def rewritten(self, node: Node) -> Node:
        """Return the schema with other serializers."""
        kind = node.get("type")
        if "serialization" not in node and kind in _ANY:
            return {"type": "any", "serialization": self._any}
        if kind == "definitions":
            self._definitions |= {defined["ref"]: defined for defined in node["definitions"]}
        new = self._with_children(_completed(node))
        if kind in _CONFIGURED:
            new["config"] = {**node.get("config", {}), **STRINGS}
        if kind in ("model", "dataclass"):
            # For a complete class, pydantic-core would use the serializer of the class.
            new["cls"] = _stand_in(node["cls"])
        elif kind == "dict" and new["keys_schema"].get("type") not in _NO_NUMBERS:
            keys = {"type": "function-wrap", "function": _key, "schema": new["keys_schema"]}
            new["keys_schema"] = {"type": "any", "serialization": keys}
        elif kind == "union":
            new["choices"] = self._subclasses_first(node["choices"], new["choices"])
        if "serialization" in node:
            new["serialization"] = self._rewritten_serialization(node["serialization"])
        return new

    def _with_children(self, node: Node) -> Node:
        return {name: self._rewritten_all(part) if name in _CHILDREN else part for name, part in node.items()}

    def _rewritten_all(self, part: Any) -> Any:
        if isinstance(part, dict):
            if isinstance(part.get("type"), str):
                return self.rewritten(part)
            return {name: self._rewritten_all(node) for name, node in part.items()}
        if isinstance(part, (list, tuple)):
            return type(part)(map(self._rewritten_all, part))
        return part

    def _subclasses_first(self, choices: list[Any], new: list[Any]) -> list[Any]:
        """Return the choices of a union, subclasses first.

        Pydantic prefers an exact class, which a stand-in never is; of the others, the first that matches is taken.
        """
        depths = [self._depth(choice) for choice in choices]
        classes = [place for place, depth in enumerate(depths) if depth]
        ordered = list(new)
        for place, other in zip(classes, sorted(classes, key=depths.__getitem__, reverse=True), strict=True):
            ordered[place] = new[other]
        return ordered

    def _depth(self, choice: Any) -> int:
        """Return the number of classes that the choice's class inherits from; 0 where it is no class."""
        node = choice[0] if isinstance(choice, tuple) else choice
        while "cls" not in node and ("schema" in node or node.get("type") == "definition-ref"):
            node = node["schema"] if "schema" in node else self._definitions[node["schema_ref"]]
        return len(node["cls"].__mro__) if "cls" in node else 0

    def _rewritten_serialization(self, node: Node) -> Node:
        if node["type"] == "any":
            return self._any
        if "function" in node and _is_event_dump(node["function"]):
            return {**node, "function": self._undeclared_readable(node["function"])}
        if "function" in node and "return_schema" not in node:
            return {**self._with_children(node), "function": self._output_readable(node["function"])}
        return self._with_children(node)

    def _output_readable(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def readable(*arguments: Any) -> Any:
            return self._readable(function(*arguments))

        return readable

    def _undeclared_readable(self, dump: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap the engine's serializer of events, which adds undeclared fields and a plain result to the others."""

        @wraps(dump)
        def readable(event: Any, handler: Callable[[Any], Any]) -> dict[str, Any]:
            data: dict[str, Any] = dump(event, handler)
            for name in ("_data", "result"):
                if name in data:
                    data[name] = self._readable(data[name])
            return data

        return readable


def finite_key(key: Any) -> Any:
    """Return a key of a JSON object, with NaN and infinities as text."""
    number = key.value if isinstance(key, Enum) else key
    if not isinstance(number, float) or math.isfinite(number):
        return key
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


def _key(key: Any, handler: Callable[[Any], Any]) -> Any:
    finite = finite_key(key)
    # The handler would make a list of a tuple, which is not a key.
    return finite if finite is not key or isinstance(key, tuple) else handler(key)


def _is_event_dump(function: object) -> bool:
    names = (getattr(function, "__module__", None), getattr(function, "__name__", None))
    return names == ("workflows.events", "custom_model_dump")


def _completed(node: Node) -> Node:
    """Return the node with its default children made explicit."""
    anything = {"type": "any"}
    kind = node.get("type")
    if kind in _ARRAYS:
        return {"items_schema": anything, **node}
    if kind == "dict":
        return {"keys_schema": anything, "values_schema": anything, **node}
    if kind in _CONFIGURED and node.get("config", {}).get("extra_fields_behavior") == "allow":
        return _with_extras(node)
    return node


def _with_extras(node: Node) -> Node:
    if node["type"] in _FIELDS:
        return {"extras_schema": {"type": "any"}, **node, "extra_behavior": "allow"}
    return {**node, "schema": _with_extras(node["schema"])} if "schema" in node else node


@lru_cache(maxsize=4096)
def _stand_in(kind: type[Any]) -> type[Any]:
    """Return a class with the same instances as ``kind``, but without what pydantic stores on that."""

    class Meta(type):
        def __instancecheck__(cls, instance: object) -> bool:
            return isinstance(instance, kind)

    return Meta(kind.__name__, (), {})
