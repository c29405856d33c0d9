"""Handlers as users of the store know them: query, list, update, delete."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime

import pytest

from tests.harness.waiting import until_seen
from tests.store.making import event, run_ended, run_started, tick
from workflow_server.protocol.events import EventEnvelope
from workflow_server.records import (
    STATUSES,
    EndedHandler,
    HandlerCount,
    HandlerTagged,
    InboxPosted,
    KeyAnswered,
    ListCursor,
    ListFilter,
    RunReleased,
    SnapshotTaken,
    StatePatched,
    StateReplaced,
    Status,
)
from workflow_server.store import AbstractWorkflowStore, HandlerQuery, PersistentHandler


async def test_a_handler_is_read_back_as_it_was_given(store: AbstractWorkflowStore) -> None:
    handler = PersistentHandler(
        handler_id="a",
        workflow_name="flow",
        status="completed",
        run_id="r",
        result=EventEnvelope(value={"result": [1, "é"]}, type="StopEvent", types=["X"], qualified_name="m.StopEvent"),
        started_at=datetime(2026, 1, 2, 3, 4, 5, 678901, UTC),
        updated_at=datetime(2026, 1, 2, 3, 4, 6, tzinfo=UTC),
        completed_at=datetime(2026, 1, 2, 3, 4, 6, 1, UTC),
    )
    await store.update(handler)
    assert await store.query(HandlerQuery(handler_id_in=["a"])) == [handler]
    failed = handler.model_copy(update={"status": "failed", "result": None, "error": "it broke"})
    await store.update(failed)
    assert await store.query(HandlerQuery()) == [failed]


async def test_all_conditions_must_hold_and_empty_lists_match_nothing(store: AbstractWorkflowStore) -> None:
    await store.append(
        run_started("a", workflow="x", at=3.0), run_started("b", workflow="y", at=2.0), run_started("c", at=1.0)
    )
    await store.append(run_ended("b"))

    async def found(query: HandlerQuery) -> list[str]:
        return [handler.handler_id for handler in await store.query(query)]

    assert await found(HandlerQuery()) == ["c", "b", "a"]
    assert await found(HandlerQuery(status_in=["running"])) == ["c", "a"]
    assert await found(HandlerQuery(workflow_name_in=["x", "y", "x"])) == ["b", "a"]
    assert await found(HandlerQuery(workflow_name_in=["x", "y"], status_in=["running"])) == ["a"]
    assert await found(HandlerQuery(handler_id_in=["a", "b"], status_in=["completed"])) == ["b"]
    assert await found(HandlerQuery(handler_id_in=["a", "b"], workflow_name_in=["x"])) == ["a"]
    for nothing in (HandlerQuery(handler_id_in=[]), HandlerQuery(workflow_name_in=[]), HandlerQuery(status_in=[])):
        assert await found(nothing) == []
        assert await store.delete(nothing) == 0
    assert len(await found(HandlerQuery())) == 3


async def test_a_context_of_a_handler_is_the_state_of_a_later_run(
    store: AbstractWorkflowStore,
) -> None:
    handler = PersistentHandler(handler_id="a", workflow_name="flow", status="completed", ctx={"state": {"n": 1}})
    await store.update(handler)
    run = await store.load_run("a")
    assert run is not None
    assert run.state == StateReplaced(run.run_id, -1, '{"n": 1}')
    (read,) = await store.query(HandlerQuery())
    assert read.ctx == {}


async def test_a_context_replaces_the_patches_of_its_run_too(store: AbstractWorkflowStore) -> None:
    await store.append(run_started("a"), StatePatched("a-1", 0, "old"), run_ended("a"))
    (handler,) = await store.query(HandlerQuery())
    await store.update(handler.model_copy(update={"ctx": {"state": {"n": 2}}}))
    run = await store.load_run("a")
    assert run is not None
    assert (run.state, run.patches) == (StateReplaced("a-1", -1, '{"n": 2}'), [])


async def test_two_deletions_count_the_same_handlers_once(store: AbstractWorkflowStore) -> None:
    await store.append(*(run_started(f"h{n}") for n in range(10)))
    query = HandlerQuery(status_in=["running"])
    assert sorted(await asyncio.gather(store.delete(query), store.delete(query))) == [0, 10]
    assert await store.query(HandlerQuery()) == []


# -- Lists -----------------------------------------------------------------------------------------

LONG = 600
"""Handlers of a list that has several pages."""


async def listed(store: AbstractWorkflowStore, *statuses: Status, names: list[str] | None = None) -> list[str]:
    """Read a list to its end."""
    found: list[str] = []
    cursor: ListCursor | None = None
    while True:
        page = await store.list_page(ListFilter(statuses or STATUSES, names), cursor)
        found += [handler.handler_id for handler in page.handlers]
        cursor = page.cursor
        if cursor is None:
            return found


async def test_a_list_is_read_by_pages_oldest_first(store: AbstractWorkflowStore) -> None:
    names = [f"h{n:03}" for n in range(LONG)]
    for place, name in enumerate(names):
        store.append(run_started(name, at=1000.0 + place // 3, workflow="odd" if place % 2 else "even"))
    store.append(run_ended("h010"), run_ended("h020", status="failed"))
    await store.flush()
    first = await store.list_page(ListFilter(), None)
    assert 0 < len(first.handlers) < LONG
    assert await listed(store) == names
    assert await listed(store, names=["odd"]) == names[1::2]
    assert await listed(store, "failed", "completed") == ["h010", "h020"]
    assert await listed(store, "cancelled") == []
    assert await listed(store, names=[]) == []


async def test_a_page_is_bounded_in_size_but_for_its_last_handler(store: AbstractWorkflowStore) -> None:
    large = '{"value": {"result": "%s"}, "type": "StopEvent", "types": null, "qualified_name": null}' % ("x" * 500_000)
    for n in range(6):
        await store.append(run_started(f"h{n}"), run_ended(f"h{n}")._replace(result=large))
    first = await store.list_page(ListFilter(), None)
    assert 0 < len(first.handlers) < 6
    assert first.handlers[0].result == large
    assert len(await listed(store)) == 6


async def test_a_list_ends_with_the_newest_handler_at_its_beginning(store: AbstractWorkflowStore) -> None:
    for n in range(LONG):
        store.append(run_started(f"h{n:03}", at=1000.0 + n))
    await store.flush()
    first = await store.list_page(ListFilter(), None)
    await store.append(run_started("late", at=5000.0), run_ended("h000"), run_ended(f"h{LONG - 1}"))
    await store.append(run_started(f"h{LONG - 1}", run="2", at=6000.0))
    found, cursor = [handler.handler_id for handler in first.handlers], first.cursor
    while cursor is not None:
        page = await store.list_page(ListFilter(), cursor)
        found += [handler.handler_id for handler in page.handlers]
        cursor = page.cursor
    assert found == [f"h{n:03}" for n in range(LONG - 1)]


async def pages(store: AbstractWorkflowStore, wanted: ListFilter, limit: int) -> list[list[str]]:
    """Read a list to its end, in pages of at most so many handlers."""
    found: list[list[str]] = []
    cursor: ListCursor | None = None
    while True:
        page = await store.list_page(wanted, cursor, limit, with_results=False)
        found.append([handler.handler_id for handler in page.handlers])
        cursor = page.cursor
        if cursor is None:
            return found


@pytest.mark.parametrize("names", [None, ["odd"], ["odd", "even", "other"]])
@pytest.mark.parametrize("newest_first", [False, True])
async def test_pages_of_any_size_make_up_the_list(
    store: AbstractWorkflowStore, names: list[str] | None, newest_first: bool
) -> None:
    """Of equal starts, too, and of handlers in all statuses."""
    expected = []
    for n in range(20):
        workflow = "odd" if n % 2 else "even"
        store.append(run_started(f"h{n:02}", at=1000.0 + n // 3, workflow=workflow))
        if n % 5:
            store.append(run_ended(f"h{n:02}", status=STATUSES[1:][n % 3]))
        if names is None or workflow in names:
            expected.append(f"h{n:02}")
    await store.flush()
    if newest_first:
        expected.reverse()
    wanted = ListFilter(workflow_names=names, newest_first=newest_first)
    for limit in (1, 3, 7, 20, 1000):
        read = await pages(store, wanted, limit)
        assert all(len(page) == limit for page in read[:-1])
        assert [name for page in read for name in page] == expected


async def test_the_bounds_of_a_list_do_not_belong_to_it(store: AbstractWorkflowStore) -> None:
    for n in range(6):
        await store.append(run_started(f"h{n}", at=1000.0 + n // 2))
    for newest_first, expected in ((False, ["h2", "h3"]), (True, ["h3", "h2"])):
        between = ListFilter(started_after=1000.0, started_before=1002.0, newest_first=newest_first)
        assert await pages(store, between, 10) == [expected]
        assert await pages(store, between, 1) == [expected[:1], expected[1:]]
        assert await pages(store, ListFilter(started_after=1002.0, newest_first=newest_first), 10) == [[]]
        assert await pages(store, ListFilter(started_before=1000.0, newest_first=newest_first), 10) == [[]]


async def test_a_list_can_be_bounded_by_the_end(store: AbstractWorkflowStore) -> None:
    for n in range(8):
        await store.append(run_started(f"h{n}", at=1000.0 + n))
        if n != 4:
            await store.append(run_ended(f"h{n}", status=STATUSES[1 + n % 2], at=2000.0 - n))
    for newest_first, expected in ((False, ["h2", "h3", "h5"]), (True, ["h5", "h3", "h2"])):
        between = ListFilter(ended_after=1994.0, ended_before=1999.0, newest_first=newest_first)
        assert await pages(store, between, 10) == [expected]
        assert [name for page in await pages(store, between, 1) for name in page] == expected
        among = between._replace(handler_ids=frozenset(["h2", "h4", "h7"]))
        assert await pages(store, among, 10) == [["h2"]]
        assert await pages(store, between._replace(started_after=1003.0), 10) == [["h5"]]
        assert await pages(store, between._replace(statuses=("running",)), 10) == [[]]
        assert await pages(store, ListFilter(ended_after=2000.0, newest_first=newest_first), 10) == [[]]


async def test_a_list_of_the_newest_ends_with_the_oldest(store: AbstractWorkflowStore) -> None:
    for n in range(6):
        await store.append(run_started(f"h{n}", at=1000.0 + n))
    wanted = ListFilter(newest_first=True)
    first = await store.list_page(wanted, None, 2)
    await store.append(run_ended("h1"), run_ended("h5"))
    await store.append(run_started("h1", run="2", at=2000.0), run_started("late", at=2001.0))
    rest: list[str] = []
    cursor = first.cursor
    while cursor is not None:
        page = await store.list_page(wanted, cursor, 2)
        rest += [handler.handler_id for handler in page.handlers]
        cursor = page.cursor
    assert ([handler.handler_id for handler in first.handlers], rest) == (["h5", "h4"], ["h3", "h2", "h0"])


@pytest.mark.parametrize("newest_first", [False, True])
async def test_handlers_are_found_by_all_of_their_tags(store: AbstractWorkflowStore, newest_first: bool) -> None:
    for n in range(12):
        tags = ["all", *(["even"] if n % 2 == 0 else []), *(["third"] if n % 3 == 0 else [])]
        await store.append(run_started(f"h{n:02}", at=1000.0 + n // 4), HandlerTagged(f"h{n:02}", json.dumps(tags)))
    await store.append(run_started("bare", at=1000.0), run_ended("h06"))
    expected = ["h00", "h06"]
    if newest_first:
        expected.reverse()
    for tags in (["even", "third"], ["third", "all", "even"], ["even", "third", "even"]):
        for limit in (1, 10):
            read = await pages(store, ListFilter(tags=tags, newest_first=newest_first), limit)
            assert [name for page in read for name in page] == expected
    assert await pages(store, ListFilter(["completed"], tags=["even"], newest_first=newest_first), 10) == [["h06"]]
    assert await pages(store, ListFilter(tags=["all", "none"], newest_first=newest_first), 10) == [[]]
    assert await pages(store, ListFilter(workflow_names=["other"], tags=["all"]), 10) == [[]]
    (one,) = await store.query(HandlerQuery(handler_id_in=["h06"]))
    assert one.tags == ["all", "even", "third"]


async def test_tags_are_replaced_and_move_with_the_start(store: AbstractWorkflowStore) -> None:
    await store.append(run_started("a", at=1000.0), HandlerTagged("a", '["x", "y"]'))
    await store.append(run_started("b", at=1001.0), HandlerTagged("b", '["x"]'), run_ended("a"))
    await store.append(run_started("a", run="2", at=1002.0))
    assert await pages(store, ListFilter(tags=["x"]), 1) == [["b"], ["a"]]
    await store.append(HandlerTagged("a", '["x"]'), HandlerTagged("a", '["z", "x"]'), HandlerTagged("nobody", '["x"]'))
    assert await pages(store, ListFilter(tags=["y"]), 10) == [[]]
    assert await pages(store, ListFilter(tags=["z"]), 10) == [["a"]]
    (other,) = await store.query(HandlerQuery(handler_id_in=["b"]))
    await store.update(other)
    assert await pages(store, ListFilter(tags=["x"]), 10) == [["b", "a"]]
    await store.update(other.model_copy(update={"started_at": datetime.fromtimestamp(1003.0, UTC)}))
    assert await pages(store, ListFilter(tags=["x"]), 1) == [["a"], ["b"]]
    await store.delete(HandlerQuery(handler_id_in=["a"]))
    assert await pages(store, ListFilter(tags=["x"]), 10) == [["b"]]


async def test_handlers_are_found_by_a_part_of_their_texts(store: AbstractWorkflowStore) -> None:
    await store.append(run_started("Alpha1", workflow="invoices"), HandlerTagged("Alpha1", '["ACME \\u00c9t\\u00e9"]'))
    await store.append(run_started("beta2", workflow="letters"), run_ended("beta2", status="failed"))
    for text, expected in (
        ("alpha1", ["Alpha1"]), ("INVOICE", ["Alpha1"]), ("été", ["Alpha1"]), ("beta2-", ["beta2"]),
        ("%", []), ("_", []), ("e", ["Alpha1", "beta2"]), ("[", []), ("a_e", []),
    ):  # fmt: skip
        assert await pages(store, ListFilter(text=text), 10) == [expected], text


async def test_a_page_without_results_has_all_else(store: AbstractWorkflowStore) -> None:
    await store.append(run_started("a"), run_ended("a"))
    ((whole,), _), ((bare,), _) = [
        await store.list_page(ListFilter(), None, with_results=with_results) for with_results in (True, False)
    ]
    assert whole.result is not None
    assert bare == whole._replace(result=None)


async def test_handlers_are_counted_by_workflow_and_status(store: AbstractWorkflowStore) -> None:
    assert await store.count_handlers() == []
    for n in range(5):
        store.append(run_started(f"a{n}", workflow="alpha"), run_started(f"b{n}", workflow="beta"))
    store.append(run_ended("a1"), run_ended("a2"), run_ended("b4", status="failed"))
    await store.flush()
    await store.delete(HandlerQuery(handler_id_in=["b0"]))
    assert await store.count_handlers() == [
        HandlerCount("alpha", "completed", 2),
        HandlerCount("alpha", "running", 3),
        HandlerCount("beta", "failed", 1),
        HandlerCount("beta", "running", 3),
    ]


# -- Deletion --------------------------------------------------------------------------------------


async def test_a_deleted_handler_is_gone_with_all_that_belongs_to_it(store: AbstractWorkflowStore) -> None:
    for place, name in enumerate(("gone", "kept")):
        await store.append(
            run_started(name),
            *(event(name, n) for n in range(3000)),
            tick(name, 0),
            StatePatched(f"{name}-1", 0, "p"),
            SnapshotTaken(f"{name}-1", -1, "s"),
            StateReplaced(f"{name}-1", -1, "s"),
            InboxPosted(1 + place, name, f"{name}-1", "{}", None),
            KeyAnswered("run", name, name, f"{name}-1", "h", "{}", 1.0),
        )
    kept = await store.load_run("kept")
    assert await store.delete(HandlerQuery(handler_id_in=["gone", "nobody"])) == 1
    assert await store.load_run("gone") is None
    assert await store.event_range("gone") is None
    assert await store.read_events("gone", -1, 10) == []
    assert await store.untaken_events("gone-1") == []
    assert await store.find_answer("run", "gone") is None
    assert not await store.is_being_deleted("gone")
    assert await store.load_run("kept") == kept
    assert len(await store.read_events("kept", -1, 10_000)) == 3000
    assert await store.find_answer("run", "kept") is not None
    assert await store.delete(HandlerQuery(handler_id_in=["gone"])) == 0
    await store.append(run_started("gone"), event("gone", 0))
    assert len(await store.read_events("gone", -1, 10)) == 1, "its id is free again"


async def test_a_deletion_finds_what_was_appended_before_it(store: AbstractWorkflowStore) -> None:
    await store.append(run_started("a"), run_started("b"))
    store.append(run_ended("a"))
    assert await store.delete(HandlerQuery(status_in=["completed"])) == 1
    assert [run.handler_id for run in await store.running_runs()] == ["b"]


async def test_a_handler_under_deletion_is_hidden_from_all_reads(store: AbstractWorkflowStore) -> None:
    await store.append(run_started("a"), *(event("a", n) for n in range(4000)))
    await store.append(KeyAnswered("run", "k", "a", "a-1", "h", "{}", 1.0))
    deleting = asyncio.ensure_future(store.delete(HandlerQuery()))
    while await store.query(HandlerQuery()):  # noqa: ASYNC110 only a read tells
        await asyncio.sleep(0)
    assert await store.read_events("a", -1, 10) == []
    assert await store.find_answer("run", "k") is None
    assert await store.load_run("a") is None
    assert await store.event_range("a") is None
    assert await store.running_runs() == []
    assert await listed(store) == []
    assert await store.delete(HandlerQuery(handler_id_in=["a"])) == 0
    assert await deleting == 1


async def test_a_cancelled_deletion_goes_on(store: AbstractWorkflowStore) -> None:
    await store.append(run_started("a"), *(event("a", n) for n in range(4000)))
    deleting = asyncio.ensure_future(store.delete(HandlerQuery()))
    while await store.query(HandlerQuery()):  # noqa: ASYNC110 only a read tells
        await asyncio.sleep(0)
    deleting.cancel()
    await asyncio.gather(deleting, return_exceptions=True)

    async def is_deleted() -> bool:
        return not await store.is_being_deleted("a")

    await until_seen(is_deleted, "the deletion does not end")
    await store.append(run_started("a"))
    assert await store.read_events("a", -1, 10) == []


async def test_no_listener_hears_of_the_stores_own_records(store: AbstractWorkflowStore) -> None:
    heard: list[object] = []
    await store.append(run_started("a"), event("a", 0))
    store.subscribe(heard.extend)
    await store.update(PersistentHandler(handler_id="b", workflow_name="flow", status="completed"))
    await store.shift_clocks(1.0)
    assert await store.delete(HandlerQuery()) == 2
    assert heard == []


# -- Ended handlers --------------------------------------------------------------------------------

FIRST, LAST = EndedHandler(float("-inf"), ""), EndedHandler(float("inf"), "")


async def test_ended_handlers_are_found_in_the_order_of_their_ends(store: AbstractWorkflowStore) -> None:
    for name, at in {"c": 2000.0, "a": 2000.0, "b": 1500.0, "d": 2500.0}.items():
        await store.append(run_started(name), run_ended(name, at=at))
    await store.append(run_started("f"), run_ended("f", status="failed", at=1.0), run_started("running"))
    await store.update(PersistentHandler(handler_id="none", workflow_name="flow", status="cancelled"))
    found = await store.ended_handlers("completed", FIRST, LAST, 10)
    ended_at = {"b": 1500.0, "a": 2000.0, "c": 2000.0, "d": 2500.0}
    assert found == [EndedHandler(at, name, f"{name}-1") for name, at in ended_at.items()]
    assert await store.ended_handlers("completed", FIRST, LAST, 2) == found[:2]
    assert await store.ended_handlers("completed", found[1], LAST, 10) == found[2:]
    assert await store.ended_handlers("completed", found[0], found[2], 10) == found[1:3]
    assert await store.ended_handlers("completed", FIRST, EndedHandler(2000.0, ""), 10) == found[:1]
    # An end is never before the start, and what was stored without one has ended before all others.
    assert await store.ended_handlers("failed", FIRST, LAST, 10) == [EndedHandler(1000.0, "f", "f-1")]
    assert await store.ended_handlers("cancelled", FIRST, LAST, 10) == [EndedHandler(0.0, "none", None)]
    assert await store.ended_handlers("running", FIRST, LAST, 10) == []


async def test_ended_handlers_are_counted_from_a_time_on(store: AbstractWorkflowStore) -> None:
    for name, at in {"a": 1500.0, "b": 2000.0, "c": 2500.0}.items():
        await store.append(run_started(name), run_ended(name, status="failed", at=at))
    await store.append(run_started("d"), run_ended("d", at=2500.0), run_started("running"))
    assert [await store.count_ended("failed", at) for at in (0.0, 1500.0, 2499.0, 2500.0)] == [3, 2, 1, 0]
    assert await store.delete(HandlerQuery(handler_id_in=["c"])) == 1
    assert [await store.count_ended(status, 0.0) for status in ("completed", "failed", "cancelled")] == [1, 2, 0]


async def test_a_list_has_the_present_where_it_is_wanted(store: AbstractWorkflowStore) -> None:
    standing = '[[["ask","Answer",{},null,null,1.0,"Why?"]],[],false]'
    await store.append(run_started("done"), run_ended("done"), run_started("failed"))
    await store.append(run_ended("failed", status="failed"), run_started("waits"), run_started("works"))
    await store.append(RunReleased("waits", "waits-1", None, standing))
    page = await store.list_page(ListFilter(), None, with_results=False, with_now=True)
    assert {one.handler_id: (one.standing, one.summary, one.result) for one in page.handlers} == {
        "done": (None, "1", None),
        "failed": (None, None, None),
        "waits": (standing, None, None),
        "works": (None, None, None),
    }
    assert [run.left_as for run in await store.running_runs()] == ["waiting", None]
    for told, left_as in (("[[],[],true]", "stalled"), ('[[],[["s",2,1.0]],false]', None), ("damaged", None)):
        await store.append(RunReleased("waits", "waits-1", None, told))
        assert (await store.running_runs())[0].left_as == left_as
    plain = await store.list_page(ListFilter(), None, with_results=False)
    assert {(one.standing, one.summary) for one in plain.handlers} == {(None, None)}


async def test_what_is_beyond_a_number_of_ended_handlers_is_found(store: AbstractWorkflowStore) -> None:
    statuses: list[Status] = ["completed", "failed", "cancelled"]
    for n in range(6):
        await store.append(run_started(f"h{n}"), run_ended(f"h{n}", status=statuses[n % 3], at=2000.0 + n))
    await store.append(run_started("running"))
    for kept in range(6):
        assert await store.last_beyond(kept) == EndedHandler(2005.0 - kept, f"h{5 - kept}", f"h{5 - kept}-1")
    assert await store.last_beyond(6) is None
    assert await store.last_beyond(7) is None


async def test_a_deletion_beside_all_else_hides_first_and_then_deletes(store: AbstractWorkflowStore) -> None:
    for name in ("gone", "kept"):
        await store.append(run_started(name), *(event(name, n) for n in range(3000)))
        await store.append(KeyAnswered("run", name, name, f"{name}-1", "h", "{}", 1.0), run_ended(name))
    await store.begin_deletion(["gone", "nobody"])
    assert await listed(store) == ["kept"]
    assert await store.ended_handlers("completed", FIRST, LAST, 10) == [EndedHandler(2000.0, "kept", "kept-1")]
    assert await store.last_beyond(0) == EndedHandler(2000.0, "kept", "kept-1")
    assert await store.find_answer("run", "gone") is None
    await store.deletions_ended()
    assert not await store.is_being_deleted("gone")
    assert len(await store.read_events("kept", -1, 10_000)) == 3000
    assert await store.find_answer("run", "kept") is not None
    await store.append(run_started("gone"), event("gone", 0))
    assert len(await store.read_events("gone", -1, 10)) == 1, "its id is free again"


async def test_a_deletion_that_somebody_waits_for_overtakes_the_other(store: AbstractWorkflowStore) -> None:
    for name in ("slow", "fast"):
        await store.append(run_started(name), *(event(name, n) for n in range(3000)))
    await store.begin_deletion(["slow"])
    assert await store.delete(HandlerQuery(handler_id_in=["fast"])) == 1
    assert not await store.is_being_deleted("fast")
    assert await store.query(HandlerQuery()) == []
