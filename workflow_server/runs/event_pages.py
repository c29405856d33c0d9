"""Pages of a handler's events, which readers that come to the same place share."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Iterable
from typing import NamedTuple

from workflow_server.records import StoredEvent

PAGE = 500
PAGE_CHARACTERS = 65_536
"""Bounds of a page, which a reader gets at once and holds until it is read: at most so many events, and no further
event once the page has so many characters."""
KEPT_PAGES = 16
KEPT_SIZE = 1_000_000
"""Bounds of the pages that a log keeps for readers that come later to the same place, whichever is reached first: their
number, and the characters of their events with the bytes that were made of them."""

Pieces = list[tuple[bytes, int]]
"""The bytes of a page as a reader gets them, in pieces, each with the last sequence in it."""


class EventPage(list[StoredEvent]):
    """Events that follow on each other, all of them committed, in their order."""

    __slots__ = ("_forms", "characters")

    def __init__(self, events: Iterable[StoredEvent]) -> None:
        super().__init__(events)
        self.characters = sum(len(event.data) for event in self)
        self._forms: dict[Hashable, Pieces] = {}

    @property
    def is_full(self) -> bool:
        """Return whether no further event would have a place in it."""
        return len(self) >= PAGE or self.characters >= PAGE_CHARACTERS

    @property
    def size(self) -> int:
        """Return the characters of the events, and the bytes that were made of them."""
        return self.characters + sum(len(data) for form in self._forms.values() for data, _ in form)

    def form(self, options: Hashable, make: Callable[[EventPage], Pieces]) -> Pieces:
        """Return what ``make`` makes of the page, which is the same for all readers with these options: it is made
        once."""
        if options not in self._forms:
            self._forms[options] = make(self)
        return self._forms[options]


def first_page(events: Iterable[StoredEvent]) -> EventPage:
    """Return the first page of these events."""
    page: list[StoredEvent] = []
    characters = 0
    for event in events:
        page.append(event)
        characters += len(event.data)
        if len(page) >= PAGE or characters >= PAGE_CHARACTERS:
            break
    return EventPage(page)


class _Kept(NamedTuple):
    page: EventPage
    committed: int
    """The last event that was committed when the page was read."""


class SharedPages:
    """The pages of a log that were read last. ``read`` reads the page past a sequence from the store."""

    def __init__(self, read: Callable[[int], Awaitable[list[StoredEvent]]]) -> None:
        self._read_stored = read
        self._kept: OrderedDict[int, _Kept] = OrderedDict()
        self._generation = 0
        """Goes up when all are cleared: what was being read then is not kept."""
        self._reading: dict[int, asyncio.Task[EventPage]] = {}

    def find(self, after: int, committed: int) -> EventPage | None:
        """Return the page past ``after``, if it is kept and no event has been committed that belongs in it."""
        kept = self._kept.get(after)
        return kept.page if kept is not None and (kept.page.is_full or kept.committed == committed) else None

    def keep(self, after: int, committed: int, page: EventPage) -> None:
        """Keep a page for those who come to its place, in the place of older ones."""
        self._kept.pop(after, None)
        self._kept[after] = _Kept(page, committed)
        while len(self._kept) > KEPT_PAGES or sum(kept.page.size for kept in self._kept.values()) > KEPT_SIZE:
            self._kept.popitem(last=False)

    def clear(self) -> None:
        """Keep none of the pages any more."""
        self._kept.clear()
        self._generation += 1

    async def read(self, after: int, committed: int) -> EventPage:
        """Read the page past ``after`` from the store, once for all that ask meanwhile.

        Raises:
            StorageError: it could not be read.
        """
        reading = self._reading.get(after)
        if reading is None:
            reading = self._reading[after] = asyncio.create_task(self._read(after, committed), name="read events")
            reading.add_done_callback(_note_outcome)
        # A reader that leaves takes nothing from the others.
        return await asyncio.shield(reading)

    async def _read(self, after: int, committed: int) -> EventPage:
        generation = self._generation
        try:
            page = EventPage(await self._read_stored(after))
        finally:
            del self._reading[after]
        if page and generation == self._generation:
            self.keep(after, committed, page)
        return page


def _note_outcome(reading: asyncio.Task[EventPage]) -> None:
    """Look at the exception of a read whose readers have all left: asyncio would log it as lost."""
    if not reading.cancelled():
        reading.exception()
