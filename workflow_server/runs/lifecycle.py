"""Starting and stopping all that runs need together: the store's commits, the contained event loop, the clock."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from workflow_server.errors import StorageError
from workflow_server.execution.blocking import LoopWatch
from workflow_server.execution.containment import TaskContainment
from workflow_server.execution.engine import rescue_of
from workflow_server.execution.interface import Surroundings
from workflow_server.execution.sums import Lags
from workflow_server.runs.activation import Activation
from workflow_server.runs.figures import RunSums
from workflow_server.runs.recovery import Recovery
from workflow_server.runs.states import RunState
from workflow_server.runs.table import RunTable
from workflow_server.runs.traced_ends import TracedEnds

logger = logging.getLogger(__name__)

ALIVE_INTERVAL = 5.0
"""Seconds between two notes that the server is alive: the most by which a crash can prolong a workflow's timeout."""
CLOCK_INTERVAL = 1.0
CLOCK_SET = 0.5
"""Seconds after which it is looked whether the wall clock was set, by more than so many: the note is then taken anew,
since a crash must not make a downtime of it."""


class Lifecycle:
    """Resumes the runs of a server, and stops them, all together."""

    def __init__(
        self, surroundings: Surroundings, table: RunTable, activation: Activation, *, max_attempts: int
    ) -> None:
        self.resume_seconds: float | None = None
        """The time until all runs that were running went on, or had a reason not to; None before that."""
        self.started_at: float | None = None
        """The time at which it began to resume them, by the wall clock."""
        self.resumed: int | None = None
        self.suspended: int | None = None
        """The runs that went on at the start, and those that had a reason not to; None before that."""
        self.sums = RunSums(table.get)
        self._store = surroundings.store
        self._tracing = surroundings.tracing
        self._clock = surroundings.clock
        self._table = table
        self._activation = activation
        self._recovery = Recovery(surroundings, table, activation, max_attempts=max_attempts)
        self._services: list[asyncio.Task[None]] = []
        self._containment: TaskContainment | None = None
        self._subscriptions: list[Callable[[], None]] = []
        self._watch: LoopWatch | None = None

    def listen(self) -> None:
        """Follow the store's commits, and contain what steps do to the event loop; called before the store is opened.

        Where ``stop`` is not called, ``release`` undoes it.
        """
        self._containment = TaskContainment.enter(rescue_of)
        listeners = [self._table.on_commit, self.sums.on_commit]
        if self._tracing is not None:
            listeners.append(TracedEnds(self._tracing, self._table.get).on_commit)
        self._subscriptions = [self._store.subscribe(listener) for listener in listeners]
        self._store.on_refused = self._table.on_refused

    async def resume(self) -> int:
        """Resume every running run; returns how many go on."""
        begun = time.monotonic()
        self.started_at = time.time()
        self._watch = LoopWatch()
        self._watch.start()
        self._activation.inbox_records.next_id = self._store.next_inbox_id
        resumed = await self._recovery.resume(crashed=not self._store.stopped_cleanly)
        self.resumed, self.suspended = resumed, sum(run.state is RunState.SUSPENDED for run in self._table)
        for name, service in {
            "wake released runs": self._activation.timers.run(),
            "note that the server is alive": self._note_alive(),
            "probe suspect runs": self._recovery.probe(),
        }.items():
            self._services.append(asyncio.create_task(service, name=name))
        self.resume_seconds = time.monotonic() - begun
        return resumed

    @property
    def lag(self) -> Lags | None:
        """Return how late the event loop was; None while nobody looks."""
        return None if self._watch is None else self._watch.lag

    async def stop(self, grace: float) -> None:
        """Let running steps be recorded, for at most ``grace`` seconds; nothing is cancelled: it all goes on at the
        next start. Where it was cancelled itself, it may be called again."""
        for service in self._services:
            service.cancel()
        await asyncio.gather(*self._services, return_exceptions=True)
        self._recovery.stop()
        await self._drain(grace)
        await self._activation.tasks.finish(timeout=1.0)
        self.release()
        if self._services:
            # Without a resume no clock was moved past the downtime: the next start has to know of it.
            self._store.append(self._clock.read())

    async def _drain(self, grace: float) -> None:
        runs = self._table.in_memory()
        for run in runs:
            run.drain()
        tasks = [run.task for run in runs if run.task is not None]
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=grace)
        for task in late:
            logger.warning("%s was still in a step: it begins that step anew at the next start", task.get_name())
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=1.0)

    def release(self) -> None:
        """Give the event loop back, and hear of no more commits."""
        while self._subscriptions:
            self._subscriptions.pop()()
        if self._watch is not None:
            self._watch.stop()
            self._watch = None
        if self._containment is not None:
            self._containment.leave()
            self._containment = None

    async def _note_alive(self) -> None:
        while True:
            noted = self._clock.read()
            try:
                await self._store.append(noted)
            except StorageError:
                return
            for _ in range(round(ALIVE_INTERVAL / CLOCK_INTERVAL)):
                await asyncio.sleep(CLOCK_INTERVAL)
                if abs(self._clock.read().ahead - noted.ahead) > CLOCK_SET:
                    break
