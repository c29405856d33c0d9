"""The ledger and the gates, as the tests see them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.end_to_end.targets.marking import GATES, LEDGER
from tests.harness.waiting import until

KILLED = "killed"
"""The beginning of the line that stands where the server was killed."""


class Entry(NamedTuple):
    """One line: what happened (``begin``, ``end``, ``reached`` …), in which handler, step and item."""

    kind: str
    handler_id: str
    step: str
    item: str


class Ledger:
    """The actions of the steps, in the order in which they happened, in whichever process."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "ledger"
        self._gates = folder / "gates"
        self._gates.mkdir(parents=True, exist_ok=True)
        self._path.touch()

    @property
    def environment(self) -> dict[str, str]:
        """The variables that a server's environment needs for its steps to write here."""
        return {LEDGER: str(self._path), GATES: str(self._gates)}

    def entries(self) -> list[Entry]:
        """All lines."""
        return [Entry(*line.split(" ", 3)) for line in self._path.read_text().splitlines()]

    def count(self, kind: str, step: str | None = None, handler_id: str | None = None) -> int:
        """Return the number of lines of this kind."""
        return sum(
            entry.kind == kind and step in (None, entry.step) and handler_id in (None, entry.handler_id)
            for entry in self.entries()
        )

    def note_kill(self) -> None:
        """Mark that the server is dead: what follows was done by another process."""
        self.note(KILLED, "-")

    def note(self, kind: str, handler_id: str, step: str = "-", item: object = "-") -> None:
        """Add a line of the test's own, among those of the steps."""
        with self._path.open("a") as file:
            file.write(f"{kind} {handler_id} {step} {item}\n")

    def open(self, *gates: str) -> None:
        """Let every step pass that waits, or will wait, at these gates."""
        for gate in gates:
            (self._gates / gate).touch()

    async def until(self, satisfied: Callable[[list[Entry]], bool], what: str) -> list[Entry]:
        """All lines, once they satisfy this."""
        entries: list[Entry] = []

        def came() -> bool:
            entries[:] = self.entries()
            return satisfied(entries)

        await until(came, lambda: f"{what} did not happen; the ledger ends with {entries[-12:]}")
        return entries

    async def reached(self, gate: str, times: int = 1, handler_id: str | None = None) -> None:
        """Return when steps have come to this gate so many times."""

        def enough(entries: list[Entry]) -> bool:
            return times <= sum(
                entry.kind == "reached" and entry.step == gate and handler_id in (None, entry.handler_id)
                for entry in entries
            )

        await self.until(enough, f"reaching {gate} {times} times")


def begun(entries: list[Entry]) -> Counter[tuple[str, str, str]]:
    """Return the number of times that each step of each handler began with each item."""
    return Counter((entry.handler_id, entry.step, entry.item) for entry in entries if entry.kind == "begin")


def before_kill(entries: list[Entry]) -> list[Entry]:
    """The lines up to the first kill."""
    return entries[: next(index for index, entry in enumerate(entries) if entry.kind == KILLED)]


def after_kill(entries: list[Entry]) -> list[Entry]:
    """The lines after the last kill."""
    return entries[max(index for index, entry in enumerate(entries) if entry.kind == KILLED) + 1 :]
