"""Points at which a server kills itself: before, inside and after the commit of each kind of record, and around
checkpoints."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, get_args

from tests.store.fault_injection import BEGIN, COMMIT_MOMENTS, Lifecycle, MigrationApplied, Written
from workflow_server.records import Record
from workflow_server.store.internal_records import InternalRecord

VARIABLE = "KILL_POINT"
"""The variable of the environment in which a server is told where to die."""

INTO_CHECKPOINT = "into checkpoint"
CHECKPOINT = ("before checkpoint", INTO_CHECKPOINT, "after checkpoint")
INTO = 0.000_3
"""Seconds after which a checkpoint that has begun is cut short; SQLite lets other threads run meanwhile."""

KINDS = tuple(kind.__name__ for kind in (*get_args(Record), *get_args(InternalRecord), *get_args(Lifecycle)))
"""Every kind of record that the store writes: a new one is attacked as soon as it is there."""


class KillPoint(NamedTuple):
    """The ``nth`` time that a transaction with a record of this kind comes to this moment. Checkpoints have no kind."""

    moment: str
    kind: str = ""
    nth: int = 1

    @property
    def name(self) -> str:
        """The point, whatever the count."""
        return f"{self.moment} {self.kind}".strip()

    def environment(self, report: Path) -> dict[str, str]:
        """The variables that a server's environment needs to die here, once the fact is noted in ``report``."""
        return {VARIABLE: json.dumps([self.moment, self.kind, self.nth, str(report)])}


def commit_points() -> list[KillPoint]:
    """All points at commits but for those at migrations, which happen once in the life of a database."""
    return [KillPoint(moment, kind) for kind in KINDS if kind != MigrationApplied.__name__ for moment in COMMIT_MOMENTS]


def migration_points() -> list[KillPoint]:
    """The points at a migration, in an order in which each can be reached on one new database."""
    return [KillPoint(moment, MigrationApplied.__name__) for moment in COMMIT_MOMENTS]


def checkpoint_points() -> list[KillPoint]:
    """The points around a checkpoint."""
    return [KillPoint(moment) for moment in CHECKPOINT]


class KillTrigger:
    """A hook of the store that kills the process at a point."""

    def __init__(self, point: KillPoint, report: Path) -> None:
        self._point = point
        self._report = report
        self._seen = 0
        self._counted = False
        """The current transaction has come to the point already."""

    @classmethod
    def from_environment(cls) -> KillTrigger | None:
        """The trigger that the test has set; None where it set none."""
        given = os.environ.get(VARIABLE)
        if given is None:
            return None
        moment, kind, nth, report = json.loads(given)
        return cls(KillPoint(moment, kind, nth), Path(report))

    def __call__(self, moment: str, records: Sequence[Written]) -> None:
        """Called on the writer's thread."""
        point = self._point
        if moment == BEGIN:
            self._counted = False
        into = point.moment == INTO_CHECKPOINT and moment == "before checkpoint"
        if not (into or moment == point.moment):
            return
        if point.kind:
            if self._counted or not any(type(record).__name__ == point.kind for record in records):
                return
            self._counted = True
        self._seen += 1
        if self._seen < point.nth:
            return
        if into:
            threading.Timer(INTO, self._kill).start()
        else:
            self._kill()

    def _kill(self) -> None:
        with self._report.open("a") as file:
            file.write(f"{self._point.name}\n")
        os.kill(os.getpid(), signal.SIGKILL)
