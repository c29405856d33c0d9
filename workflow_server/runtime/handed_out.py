"""Which parts of ``ctx.store`` the steps under way hold, and may change without setting them again."""

from __future__ import annotations

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
        """What this step was given; it has finished."""
        keys = self._keys.pop(invocation_id, {})
        return (WHOLE,) if WHOLE in keys else keys
