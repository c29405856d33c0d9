"""The runs of a server by their handlers, and the way of each commit to the run and the readers that it concerns."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence

from workflow_server.concurrency import KeyedLock
from workflow_server.errors import StorageError
from workflow_server.records import EventAppended, InboxPosted, QueueAdvanced, Record, RunEnded
from workflow_server.runs.events import EventLogs
from workflow_server.runs.run import Run
from workflow_server.runs.waiters import EndWaiters


class RunTable:
    """The run of each handler that has one that goes on. All that changes a handler's place here happens under the
    handler's lock, which outlives its runs."""

    def __init__(self, logs: EventLogs, waiters: EndWaiters) -> None:
        self.wake: Callable[[Run], None]
        """Called with each run that has to be loaded for what was posted to it; set by ``Activation``."""
        self.on_change: Callable[[str], None] | None = None
        """Called with the handler of each run that changes without a record, while somebody follows changes."""
        self._logs = logs
        self._waiters = waiters
        self._runs: dict[str, Run] = {}
        self._locks = KeyedLock()

    def __len__(self) -> int:
        return len(self._runs)

    def __iter__(self) -> Iterator[Run]:
        return iter(list(self._runs.values()))

    def lock(self, handler_id: str) -> asyncio.Lock:
        """Return the lock of this handler."""
        return self._locks(handler_id)

    def get(self, handler_id: str) -> Run | None:
        """Return the handler's run; None where it has none that goes on."""
        return self._runs.get(handler_id)

    def add(self, run: Run) -> None:
        """Make this the handler's run, instead of one that has ended."""
        self._runs[run.handler_id] = run

    def remove(self, run: Run) -> bool:
        """Forget the run, unless the handler was continued by another one; returns whether it was the handler's."""
        if self._runs.get(run.handler_id) is not run:
            return False
        del self._runs[run.handler_id]
        return True

    def touch(self, run: Run) -> None:
        """Note that the run has changed, and that no record tells so."""
        if self.on_change is not None:
            self.on_change(run.handler_id)

    def in_memory(self) -> list[Run]:
        """Return the runs that have a session."""
        return [run for run in self._runs.values() if run.session is not None]

    def footprint(self) -> dict[str, int]:
        """Return what is held beside the runs."""
        return {"locks of handlers": self._locks.locked()}

    # -- Commits -------------------------------------------------------------------------------

    def on_commit(self, records: Sequence[Record]) -> None:
        """Show what is durable to those who wait for it."""
        handler_id, log = "", None
        for record in records:
            if type(record) is EventAppended:
                if record.handler_id != handler_id:
                    # The records of a unit stand together.
                    handler_id, log = record.handler_id, self._logs.in_use(record.handler_id)
                if log is not None:
                    log.publish(record)
            elif type(record) is InboxPosted:
                run = self._runs.get(record.handler_id)
                if run is not None and run.run_id == record.run_id and run.deliver(record):
                    self.wake(run)
            elif type(record) is QueueAdvanced:
                self._logs.queue_advanced(record)
            elif type(record) is RunEnded:
                ended = self._logs.in_use(record.handler_id)
                if ended is not None:
                    ended.end()
                self._waiters.ended(record)

    def on_refused(self, records: Sequence[Record], error: StorageError) -> None:
        """Fail the run that these records belong to: the store can never hold them. Where not even that can be stored,
        those are told who wait for its end."""
        for record in reversed(records):
            if type(record) is EventAppended:
                log = self._logs.in_use(record.handler_id)
                if log is not None:
                    log.take_back(record)
        if any(type(record) is InboxPosted for record in records):
            # The sender is told; the run is not to blame.
            return
        for run in self.in_memory():
            of_this_run = [record for record in records if getattr(record, "run_id", None) == run.run_id]
            if not any(type(record) is RunEnded for record in of_this_run):
                if of_this_run:
                    run.abort(error)
            elif run.session is not None and not run.session.writer.end_again(error):
                self._waiters.lost(run.run_id, error)
