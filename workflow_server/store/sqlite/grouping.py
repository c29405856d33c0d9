"""The records of a batch by their kinds: all of a kind are written by one call.

Most records of a batch are of different runs, or of different tables of one run: their order among themselves changes
nothing in the database. Where a record would overtake one that concerns the same rows, what was grouped until then is
written first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from workflow_server.records import (
    EventAppended,
    HandlerTagged,
    HistoryNoted,
    InboxHeld,
    InboxPosted,
    InboxTaken,
    KeyAnswered,
    QueueAdvanced,
    RunAttempted,
    RunBegan,
    RunEnded,
    RunLoaded,
    RunReleased,
    RunStarted,
    SnapshotTaken,
    StatePatched,
    StateReplaced,
    TickAppended,
)
from workflow_server.store.internal_records import Entry

Kind = type[Entry]
Group = tuple[Kind, list[Entry]]


class _Rule(NamedTuple):
    """The fields that name a record's rows, two at most, and the kinds that it must not overtake for the same rows."""

    keys: tuple[str, ...]
    not_before: tuple[Kind, ...]


_RUN = ("run_id",)
_RULES: dict[Kind, _Rule] = {
    HandlerTagged: _Rule(("handler_id",), (HandlerTagged,)),
    RunBegan: _Rule(_RUN, (RunEnded,)),
    RunAttempted: _Rule(_RUN, (RunEnded,)),
    RunLoaded: _Rule(_RUN, (RunReleased, RunEnded)),
    TickAppended: _Rule(_RUN, (SnapshotTaken, RunEnded)),
    StatePatched: _Rule(_RUN, (StateReplaced,)),
    EventAppended: _Rule(_RUN, (RunEnded,)),
    HistoryNoted: _Rule(("run_id", "handler_id"), ()),
    InboxPosted: _Rule(("run_id", "inbox_id"), (InboxHeld, InboxTaken, RunEnded)),
    InboxHeld: _Rule(("inbox_id",), ()),
    InboxTaken: _Rule(("inbox_id",), ()),
    KeyAnswered: _Rule(("run_id", "handler_id"), ()),
    QueueAdvanced: _Rule(("handler_id",), ()),
    SnapshotTaken: _Rule(_RUN, (RunEnded,)),
    StateReplaced: _Rule(_RUN, ()),
    RunReleased: _Rule(_RUN, (RunEnded,)),
    RunEnded: _Rule(_RUN, ()),
}
# Before a run has started, nothing can be written for it.
_RULES = {RunStarted: _Rule(("run_id", "handler_id"), tuple(_RULES)), **_RULES}
"""The kinds in the order in which they are written. All others stand alone: nothing overtakes them."""

_MAY_STAND_ALONE = frozenset((RunStarted, HistoryNoted))

_BITS = {kind: 1 << place for place, kind in enumerate(_RULES)}


class _Place(NamedTuple):
    """A rule as ``grouped`` asks it, once a record: fields are places, and sets of kinds are bits."""

    bit: int
    not_before: int
    key: int
    other_key: int | None

    @classmethod
    def of(cls, kind: Kind) -> _Place:
        keys, not_before = _RULES[kind]
        places = [kind._fields.index(name) for name in keys]
        return cls(_BITS[kind], sum(_BITS[other] for other in not_before), places[0], dict(enumerate(places)).get(1))


_PLACES = {kind: _Place.of(kind) for kind in _RULES}


def grouped(entries: Iterable[Entry]) -> Iterator[Group]:
    """Yield the records in groups of a kind, in an order that has the same outcome as theirs, or that fails.

    The start of a run is grouped only where it is a new handler's by its look: it fails if the handler is there.
    """
    groups: dict[Kind, list[Entry]] = {}
    seen: dict[object, int] = {}
    for entry in entries:
        kind = type(entry)
        place = _PLACES.get(kind)
        if place is None or (kind in _MAY_STAND_ALONE and _stands_alone(entry)):
            yield from _in_order(groups)
            yield kind, [entry]
            groups, seen = {}, {}
            continue
        bit, not_before, key, other = place
        before = seen.get(entry[key], 0)
        if (before | (0 if other is None else seen.get(entry[other], 0))) & not_before:
            yield from _in_order(groups)
            groups, seen, before = {}, {}, 0
        seen[entry[key]] = before | bit
        if other is not None:
            seen[entry[other]] = seen.get(entry[other], 0) | bit
        if kind in groups:
            groups[kind].append(entry)
        else:
            groups[kind] = [entry]
    yield from _in_order(groups)


def _stands_alone(entry: Entry) -> bool:
    """Return True for a record that looks at what those before it have stored."""
    return is_continuation(entry) or (type(entry) is HistoryNoted and entry.after_sequence is None)


def is_continuation(entry: Entry) -> bool:
    """Return True for the start of a run in a handler that has events of an earlier one."""
    return type(entry) is RunStarted and entry.first_sequence > 0


def _in_order(groups: dict[Kind, list[Entry]]) -> Iterator[Group]:
    return ((kind, groups[kind]) for kind in _RULES if kind in groups)
