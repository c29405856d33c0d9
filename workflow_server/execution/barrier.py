"""The barrier at which the next step waits: until all before it is durable, and for ever when the server stops."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from workflow_server.errors import StepNotRecorded, WorkflowServerError
from workflow_server.execution.engine import (
    NamedTask,
    PendingStart,
    PendingWorker,
    StepWorkerFailed,
    StepWorkerResult,
    StopEvent,
    TickStepResult,
    just_ended,
)
from workflow_server.execution.failures import told
from workflow_server.execution.interface import RunOwner
from workflow_server.execution.standing import RunningStep
from workflow_server.execution.step_spans import StepSpans
from workflow_server.execution.sums import StepSums
from workflow_server.store.base import Commit


class StepBarrier:
    """Starts the steps of one run, which is failed where the engine itself could not record a step. ``began`` is told
    of each that begins, ``sums`` of each that ends with a result, and ``spans``, where the run is traced, of both."""

    def __init__(
        self,
        run: RunOwner,
        began: Callable[[str], None],
        sums: defaultdict[str, StepSums],
        spans: StepSpans | None = None,
    ) -> None:
        self.draining = False
        self.ending = False
        """The run leaves memory: whatever is cancelled from now on, the server cancels."""
        self._owner = run
        self._began = began
        self._sums = sums
        self._spans = spans
        self._unrecorded = 0
        self._parked: list[asyncio.Task[Any]] = []
        self.standing: dict[str, int] = {}
        """The steps that were started and have not begun, and how often."""
        self._running: dict[int, tuple[str, float, float]] = {}
        """The steps that have begun and not ended, by their numbers: with the times then, of the wall clock and the
        monotonic one."""
        self._begun = 0
        """The number of the step that began last."""
        self._batch = 0
        self._ending: dict[str | None, int] = {}
        """Of the results that may end the run and are not taken: by its invocation, the batch in which the step was
        started."""
        self._last: Commit | None = None
        """The commit that the step waits for that was started last."""
        self._openings: list[asyncio.Future[None]] = []
        self._took: dict[str | None, float] = {}
        """The seconds of the executions whose results are not taken, by their invocations."""

    @property
    def is_clear(self) -> bool:
        """Return whether no step has begun whose result has not been taken."""
        return not self._unrecorded

    @property
    def is_empty(self) -> bool:
        """Return whether no step has begun or stands here."""
        return not self._unrecorded and not self.standing

    @property
    def running(self) -> list[RunningStep]:
        """Return the steps that run, and those that stand here."""
        standing = [RunningStep(step, None) for step, number in self.standing.items() for _ in range(number)]
        return [*(RunningStep(step, since) for step, since, _ in self._running.values()), *standing]

    def taken(self, result: TickStepResult) -> float | None:
        """Note that the loop has taken the result of a step; returns the seconds that it took."""
        self._unrecorded -= 1
        if self._ending.pop(result.invocation_id, None) is not None:
            self._open()
        return self._took.pop(result.invocation_id, None)

    def has_drained(self, steps: Iterable[asyncio.Task[Any]]) -> bool:
        """Return whether the server stops and none of these tasks is a step that has begun."""
        return self.draining and all(task in self._parked for task in steps)

    def next_batch(self) -> int:
        """Begin another batch of steps, those that come from now on, and return its number."""
        self._batch += 1
        return self._batch

    async def opening(self) -> None:
        """Return when steps that stand here have begun; in the same turn of the event loop, as in the basic runtime, so
        that those which do not give way before they wait have begun to."""
        commit, self._last = self._last, None
        if commit is not None:
            with contextlib.suppress(WorkflowServerError):
                await commit
                return
        await self._opened()

    def _opened(self) -> asyncio.Future[None]:
        opening: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._openings.append(opening)
        return opening

    def _open(self) -> None:
        for opening in self._openings:
            if not opening.done():
                opening.set_result(None)
        self._openings.clear()

    def _stand(self, step: str, commit: Commit | None) -> None:
        self.standing[step] = self.standing.get(step, 0) + 1
        self._last = commit

    def _leave(self, step: str) -> None:
        """A step begins, or never will."""
        self.standing[step] -= 1
        if not self.standing[step]:
            del self.standing[step]
            if not self.standing:
                self._last = None
        self._open()

    async def _go_on(self, batch: int) -> None:
        """Return when the run is known to go on: in the basic runtime a step does not begin where an earlier one has
        ended the run at once."""
        while any(before < batch for before in self._ending.values()):
            await self._opened()

    def start_pending(self, item: PendingStart, commit: Commit | None) -> NamedTask:
        """Start what the engine's loop has pending; a step begins when ``commit`` is durable."""
        name = f"{self._owner.handler_id} {item.key}"
        if not isinstance(item, PendingWorker):
            return item.start(asyncio.create_task(item.coro, name=name))
        step = str(item.step_id)
        return item.start(self.start(step, name, self._run(step, item.coro, commit, self._batch), commit))

    def start(self, step: str, name: str, work: Coroutine[Any, Any, Any], commit: Commit | None) -> asyncio.Task[Any]:
        """Return the task of a step, which calls ``enter`` first. Where the server stops, it is one that does not."""
        self._stand(step, commit)
        if not self.draining:
            return asyncio.create_task(work, name=name)
        # Known as parked before the loop looks: nothing would make it look again.
        work.close()
        task = asyncio.create_task(self._park(), name=name)
        self._parked.append(task)
        return task

    async def _run(
        self, step: str, work: Coroutine[Any, Any, TickStepResult], commit: Commit | None, batch: int
    ) -> TickStepResult:
        try:
            number = await self.enter(step, commit, batch)
        except BaseException:
            work.close()
            raise
        try:
            return self.leave(number, await work, batch)
        except BaseException as error:
            self.give_up(number, error)
            raise

    async def enter(self, step: str, commit: Commit | None, batch: int) -> int:
        """Return when a step that was started in this batch may begin, and count it as begun: under this number.

        Raises:
            BaseException: it never will; the run is failed.
        """
        try:
            if commit is not None:
                await commit
            if self._ending:
                await self._go_on(batch)
            if self.draining:
                await self._park()
        except BaseException as error:
            self._leave(step)
            self._abort(error)
            raise
        self._leave(step)
        self._began(step)
        self._unrecorded += 1
        self._begun = number = self._begun + 1
        if self._spans is not None:
            self._spans.begin(step)
        self._running[number] = step, time.time(), time.monotonic()
        return number

    def leave(self, number: int, result: TickStepResult, batch: int) -> TickStepResult:
        """Note that the step of this number has ended with this result, which the loop has not taken yet, and return
        it."""
        step, _, began = self._running.pop(number)
        took = self._took[result.invocation_id] = time.monotonic() - began
        self._sums[step].ended(took, result)
        if self._spans is not None:
            self._spans.end(result)
        if _may_end_the_run(result):
            self._ending[result.invocation_id] = batch
        return result

    def give_up(self, number: int, error: BaseException) -> None:
        """Note that the step of this number ended without a result; the run is failed."""
        self._running.pop(number, None)
        if self._spans is not None:
            self._spans.give_up(error)
        self._unrecorded -= 1
        self._abort(error)

    def _abort(self, error: BaseException) -> None:
        """A step's own errors are part of its result. This one is not: the engine would log it, and wait for ever."""
        if not self.ending:
            self._owner.abort(StepNotRecorded(reason=told(error)))

    async def _park(self) -> None:
        """Never return: this step begins at the next start of the server."""
        current = asyncio.current_task()
        assert current is not None
        self._parked.append(current)
        if self.is_clear:
            # The loop has looked before, while this step still stood here: nothing would make it look again.
            self._owner.drain()
        await asyncio.get_running_loop().create_future()


def _may_end_the_run(result: TickStepResult) -> bool:
    if just_ended(result):
        ended = result.result[0]
        return isinstance(ended, StepWorkerResult) and isinstance(ended.result, StopEvent)
    return any(
        isinstance(item.result, StopEvent)
        if isinstance(item, StepWorkerResult)
        else isinstance(item, StepWorkerFailed)
        and item.retry_decision is not None
        and item.retry_decision.delay is None
        for item in result.result
    )
