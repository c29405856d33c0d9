"""Admission: the slots of ``num_concurrent_runs``, and the runs that wait for one, in order."""

from __future__ import annotations

from collections.abc import Iterator

from workflow_server.runs.run import Run


class Admission:
    """The slots of all workflows; without a limit, every run is admitted."""

    def __init__(self) -> None:
        self._lines: dict[str, _Line] = {}

    def __iter__(self) -> Iterator[str]:
        """Yield the handlers whose runs have a slot or wait for one."""
        for line in self._lines.values():
            yield from (*line.holders, *line.waiting)

    def admit(self, run: Run) -> bool:
        """Let the run come into memory, or queue it; returns whether it has a slot."""
        limit = run.workflow.concurrent_runs
        if limit is not None and not self._lines.setdefault(run.workflow.name, _Line(limit)).take(run):
            run.queue()
            return False
        run.load()
        return True

    def leave(self, run: Run) -> Run | None:
        """Take the run's slot, or its place in line; returns the run that is admitted instead, if one waited."""
        line = self._lines.get(run.served.name) if run.served is not None else None
        successor = line.give_back(run) if line is not None else None
        if successor is not None:
            successor.load()
        return successor


class _Line:
    """The slots of one workflow. They belong to handlers: a run that continues one has the slot of the run before,
    which may not have left memory yet."""

    def __init__(self, limit: int) -> None:
        self.holders: set[str] = set()
        self.waiting: dict[str, Run] = {}
        self._limit = limit

    def take(self, run: Run) -> bool:
        if run.handler_id in self.holders:
            return True
        if len(self.holders) < self._limit:
            self.waiting.pop(run.handler_id, None)
            self.holders.add(run.handler_id)
            return True
        self.waiting[run.handler_id] = run
        return False

    def give_back(self, run: Run) -> Run | None:
        self.waiting.pop(run.handler_id, None)
        if run.handler_id not in self.holders:
            return None
        self.holders.discard(run.handler_id)
        if not self.waiting or len(self.holders) >= self._limit:
            return None
        successor = self.waiting.pop(next(iter(self.waiting)))
        self.holders.add(successor.handler_id)
        return successor
