"""The engine's JSON serializer, for reading records of the first builds and a ``Context`` that a client sends.

``codec`` writes all records now. The first builds escaped a client's dictionary that looked like a type marker.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticCustomError
from workflows.context import JsonSerializer

from workflow_server.protocol.bounded import try_first

_ESCAPED = "__is_plain"
_tried: ContextVar[dict[int, Mapping[str, Any]] | None] = ContextVar("tried", default=None)
"""The objects inside the one under validation that were already found to be valid, by identity."""


class RunSerializer(JsonSerializer):
    """Resolves the types of values: the workflow's own without an import; when ``closed``, no others."""

    def __init__(
        self, types: Iterable[type[Any]], earlier: Mapping[str, type[Any]] = {}, *, closed: bool = False
    ) -> None:
        super().__init__(allowed_types=() if closed else None)
        self._closed = closed
        self._types: dict[str, type[Any]] = dict(earlier)
        for kind in types:
            self.add(kind)

    def add(self, kind: type[Any]) -> None:
        """Let this type resolve without an import."""
        self._types[f"{kind.__module__}.{kind.__name__}"] = kind
        self._types[f"{kind.__module__}.{kind.__qualname__}"] = kind

    def closed(self) -> RunSerializer:
        """Return a serializer for client data: it refuses names that belong neither to the workflow nor to the
        engine."""
        return RunSerializer(self.types, closed=True)

    @property
    def types(self) -> frozenset[type[Any]]:
        """The types that resolve without an import."""
        return frozenset(self._types.values())

    def resolve_class(self, qualified_name: str) -> type[Any]:
        """Return the class of this name, also one that is nested in another class."""
        known = self._types.get(qualified_name)
        if known is not None:
            return known
        try:
            return super().resolve_class(qualified_name)
        except ImportError:
            found = _nested(qualified_name)
            if found is None:
                raise
            return found
        except ValueError:
            if not self._closed:
                raise
            # The engine's message is meant for its caller, and repeats the name.
            raise PydanticCustomError("no_own_type", "its name is not a type of this workflow") from None

    @contextmanager
    def validation_context(self) -> Iterator[None]:
        """Let values that are validated in this context find their types here."""
        token = _tried.set({}) if _tried.get() is None else None
        try:
            with super().validation_context():
                yield
        finally:
            if token is not None:
                _tried.reset(token)

    def deserialize_value(self, data: Any) -> Any:
        """Return the value that was encoded with its types."""
        if isinstance(data, dict) and _ESCAPED in data:
            return {key: self.deserialize_value(item) for key, item in data[_ESCAPED]}
        if self._closed and isinstance(data, dict):
            self._try_first(data)
        return super().deserialize_value(data)

    def _try_first(self, data: dict[str, Any]) -> None:
        """Refuse an invalid object nested in a client's data in bounded memory: the outer class does not know its
        fields."""
        name, fields = data.get("qualified_name"), data.get("value")
        if not (data.get("__is_pydantic") and isinstance(name, str) and isinstance(fields, Mapping)):
            return
        kind = self.resolve_class(name)
        if not issubclass(kind, BaseModel):
            return
        with self.validation_context():
            tried = _tried.get()
            # Validation meets nested objects again on each level: without this, twice as often per level.
            if tried is not None and tried.get(id(fields)) is not fields:
                try_first(kind, fields)
                tried[id(fields)] = fields


def _nested(qualified_name: str) -> type[Any] | None:
    """Return the class of a name in an imported module, through the classes that it is nested in."""
    parts = qualified_name.split(".")
    for length in range(len(parts) - 1, 0, -1):
        found: Any = sys.modules.get(".".join(parts[:length]))
        for part in parts[length:]:
            found = getattr(found, part, None)
        if isinstance(found, type):
            return found
    return None
