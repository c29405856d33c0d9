"""Python's own containers, and classes that derive from them or from its plain values."""

from __future__ import annotations

import base64
import copyreg
import hashlib
import itertools
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

from workflow_server.execution.codec.failures import Unkeepable
from workflow_server.execution.codec.layout import TAG, attributes_of, escaped
from workflow_server.execution.codec.names import Names
from workflow_server.execution.codec.run import Plan, Run
from workflow_server.execution.codec.scalars import MANY, are_names, are_plain, is_plain_text
from workflow_server.execution.codec.texts import exactly

Json = Any

PLAIN_BASES: tuple[type[Any], ...] = (
    str, int, float, complex, bytes, bytearray, tuple, list, dict, set, frozenset, deque
)  # fmt: skip
"""Builtins whose subclasses are stored as their contents and their own attributes."""


class Containers:
    """Encodes containers; ``encode`` encodes their contents."""

    def __init__(self, encode: Plan, names: Names) -> None:
        self._encode = encode
        self._names = names
        self._contents: dict[type[Any], Callable[[Any, Run], dict[str, Json]]] = {
            dict: self._dict_content,
            list: lambda value, run: {"v": self.items(list.__iter__(value), run)},
            set: lambda value, run: {"v": self._members(set.__iter__(value), run)},
            deque: lambda value, run: {"v": self.items(deque.__iter__(value), run), "m": value.maxlen},
            bytearray: _bytes_content,
        }
        self.plans: dict[type[Any], Plan] = {
            list: lambda value, run: run.enter(value) or self.items(value, run),
            dict: self._dict,
            tuple: self._tuple,
            set: lambda value, run: run.enter(value) or {TAG: "s", "v": self._members(value, run)},
            frozenset: self._frozenset,
            deque: lambda value, run: run.enter(value) or {TAG: "q", "v": self.items(value, run), "m": value.maxlen},
            bytearray: self._bytearray,
            MappingProxyType: self._proxy,
        }

    def items(self, value: Iterable[Any], run: Run) -> list[Json]:
        """Return the contents of a sequence that the run has entered."""
        whole = list(value)
        if len(whole) >= MANY and are_plain(whole):
            run.depth -= 1
            return whole
        items: list[Json] = []
        encode = self._encode
        item: Any = None
        try:
            for item in whole:
                items.append(encode(item, run))
        except Unkeepable as error:
            raise error.of(type(item)).at_index(len(items)) from None
        run.depth -= 1
        return items

    def attributes(self, attributes: Mapping[str, Any], run: Run) -> dict[str, Json]:
        """Return the trees of named values."""
        node: dict[str, Json] = {}
        encode = self._encode
        name = ""
        item: Any = None
        try:
            for name, item in (run.copied(attributes) if run.by_copies else attributes).items():
                node[name if name[:1] != TAG else escaped(name)] = encode(item, run)
        except Unkeepable as error:
            raise error.of(type(item)).at_attribute(name) from None
        return node

    def _dict(self, value: dict[Any, Any], run: Run) -> Json:
        known = run.enter(value)
        if known is not None:
            return known
        whole = dict.copy(value)
        if len(whole) >= MANY and are_plain(whole.values()) and are_names(whole):
            run.depth -= 1
            return whole
        node: dict[str, Json] = {}
        encode = self._encode
        key: Any = None
        item: Any = None
        number = len(run.met)
        try:
            for key, item in whole.items():
                if type(key) is not str or key == TAG or not (key.isascii() or is_plain_text(key)):
                    break
                node[key] = encode(item, run)
            else:
                run.depth -= 1
                return node
        except Unkeepable as error:
            raise error.of(type(item)).at_index(key) from None
        # Start again as a dictionary with keys of any type: its number stays the same.
        run.back_to((number, run.depth, run.shared))
        return {TAG: "d", **self._pairs(whole.items(), run)}

    def _pairs(self, pairs: Iterable[tuple[Any, Any]], run: Run) -> dict[str, Json]:
        """Return values under the texts of their keys, and the keys that are not given by their texts."""
        node: dict[str, Json] = {}
        keys: dict[str, Json] = {}
        for key, item in pairs:
            try:
                tree = self._hashed(key, run)
            except Unkeepable as error:
                raise error.of(type(key)).at_key(key) from None
            name = _name_of(tree, node)
            if name[0] == _DIGEST:
                keys[name] = tree
            try:
                node[name] = self._encode(item, run)
            except Unkeepable as error:
                raise error.of(type(item)).at_index(key) from None
        run.depth -= 1
        return {"v": node, "k": keys} if keys else {"v": node}

    def _hashed(self, key: Any, run: Run) -> Json:
        """Return the tree of a key or member. It is hashed while it is read, when objects that it refers to may be
        incomplete."""
        outside, run.shared = run.shared, False
        tree = self._encode(key, run)
        run.hashes_others = run.hashes_others or run.shared
        run.shared = run.shared or outside
        return tree

    def _proxy(self, value: MappingProxyType[Any, Any], run: Run) -> Json:
        known = run.seen(value)
        if known is not None:
            return known
        run.deeper()
        node = {TAG: "proxy", "v": self._encode(value | {}, run)}
        run.depth -= 1
        run.number(value)
        return node

    def _bytearray(self, value: bytearray, run: Run) -> Json:
        known = run.seen(value)
        if known is not None:
            return known
        run.number(value)
        return {TAG: "ba", "v": base64.b64encode(value).decode("ascii")}

    def _tuple(self, value: tuple[Any, ...], run: Run) -> Json:
        run.deeper()
        return {TAG: "t", "v": self.items(value, run)}

    def _frozenset(self, value: frozenset[Any], run: Run) -> Json:
        run.deeper()
        return {TAG: "fs", "v": self._members(value, run)}

    def _members(self, value: Iterable[Any], run: Run) -> dict[str, Json]:
        members: dict[str, Json] = {}
        for item in list(value) if run.by_copies else value:
            try:
                tree = self._hashed(item, run)
            except Unkeepable as error:
                raise error.of(type(item)).at_key(item) from None
            name = _name_of(tree, members)
            members[name] = tree if name[0] == _DIGEST else 1
        run.depth -= 1
        return members

    # -- Subclasses ----------------------------------------------------------------------------

    def subclass_plan(self, kind: type[Any], base: type[Any]) -> Plan:
        """Return the plan for a class that derives from one of ``PLAIN_BASES``."""
        content = self._contents.get(base) or self._fixed_content(base)
        is_numbered = base in self._contents

        def plan(value: Any, run: Run) -> Json:
            if not is_numbered:
                run.deeper()
            elif (known := run.enter(value)) is not None:
                return known
            node = {TAG: "sub", "c": self._names.of(kind), "b": base.__name__, **content(value, run)}
            attributes = self._own_attributes(value, run)
            return {**node, "a": attributes} if attributes else node

        return plan

    def _dict_content(self, value: dict[Any, Any], run: Run) -> dict[str, Json]:
        # A subclass may override any method: ask the builtin type itself.
        plain: Any = value if isinstance(value, OrderedDict) else run.copied(value)
        view = OrderedDict.items(plain) if isinstance(plain, OrderedDict) else dict.items(plain)
        content = self._pairs(list(view), run)
        factory = value.default_factory if isinstance(value, defaultdict) else None
        return {**content, "f": self._encode(factory, run)} if factory is not None else content

    def _fixed_content(self, base: type[Any]) -> Callable[[Any, Run], dict[str, Json]]:
        def content(value: Any, run: Run) -> dict[str, Json]:
            encoded = {"v": self._encode(base(_plainly(value, base)), run)}
            run.depth -= 1
            return encoded

        return content

    def _own_attributes(self, value: Any, run: Run) -> dict[str, Json]:
        return self.attributes(attributes_of(value), run)


def _bytes_content(value: bytearray, run: Run) -> dict[str, Json]:
    run.depth -= 1
    return {"v": base64.b64encode(bytearray.__getitem__(value, slice(None))).decode("ascii")}


_KNOWN_REDUCERS = (OrderedDict, deque, defaultdict, Counter)
"""Containers, besides the builtins, that define how they are pickled, and that are stored more completely here."""


def reduces_by_itself(kind: type[Any]) -> bool:
    """Return whether a class that derives from a builtin defines how it is copied and pickled."""
    for name in ("__reduce_ex__", "__reduce__", "__getstate__", "__setstate__"):
        owner = next((base for base in kind.__mro__ if name in base.__dict__), object)
        if owner.__module__ != "builtins" and owner not in _KNOWN_REDUCERS:
            return True
    return kind in copyreg.dispatch_table


_DIGEST = "#"
_LONGEST_NAME = 300
"""Maximum characters of the text of a key or member that is a container: each level of texts within texts doubles the
backslashes inside."""


def _name_of(tree: Json, taken: Mapping[str, Json]) -> str:
    """Return the name of a key or member: its text, or a digest where the text is long or is the name of another
    one."""
    text = exactly(tree)
    if text not in taken and (len(text) <= _LONGEST_NAME or type(tree) is str):
        return text
    digest = hashlib.blake2b(text.encode(), digest_size=12).hexdigest()
    names = (f"{_DIGEST}{digest}{f'.{number}' if number else ''}" for number in itertools.count())
    return next(name for name in names if name not in taken)


def _plainly(value: Any, base: type[Any]) -> Any:
    """Return the contents of a value as the builtin type itself, whatever its class overrides."""
    if base in (tuple, frozenset):
        return base.__iter__(value)
    if base is bytes:
        return base.__getitem__(value, slice(None))
    plain = {str: str.__str__, int: int.__int__, float: float.__float__, complex: complex.__complex__}
    return plain[base](value)
