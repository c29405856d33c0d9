"""Where the next step waits: until all before it is durable, and for ever when the server stops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from workflow_server.errors import StepNotRecorded, WorkflowServerError
from workflow_server.runtime.engine import NamedTask, PendingStart, PendingWorker, WorkerTask
from workflow_server.runtime.failures import told
from workflow_server.store.abstract import Commit


class StepBarrier:
    """Starts the steps of one run. ``abort`` fails the run when the engine itself could not record a step."""

    def __init__(self, handler_id: str, abort: Callable[[WorkflowServerError], None]) -> None:
        self.draining = False
        self.ending = False
        """The run leaves memory: whatever is cancelled from now on, the server cancels."""
        self._handler_id = handler_id
        self._abort = abort
        self._unrecorded = 0
        self._parked: set[asyncio.Task[Any]] = set()

    @property
    def is_clear(self) -> bool:
        """No step has begun whose result has not been taken."""
        return not self._unrecorded

    def taken(self) -> None:
        """The loop has taken the result of a step."""
        self._unrecorded -= 1

    def has_drained(self, tasks: Iterable[NamedTask]) -> bool:
        """The server stops, and none of these tasks is a step that has begun."""
        return self.draining and all(task.task in self._parked for task in tasks if isinstance(task, WorkerTask))

    def start(self, item: PendingStart, commit: Commit | None) -> NamedTask:
        """Start what is pending; a step begins when ``commit`` is durable."""
        name = f"{self._handler_id} {item.key}"
        if not (self.draining and isinstance(item, PendingWorker)):
            return item.start(asyncio.create_task(self._run(item, commit), name=name))
        # Known as parked before the loop looks: nothing would make it look again.
        item.coro.close()
        task = asyncio.create_task(self._park(), name=name)
        self._parked.add(task)
        return item.start(task)

    async def _run(self, item: PendingStart, commit: Commit | None) -> Any:
        if not isinstance(item, PendingWorker):
            return await item.coro
        try:
            if commit is not None:
                await commit
            if self.draining:
                await self._park()
        except BaseException as error:
            item.coro.close()
            self._give_up(error)
            raise
        self._unrecorded += 1
        try:
            return await item.coro
        except BaseException as error:
            self._unrecorded -= 1
            self._give_up(error)
            raise

    def _give_up(self, error: BaseException) -> None:
        """A step's own errors are part of its result. This one is not: the engine would log it, and wait for ever."""
        if not self.ending:
            self._abort(StepNotRecorded(reason=told(error)))

    async def _park(self) -> None:
        """Never return: this step begins at the next start of the server."""
        current = asyncio.current_task()
        assert current is not None
        self._parked.add(current)
        await asyncio.get_running_loop().create_future()
