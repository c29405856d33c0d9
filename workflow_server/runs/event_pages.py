"""Pages of a handler's events, which readers that come to the same place share."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Iterable
from typing import NamedTuple, TypeVar

from workflow_server.records import StoredEvent

PAGE = 500
PAGE_CHARACTERS = 65_536
"""Bounds of a page, which a reader gets at once and holds until it is read: at most so many events, and no further
event once the page has so many characters."""
KEPT_PAGES = 16
KEPT_CHARACTERS = 500_000
"""Bounds of the pages that a log keeps for readers that come later to the same place, whichever is reached first."""

Form = TypeVar("Form")


class EventPage(list[StoredEvent]):
    """Events that follow on each other, all of them committed, in their order."""

    __slots__ = ("_forms", "characters")

    def __init__(self, events: Iterable[StoredEvent]) -> None:
        super().__init__(events)
        self.characters = sum(len(event.data) for event in self)
        self._forms: dict[Hashable, object] = {}

    @property
    def is_full(self) -> bool:
        """Return whether no further event would have a place in it."""
        return len(self) >= PAGE or self.characters >= PAGE_CHARACTERS

    def form(self, options: Hashable, make: Callable[[EventPage], Form]) -> Form:
        """Return what ``make`` makes of the page, which is the same for all readers with these options: it is made
        once."""
        if options not in self._forms:
            self._forms[options] = make(self)
        return self._forms[options]  # type: ignore[return-value]  # one kind of options is of one kind of form


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
        self._characters = 0
        self._reading: dict[int, asyncio.Task[EventPage]] = {}

    def find(self, after: int, committed: int) -> EventPage | None:
        """Return the page past ``after``, if it is kept and no event has been committed that belongs in it."""
        kept = self._kept.get(after)
        return kept.page if kept is not None and (kept.page.is_full or kept.committed == committed) else None

    def keep(self, after: int, committed: int, page: EventPage) -> None:
        """Keep a page for those who come to its place, in the place of older ones."""
        self._drop(after)
        self._kept[after] = _Kept(page, committed)
        self._characters += page.characters
        while len(self._kept) > KEPT_PAGES or self._characters > KEPT_CHARACTERS:
            self._drop(next(iter(self._kept)))

    def _drop(self, after: int) -> None:
        kept = self._kept.pop(after, None)
        if kept is not None:
            self._characters -= kept.page.characters

    def clear(self) -> None:
        """Keep none of the pages any more."""
        self._kept.clear()
        self._characters = 0

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
        try:
            page = EventPage(await self._read_stored(after))
        finally:
            del self._reading[after]
        if page:
            self.keep(after, committed, page)
        return page


def _note_outcome(reading: asyncio.Task[EventPage]) -> None:
    """Look at the exception of a read whose readers have all left: asyncio would log it as lost."""
    if not reading.cancelled():
        reading.exception()
