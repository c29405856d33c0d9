"""The event logs of handlers: they give out sequences, and readers wait at them.

An event becomes visible when it is committed, never before. Readers that keep up take it from the log's recent events;
the others page through the store. Nothing is queued per reader.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Literal
from weakref import WeakValueDictionary

from workflow_server.concurrency import KeyedLock
from workflow_server.errors import HandlerNotFound, ShuttingDown
from workflow_server.execution.exceptions import QueueTaken
from workflow_server.history import Note, noted
from workflow_server.records import EventAppended, EventRange, HistoryNoted, QueueAdvanced, StoredEvent, StoredRun
from workflow_server.runs.event_pages import PAGE, PAGE_CHARACTERS, EventPage, SharedPages, first_page
from workflow_server.store.base import AbstractWorkflowStore, HandlerQuery

RECENT_EVENTS = 2_000
RECENT_CHARACTERS = 1_000_000
"""Bounds of the events that a log keeps for readers that keep up, whichever is reached first."""


class EventLog:
    """The log of one handler. It exists while its run is in memory or somebody reads it."""

    def __init__(self, store: AbstractWorkflowStore, handler_id: str, extent: EventRange, *, ended: bool) -> None:
        self.handler_id = handler_id
        self.first = extent.first
        """The first sequence of the current run."""
        self.committed = extent.last
        """The last sequence that readers may see."""
        self.ended = ended
        """The current run has ended: nothing follows ``committed``."""
        self.queue_next = extent.queue_next
        self.queue_lock = asyncio.Lock()
        self._store = store
        self._next = extent.last + 1
        self._time = extent.last_time or 0.0
        """The time of the last event."""
        self._is_deleted = False
        self._readers = 0
        self._waiting = 0
        """Readers that have got all that there is."""
        self._recent: deque[StoredEvent] | None = None
        """Made with the first reader, and dropped with the last."""
        self._recent_characters = 0
        self._pages: SharedPages | None = None
        """Made when readers first share a page, and dropped with the last of them."""
        self._change: asyncio.Future[None] | None = None
        """Done at the next change; there is one while readers wait."""
        self._is_hurried = False
        """The store was told of a reader that waits."""

    @property
    def is_read(self) -> bool:
        """Return whether the log has a reader."""
        return self._readers > 0

    @property
    def next_sequence(self) -> int:
        """Return the sequence that the next event gets."""
        return self._next

    def append(self, run_id: str, data: str, *, internal: bool, took: float | None = None) -> EventAppended:
        """Give the event its sequence and its time; it is seen when the record, which is handed to the store next, is
        committed: at once where a reader waits.

        The time is the wall clock's. Where that was set back, it is the time of the event before.
        """
        self._time = max(self._time, time.time())
        record = EventAppended(self.handler_id, self._next, run_id, internal, data, self._time, took)
        self._next += 1
        if self._change is not None and not internal and not self._is_hurried:
            self._is_hurried = True
            asyncio.get_running_loop().call_soon(self._store.commit_soon)
        return record

    def note(self, run_id: str, note: Note, *, by: str | None = None) -> HistoryNoted:
        """Return an entry of the handler's history that stands behind the last event: see ``history.noted``."""
        self._time = max(self._time, time.time())
        return noted(self.handler_id, run_id, note, by=by, after_sequence=self._next - 1, at=self._time)

    def take_back(self, record: EventAppended) -> None:
        """Give its sequence to the next event, where none was appended after it: it can never be stored."""
        if self._next == record.sequence + 1:
            self._next = record.sequence

    def begin(self) -> None:
        """Begin a new run, after the events of those before."""
        self.first = self.queue_next = self._next
        self.ended = False

    def publish(self, record: EventAppended) -> None:
        """Show an event that is committed."""
        self.committed = record.sequence
        if self._recent is not None:
            self._recent.append(StoredEvent(record.sequence, record.internal, record.data, record.time))
            self._recent_characters += len(record.data)
            while len(self._recent) > RECENT_EVENTS or self._recent_characters > RECENT_CHARACTERS:
                self._recent_characters -= len(self._recent.popleft().data)
        if self._change is not None:
            self.wake()

    def enter(self) -> None:
        """Count a reader: events are kept for it from now on."""
        self._readers += 1
        if self._recent is None:
            self._recent = deque()

    def leave(self) -> None:
        """Count a reader that has left: without any, no events are kept."""
        self._readers -= 1
        if self._readers <= 1:
            self._keep_no_pages()
        if not self._readers:
            self._recent, self._recent_characters, self._pages = None, 0, None

    def delete(self) -> None:
        """Note that the handler was deleted: its readers get what is in memory, and end. Whatever the store has under
        its id from now on is another handler's."""
        self._is_deleted = True
        self._keep_no_pages()
        self.end()

    def end(self) -> None:
        """Note that no event follows those that are committed, until another run begins."""
        self.ended = True
        self.wake()

    async def page(self, after: int) -> EventPage:
        """Return committed events past ``after``: at least one where there is one. Several readers share the page."""
        shared = self._shared_pages() if self._readers > 1 else None
        page = None if shared is None else shared.find(after, self.committed)
        if page is not None:
            return page
        if self._recent and self._recent[0].sequence <= after + 1:
            page = first_page(islice(self._recent, max(0, after + 1 - self._recent[0].sequence), None))
            if shared is not None:
                shared.keep(after, self.committed, page)
            return page
        if self._is_deleted:
            return EventPage(())
        if shared is not None:
            return await shared.read(after, self.committed)
        return EventPage(await self._read_stored(after))

    def _shared_pages(self) -> SharedPages:
        if self._pages is None:
            self._pages = SharedPages(self._read_stored)
        return self._pages

    def _keep_no_pages(self) -> None:
        if self._pages is not None:
            self._pages.clear()

    async def _read_stored(self, after: int) -> list[StoredEvent]:
        """Return events past ``after`` that are committed and published.

        The store shows an event as soon as it is committed, which may be before the server hears of it. A reader that
        got such an event and came back at once would have a cursor past the end of this log.
        """
        events = await self._store.read_events(self.handler_id, after, PAGE, PAGE_CHARACTERS)
        while events and events[-1].sequence > self.committed:
            del events[-1]
        return events

    async def changed(self, timeout: float) -> bool:
        """Wait for the next change; False when there was none within ``timeout`` seconds."""
        if self._change is None:
            self._change = asyncio.get_running_loop().create_future()
        self._waiting += 1
        if self._waiting >= self._readers:
            # All have passed what is kept for those that come later.
            self._keep_no_pages()
        try:
            done, _ = await asyncio.wait((self._change,), timeout=timeout)
        finally:
            self._waiting -= 1
        return bool(done)

    def wake(self) -> None:
        """Let every waiting reader look again."""
        if self._change is not None:
            self._change.set_result(None)
            self._change = None
        self._is_hurried = False


class EventLogs:
    """The logs that are in use: everybody shares one a handler."""

    def __init__(self, store: AbstractWorkflowStore, closing: asyncio.Event) -> None:
        self._store = store
        self._closing = closing
        """Set when the server stops: readers come back with their cursors."""
        self.on_forget: Callable[[str], None] | None = None
        """Called with each handler that is gone, while somebody follows changes."""
        self._logs: WeakValueDictionary[str, EventLog] = WeakValueDictionary()
        self._advancing: dict[str, tuple[EventLog, int]] = {}
        """Logs of which the store does not know yet how far their queue was read: they stay in use until it does."""
        self._lock = KeyedLock()

    def new(self, handler_id: str) -> EventLog:
        """Return the log of a handler that is being made."""
        log = EventLog(self._store, handler_id, EventRange(0, -1, 0, None), ended=False)
        self._logs[handler_id] = log
        return log

    def in_use(self, handler_id: str) -> EventLog | None:
        """Return the log of a handler, if somebody has it."""
        return self._logs.get(handler_id)

    def of(self, stored: StoredRun) -> EventLog:
        """Return the log of a handler of which all was read, and which nobody has read or written since."""
        log = self._logs.get(stored.handler_id)
        if log is None:
            extent = EventRange(stored.first_sequence, stored.last_sequence, stored.queue_sequence, stored.last_time)
            log = EventLog(self._store, stored.handler_id, extent, ended=stored.status != "running")
            self._logs[stored.handler_id] = log
        return log

    async def get(self, handler_id: str) -> EventLog:
        """Return the log of a handler.

        Raises:
            HandlerNotFound: there is no such handler.
        """
        # One at a time: a log that was read must not be older than one that was in use meanwhile.
        async with self._lock(handler_id):
            log = self._logs.get(handler_id)
            if log is not None:
                return log
            found = await self._store.query(HandlerQuery(handler_id_in=[handler_id]))
            extent = await self._store.event_range(handler_id)
            if not found or extent is None:
                raise HandlerNotFound(handler_id)
            log = self._logs.get(handler_id)
            if log is not None:
                # Where clients choose the ids of new handlers, one may be asked for while it is made.
                return log
            log = EventLog(self._store, handler_id, extent, ended=found[0].status != "running")
            self._logs[handler_id] = log
            return log

    async def open_cursor(self, handler_id: str, after: int | Literal["now"]) -> EventReader | None:
        """Return a reader of every event past the cursor (-1: of the current run); None when none is left and none will
        come.

        Raises:
            HandlerNotFound: there is no such handler.
        """
        log = await self.get(handler_id)
        if after == "now":
            after = log.committed
        elif after < 0:
            after = log.first - 1
        if log.ended and after >= log.committed:
            return None
        # A cursor past the end was not given out by this log: what follows the end is all that can come.
        return EventReader(log, min(after, log.committed), self._closing)

    async def open_queue(self, handler_id: str, timeout: float) -> EventReader | None:
        """Return the reader of the handler's shared queue; None when none is left and none will come.

        Raises:
            HandlerNotFound: there is no such handler.
            QueueTaken: another reader held the queue for ``timeout`` seconds.
        """
        log = await self.get(handler_id)
        reader = await take_queue(log, timeout, self._closing, self)
        if log.ended and log.queue_next > log.committed:
            await reader.close()
            return None
        return reader

    def advance_queue(self, log: EventLog) -> None:
        """Write down how far the shared queue was read; nobody waits for it, and nobody reads the log without it."""
        if self._logs.get(log.handler_id) is not log:
            # It was deleted, and its handler's id may be that of another by now.
            return
        self._store.append(QueueAdvanced(log.handler_id, log.queue_next))
        self._advancing[log.handler_id] = (log, log.queue_next)

    def queue_advanced(self, record: QueueAdvanced) -> None:
        """Note that what was written down last is committed."""
        if self._advancing.get(record.handler_id, (None, -1))[1] == record.sequence:
            del self._advancing[record.handler_id]

    def forget(self, handler_id: str) -> None:
        """Forget a handler that is gone: its readers end."""
        self._advancing.pop(handler_id, None)
        log = self._logs.pop(handler_id, None)
        if log is not None:
            log.delete()
        if self.on_forget is not None:
            self.on_forget(handler_id)

    def footprint(self) -> dict[str, int]:
        """Return what is held beside the logs that are in use."""
        return {"queues on their way to the store": len(self._advancing), "locks of logs": self._lock.locked()}

    def wake(self) -> None:
        """Let every reader look whether the server stops."""
        for log in list(self._logs.values()):
            log.wake()


class EventReader:
    """An independent reader: every event past its cursor, once, in order, and then the end."""

    def __init__(self, log: EventLog, after: int, closing: asyncio.Event) -> None:
        self._log = log
        self._after = after
        self._closing = closing
        log.enter()

    async def next_page(self, timeout: float) -> EventPage | None:
        """Return the next events; an empty list after the terminal one; None when ``timeout`` seconds brought none.

        Raises:
            ShuttingDown: the server stops; the reader comes back with its cursor.
            HandlerNotFound: the handler was deleted before all of it was read.
        """
        while not (self._log.ended and self._after >= self._log.committed):
            if self._closing.is_set():
                raise ShuttingDown
            if self._after < self._log.committed:
                page = await self._log.page(self._after)
                if not page:
                    raise HandlerNotFound(self._log.handler_id)
                self._after = page[-1].sequence
                return page
            if not await self._log.changed(timeout):
                return None
        return EventPage(())

    async def written(self, sequence: int) -> None:
        """Note that events up to this sequence were written out."""

    async def close(self) -> None:
        """Note that the reader has left."""
        self._log.leave()


class QueueReader(EventReader):
    """The reader of the handler's shared queue: it starts with the first event that was not written out."""

    def __init__(self, log: EventLog, closing: asyncio.Event, logs: EventLogs) -> None:
        super().__init__(log, log.queue_next - 1, closing)
        self._logs = logs

    async def written(self, sequence: int) -> None:
        """Move the queue on past this sequence."""
        self._log.queue_next = sequence + 1

    async def close(self) -> None:
        """Leave the queue to the next reader."""
        await super().close()
        self._logs.advance_queue(self._log)
        self._log.queue_lock.release()


async def take_queue(log: EventLog, timeout: float, closing: asyncio.Event, logs: EventLogs) -> QueueReader:
    """Become the one reader of the shared queue.

    Raises:
        QueueTaken: another one held it for all of ``timeout`` seconds.
    """
    if not log.queue_lock.locked():
        await log.queue_lock.acquire()
    else:
        try:
            async with asyncio.timeout(timeout):
                await log.queue_lock.acquire()
        except TimeoutError:
            raise QueueTaken(log.handler_id, timeout) from None
    return QueueReader(log, closing, logs)
