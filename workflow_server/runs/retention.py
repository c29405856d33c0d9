"""Retention: ended handlers are deleted some time after their end, or when there are too many of them.

A sweep finds them in the order of their ends and deletes a few at a time, beside all else that the server does. A
handler that is continued, deleted or read meanwhile is left to whoever does that.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import NamedTuple

from workflow_server.errors import StorageError
from workflow_server.execution.clock import CautiousClock, ServerClock
from workflow_server.records import FINISHED, EndedHandler, Status
from workflow_server.runs.events import EventLogs
from workflow_server.runs.table import RunTable
from workflow_server.store.base import AbstractWorkflowStore

logger = logging.getLogger(__name__)

INTERVAL = 60.0
"""Seconds from the end of a sweep to the next."""
AT_ONCE = 50
"""Handlers that are locked and marked together: as many as a commit of 32 clients concerns."""

_FIRST = EndedHandler(float("-inf"), "")


class RetentionRules(NamedTuple):
    """The handlers that are kept."""

    ages: Mapping[Status, float]
    """Seconds after their end for which handlers of a status are kept; those of other statuses are kept."""
    most: int | None = None
    """The number of ended handlers that are kept: those that ended last."""


class Retention:
    """Deletes what ``rules`` do not keep, from ``start`` to ``stop``."""

    def __init__(
        self, store: AbstractWorkflowStore, table: RunTable, logs: EventLogs, clock: ServerClock, rules: RetentionRules
    ) -> None:
        self.swept = 0
        """Handlers that were deleted so far."""
        self._store = store
        self._table = table
        self._logs = logs
        self._server_clock = clock
        self._clock: CautiousClock | None = None
        self._rules = rules
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to sweep; called when the store is open, and the server's clock goes on."""
        if self._rules.ages or self._rules.most is not None:
            last = self._store.last_alive
            self._clock = CautiousClock(self._server_clock, None if last is None else last.at)
            self._task = asyncio.create_task(self._run(self._clock), name="delete by retention")

    async def stop(self) -> None:
        """Leave the rest to the next start."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self, clock: CautiousClock) -> None:
        while True:
            try:
                await self._sweep(clock.now())
            except StorageError as error:
                logger.warning("retention was interrupted, and goes on in %g s: %s", INTERVAL, error)
            except Exception:
                logger.exception("retention failed, and is tried again in %g s", INTERVAL)
            await asyncio.sleep(INTERVAL)

    async def _sweep(self, now: float) -> None:
        gone: Counter[Status] = Counter()
        try:
            for status, until in (await self._bounds(now)).items():
                await self._delete_up_to(status, until, gone)
        finally:
            if gone:
                told = ", ".join(f"{number:,} {status}" for status, number in gone.items())
                logger.info("Retention deleted handlers: %s", told)

    async def _bounds(self, now: float) -> dict[Status, EndedHandler]:
        """Return the last handler to be deleted of each status of which there may be any."""
        bounds = {status: EndedHandler(now - age, "") for status, age in self._rules.ages.items()}
        last = None if self._rules.most is None else await self._store.last_beyond(self._rules.most)
        if last is not None:
            bounds = {status: max(last, bounds.get(status, _FIRST), key=_place) for status in FINISHED}
        return bounds

    async def _delete_up_to(self, status: Status, until: EndedHandler, gone: Counter[Status]) -> None:
        after = _FIRST
        while found := await self._store.ended_handlers(status, after, until, AT_ONCE):
            number = await self._delete(status, found, after, until)
            gone[status] += number
            self.swept += number
            after = found[-1]

    async def _delete(self, status: Status, found: list[EndedHandler], after: EndedHandler, until: EndedHandler) -> int:
        """Delete those of the handlers that are as they were found when nobody can change them; return their number."""
        async with AsyncExitStack() as locks:
            # In one order, so that two who delete do not wait for each other.
            for handler_id in sorted(handler.handler_id for handler in found):
                await locks.enter_async_context(self._table.lock(handler_id))
            # From now on no other run begins in them. A handler that is found again has the same run and end.
            now = set(await self._store.ended_handlers(status, after, until, AT_ONCE))
            ids = [handler.handler_id for handler in found if handler in now and self._is_left(handler.handler_id)]
            if ids:
                await self._store.begin_deletion(ids)
            for handler_id in ids:
                self._logs.forget(handler_id)
        await self._store.deletions_ended()
        return len(ids)

    def _is_left(self, handler_id: str) -> bool:
        """Return whether the handler's run is over, and nobody reads its events just now."""
        run, log = self._table.get(handler_id), self._logs.in_use(handler_id)
        return (run is None or run.has_ended) and (log is None or not log.is_read)


def _place(handler: EndedHandler) -> tuple[float, str]:
    return handler.ended_at, handler.handler_id
