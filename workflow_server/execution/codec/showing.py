"""Stored trees as JSON that people look at: bounded, without secrets, and without any code of the values' classes.

Nothing is decoded: what a class would make of its stored state is not known here, and a class that is gone does no
harm.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from fractions import Fraction
from typing import Any

from pydantic_core import to_jsonable_python

from workflow_server.execution.codec.layout import TAG, unescaped
from workflow_server.execution.codec.scalars import DECODED
from workflow_server.execution.codec.secrets import HIDDEN, SECRET_VALUE, HiddenFields, hidden_fields, names_secret

Json = Any

LONGEST_TEXT = 10_000
"""Characters of a text."""
LONGEST_KEY = 500
DEEPEST = 100
"""Levels of containers."""
LARGEST_INTEGER = 256
"""Characters of an integer's hexadecimal form, up to which it is a number."""
_NOT_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
NOTHING_HIDDEN = HiddenFields()
MORE = "…"
"""The key of a note that a dictionary has more entries."""


class Showing:
    """Makes JSON of the trees of one state, of so many bytes in all. ``find_class`` returns the class of a stored name
    where it is loaded."""

    def __init__(self, find_class: Callable[[Json], type[Any] | None], size: int) -> None:
        self.truncated = False
        """Something was cut or left out for its size."""
        self._find_class = find_class
        self._left = size
        self._depth = 0

    def named(
        self, values: Iterable[tuple[str, Json]], number: int, hidden: HiddenFields = NOTHING_HIDDEN
    ) -> dict[str, Json]:
        """Return so many named values, without those that are secret; ``hidden``: those that their class hides."""
        shown: dict[str, Json] = {}
        for place, (name, tree) in enumerate(values):
            if self._left <= 0:
                shown[MORE] = self._note(f"({number - place:,} more)")
                break
            key = self._text(name, LONGEST_KEY)
            if key in shown:
                # The text of another key is the same, such as that of 1 and "1".
                key = f"{key} #{place + 1}"
            shown[key] = self._told(HIDDEN) if _is_secret(name, tree, hidden) else self.value(tree)
        return shown

    def value(self, tree: Json) -> Json:
        """Return a tree as JSON."""
        if tree is None or isinstance(tree, (bool, int, float)):
            self._left -= 8
            return tree
        if isinstance(tree, str):
            return self._text(tree, LONGEST_TEXT)
        if self._depth >= DEEPEST:
            return self._note("(nested deeper)")
        self._depth += 1
        self._left -= 2
        try:
            return self._container(tree)
        except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError):
            # A damaged record hides no other.
            return self._told("(damaged)")
        finally:
            self._depth -= 1

    def _container(self, tree: Json) -> Json:
        if isinstance(tree, list):
            return self._items(tree, len(tree))
        tag = tree.get(TAG)
        if tag is None:
            return self.named(tree.items(), len(tree))
        show = _SHOWN.get(tag)
        if show is not None:
            return show(self, tree)
        if tag in DECODED:
            return self._scalar(tree)
        # One of the engine's own.
        return self.named(((name, item) for name, item in tree.items() if name != TAG), len(tree) - 1)

    # -- Texts ---------------------------------------------------------------------------------

    def _text(self, text: str, longest: int) -> str:
        shown = text[:longest]
        if len(text) > longest:
            self.truncated = True
            shown += f"… ({len(text):,} characters)"
        return self._told(shown)

    def _told(self, text: str) -> str:
        # A lone surrogate is no text to others.
        text = text.encode("utf-8", "replace").decode()
        self._left -= len(json.dumps(text, ensure_ascii=False).encode()) + 1
        return text

    def _note(self, text: str) -> str:
        self.truncated = True
        return self._told(text)

    # -- Values without parts ------------------------------------------------------------------

    def _scalar(self, node: Mapping[str, Json]) -> Json:
        value = _decoded(node)
        if isinstance(value, (complex, Fraction)):
            return self._told(str(value))
        shown = to_jsonable_python(value, fallback=str)
        return self._text(shown, LONGEST_TEXT) if isinstance(shown, str) else self.value(shown)

    def _not_finite(self, node: Mapping[str, Json]) -> Json:
        return self._told(_NOT_FINITE[node["v"]])

    def _integer(self, node: Mapping[str, Json]) -> Json:
        text = node["v"]
        if len(text) > LARGEST_INTEGER:
            return self._text(text, LONGEST_TEXT)
        self._left -= 2 * len(text)
        return int(text, 16)

    def _bytes(self, node: Mapping[str, Json]) -> Json:
        text = node["v"]
        return self._told(f"({len(text) * 3 // 4 - text[-2:].count('='):,} bytes)")

    def _pattern(self, node: Mapping[str, Json]) -> Json:
        return self.value(node["v"])

    # -- Containers ----------------------------------------------------------------------------

    def _items(self, trees: Iterable[Json], number: int) -> list[Json]:
        shown: list[Json] = []
        for place, tree in enumerate(trees):
            if self._left <= 0:
                shown.append(self._note(f"({number - place:,} more)"))
                break
            shown.append(self.value(tree))
        return shown

    def _sequence(self, node: Mapping[str, Json]) -> Json:
        return self._items(node["v"], len(node["v"]))

    def _members(self, node: Mapping[str, Json]) -> Json:
        members = node["v"]
        return self._items((json.loads(name) if tree == 1 else tree for name, tree in members.items()), len(members))

    def _pairs(self, node: Mapping[str, Json]) -> Json:
        keys, values = node.get("k", {}), node["v"]
        pairs = ((self._key(keys[name] if name in keys else json.loads(name)), item) for name, item in values.items())
        return self.named(pairs, len(values))

    def _key(self, tree: Json) -> str:
        if isinstance(tree, str):
            return tree
        if isinstance(tree, dict) and tree.get(TAG) == "b":
            # Its name may be that of a secret.
            return repr(_decoded(tree))
        apart = Showing(self._find_class, LONGEST_KEY)
        shown = apart.value(tree)
        self.truncated |= apart.truncated
        return shown if isinstance(shown, str) else json.dumps(shown, ensure_ascii=False)

    def _subclass(self, node: Mapping[str, Json]) -> Json:
        base = node["b"]
        if base == "dict":
            return self._pairs(node)
        if base == "set":
            return self._members(node)
        if base == "bytearray":
            return self._bytes(node)
        return self.value(node["v"])

    def _inside(self, node: Mapping[str, Json]) -> Json:
        return self.value(node["v"])

    def _reference(self, node: Mapping[str, Json]) -> Json:  # noqa: ARG002
        return self._told("(the same object again)")

    # -- Classes -------------------------------------------------------------------------------

    def _name(self, node: Mapping[str, Json]) -> Json:
        return self._told(f"({short_name(node['c'])})")

    def _enum(self, node: Mapping[str, Json]) -> Json:
        if "n" in node:
            return self._told(f"{short_name(node['c'])}.{node['n']}")
        return self.value(node["v"])

    def _model(self, node: Mapping[str, Json]) -> Json:
        kind = self._find_class(node["c"])
        if kind is None:
            # Which of its fields are secret, only the class says.
            return self._name(node)
        own = (node.get("p") or {}).get("_data")
        undeclared = own if isinstance(own, dict) and TAG not in own else {}
        parts = (node["v"], node.get("x") or {}, undeclared)
        named = (item for part in parts for item in _attributes(part))
        return self.named(named, sum(map(len, parts)), hidden_fields(kind))

    def _object(self, node: Mapping[str, Json]) -> Json:
        if SECRET_VALUE in node["v"]:
            return self._told(HIDDEN)
        kind = self._find_class(node["c"])
        if kind is None:
            return self._name(node)
        return self.named(_attributes(node["v"]), len(node["v"]), hidden_fields(kind))

    def _reduced(self, node: Mapping[str, Json]) -> Json:
        # Its arguments have no names, by which secrets among them would be known.
        state = node.get("s")
        found = state if isinstance(state, dict) and TAG not in state else {}
        if SECRET_VALUE in found:
            return self._told(HIDDEN)
        if found:
            return self.named(_attributes(found), len(found))
        names = [one["c"] for one in (node["f"], *node["a"]) if isinstance(one, dict) and one.get(TAG) == "type"]
        return self._told(f"({short_name(names[0])})" if names else "(an object)")

    def _exception(self, node: Mapping[str, Json]) -> Json:
        first = node["a"][0] if node["a"] else ""
        return self._text(f"{short_name(node['c'])}: {first}" if isinstance(first, str) else "", LONGEST_TEXT)

    def _failure(self, node: Mapping[str, Json]) -> Json:
        return self._text(f"{node['n'].rpartition('.')[2]}: {node['m']}", LONGEST_TEXT)


def _is_secret(name: str, tree: Json, hidden: HiddenFields) -> bool:
    if name in hidden.always or (name in hidden.masked and not _has_parts(tree)):
        return True
    return names_secret(name, of_number=isinstance(tree, (int, float)))


def _has_parts(tree: Json) -> bool:
    return isinstance(tree, list) or (isinstance(tree, dict) and tree.get(TAG) in _PARTED)


_PARTED = frozenset({None, "d", "t", "q", "s", "fs", "m", "o", "proxy", "graph", "ref"})


def short_name(name: Json) -> str:
    """Return the name of a class, as it is stored, without its module."""
    while isinstance(name, dict):
        name = name.get("origin")
    return str(name).rpartition(":")[2].rpartition(".")[2]


def _attributes(node: Mapping[str, Json]) -> Iterator[tuple[str, Json]]:
    return ((unescaped(name), item) for name, item in node.items())


def _decoded(tree: Json) -> Any:
    """Return a value without parts, or one of its parts."""
    if isinstance(tree, dict):
        return DECODED[tree[TAG]](tree, _decoded)
    return tree


_SHOWN: dict[str, Callable[[Showing, Any], Json]] = {
    "ref": Showing._reference,
    "graph": Showing._inside,
    "proxy": Showing._inside,
    "d": Showing._pairs,
    "t": Showing._sequence,
    "q": Showing._sequence,
    "s": Showing._members,
    "fs": Showing._members,
    "sub": Showing._subclass,
    "f": Showing._not_finite,
    "i": Showing._integer,
    "b": Showing._bytes,
    "ba": Showing._bytes,
    "re": Showing._pattern,
    "e": Showing._enum,
    "type": Showing._name,
    "fn": Showing._name,
    "reg": Showing._name,
    "m": Showing._model,
    "o": Showing._object,
    "r": Showing._reduced,
    "x": Showing._exception,
    "x?": Showing._failure,
    "comp": Showing._inside,
}
"""The ways to show the nodes of each tag; what is not here is a scalar, or one of the engine's own classes."""
