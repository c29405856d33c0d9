"""The ends of traced runs: a run's span is made when its end is durable, whichever process that happens in."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from workflow_server.records import Record, RunEnded
from workflow_server.runs.run import Run
from workflow_server.tracing import Tracing


class TracedEnds:
    """A listener of the store, which tells of the runs that have ended. ``run_of`` finds the run of a handler."""

    def __init__(self, tracing: Tracing, run_of: Callable[[str], Run | None]) -> None:
        self._tracing = tracing
        self._run_of = run_of

    def on_commit(self, records: Sequence[Record]) -> None:
        """Tell of the ends among what is durable now."""
        for record in records:
            if type(record) is RunEnded:
                run = self._run_of(record.handler_id)
                if run is not None and run.run_id == record.run_id and run.traced is not None:
                    self._tracing.ended(run.traced, record.status, record.ended_at)
