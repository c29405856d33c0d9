"""The limit of runs that have not ended, over all workflows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from workflow_server.errors import TooManyRuns
from workflow_server.runs.table import RunTable


class RunQuota:
    """Counts the runs that have not ended, those that are about to start included; without a limit, it does nothing.

    Runs of before, which a start of the server resumes, count, and are never refused.
    """

    def __init__(self, table: RunTable, limit: int | None) -> None:
        self._table = table
        self._limit = limit
        self._starting: set[str] = set()

    @property
    def is_limited(self) -> bool:
        """Return whether there is a limit."""
        return self._limit is not None

    @contextmanager
    def place(self, run_id: str) -> Iterator[None]:
        """Hold a place for a run while it is being started; once it is in the table, it counts there.

        Raises:
            TooManyRuns: all places are taken.
        """
        if self._limit is None:
            yield
            return
        if self._is_full(self._limit):
            raise TooManyRuns(self._limit)
        self._starting.add(run_id)
        try:
            yield
        finally:
            self._starting.discard(run_id)

    def _is_full(self, limit: int) -> bool:
        # In the table are also runs that have ended and have not left memory yet: they are told apart at the limit.
        if len(self._table) + len(self._starting) < limit:
            return False
        others = sum(not run.has_ended and run.run_id not in self._starting for run in self._table)
        return others + len(self._starting) >= limit
