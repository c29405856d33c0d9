"""Resume, at start, every run that was running.

A run that was in a step each time the process crashed is suspect. Many runs are in steps when one of them crashes the
process, so a suspect is not failed at once: it is quarantined, which means that it runs again only after the others
have settled, and one at a time, so that the next crash shows which run causes it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging

from workflow_server.errors import RunQuarantined, StorageError
from workflow_server.execution.outcomes import failed_event
from workflow_server.execution.session import RunSession
from workflow_server.records import RunAttempted, RunningRun
from workflow_server.runs.roster import UNREGISTERED, Roster

logger = logging.getLogger(__name__)

AT_ONCE = 32
"""Runs that are loaded side by side: one by one, 200 took 2.4 to 3.3 s; side by side, 0.7 s."""
SETTLE = 3.0
"""Seconds that the other runs get before the first suspect runs again."""
OBSERVE = 5.0
LONGEST_OBSERVATION = 640.0
"""Seconds for which a suspect without a result is watched before the next one runs again. They double with each
further death, so that a step that takes longer to kill the process is found out, too."""
PROBATIONS = 2
"""Crashes in quarantine after which a run is failed."""
PROBATION = "it is in quarantine, because the process crashed during its steps"


class Recovery:
    """The start-up of a server's runs."""

    def __init__(self, roster: Roster, *, max_attempts: int) -> None:
        self._roster = roster
        self._max_attempts = max_attempts
        self._suspects: list[RunningRun] = []
        self._blamed: dict[str, RunningRun] = {}
        """The runs that were blamed beforehand for the next death of the process, as they were before."""
        self._observed: dict[str, RunSession] = {}

    async def resume(self, *, crashed: bool) -> int:
        """Resume every running run, and return how many proceed; those that only wait stay out of memory."""
        roster = self._roster
        await roster.store.shift_clocks(roster.clock.resume(roster.store.last_alive))
        runs = await roster.store.running_runs()
        # Those that had a slot get one before those that waited for one.
        runs.sort(key=lambda run: (run.alive_since is None, run.requested_at))
        going_on = [run for run in runs if self._goes_on(run)]
        gate = asyncio.Semaphore(AT_ONCE)

        async def take_up(run: RunningRun) -> None:
            async with gate:
                await roster.activate(run.handler_id, crashed=crashed)

        await asyncio.gather(*(take_up(run) for run in going_on if self._has_slot(run)))
        return len(runs) - len(roster.suspended)

    def _goes_on(self, run: RunningRun) -> bool:
        roster = self._roster
        roster.note_held(run.handler_id, run.held_events)
        served = roster.registry.find(run.workflow_name)
        if served is None:
            roster.suspended[run.handler_id] = UNREGISTERED
            logger.warning("Handler %s waits: workflow '%s' is not registered", run.handler_id, run.workflow_name)
            return False
        if run.attempts >= self._max_attempts:
            roster.suspended[run.handler_id] = PROBATION
            self._suspects.append(run)
            return False
        if run.released and not run.has_inbox:
            roster.schedule(run.handler_id, served, run.wake_at, run.alive_since)
            return False
        return True

    def _has_slot(self, run: RunningRun) -> bool:
        served = self._roster.registry.find(run.workflow_name)
        return served is not None and served.slots.take(run.handler_id)

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
                self._roster.suspended[suspect.handler_id] = PROBATION

    async def _probe(self, run: RunningRun) -> None:
        roster = self._roster
        async with roster.lock(run.handler_id):
            if roster.suspended.pop(run.handler_id, None) is None:
                return
            if run.probations >= PROBATIONS:
                logger.error(
                    "Handler %s failed in quarantine: the process crashed %d times during its steps",
                    run.handler_id,
                    run.attempts,
                )
                event = failed_event(RunQuarantined(run.attempts))
                await roster.end_offline(run.handler_id, run.run_id, run.workflow_name, event)
                return
            blamed = RunAttempted(run.handler_id, run.run_id, run.attempts + 1, run.probations + 1)
            self._blamed[run.handler_id] = run
            await roster.store.append(blamed)
        logger.warning("Handler %s runs again, in quarantine", run.handler_id)
        await roster.activate(run.handler_id)
        session = roster.sessions.get(run.handler_id)
        if session is None:
            # It has not got to its step, for want of a slot, say: no death of the process will be its doing.
            self._take_back(run)
            return
        self._observed[run.handler_id] = session
        await self._observe(run, session, blamed)

    async def _observe(self, run: RunningRun, session: RunSession, blamed: RunAttempted) -> None:
        seconds = min(OBSERVE * 2 ** (run.attempts - self._max_attempts), LONGEST_OBSERVATION)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await session.progressed.wait()
        if not session.progressed.is_set():
            # The process lives: should it die later, then in the observation of another.
            self._roster.store.append(blamed._replace(probations=run.probations))

    def stop(self) -> None:
        """The server stops and did not die: nobody is blamed. Called before any run leaves memory."""
        for run in list(self._blamed.values()):
            session = self._observed.get(run.handler_id)
            if session is None or not session.progressed.is_set():
                self._take_back(run)

    def _take_back(self, run: RunningRun) -> None:
        del self._blamed[run.handler_id]
        self._roster.store.append(RunAttempted(run.handler_id, run.run_id, run.attempts, run.probations))
