"""The event types for which a run has begun to wait: an event of any other type is early."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from workflow_server.execution.engine import Event


class BegunWaits:
    """Types, stored by name so that they outlive a deploy that removes one."""

    def __init__(self) -> None:
        self._exact: set[str] = set()
        self._with_subclasses: set[str] = set()

    def add(self, kind: type[Event], *, with_subclasses: bool) -> None:
        """Note that a wait for this type has begun, in a step that accepts subclasses or one that does not."""
        (self._with_subclasses if with_subclasses else self._exact).add(_name(kind))

    def cover(self, kind: type[Event]) -> bool:
        """Return whether a wait has begun that an event of this class could have answered."""
        return _name(kind) in self._exact or any(_name(base) in self._with_subclasses for base in kind.__mro__)

    def to_json(self) -> dict[str, list[str]]:
        """Return the part of a snapshot."""
        return {"exact": sorted(self._exact), "subclasses": sorted(self._with_subclasses)}

    def restore(self, data: Mapping[str, Iterable[str]]) -> None:
        """Add the types of a snapshot."""
        self._exact.update(data.get("exact", ()))
        self._with_subclasses.update(data.get("subclasses", ()))


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
