"""Decoding of trees into new values. The trees stay as they are, whatever happens to the values."""

from __future__ import annotations

import base64
import json
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel
from workflows.events import UnreconstructedException

from workflow_server.execution.codec.declared import complete
from workflow_server.execution.codec.failures import Undecodable
from workflow_server.execution.codec.layout import TAG, CompactLayout, ModelLayout, slots_of, unescaped
from workflow_server.execution.codec.names import Names
from workflow_server.execution.codec.registered import registration
from workflow_server.execution.codec.scalars import DECODED, MANY

Json = Any

_NESTED = frozenset({dict, list})
_MUTABLE: dict[str, Any] = {kind.__name__: kind for kind in (dict, list, set, deque, bytearray)}
_FIXED: dict[str, Any] = {kind.__name__: kind for kind in (str, int, float, complex, bytes, tuple, frozenset)}


class Decoding:
    """One decoding. Objects that others refer to are numbered in the order in which they are created."""

    def __init__(self, names: Names, compact: Mapping[str, CompactLayout], layouts: dict[type, ModelLayout]) -> None:
        self._names = names
        self._compact = compact
        self._layouts = layouts
        self._made: list[Any] = []

    def value(self, tree: Json) -> Any:
        """Return the value of a tree.

        Raises:
            Undecodable: a class in it is not found, or does not accept the stored state.
        """
        if type(tree) is dict:
            tag = tree.get(TAG)
            if tag == "m":
                return self._model(tree)
            if tag is not None:
                return self._tagged(tag, tree)
            if len(tree) >= MANY and _NESTED.isdisjoint(map(type, tree.values())):
                return self._number(dict(tree))
            made: dict[str, Any] = {}
            self._made.append(made)
            for key, item in tree.items():
                made[key] = self.value(item) if type(item) is dict or type(item) is list else item
            return made
        if type(tree) is list:
            if len(tree) >= MANY and _NESTED.isdisjoint(map(type, tree)):
                return self._number(list(tree))
            return self._extended(self._number([]), tree)
        return tree

    def _tagged(self, tag: str, node: dict[str, Json]) -> Any:
        reader = _READERS.get(tag)
        if reader is not None:
            return reader(self, node)
        scalar = DECODED.get(tag)
        if scalar is not None:
            return scalar(node, self.value)
        layout = self._compact.get(tag)
        if layout is None:
            raise Undecodable("it was written by a newer version")
        made = self._number(object.__new__(layout.kind))
        layout.restore(made, node, self)
        return made

    def attributes(self, node: Mapping[str, Json]) -> dict[str, Any]:
        """Return named values."""
        value = self.value
        return {
            name if name[:1] != TAG else unescaped(name): value(item)
            if type(item) is dict or type(item) is list
            else item
            for name, item in node.items()
        }

    def _number(self, made: Any) -> Any:
        self._made.append(made)
        return made

    def _graph(self, node: Mapping[str, Json]) -> Any:
        """Return a value that holds an object twice: it has numbers of its own."""
        outside, self._made = self._made, []
        try:
            return self.value(node["v"])
        finally:
            self._made = outside

    # -- Containers ----------------------------------------------------------------------------

    def _items(self, trees: list[Json]) -> list[Any]:
        return [self.value(tree) for tree in trees]

    def _extended(self, made: Any, trees: list[Json]) -> Any:
        for tree in trees:
            made.append(self.value(tree))
        return made

    def _pairs(self, made: Any, node: Mapping[str, Json]) -> Any:
        put = OrderedDict.__setitem__ if isinstance(made, OrderedDict) else dict.__setitem__
        keys = node.get("k", {})
        for name, tree in node["v"].items():
            key = self.value(keys[name] if name in keys else json.loads(name))
            put(made, key, self.value(tree))
        return made

    def _members(self, made: set[Any], trees: Mapping[str, Json]) -> set[Any]:
        for name, tree in trees.items():
            set.add(made, self.value(json.loads(name) if tree == 1 else tree))
        return made

    # -- Classes -------------------------------------------------------------------------------

    def _class(self, node: Mapping[str, Json]) -> type[Any]:
        return self._names.resolve_class(node["c"])

    def _enum(self, node: Mapping[str, Json]) -> Any:
        kind: Any = self._class(node)
        if "n" not in node:
            return kind(self.value(node["v"]))
        try:
            return kind[node["n"]]
        except KeyError as error:
            raise Undecodable("a member of an enum is gone") from error

    def _model(self, node: Mapping[str, Json]) -> Any:
        kind = self._class(node)
        layout = self._layouts.get(kind)
        if layout is None:
            if not issubclass(kind, BaseModel):
                raise Undecodable("a class is no longer a pydantic model")
            layout = self._layouts[kind] = ModelLayout(kind)
        made = self._number(object.__new__(kind))
        layout.restore(made, node, self)
        return made

    def _object(self, node: Mapping[str, Json]) -> Any:
        made = self._number(_new(self._class(node)))
        attributes = self.attributes(node["v"])
        self._set_attributes(made, attributes)
        self._set_attributes(made, complete(made, attributes, node.get("u", [])))
        return made

    def _set_attributes(self, made: Any, attributes: Mapping[str, Any]) -> None:
        slots = slots_of(type(made))
        others = None if hasattr(type(made), "__dictoffset__") and not type(made).__dictoffset__ else made.__dict__
        for name, value in attributes.items():
            if name in slots:
                object.__setattr__(made, name, value)
            elif others is not None:
                others[name] = value

    def _subclass(self, node: Mapping[str, Json]) -> Any:
        kind = self._class(node)
        base = node["b"]
        made: Any
        if base in _MUTABLE:
            made = self._number(_MUTABLE[base].__new__(kind))
            self._fill(made, base, node)
        else:
            made = _FIXED[base].__new__(kind, self.value(node["v"]))
        if "a" in node:
            self._set_attributes(made, self.attributes(node["a"]))
        return made

    def _fill(self, made: Any, base: str, node: Mapping[str, Json]) -> None:
        if base == "dict":
            self._pairs(made, node)
            if "f" in node:
                made.default_factory = self.value(node["f"])
        elif base == "set":
            self._members(made, node["v"])
        elif base == "deque":
            deque.__init__(made, (), node["m"])
            for tree in node["v"]:
                deque.append(made, self.value(tree))
        elif base == "bytearray":
            bytearray.__init__(made, base64.b64decode(node["v"]))
        else:
            for tree in node["v"]:
                list.append(made, self.value(tree))

    # -- Objects with ways of their own --------------------------------------------------------

    def _reduced(self, node: Mapping[str, Json]) -> Any:
        make = self.value(node["f"])
        made = self._number(make(*self._items(node["a"])))
        if "s" in node:
            self._set_state(made, self.value(node["s"]))
        if "l" in node:
            made.extend(self._items(node["l"]))
        for key, value in self._items(node.get("k", [])):
            made[key] = value
        if "at" in node:
            self._set_attributes(made, self.attributes(node["at"]))
        return made

    def _set_state(self, made: Any, state: Any) -> None:
        if hasattr(made, "__setstate__"):
            made.__setstate__(state)
            return
        for part in state if isinstance(state, tuple) else (state,):
            self._set_attributes(made, part or {})

    def _exception(self, node: Mapping[str, Json]) -> Any:
        kind: Any = self._class(node)
        args = self._items(node["a"])
        # Created as Python's own exceptions are; anything that a user's class adds is in its attributes.
        maker: Any = next(
            base
            for base in kind.__mro__
            if "__new__" in base.__dict__ and not isinstance(base.__dict__["__new__"], staticmethod)
        )
        made = self._number(maker.__new__(kind, *args))
        # Python's own exceptions keep more than their arguments, and only their own initialisers set it.
        base: Any = next(base for base in kind.__mro__ if not hasattr(base.__dict__.get("__init__"), "__code__") and
                    "__init__" in base.__dict__)  # fmt: skip
        base.__init__(made, *args)
        self._set_attributes(made, self.attributes(node["v"]))
        for name, value in self.attributes(node.get("w", {})).items():
            setattr(made, name, value)
        made.__cause__ = self.value(node["cause"]) if "cause" in node else None
        made.__context__ = self.value(node["context"]) if "context" in node else None
        made.__suppress_context__ = "sup" in node
        return made

    def _exception_as_far_as_kept(self, node: Mapping[str, Json]) -> Any:
        made: BaseException = UnreconstructedException(node["m"], original_type=node["n"])
        try:
            if node["c"] is not None:
                made = self._class(node)(node["m"])
        except Exception:
            made = UnreconstructedException(node["m"], original_type=node["n"])
        self._number(made)
        made.__dict__.update(self.attributes(node["v"]))
        return made

    def _component(self, node: Mapping[str, Json]) -> Any:
        kind: Any = self._class(node)
        return self._number(kind.from_dict(self.value(node["v"])))

    def _registered(self, node: Mapping[str, Json]) -> Any:
        known = registration(self._class(node))
        if known is None:
            raise Undecodable("its type is no longer registered with register_type")
        return self._number(known.decode(self.value(node["v"])))


def _new(kind: Any) -> Any:
    """Return an object as Python's copying creates it, but without calling a class that demands arguments."""
    try:
        return kind.__new__(kind)
    except TypeError:
        return object.__new__(kind)


_READERS: dict[str, Callable[[Decoding, Any], Any]] = {
    "ref": lambda self, node: self._made[node["n"]],
    "graph": Decoding._graph,
    "d": lambda self, node: self._pairs(self._number({}), node),
    "proxy": lambda self, node: self._number(MappingProxyType(self.value(node["v"]))),
    "ba": lambda self, node: self._number(bytearray(base64.b64decode(node["v"]))),
    "t": lambda self, node: tuple(self._items(node["v"])),
    "s": lambda self, node: self._members(self._number(set()), node["v"]),
    "fs": lambda self, node: frozenset(self._members(set(), node["v"])),
    "q": lambda self, node: self._extended(self._number(deque(maxlen=node["m"])), node["v"]),
    "e": Decoding._enum,
    "type": lambda self, node: self._names.resolve(node["c"]),
    "fn": lambda self, node: self._names.resolve(node["c"]),
    "m": Decoding._model,
    "o": Decoding._object,
    "r": Decoding._reduced,
    "x": Decoding._exception,
    "x?": Decoding._exception_as_far_as_kept,
    "sub": Decoding._subclass,
    "comp": Decoding._component,
    "reg": Decoding._registered,
}
