"""The parts of ``ctx.store`` that the steps under way hold, and may change without setting them again."""

from __future__ import annotations

import hashlib
import marshal
from collections.abc import Iterable
from typing import Any

WHOLE = ""
"""Stands for the whole state, where else the name of a top-level value stands."""

_UNCHANGEABLE = frozenset({str, int, float, bool, complex, bytes, type(None)})


class HandedOut:
    """The top-level values that each running step has fetched or set."""

    def __init__(self) -> None:
        self._keys: dict[str, dict[str, None]] = {}

    def note(self, invocation_id: str | None, key: str, value: Any) -> None:
        """A step was given this value, or a part of it. What cannot be changed in place is not noted, and neither is
        what is fetched outside of any step."""
        if invocation_id is not None and type(value) not in _UNCHANGEABLE:
            self._keys.setdefault(invocation_id, {})[key] = None

    def taken_back(self, invocation_id: str) -> Iterable[str]:
        """Return what this step was given, and forget it: the step has finished."""
        keys = self._keys.pop(invocation_id, {})
        return (WHOLE,) if WHOLE in keys else keys


class Marks:
    """Marks of what plain data looked like when it was last written, so that a step that only reads costs next to
    nothing."""

    def __init__(self) -> None:
        self._marks: dict[str, bytes] = {}

    def is_unchanged(self, key: str, value: Any) -> bool:
        """Return whether this value is plain data and as it was when this was last asked; a write in between forgets
        it."""
        mark = _mark(value)
        if mark is None:
            return False
        before, self._marks[key] = self._marks.get(key), mark
        return before == mark

    def forget(self, key: str) -> None:
        """A value was written."""
        if key == WHOLE:
            self._marks.clear()
        else:
            self._marks.pop(key, None)


def _mark(value: Any) -> bytes | None:
    """A digest of Python's own plain data, exact as to types and order; None where there is anything else in it."""
    if not _is_plain(value):
        return None
    try:
        # Version 2 writes an object again that it has met: later ones depend on the counts of references.
        return hashlib.blake2b(marshal.dumps(value, 2), digest_size=16).digest()
    except ValueError:
        return None


_CONTAINERS = frozenset({list, tuple, dict, set, frozenset})


def _is_plain(value: Any) -> bool:
    """Return whether the value is made of Python's own plain data alone: marshal would write any buffer as bytes."""
    left, seen = [value], set()
    while left:
        item = left.pop()
        if type(item) in _UNCHANGEABLE:
            continue
        if type(item) not in _CONTAINERS:
            return False
        if id(item) in seen:
            continue
        seen.add(id(item))
        parts = [*item, *item.values()] if type(item) is dict else item
        if not set(map(type, parts)) <= _UNCHANGEABLE:
            left.extend(parts)
    return True
