"""Histories: the events of a log, the starts of runs and what was noted, in one order, by pages in both directions."""

from __future__ import annotations

import pytest

from tests.store.making import event, run_ended, run_started
from workflow_server.errors import UnitRefused
from workflow_server.history import LONGEST_TEXT, LONGEST_TRACEBACK, Note, noted
from workflow_server.records import EVENT, START, HistoryNoted, HistoryPlace, StoredEntry
from workflow_server.store import AbstractWorkflowStore, HandlerQuery


def entry(
    name: str, after: int | None, *, run: str = "1", note: Note | None = None, by: str | None = None
) -> HistoryNoted:
    return noted(name, f"{name}-{run}", note or Note("resumed"), after_sequence=after, at=1_600.0, by=by)


async def history(
    store: AbstractWorkflowStore, name: str, *, limit: int = 100, newest_first: bool = False
) -> list[StoredEntry]:
    """All of a handler's history, read by pages of this size."""
    found: list[StoredEntry] = []
    place: HistoryPlace | None = None
    while True:
        page = await store.read_history(name, place, limit, newest_first=newest_first)
        assert page is not None
        found += page.entries
        assert len(page.entries) <= limit
        if page.following is None:
            return found
        assert page.entries
        assert page.following == page.entries[-1].place
        place = page.following


async def with_two_runs(store: AbstractWorkflowStore) -> None:
    await store.append(run_started("a")._replace(by="ann"), entry("a", -1), event("a", 0), entry("a", 0), entry("a", 0))
    await store.append(event("a", 1)._replace(took=0.25), run_ended("a"))
    await store.append(run_started("a", run="2", first=2, at=3_000.0), entry("a", 1, run="2", by="bob"))
    await store.append(event("a", 2, run="2"), entry("b", 0))


PLACES = [(-1, START), (-1, 0), (0, EVENT), (0, 0), (0, 1), (1, EVENT), (1, START), (1, 0), (2, EVENT)]


async def test_a_history_is_one_order_over_all_runs(store: AbstractWorkflowStore) -> None:
    await with_two_runs(store)
    found = await history(store, "a")
    assert [one.place for one in found] == PLACES
    starts = [(one.run_id, one.time, one.kind, one.by) for one in found if one.place.place == START]
    assert starts == [("a-1", 1_000.0, "started", "ann"), ("a-2", 3_000.0, "started", None)]
    assert [(one.by, one.time) for one in found if one.kind == "resumed"][-1] == ("bob", 1_600.0)
    assert [(one.took, one.data) for one in found if one.kind is None] == [(None, "{}"), (0.25, "{}"), (None, "{}")]


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
async def test_pages_of_any_size_have_every_entry_once(store: AbstractWorkflowStore, limit: int) -> None:
    await with_two_runs(store)
    assert [one.place for one in await history(store, "a", limit=limit)] == PLACES
    back = await history(store, "a", limit=limit, newest_first=True)
    assert [one.place for one in back] == PLACES[::-1]


async def test_an_entry_without_a_place_stands_behind_all_before(store: AbstractWorkflowStore) -> None:
    store.append(run_started("a"))
    store.append(entry("a", None))
    store.append(event("a", 0, at=1_700.0))
    store.append(entry("a", None))
    await store.append(event("a", 1))
    found = await history(store, "a")
    assert [(one.place, one.time) for one in found if one.kind == "resumed"] == [((-1, 0), 1_600.0), ((0, 0), 1_700.0)]


async def test_a_suspension_is_noted_once_in_a_row(store: AbstractWorkflowStore) -> None:
    await store.append(run_started("a"))
    for reason in ("one", "one", "two", "two", "one"):
        await store.append(entry("a", None, note=Note("suspended", reason=reason)))
    await store.append(entry("a", None))
    await store.append(entry("a", None, note=Note("suspended", reason="one")))
    reasons = [one.data for one in await history(store, "a") if one.kind == "suspended"]
    assert reasons == [f'{{"reason":"{reason}"}}' for reason in ("one", "two", "one", "one")]


async def test_an_entry_of_another_run_is_ignored(store: AbstractWorkflowStore) -> None:
    await store.append(run_started("a"), event("a", 0), run_ended("a"))
    await store.append(entry("a", 0, run="2"), entry("nobody", 0))
    assert [one.place for one in await history(store, "a")] == [(-1, START), (0, EVENT)]
    with pytest.raises(UnitRefused):
        await store.append(entry("a", 0), event("a", 1))
    assert [one.place for one in await history(store, "a")] == [(-1, START), (0, EVENT)], "refused as a whole"


async def test_a_page_is_bounded_and_long_events_are_cut(store: AbstractWorkflowStore) -> None:
    long = '{"value":{"text":"' + 1_500_000 * "x" + '"},"type":"Long","types":null,"qualified_name":"m.Long"}'
    await store.append(run_started("a"), *(event("a", n, data=long) for n in range(3)))
    page = await store.read_history("a", None, 100)
    assert page is not None
    assert [one.place for one in page.entries] == [(-1, START), (0, EVENT), (1, EVENT)]
    assert page.following == (1, EVENT)
    assert all(one.data is not None and len(one.data) == 2_000 and not one.is_whole for one in page.entries[1:])
    page = await store.read_history("a", page.following, 100, with_values=True)
    assert page is not None
    assert [(one.data, one.is_whole) for one in page.entries] == [(long, True)]


async def test_starts_have_their_start_events_as_values(store: AbstractWorkflowStore) -> None:
    events = [f'{{"n":{number}}}' for number in range(3)]
    for number, data in enumerate(events):
        await store.append(run_started("a", run=str(number), first=number)._replace(start_event=data))
        await store.append(event("a", number, run=str(number)), run_ended("a", run=str(number)))
    for newest_first in (False, True):
        page = await store.read_history("a", None, 100, newest_first=newest_first, with_values=True)
        assert page is not None
        assert page.workflow_name == run_started("a").workflow_name
        starts = [one.data for one in page.entries if one.place.place == START]
        assert starts == (events[::-1] if newest_first else events)
    assert {one.data for one in await history(store, "a") if one.place.place == START} == {None}


async def test_the_history_goes_with_its_handler(store: AbstractWorkflowStore) -> None:
    await with_two_runs(store)
    assert await store.delete(HandlerQuery(handler_id_in=["a"])) == 1
    assert await store.read_history("a", None, 10) is None
    await store.append(run_started("a"))
    assert [one.place for one in await history(store, "a")] == [(-1, START)]
    assert await store.read_history("nobody", None, 10) is None


def test_the_texts_of_an_entry_are_bounded() -> None:
    note = Note("attempt_failed", error=3_000 * "e", traceback=9_000 * "t", reason=3_000 * "r")
    data = note.to_json()
    assert (data.count("e" * LONGEST_TEXT), data.count("r" * LONGEST_TEXT)) == (0, 0)
    assert data.count("t") <= LONGEST_TRACEBACK
    assert "[\\u2026]" in data
