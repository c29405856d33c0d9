"""The types for which a wait of a run has begun: up to then an event of the type is early, from then on it is not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from workflow_server.execution.engine import Event


class BegunWaits:
    """Types by name, so that they are kept without being found again: after a deploy one may be gone."""

    def __init__(self) -> None:
        self._exact: set[str] = set()
        self._with_subclasses: set[str] = set()

    def add(self, kind: type[Event], *, with_subclasses: bool) -> None:
        """A wait for this type has begun, in a step that takes subclasses or does not."""
        (self._with_subclasses if with_subclasses else self._exact).add(_name(kind))

    def cover(self, kind: type[Event]) -> bool:
        """Return whether a wait that an event of this class could have answered has begun."""
        return _name(kind) in self._exact or any(_name(base) in self._with_subclasses for base in kind.__mro__)

    def to_json(self) -> dict[str, list[str]]:
        """Return what a snapshot keeps."""
        return {"exact": sorted(self._exact), "subclasses": sorted(self._with_subclasses)}

    def restore(self, data: Mapping[str, Iterable[str]]) -> None:
        """Add what a snapshot kept."""
        self._exact.update(data.get("exact", ()))
        self._with_subclasses.update(data.get("subclasses", ()))


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
