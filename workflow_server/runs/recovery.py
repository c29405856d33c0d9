"""Resume, at start, every run that was running.

A run that was in a step each time the process crashed is suspect. Many runs are in steps when one of them crashes the
process, so a suspect is not failed at once: it is quarantined, which means that it runs again only after the others
have settled, and one at a time, so that the next crash shows which run causes it.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from workflow_server.errors import RunQuarantined, StorageError
from workflow_server.execution.interface import Surroundings
from workflow_server.execution.outcomes import failed_event
from workflow_server.log_context import begin_run
from workflow_server.records import RunAttempted, RunningRun, StoredRun
from workflow_server.runs.activation import Activation
from workflow_server.runs.run import Run
from workflow_server.runs.states import PROBATION, RunState
from workflow_server.runs.table import RunTable
from workflow_server.tracing import RunTrace

logger = logging.getLogger(__name__)

AT_ONCE = 64
CHARACTERS = 16_000_000
"""Bounds of the runs that are read at once and loaded side by side, whichever is reached first."""
SETTLE = 3.0
"""Seconds that the other runs get before the first suspect runs again."""
OBSERVE = 5.0
LONGEST_OBSERVATION = 640.0
"""Seconds for which a suspect without a result is watched before the next one runs again. They double with each
further death, so that a step that takes longer to kill the process is found out, too."""
PROBATIONS = 2
"""Crashes in quarantine after which a run is failed, with the reason."""


class Recovery:
    """Resumes the runs of a server at its start, and finds out which of them kill the process."""

    def __init__(
        self, surroundings: Surroundings, table: RunTable, activation: Activation, *, max_attempts: int
    ) -> None:
        self._store = surroundings.store
        self._clock = surroundings.clock
        self._table = table
        self._activation = activation
        self._max_attempts = max_attempts
        self._suspects: list[RunningRun] = []
        self._blamed: dict[str, RunningRun] = {}
        """The runs that were blamed beforehand for the next death of the process, as they were before."""
        self._observed: dict[str, asyncio.Event] = {}
        """Set when such a run has made progress."""

    async def resume(self, *, crashed: bool) -> int:
        """Resume every running run, and return how many go on; those that only wait stay out of memory."""
        await self._store.shift_clocks(self._clock.resume(self._store.last_alive))
        stored = await self._store.running_runs()
        # Those that had a slot get one before those that waited for one.
        stored.sort(key=lambda run: (run.alive_since is None, run.requested_at))
        runs = [self._adopt(run) for run in stored]
        going_on = [run for run, found in zip(runs, stored, strict=True) if self._goes_on(run, found)]
        await self._load([run for run in going_on if self._activation.admission.admit(run)], crashed=crashed)
        return sum(run.state is not RunState.SUSPENDED for run in runs)

    async def _load(self, runs: list[Run], *, crashed: bool) -> None:
        with _young_collections() as collect:
            while runs:
                found = await self._read(runs[:AT_ONCE])
                loads = [
                    self._activation.load(run, crashed=crashed, stored=stored)
                    for run, stored in zip(runs, found, strict=False)
                ]
                await asyncio.gather(*loads)
                del runs[: len(loads)]
                collect()

    async def _read(self, runs: list[Run]) -> list[StoredRun | None]:
        try:
            return await self._store.load_runs([run.handler_id for run in runs], CHARACTERS)
        except StorageError:
            # One that cannot be read keeps none of the others back.
            return [None] * len(runs)

    def _adopt(self, stored: RunningRun) -> Run:
        return self._activation.adopt(
            stored.handler_id,
            stored.run_id,
            stored.workflow_name,
            held_events=stored.held_events,
            trace=RunTrace.of(stored.trace, stored.started_at),
            left_as=stored.left_as,
        )

    def _goes_on(self, run: Run, stored: RunningRun) -> bool:
        """Return whether the run is to come into memory; where it is not, it is left waiting for what it waits for."""
        if run.state is RunState.SUSPENDED:
            logger.warning(
                "Handler %s waits: workflow '%s' is not registered",
                run.handler_id,
                stored.workflow_name,
                extra={"handler_id": run.handler_id, "run_id": run.run_id},
            )
            return False
        if stored.attempts >= self._max_attempts:
            self._activation.suspend(run, PROBATION)
            self._suspects.append(stored)
            return False
        if stored.released and not stored.has_inbox:
            self._activation.sleep(run, stored.wake_at, stored.alive_since)
            return False
        return True

    async def probe(self) -> None:
        """Let the suspects run again, one at a time."""
        if self._suspects:
            await asyncio.sleep(SETTLE)
        # The most suspect first: it need not wait for the observation of those that may be innocent.
        for suspect in sorted(self._suspects, key=lambda run: run.probations, reverse=True):
            try:
                await self._probe(suspect)
            except StorageError:
                logger.exception("Handler %s waits for the next start of the server", suspect.handler_id)

    async def _probe(self, suspect: RunningRun) -> None:
        begin_run(suspect.handler_id, suspect.run_id)
        async with self._table.lock(suspect.handler_id):
            run = self._table.get(suspect.handler_id)
            if run is None or run.run_id != suspect.run_id or run.state is not RunState.SUSPENDED:
                return
            if suspect.probations >= PROBATIONS:
                logger.error(
                    "Handler %s failed in quarantine: the process crashed %d times during its steps",
                    run.handler_id,
                    suspect.attempts,
                )
                await self._activation.end_offline(run, failed_event(RunQuarantined(suspect.attempts)))
                return
            blamed = RunAttempted(run.handler_id, run.run_id, suspect.attempts + 1, suspect.probations + 1)
            self._blamed[run.handler_id] = suspect
            await self._store.append(blamed)
            admitted = self._activation.admission.admit(run)
        logger.warning("Handler %s runs again, in quarantine", run.handler_id)
        if admitted:
            await self._activation.load(run)
        if run.session is None:
            # It has not got to its step, for want of a slot, say: no death of the process will be its doing.
            self._take_back(suspect)
            return
        self._observed[run.handler_id] = run.session.writer.progressed
        await self._observe(suspect, run.session.writer.progressed, blamed)

    async def _observe(self, run: RunningRun, progressed: asyncio.Event, blamed: RunAttempted) -> None:
        seconds = min(OBSERVE * 2 ** (run.attempts - self._max_attempts), LONGEST_OBSERVATION)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await progressed.wait()
        if not progressed.is_set():
            # The process lives: should it die later, then in the observation of another.
            self._store.append(blamed._replace(probations=run.probations))

    def stop(self) -> None:
        """Blame nobody: the server stops and did not die. Called before any run leaves memory."""
        for run in list(self._blamed.values()):
            progressed = self._observed.get(run.handler_id)
            if progressed is None or not progressed.is_set():
                self._take_back(run)

    def _take_back(self, run: RunningRun) -> None:
        del self._blamed[run.handler_id]
        self._store.append(RunAttempted(run.handler_id, run.run_id, run.attempts, run.probations))


@contextmanager
def _young_collections() -> Iterator[Callable[[], object]]:
    """Within the block, garbage is collected only by the function that it is given, and only among what is new.

    The runs that are loaded stay. Python's collector would look at all of them over and over: half of the time of a
    start with 2,000 of them.
    """
    if not gc.isenabled():
        yield lambda: None
        return
    gc.disable()
    try:
        yield partial(gc.collect, 0)
    finally:
        gc.enable()
