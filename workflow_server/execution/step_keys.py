"""The run under whose id the idempotency keys of a work item's steps are made.

A run that is retried goes on as another run. Its steps keep the keys that they had: what a payment service has done
under a key is not done a second time. A work item that comes only after the retry has a key of its own, also where the
run before had one of the same number.
"""

from __future__ import annotations


class StepKeys:
    """The runs that a run goes on for, each with the number of the last work item that it takes over."""

    def __init__(self) -> None:
        self._before: list[tuple[str, int]] = []

    def run_of(self, work_item_id: str | None, run_id: str) -> str:
        """Return the id of the run that the work item began in; ``run_id`` is that of the present one."""
        number = _number(work_item_id)
        return next((before for before, last in self._before if number <= last), run_id)

    def hand_on(self, run_id: str, last: int) -> None:
        """Take over the work items of a run up to this number, and those that it had taken over itself."""
        self._before = [(before, min(until, last)) for before, until in self._before]
        self._before.append((run_id, last))

    def forget(self) -> None:
        """Take over none."""
        self._before = []

    def to_json(self) -> list[list[str | int]]:
        """Return what a snapshot keeps."""
        return [list(before) for before in self._before]

    def restore(self, data: list[list[str | int]]) -> None:
        """Take up what a snapshot kept."""
        self._before = [(str(run_id), int(last)) for run_id, last in data]


def _number(work_item_id: str | None) -> int:
    number = (work_item_id or "").rpartition("_")[2]
    return int(number) if number.isdigit() else 0
