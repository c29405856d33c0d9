"""The last changes of handlers, one of each handler: readers that keep up get all of them, others a reset.

However long a reader is away, it gets the present of each handler that has changed, and nothing in between. Nothing is
queued for a reader.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Literal, NamedTuple

from workflow_server.records import ListFilter, StoredHandler

MOST = 1_000
"""Changes that are kept. A reader that has missed more loads the list again, which is less work."""
CHARACTERS = 4_000_000
"""Characters of the changes that are kept; the last one is kept in any case."""


class Change(NamedTuple):
    """The last change of a handler."""

    place: int
    """Its place in the order of all changes."""
    turned: int
    """The place of the last change of its status, its tags or its run."""
    handler_id: str
    handler: StoredHandler | None
    """None where it was deleted."""
    text: str
    """The handler in a list, as JSON."""


class Told(NamedTuple):
    """A change as a reader is told it: the key of a line and its JSON; no key where only the place is told."""

    place: int
    key: Literal["handler", "purged", "left", "reset"] | None
    value: str = ""


class ChangeLog:
    """The last changes, in order. ``place``: that of the last change before."""

    def __init__(self, place: int) -> None:
        self.place = place
        """The place of the last change."""
        self.floor = place
        """The first place from which nothing is missing."""
        self._changes: dict[str, Change] = {}
        self._characters = 0

    def put(self, handler_id: str, handler: StoredHandler | None, text: str, *, turned: bool) -> None:
        """Add a change, in place of the handler's last one. It is left out where nothing has changed."""
        before = self._changes.get(handler_id)
        if before is not None:
            if before.text == text and not turned:
                return
            self._characters -= len(before.text)
            del self._changes[handler_id]
        self.place += 1
        turned_at = self.place if turned or handler is None else 0 if before is None else before.turned
        self._changes[handler_id] = Change(self.place, turned_at, handler_id, handler, text)
        self._characters += len(text)
        while len(self._changes) > MOST or (self._characters > CHARACTERS and len(self._changes) > 1):
            self._drop_first()

    def _drop_first(self) -> None:
        first = self._changes.pop(next(iter(self._changes)))
        self._characters -= len(first.text)
        self.floor = first.place

    def forget(self) -> None:
        """Keep nothing: more has changed than is worth telling."""
        self.place += 1
        self.floor = self.place
        self._changes.clear()
        self._characters = 0

    def after(self, place: int) -> list[Change]:
        """Return the changes behind a place, in order."""
        found: list[Change] = []
        for change in reversed(self._changes.values()):
            if change.place <= place:
                break
            found.append(change)
        found.reverse()
        return found


def told(changes: list[Change], wanted: ListFilter, place: int) -> Iterator[Told]:
    """Yield the changes as a reader at ``place`` is told them, which follows this list.

    A handler that does not belong to the list may have belonged to it where its status, its tags or its run have
    changed since then. These are told first, and leave the reader where it is: behind any other line, nothing would say
    that the reader was not told them.
    """
    followed = [change for change in changes if _is_followed(wanted, change)]
    belongs = [change.handler is None or _matches(wanted, change.handler) for change in followed]
    for change, stays in zip(followed, belongs, strict=True):
        if not stays and change.turned > place:
            yield Told(place, "left", json.dumps(change.handler_id))
    for change, stays in zip(followed, belongs, strict=True):
        if change.handler is None:
            yield Told(change.place, "purged", json.dumps(change.handler_id))
        elif stays:
            yield Told(change.place, "handler", change.text)


def _is_followed(wanted: ListFilter, change: Change) -> bool:
    """Return whether readers of the list are told of the handler: of each one that was deleted, too."""
    names = wanted.workflow_names
    return names is None or change.handler is None or change.handler.workflow_name in names


def _matches(wanted: ListFilter, handler: StoredHandler) -> bool:
    """Return whether the handler belongs to the list, but for its workflow."""
    if handler.status not in wanted.statuses or not wanted.has_ended(handler.ended_at):
        return False
    if not wanted.has_started(handler.started_at):
        return False
    if not wanted.tags and wanted.text is None:
        return True
    tags: list[str] = json.loads(handler.tags) if handler.tags else []
    if not set(wanted.tags).issubset(tags):
        return False
    if wanted.text is None:
        return True
    text = wanted.text.casefold()
    parts = (handler.handler_id, handler.run_id, handler.workflow_name, handler.error, *tags)
    return any(part and text in part.casefold() for part in parts)
