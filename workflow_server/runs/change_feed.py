"""The changes of handlers, gathered while somebody follows them: nothing is noted, and nothing done, while nobody does.

Commits tell which handlers have changed. A few times a second all of them are read at once, for all readers together.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from workflow_server.errors import ShuttingDown, StorageError
from workflow_server.execution.clock import ServerClock
from workflow_server.protocol.handlers import NowData
from workflow_server.records import (
    EventAppended,
    HandlerTagged,
    HistoryNoted,
    ListCursor,
    ListFilter,
    Record,
    RunBegan,
    RunEnded,
    RunLoaded,
    RunReleased,
    RunStarted,
    StoredHandler,
)
from workflow_server.runs.changes import MOST, ChangeLog, Told, told
from workflow_server.runs.events import EventLogs
from workflow_server.runs.now import now_listed
from workflow_server.runs.table import RunTable
from workflow_server.runs.views import listed
from workflow_server.store.base import AbstractWorkflowStore

logger = logging.getLogger(__name__)

INTERVAL = 0.25
"""Seconds between two looks at what has changed: no handler is told more often."""
GATHER = 0.02
"""Seconds from the first change to the look at it: changes come in rows."""
LINGER = 60.0
"""Seconds for which changes are noted after the last reader has left, which may come back."""
PAGE = 50
"""Handlers that are looked at between two turns of other tasks."""
CHARACTERS = 65_536
"""Characters after which a reader writes out what it has."""
LOOKS = 8
"""Further looks at a run that is about to do something, of which no record tells."""

_TURNING = frozenset[type]({RunStarted, RunEnded, HandlerTagged})
_CHANGING = _TURNING | {RunBegan, RunReleased, RunLoaded, HistoryNoted}
_PLAIN, _TURNED, _PURGED = range(3)


class ChangeFeed:
    """Follows the changes of handlers for its readers."""

    def __init__(
        self,
        store: AbstractWorkflowStore,
        table: RunTable,
        logs: EventLogs,
        clock: ServerClock,
        closing: asyncio.Event,
    ) -> None:
        self.log: ChangeLog | None = None
        """The changes; None while nobody follows."""
        self.closing = closing
        """Set when the server stops: readers come back, and load the list again."""
        self.process = secrets.token_hex(4)
        """Tells cursors of this process from those of others."""
        self._store = store
        self._table = table
        self._logs = logs
        self._clock = clock
        self._place = 0
        self._readers = 0
        self._marked: dict[str, int] = {}
        self._is_flooded = False
        """More has changed since the last look than is told."""
        self._unsettled: dict[str, int] = {}
        """Runs that are about to do something, with the number of looks that are left."""
        self._is_due = asyncio.Event()
        self._change: asyncio.Future[None] | None = None
        """Done at the next change; there is one while readers wait."""
        self._task: asyncio.Task[None] | None = None
        self._unsubscribe: Callable[[], None] | None = None
        self._end: asyncio.TimerHandle | None = None

    @contextmanager
    def reading(self, wanted: ListFilter, cursor: str | None) -> Iterator[ChangeReader]:
        """Follow the changes of the handlers of a list, from a cursor or, for None, from now on."""
        log = self._enter()
        try:
            yield ChangeReader(self, log, wanted, cursor)
        finally:
            self._leave()

    def footprint(self) -> dict[str, int]:
        """Return the number of readers."""
        return {"readers of changes": self._readers}

    async def stop(self) -> None:
        """Follow no longer."""
        self.wake()
        task = self._sleep()
        if task is not None:
            await asyncio.wait([task])

    # -- Readers -------------------------------------------------------------------------------

    def _enter(self) -> ChangeLog:
        if self.closing.is_set():
            raise ShuttingDown
        self._readers += 1
        if self._end is not None:
            self._end.cancel()
            self._end = None
        if self.log is None:
            # Cursors of before are too old: nobody has noted what came behind them.
            self.log = ChangeLog(self._place + 1)
            self._unsubscribe = self._store.subscribe(self._on_commit)
            self._table.on_change = partial(self._mark, mark=_PLAIN)
            self._logs.on_forget = partial(self._mark, mark=_PURGED)
        if self._marked or self._is_flooded:
            self._is_due.set()
        if self._task is None:
            self._task = asyncio.create_task(self._follow(), name="follow changes of handlers")
        return self.log

    def _leave(self) -> None:
        self._readers -= 1
        if not self._readers and self.log is not None:
            self._is_due.set()
            self._end = asyncio.get_running_loop().call_later(LINGER, self._sleep)

    def _sleep(self) -> asyncio.Task[None] | None:
        """Note nothing any more; returns the task that was ended."""
        if self._end is not None:
            self._end.cancel()
            self._end = None
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
        self._table.on_change = self._logs.on_forget = None
        if self.log is not None:
            self._place = self.log.place
            self.log = None
        self._marked.clear()
        self._unsettled.clear()
        self._is_flooded = False
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
        return task

    async def changed(self, timeout: float) -> bool:
        """Wait for the next change; False when there was none within ``timeout`` seconds."""
        if self._change is None:
            self._change = asyncio.get_running_loop().create_future()
        done, _ = await asyncio.wait((self._change,), timeout=timeout)
        return bool(done)

    def wake(self) -> None:
        """Let every waiting reader look again."""
        if self._change is not None:
            self._change.set_result(None)
            self._change = None

    # -- Changes -------------------------------------------------------------------------------

    def _on_commit(self, records: Sequence[Record]) -> None:
        try:
            for record in records:
                kind = type(record)
                if isinstance(record, EventAppended):
                    # Those of the engine tell of steps that begin and end; others change nothing.
                    if record.internal:
                        self._mark(record.handler_id, _PLAIN)
                elif kind in _CHANGING:
                    self._mark(record.handler_id, _TURNED if kind in _TURNING else _PLAIN)  # type: ignore[union-attr]
        except Exception:
            # An error of a listener ends the store, and this one only watches.
            logger.exception("changes of handlers are missed")
            self._is_flooded = True

    def _mark(self, handler_id: str, mark: int) -> None:
        if not self._is_flooded:
            self._marked[handler_id] = max(mark, self._marked.get(handler_id, _PLAIN))
            self._is_flooded = len(self._marked) > MOST
        if self._readers:
            self._is_due.set()

    async def _follow(self) -> None:
        """Look at what has changed, until the last reader has left: from then on it is only noted."""
        while True:
            await self._is_due.wait()
            await asyncio.sleep(GATHER)
            if not self._readers or self.log is None:
                self._task = None
                return
            self._is_due.clear()
            await self._look(self.log)
            self.wake()
            if self._unsettled:
                self._is_due.set()
            await asyncio.sleep(INTERVAL - GATHER)

    async def _look(self, log: ChangeLog) -> None:
        marked, self._marked = self._marked, {}
        unsettled, self._unsettled = self._unsettled, {}
        is_flooded, self._is_flooded = self._is_flooded, False
        if is_flooded:
            log.forget()
            return
        try:
            await self._note(log, marked, unsettled)
        except StorageError as error:
            logger.warning("changes of handlers could not be read, and are missed: %s", error)
            log.forget()
        except Exception:
            logger.exception("changes of handlers are missed")
            log.forget()

    async def _note(self, log: ChangeLog, marked: dict[str, int], unsettled: dict[str, int]) -> None:
        found: set[str] = set()
        async for page in self._pages(list(dict.fromkeys([*marked, *unsettled]))):
            present = partial(self._present, unsettled, behind=self._clock.behind())
            for handler, (before, _, after) in zip(page, listed(self._table, page, present), strict=True):
                turned = marked.get(handler.handler_id, _PLAIN) != _PLAIN
                kept = handler._replace(standing=None, summary=None)
                log.put(handler.handler_id, kept, f"{before}null{after}", turned=turned)
                found.add(handler.handler_id)
        for handler_id, mark in marked.items():
            if mark == _PURGED and handler_id not in found:
                log.put(handler_id, None, "", turned=True)

    async def _pages(self, handler_ids: list[str]) -> AsyncIterator[list[StoredHandler]]:
        """Yield the handlers of these ids that there are, a few at a time."""
        for start in range(0, len(handler_ids), PAGE):
            wanted = ListFilter(handler_ids=frozenset(handler_ids[start : start + PAGE]))
            cursor: ListCursor | None = None
            while True:
                page, cursor = await self._store.list_page(wanted, cursor, PAGE, with_results=False, with_now=True)
                yield page
                if cursor is None:
                    break

    def _present(self, unsettled: dict[str, int], handler: StoredHandler, *, behind: float) -> NowData:
        now = now_listed(self._table, handler, behind)
        if _is_unsettled(now):
            looks = unsettled.get(handler.handler_id, LOOKS)
            if looks:
                self._unsettled[handler.handler_id] = looks - 1
        return now


def _is_unsettled(now: NowData) -> bool:
    """Return whether the run is about to do something: a step begins when its record is stored, and none tells that."""
    if now.state != "running" or now.retrying_count:
        return False
    return not now.running_steps or any(one.since is None for one in now.running_steps)


class ChangeReader:
    """One reader of the changes of a list."""

    def __init__(self, feed: ChangeFeed, log: ChangeLog, wanted: ListFilter, cursor: str | None) -> None:
        self._feed = feed
        self._log = log
        self._wanted = wanted
        self._place = log.place
        self._first: Told | None = None
        if cursor is None:
            self._first = Told(self._place, None)
            return
        process, _, place = cursor.rpartition(".")
        if process != feed.process or int(place) > log.place:
            self._first = self._reset("the cursor is of another process of the server")
        elif int(place) < log.floor:
            self._first = self._reset("the cursor is too old")
        else:
            self._place = int(place)

    def cursor(self, place: int | None = None) -> str:
        """Return the cursor of a place; by default of all that was told."""
        return f"{self._feed.process}.{self._place if place is None else place}"

    async def next_page(self, timeout: float) -> list[Told]:
        """Return the next changes, about as much as is written at once; nothing where there is none within ``timeout``
        seconds, or none of the list.

        Raises:
            ShuttingDown: the server stops.
        """
        if self._first is not None:
            first, self._first = self._first, None
            return [first]
        if self._place == self._log.place and not self._feed.closing.is_set():
            await self._feed.changed(timeout)
        if self._feed.closing.is_set():
            raise ShuttingDown
        if self._place < self._log.floor:
            return [self._reset("more has changed than is told")]
        return self._page()

    def _page(self) -> list[Told]:
        page: list[Told] = []
        size = 0
        for one in told(self._log.after(self._place), self._wanted, self._place):
            page.append(one)
            size += len(one.value)
            if size >= CHARACTERS and one.place > self._place:
                self._place = one.place
                return page
        self._place = self._log.place
        return page

    def _reset(self, reason: str) -> Told:
        self._place = self._log.place
        return Told(self._place, "reset", json.dumps(reason))
