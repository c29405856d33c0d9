"""The values of ``ctx.store`` that running steps hold, and may change in place without setting them again."""

from __future__ import annotations

import hashlib
import marshal
from collections.abc import Iterable, Sequence, Set
from typing import Any

WHOLE = ""
"""Key that stands for the whole state, instead of the name of one top-level value."""

_IMMUTABLE = frozenset({str, int, float, bool, complex, bytes, type(None)})


class HandedOut:
    """The top-level values that each running step has fetched or set."""

    def __init__(self) -> None:
        self._keys: dict[str, dict[str, bool]] = {}
        """By step: the keys, and False for what it had only in a transaction."""

    def note(self, invocation_id: str | None, key: str, value: Any, *, in_transaction: bool = False) -> None:
        """Note that a step was given this value, or a part of it.

        Nothing is noted of immutable values, nor of what is fetched outside of any step.
        """
        if invocation_id is not None and type(value) not in _IMMUTABLE:
            keys = self._keys.setdefault(invocation_id, {})
            keys[key] = not in_transaction or keys.get(key, False)

    def held_by(self, invocation_id: str | None) -> Set[str]:
        """Return the keys of what a running step holds, other than what it edited in a transaction: few steps change
        that after it."""
        keys = self._keys.get(invocation_id, {}) if invocation_id is not None else {}
        return {WHOLE} if keys.get(WHOLE) else {key for key, is_held in keys.items() if is_held}

    def others(self, invocation_id: str | None) -> Sequence[str]:
        """Return the other running steps that were given something."""
        return [other for other in self._keys if other != invocation_id]

    def held_beside(self, invocation_id: str) -> Set[str]:
        """Return the keys of what the other running steps hold."""
        return {key for other in self.others(invocation_id) for key in self.held_by(other)}

    def pop(self, invocation_id: str) -> Iterable[str]:
        """Return the keys that this finished step was given, and forget them."""
        keys = self._keys.pop(invocation_id, {})
        return (WHOLE,) if WHOLE in keys else keys


class Digests:
    """Digests of plain data as it was last written, so that a step that only reads costs next to nothing."""

    def __init__(self) -> None:
        self._digests: dict[str, bytes | None] = {}
        """By key; None for a value that was written and not looked at since."""

    def is_unchanged(self, key: str, value: Any) -> bool:
        """Return whether this value is plain data and the same as at the last call; a write in between forgets it.

        The first call after a write makes no digest: most values that a step writes are written again by the next one.
        """
        if self._digests.get(key, b"") is None:
            del self._digests[key]
            return False
        mark = _digest(value)
        if mark is None:
            return False
        before, self._digests[key] = self._digests.get(key), mark
        return before == mark

    def forget(self, key: str) -> None:
        """Forget the digest of a value that was written."""
        if key == WHOLE:
            self._digests.clear()
        else:
            self._digests[key] = None


def _digest(value: Any) -> bytes | None:
    """Return a digest of Python's own plain data, exact as to types and order; None for anything else."""
    if not _is_plain(value):
        return None
    try:
        # Marshal's version 2 writes an object again each time it meets it; later versions depend on reference counts.
        return hashlib.blake2b(marshal.dumps(value, 2), digest_size=16).digest()
    except ValueError:
        return None


_CONTAINERS = frozenset({list, tuple, dict, set, frozenset})


def _is_plain(value: Any) -> bool:
    """Return whether the value consists of Python's own plain data only: marshal would write any buffer as bytes."""
    left, seen = [value], set()
    while left:
        item = left.pop()
        if type(item) in _IMMUTABLE:
            continue
        if type(item) not in _CONTAINERS:
            return False
        if id(item) in seen:
            continue
        seen.add(id(item))
        parts = [*item, *item.values()] if type(item) is dict else item
        if not set(map(type, parts)) <= _IMMUTABLE:
            left.extend(parts)
    return True
