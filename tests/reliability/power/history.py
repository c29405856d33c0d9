"""The history of acknowledgements, and whether the state after a power cut agrees with it."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any, NamedTuple

from tests.reliability.power.contents import Contents, digest, missing
from tests.reliability.power.recording import Kind, Operation

Mark = dict[str, Any]


class Lost(AssertionError):
    """Something that was acknowledged is not there."""


class Wrong(AssertionError):
    """Something is there that never was: a unit in part, units out of order, a state of no time."""


class Expectation(NamedTuple):
    """The end that a handler must have: its run, and the result of a plain stop event or, None, that it failed.
    ``ending`` is set when a client has asked for something that changes it and was not answered yet."""

    run_id: str
    result: object
    status: str
    ending: bool = False


class Session:
    """A recorded session: what was done to the database's files, and what was acknowledged in between."""

    def __init__(self, operations: Sequence[Operation], marks_name: str) -> None:
        self.operations: list[Operation] = []
        """Those on the database's files."""
        self.marks: list[Mark] = []
        self._places: list[int] = []
        self._commits: list[int] = []
        self._indices: dict[str, list[int]] = {}
        self._agreed: set[tuple[int, int]] = set()
        self._read(operations, marks_name)
        self._number_commits()

    def _read(self, operations: Sequence[Operation], marks_name: str) -> None:
        marks_file = next(operation.file for operation in operations if operation.name == marks_name)
        for operation in operations:
            if operation.file != marks_file:
                self.operations.append(operation)
            elif operation.kind is Kind.WRITTEN:
                self._places.append(len(self.operations))
                self.marks.append(json.loads(operation.data))

    def _number_commits(self) -> None:
        first = next(mark["digest"] for mark in self.marks if mark["kind"] == "opened")
        self._indices[first] = [0]
        for place, mark in zip(self._places, self.marks, strict=True):
            if mark["kind"] == "commit":
                self._commits.append(place)
                self._indices.setdefault(mark["digest"], []).append(len(self._commits))

    @property
    def commits(self) -> int:
        """Return the number of transactions."""
        return len(self._commits)

    def is_serving(self, point: int) -> bool:
        """Return whether the server was neither starting nor stopping nor dead."""
        lives = [mark["kind"] for mark in self.marks_until(point) if mark["kind"] in _LIFE]
        return bool(lives) and lives[-1] == "opened"

    @property
    def first_digest(self) -> str:
        """Of what was there before the first transaction."""
        return next(found for found, indices in self._indices.items() if 0 in indices)

    def committed(self, point: int) -> int:
        """Return the number of transactions that were acknowledged when so many operations had been done."""
        return bisect_right(self._commits, point)

    def marks_until(self, point: int) -> list[Mark]:
        """Return the marks that had been noted when so many operations had been done."""
        return self.marks[: bisect_right(self._places, point)]

    # -- Judging -------------------------------------------------------------------------------

    def agree(self, point: int, contents: Contents, *, stopped_cleanly: bool) -> int:
        """Hold what was recovered against what had been acknowledged after so many operations; returns how many
        transactions are there.

        Raises:
            Lost, Wrong: it does not agree.
        """
        index = self.place(point, digest(contents))
        self._agree_on_stop(point, stopped_cleanly=stopped_cleanly, last=index == self.committed(point))
        self._agree_with_clients(point, index, contents)
        return index

    def place(self, point: int, found: str) -> int:
        """Return the number of transactions that have led to the contents with this digest.

        Raises:
            Lost, Wrong: those are not all that were acknowledged and, at most, the one that was under way.
        """
        committed = self.committed(point)
        indices = self._indices.get(found)
        if indices is None:
            raise Wrong("what is there was there at no time")
        index = next((index for index in indices if committed <= index <= committed + 1), None)
        if index is None:
            problem = f"transactions {indices} are there, {committed} were acknowledged"
            raise (Lost if max(indices) < committed else Wrong)(problem)
        return index

    def _agree_on_stop(self, point: int, *, stopped_cleanly: bool, last: bool) -> None:
        lives = [mark["kind"] for mark in self.marks_until(point) if mark["kind"] in _LIFE]
        moment = lives[-1] if lives else ""
        if moment == "opened" and stopped_cleanly:
            raise Wrong("a power cut while the server served is taken for a clean stop")
        if moment == "closed" and not (stopped_cleanly and last):
            raise Lost("a clean stop is not there")

    def _agree_with_clients(self, point: int, index: int, contents: Contents) -> None:
        marks = self.marks_until(point)
        if (index, len(marks)) in self._agreed:
            return
        self._agreed.add((index, len(marks)))
        purging = {mark["handler"] for mark in marks if mark["kind"] == "purging"}
        facts = [
            fact
            for mark in marks
            if mark["kind"] == "kept" and mark["handler"] not in purging
            for fact in mark["facts"]
        ]
        if lost := missing(contents, facts):
            raise Lost(f"clients were told of what is not there: {lost[:3]}")
        gone = {mark["handler"] for mark in marks if mark["kind"] == "purged"}
        if back := gone & {row[0] for row in contents["handlers"]}:
            raise Lost(f"these were deleted: {back}")

    def expected(self, point: int) -> dict[str, Expectation]:
        """Return the ends that the handlers must have that clients had been told of."""
        expected: dict[str, Expectation] = {}
        for mark in self.marks_until(point):
            match mark:
                case {"kind": "expected", "handler": str(handler_id), "run": run_id, "result": result}:
                    status = "failed" if result is None else "completed"
                    expected[handler_id] = Expectation(run_id, result, status)
                case {"kind": "ending", "handler": str(handler_id)}:
                    expected[handler_id] = expected[handler_id]._replace(ending=True)
                case {"kind": "ended", "handler": str(handler_id), "status": status}:
                    expected[handler_id] = Expectation(expected[handler_id].run_id, None, status)
                case {"kind": "purging", "handler": str(handler_id)}:
                    expected.pop(handler_id, None)
        return expected


_LIFE = frozenset(("opening", "opened", "closing", "closed"))
