"""A batch is stored as if its records had been written one after the other, though each kind is written by one call."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.store.making import event, run_ended, run_started, tick
from workflow_server.records import (
    EventAppended,
    HandlerTagged,
    HistoryNoted,
    InboxHeld,
    InboxPosted,
    InboxTaken,
    KeyAnswered,
    QueueAdvanced,
    Record,
    RunAttempted,
    RunBegan,
    RunEnded,
    RunLoaded,
    RunReleased,
    RunStarted,
    ServerAlive,
    SnapshotTaken,
    StatePatched,
    StateReplaced,
    TickAppended,
)
from workflow_server.store.internal_records import Entries, Entry, HandlerReplaced, PurgeMarked, StateGiven
from workflow_server.store.sqlite.grouping import grouped
from workflow_server.store.sqlite.migrations import known_migrations, migrate
from workflow_server.store.sqlite.transaction import commit_units

HANDLERS = st.sampled_from("ab")
RUNS = st.sampled_from(["a-1", "a-2", "b-1"])
BOTH = st.sampled_from([("a", "a-1"), ("a", "a-2"), ("b", "b-1")])
SMALL = st.integers(0, 2)
MADE = st.integers(0, 1 << 30).map(str)
"""Texts that tell the records apart."""


def _of_run(kind: type[Record], *others: st.SearchStrategy[object]) -> st.SearchStrategy[Record]:
    return st.builds(lambda both, *fields: kind(*both, *fields), BOTH, *others)


KINDS: dict[type[Entry], st.SearchStrategy[Entry]] = {
    RunStarted: st.builds(
        lambda both, first, data: RunStarted(both[0], "flow", both[1], 1.0, first, data, trace=data), BOTH, SMALL, MADE
    ),
    HandlerTagged: st.builds(lambda handler_id, tag: HandlerTagged(handler_id, f'["t","{tag}"]'), HANDLERS, MADE),
    RunBegan: _of_run(RunBegan, st.floats(0, 9), st.floats(0, 9)),
    RunReleased: _of_run(RunReleased, st.none() | st.floats(0, 9)),
    RunLoaded: _of_run(RunLoaded),
    RunEnded: st.builds(
        lambda both, status, result: RunEnded(both[0], both[1], status, None, result, 5.0),
        BOTH,
        st.sampled_from(["completed", "failed"]),
        st.none() | MADE,
    ),
    RunAttempted: _of_run(RunAttempted, SMALL, SMALL),
    TickAppended: st.builds(TickAppended, RUNS, SMALL, MADE),
    SnapshotTaken: st.builds(SnapshotTaken, RUNS, SMALL, MADE),
    StateReplaced: st.builds(StateReplaced, RUNS, SMALL, MADE),
    StatePatched: st.builds(StatePatched, RUNS, SMALL, MADE),
    EventAppended: st.builds(
        lambda both, sequence, data: EventAppended(both[0], sequence, both[1], False, data, 1.0), BOTH, SMALL, MADE
    ),
    HistoryNoted: st.builds(
        lambda both, after, kind, data: HistoryNoted(both[0], both[1], after, 1.0, kind, None, data),
        BOTH,
        st.none() | SMALL,
        st.sampled_from(["resumed", "suspended"]),
        MADE,
    ),
    InboxPosted: st.builds(
        lambda number, both, data: InboxPosted(number, both[0], both[1], data, None), SMALL, BOTH, MADE
    ),
    InboxHeld: st.builds(InboxHeld, SMALL, st.booleans()),
    InboxTaken: st.builds(InboxTaken, SMALL),
    KeyAnswered: st.builds(
        lambda key, both, data: KeyAnswered("run", key, both[0], both[1], "h", data, 1.0), MADE, BOTH, MADE
    ),
    QueueAdvanced: st.builds(QueueAdvanced, HANDLERS, SMALL),
    ServerAlive: st.builds(ServerAlive, st.floats(0, 9)),
    HandlerReplaced: st.builds(
        lambda both, status: HandlerReplaced(both[0], "flow", both[1], status, None, None, 1.0, 1.0, None),
        BOTH,
        st.sampled_from(["running", "completed"]),
    ),
    StateGiven: st.builds(StateGiven, RUNS, MADE),
    PurgeMarked: st.builds(lambda handler_id: PurgeMarked(f'["{handler_id}"]'), HANDLERS),
}
ANY = st.one_of(*KINDS.values())
BEFORE: list[Entry] = [
    run_started("a"), HandlerTagged("a", '["t", "u"]'),
    event("a", 0), tick("a", 0), StatePatched("a-1", 0, "p"), InboxPosted(1, "a", "a-1", "{}", None)
]  # fmt: skip
SAMPLES: list[Entry] = [
    run_started("a", run="2"), run_started("a", run="2", first=1), run_started("b"), RunBegan("a", "a-1", 1.0, 2.0),
    HandlerTagged("a", '["v"]'), HandlerTagged("b", '["t"]'),
    RunReleased("a", "a-1", 7.0), RunLoaded("a", "a-1"), run_ended("a"), run_ended("a", status="failed"),
    RunAttempted("a", "a-1", 2, 1), tick("a", 2), event("a", 1), event("a", 1, run="2"), tick("a", 1, run="2"),
    SnapshotTaken("a-1", 5, "s"), StateReplaced("a-1", 5, "s"), StatePatched("a-1", 3, "p"), InboxHeld(1, held=True),
    InboxTaken(1), InboxPosted(2, "a", "a-1", "{}", None), InboxHeld(2, held=True), InboxTaken(2),
    KeyAnswered("run", "k", "a", "a-1", "h", "{}", 1.0), QueueAdvanced("a", 1), ServerAlive(3.0),
    HandlerReplaced("a", "flow", "a-1", "completed", None, None, 1.0, 1.0, None), StateGiven("a-1", "g"),
    PurgeMarked('["a"]'), event("b", 0), tick("b", 0), StatePatched("b-1", 0, "p"), StateReplaced("b-1", 0, "s"),
    QueueAdvanced("b", 1), KeyAnswered("run", "b", "b", "b-1", "h", "{}", 1.0), run_ended("b"),
    KeyAnswered("run", "c", "b", "b-2", "h", "{}", 1.0),
    HistoryNoted("a", "a-1", 0, 1.0, "resumed", None, "{}"), HistoryNoted("a", "a-1", None, 1.0, "suspended", "x", "1"),
    HistoryNoted("a", "a-1", None, 1.0, "resumed", None, "{}"), HistoryNoted("b", "b-1", 1, 1.0, "resumed", None, "{}"),
    InboxPosted(3, "b", "b-1", "{}", None), RunBegan("b", "b-1", 1.0, 2.0),
]  # fmt: skip


def _migrated() -> bytes:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection, known_migrations(":memory:"))
        connection.execute("DELETE FROM migrations")
        return connection.serialize()


EMPTY = _migrated()


def stored(begin: Sequence[Entry], records: Sequence[Entry], *, in_one_batch: bool) -> tuple[list[str], set[int]]:
    """The contents of a database after these records, each a unit, and which were refused of those after the begin."""
    units: list[Entries] = [(record,) for record in records]
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.deserialize(EMPTY)
        connection.execute("PRAGMA foreign_keys = ON")
        for record in begin:
            commit_units(connection, [(record,)])
        if in_one_batch:
            refused = set(commit_units(connection, units)) if units else set()
        else:
            refused = {place for place, unit in enumerate(units) if commit_units(connection, [unit])}
        return list(connection.iterdump()), refused


@settings(max_examples=150, deadline=None)
@given(begin=st.sampled_from([[], BEFORE]), records=st.lists(ANY, max_size=9))
def test_a_batch_is_stored_as_if_record_by_record(begin: list[Entry], records: list[Entry]) -> None:
    assert stored(begin, records, in_one_batch=True) == stored(begin, records, in_one_batch=False)


@pytest.mark.parametrize("earlier", SAMPLES, ids=lambda entry: type(entry).__name__)
def test_two_records_in_a_batch_are_stored_in_their_order(earlier: Entry) -> None:
    for later in SAMPLES:
        both = [earlier, later]
        in_order = stored(BEFORE, both, in_one_batch=False)
        assert stored(BEFORE, both, in_one_batch=True) == in_order, later


def test_every_kind_of_record_of_runs_is_tried() -> None:
    assert set(get_args(Record)) <= set(KINDS)


def test_the_records_of_many_runs_are_one_group_a_kind() -> None:
    names = "abcdef"
    units = [(run_started(name), tick(name, 0), event(name, 0), tick(name, 1), run_ended(name)) for name in names]
    groups = list(grouped(record for unit in units for record in unit))
    assert [(kind, len(entries)) for kind, entries in groups] == [
        (RunStarted, 6),
        (TickAppended, 12),
        (EventAppended, 6),
        (RunEnded, 6),
    ]
    assert groups[1][1] == [tick(name, n) for name in names for n in range(2)]


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        (run_ended("a"), event("a", 0)),
        (run_ended("a"), tick("a", 0)),
        (run_ended("a"), run_started("a", run="2", first=1)),
        (SnapshotTaken("a-1", 3, "s"), tick("a", 2)),
        (StateReplaced("a-1", 3, "s"), StatePatched("a-1", 2, "p")),
        (RunReleased("a", "a-1", None), RunLoaded("a", "a-1")),
        (InboxTaken(1), InboxPosted(1, "a", "a-1", "{}", None)),
        (event("a", 0), run_started("a")),
        (QueueAdvanced("a", 2), run_started("a")),
        (HistoryNoted("a", "a-1", 0, 1.0, "resumed", None, "{}"), run_started("a", run="2")),
        (HistoryNoted("a", "a-1", None, 1.0, "resumed", None, "{}"), event("a", 0)),
        (PurgeMarked('["a"]'), run_started("a")),
    ],
)
def test_no_record_overtakes_one_of_the_same_rows(earlier: Entry, later: Entry) -> None:
    assert [entries for _, entries in grouped([earlier, later])] == [[earlier], [later]]
