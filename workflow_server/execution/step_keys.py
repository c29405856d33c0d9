"""The names of work items in the idempotency keys of their steps, and the run under whose id the keys are made.

A run that is retried goes on as another run. Its steps keep the keys that they had: what a payment service has done
under a key is not done a second time. A work item that comes only after the retry has a key of its own, also where the
run before had one of the same name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

COLLECTED = "work_item_collect_"
"""The beginning of the ids of work items that collect a fan-out: its id follows, then names of steps and classes."""


class Before(NamedTuple):
    """A run that another goes on for, and the work items that are taken over from it."""

    run_id: str
    last: int
    """The number of the last one that has a number."""
    collected: Collection[str]
    """The names of those that collect a fan-out, and have no number."""

    def has(self, name: str) -> bool:
        """Return whether a work item is one of them."""
        return name in self.collected if name.startswith(COLLECTED) else _number(name) <= self.last


class StepKeys:
    """The runs that a run goes on for."""

    def __init__(self) -> None:
        self.is_old = False
        """The run began when keys still had the whole ids of work items that collect, or goes on for such a run."""
        self._before: list[Before] = []

    def name_of(self, work_item_id: str | None) -> str | None:
        """Return the name of a work item in keys: the same where steps and classes are renamed."""
        if work_item_id is None or self.is_old or not work_item_id.startswith(COLLECTED):
            return work_item_id
        return work_item_id.partition(":")[0]

    def run_of(self, work_item_id: str | None, run_id: str) -> str:
        """Return the id of the run that the work item began in; ``run_id`` is that of the present one."""
        name = self.name_of(work_item_id) or ""
        return next((before.run_id for before in self._before if before.has(name)), run_id)

    def hand_on(self, run_id: str, last: int, held: Iterable[str | None]) -> None:
        """Take over the work items of a run up to this number, with those that it had taken over itself, and of those
        without a number the ``held`` ones."""
        names = {self.name_of(item) for item in held}
        collected = {name for name in names if name is not None and name.startswith(COLLECTED)}
        kept = [Before(run, min(until, last), collected.intersection(those)) for run, until, those in self._before]
        new = collected.difference(*(before.collected for before in kept))
        self._before = [*kept, Before(run_id, last, new)]

    def forget(self) -> None:
        """Take over none."""
        self._before = []

    def to_json(self) -> dict[str, Any]:
        """Return what a snapshot keeps."""
        before = [[before.run_id, before.last, sorted(before.collected)] for before in self._before]
        return {"before": before, "is_old": self.is_old}

    def restore(self, data: dict[str, Any]) -> None:
        """Take up what a snapshot kept; one of an earlier version has none of this."""
        self.is_old = self.is_old or data.get("is_old", False)
        self._before = [Before(run_id, last, set(names)) for run_id, last, names in data.get("before", [])]


def _number(name: str) -> int:
    number = name.rpartition("_")[2]
    return int(number) if number.isdigit() else 0
