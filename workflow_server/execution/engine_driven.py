"""A run as the engine's own control loop drives it: through tasks that it has its adapter start and wait for.

Runs of the lean loop use none of this.
"""

from __future__ import annotations

import asyncio
from typing import Any

from workflow_server.errors import EventNotTaken
from workflow_server.execution.barrier import StepBarrier
from workflow_server.execution.containment import is_cancelled
from workflow_server.execution.engine import (
    InternalRunAdapter,
    LoopHost,
    NamedTask,
    ObservedLoop,
    PendingStart,
    WaitForNextTaskResult,
    WaitResult,
    WaitResultTick,
    WorkerTask,
    WorkflowTick,
    end_tasks,
    pick_highest_priority,
)
from workflow_server.execution.failures import told
from workflow_server.execution.interface import RunOwner
from workflow_server.execution.mailbox import Mailbox


class EngineDriven(InternalRunAdapter, LoopHost):
    """The part of a session that only the engine's loop calls, made of what a lean loop asks of its host."""

    _gate: StepBarrier
    _run: RunOwner
    _mailbox: Mailbox
    _loop: ObservedLoop | None

    @property
    def gate(self) -> StepBarrier:
        """Return the barrier at which the run's steps wait until all before them is durable."""
        return self._gate

    async def get_now(self) -> float:
        """Return server time: what is compared across restarts depends on no process, and not on the wall clock."""
        return self.now()

    async def on_tick(self, tick: WorkflowTick) -> None:
        """Journal the tick; never suspends."""
        self.record(tick)

    async def wait_receive(self, timeout_seconds: float | None = None) -> WaitResult:  # noqa: ARG002
        """Return the next tick of the mailbox; the loop always waits without a timeout."""
        try:
            return WaitResultTick(tick=await self._mailbox.get())
        except BaseException as error:
            if not is_cancelled(error):
                # The engine would log it, and ask again at once, for ever.
                self._run.abort(EventNotTaken(reason=told(error)))
            raise

    async def wait_for_next_task(
        self, running: list[NamedTask], pending: list[PendingStart], timeout: float | None = None
    ) -> WaitForNextTaskResult:
        """Start what is pending — steps when all before them is durable — and wait for the first to finish."""
        assert self._loop is not None
        commit = self.compact(self._loop.state)
        self._gate.next_batch()
        started = [self._gate.start_pending(item, commit) for item in pending]
        try:
            completed = await self._first_done([*running, *started], timeout)
        except BaseException:
            self.end_steps()
            # The loop does not know them yet, so nobody else would end them.
            await end_tasks(task.task for task in started)
            raise
        return WaitForNextTaskResult(completed, started)

    async def _first_done(self, named: list[NamedTask], timeout: float | None) -> asyncio.Task[Any] | None:
        limit = self.rest([task.task for task in named if isinstance(task, WorkerTask)], timeout)
        done, _ = await asyncio.wait({task.task for task in named}, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        if done:
            return pick_highest_priority(named, done)
        self.rested()
        return None
