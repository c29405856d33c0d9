"""Comparison of two values: equal, of equal types all the way down, and with the same parts held twice."""

from __future__ import annotations

import functools
import math
import operator
import re
import types
from collections import OrderedDict, deque
from collections.abc import Iterable
from enum import Enum, Flag
from typing import Any

from pydantic import BaseModel

_ATOMS = (str, int, float, complex, bytes, bytearray)


class Comparison:
    """One comparison; remembers which objects have met, so that cycles end and sharing is compared."""

    def __init__(self) -> None:
        self._left: dict[int, int] = {}
        self._right: dict[int, int] = {}
        self._alive: list[Any] = []

    def differs(self, left: Any, right: Any, path: str = "value") -> str | None:
        """Return the place where the two differ, and how; None where they are equal."""
        if type(left) is not type(right):
            return f"{path}: {type(left)} is {type(right)}"
        if isinstance(left, Flag) and _has_unknown_bits(left):
            # Python 3.11 makes such a flag anew each time.
            return None if left.value == right.value else f"{path}: {left!r} is {right!r}"
        if isinstance(left, (type, types.FunctionType, Enum)) or left is None:
            return None if left is right else f"{path}: {left!r} is {right!r}"
        kind = type(left)
        if kind in (str, int, bool, bytes):
            return None if left == right else f"{path}: {left!r} is {right!r}"
        if kind is float:
            equal = repr(left) == repr(right)
            return None if equal else f"{path}: {left!r} is {right!r}"
        if _has_identity(left):
            if id(left) in self._left or id(right) in self._right:
                same = self._left.get(id(left)) == id(right) and self._right.get(id(right)) == id(left)
                return None if same else f"{path}: is one object here and two there"
            self._left[id(left)], self._right[id(right)] = id(right), id(left)
            self._alive += [left, right]
        return self._parts(left, right, path)

    def _parts(self, left: Any, right: Any, path: str) -> str | None:
        found = self._content(left, right, path)
        if found is None and (hasattr(left, "__dict__") or hasattr(type(left), "__slots__")):
            found = self._attributes(left, right, path)
        return found

    def _content(self, left: Any, right: Any, path: str) -> str | None:  # noqa: C901 one case a kind
        compare = _BY_MODULE.get(type(left).__module__.partition(".")[0])
        if compare is not None:
            return None if compare(left, right) else f"{path}: {left!r} is {right!r}"
        if isinstance(left, (list, tuple, deque)):
            if getattr(left, "maxlen", None) != getattr(right, "maxlen", None):
                return f"{path}: has another maxlen"
            return self._sequence(_plain_items(left), _plain_items(right), path)
        if isinstance(left, dict):
            return self._dict(left, right, path)
        if isinstance(left, types.MappingProxyType):
            return self._dict(dict(left), dict(right), path)
        if isinstance(left, (set, frozenset)):
            return self._members(left, right, path)
        if isinstance(left, BaseException):
            return self._exception(left, right, path)
        if isinstance(left, float):
            return None if float.__repr__(left) == float.__repr__(right) else f"{path}: {left!r} is {right!r}"
        if isinstance(left, complex):
            pairs = zip((left.real, left.imag), (right.real, right.imag), strict=True)
            return None if all(map(_same_float, *zip(*pairs, strict=True))) else f"{path}: {left!r} is {right!r}"
        if isinstance(left, _ATOMS) or type(left).__module__ in _VALUES:
            return None if _same_value(left, right) else f"{path}: {left!r} is {right!r}"
        return None

    def _sequence(self, left: list[Any], right: list[Any], path: str) -> str | None:
        if len(left) != len(right):
            return f"{path}: has {len(left)} items and {len(right)}"
        return _first(self.differs(*pair, f"{path}[{n}]") for n, pair in enumerate(zip(left, right, strict=True)))

    def _dict(self, left: dict[Any, Any], right: dict[Any, Any], path: str) -> str | None:
        items: Any = OrderedDict.items if isinstance(left, OrderedDict) else dict.items
        ours, theirs = list(items(left)), list(items(right))
        if len(ours) != len(theirs):
            return f"{path}: has {len(ours)} keys and {len(theirs)}"
        return _first(
            self.differs(*keys, f"{path}.key") or self.differs(*values, f"{path}[{keys[0]!r}]")
            for keys, values in (zip(*pair, strict=True) for pair in zip(ours, theirs, strict=True))
        )

    def _members(self, left: Any, right: Any, path: str) -> str | None:
        ours, theirs = sorted(_members_of(left), key=_order), sorted(_members_of(right), key=_order)
        return self._sequence(ours, theirs, f"{path}{{}}")

    def _exception(self, left: BaseException, right: BaseException, path: str) -> str | None:
        parts: tuple[str, ...] = ("args", "__cause__", "__context__", "__suppress_context__")
        if isinstance(left, BaseExceptionGroup):
            parts += ("exceptions", "message")
        if isinstance(left, OSError):
            parts += ("errno", "strerror", "filename", "filename2")
        return _first(self.differs(getattr(left, name), getattr(right, name), f"{path}.{name}") for name in parts)

    def _attributes(self, left: Any, right: Any, path: str) -> str | None:
        if type(left).__module__.partition(".")[0] in (*_BY_MODULE, *_VALUES):
            return None
        ours, theirs = attributes_of(left), attributes_of(right)
        if ours.keys() != theirs.keys():
            return f"{path}: has {sorted(ours)} and {sorted(theirs)}"
        return _first(self.differs(value, theirs[name], f"{path}.{name}") for name, value in ours.items())


def differs(left: Any, right: Any) -> str | None:
    """Return the place where two values differ, and how; None where they are equal and of equal types."""
    return Comparison().differs(left, right)


def attributes_of(value: Any) -> dict[str, Any]:
    """All that an object holds: its ``__dict__``, its slots and, of a model, what pydantic keeps beside them."""
    found: dict[str, Any] = {}
    for base in type(value).__mro__:
        slots = base.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            mangled = f"_{base.__name__.lstrip('_')}{name}" if name[:2] == "__" and name[-2:] != "__" else name
            if name not in ("__dict__", "__weakref__") and hasattr(value, mangled):
                found[mangled] = getattr(value, mangled)
    if isinstance(value, BaseModel):
        found = {name: item for name, item in found.items() if name != "__pydantic_private__"}
        private = value.__pydantic_private__
        found["private"] = None if private is None else dict(private)
    # A set of names has no order; neither has what Python or a module of C keeps of an object.
    return {**found, **{f".{name}": item for name, item in getattr(value, "__dict__", {}).items()}}


def _has_identity(value: Any) -> bool:
    """Return whether it matters that a value which is held twice is one object: not if nothing can change it."""
    return not isinstance(value, (str, int, float, complex, bytes, tuple, frozenset)) and (
        type(value).__module__ not in _VALUES
    )


def _has_unknown_bits(flag: Flag) -> bool:
    known = functools.reduce(operator.or_, (member.value for member in type(flag).__members__.values()), 0)
    return bool(flag.value & ~known)


def _plain_items(value: Any) -> list[Any]:
    base = next(base for base in (list, tuple, deque) if isinstance(value, base))
    return list(base.__iter__(value))


def _members_of(value: Any) -> list[Any]:
    return list((set if isinstance(value, set) else frozenset).__iter__(value))


def _order(value: Any) -> str:
    return f"{type(value).__qualname__}{_shown(value)}{_shown(getattr(value, '__dict__', None))}"


_ADDRESS = re.compile(r"0x[0-9a-f]+")
_VALUES = ("datetime", "decimal", "fractions", "uuid", "ipaddress", "pathlib", "re", "zoneinfo")


def _first(found: Iterable[str | None]) -> str | None:
    return next((each for each in found if each is not None), None)


def _same_float(left: float, right: float) -> bool:
    return (math.isnan(left) and math.isnan(right)) or repr(left) == repr(right)


def _same_value(left: Any, right: Any) -> bool:
    if isinstance(left, re.Pattern):
        return (left.pattern, left.flags) == (right.pattern, right.flags)
    # By what they show: a NaN is not equal to itself, and a time zone of one's own only where it is the same object.
    return _shown(left) == _shown(right) and _zone(left) == _zone(right)


def _zone(value: Any) -> Any:
    zone = getattr(value, "tzinfo", None)
    return type(zone), _shown(zone)


def _shown(value: Any) -> str:
    return _ADDRESS.sub("", repr(value))


def _same_array(left: Any, right: Any) -> bool:
    import numpy

    if not isinstance(left, (numpy.ndarray, numpy.generic)):
        return bool(repr(left) == repr(right))
    same = left.dtype == right.dtype and left.shape == right.shape
    if left.dtype.names or left.dtype.hasobject:
        return bool(same and repr(left) == repr(right))
    return bool(same and numpy.array_equal(left, right, equal_nan=left.dtype.kind in "fc"))


def _same_table(left: Any, right: Any) -> bool:
    equals = getattr(left, "equals", None)
    same = equals(right) if equals is not None else repr(left) == repr(right)
    types = getattr(left, "dtypes", getattr(left, "dtype", None))
    others = getattr(right, "dtypes", getattr(right, "dtype", None))
    return bool(same) and str(types) == str(others) and repr(left) == repr(right)


_BY_MODULE = {"numpy": _same_array, "pandas": _same_table, "pyarrow": _same_table}
