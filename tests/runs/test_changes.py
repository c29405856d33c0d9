"""The last changes of handlers: one of each, in bounded memory, and those told that belong to a list."""

from __future__ import annotations

import json

import pytest

from workflow_server.records import ListFilter, Status, StoredHandler
from workflow_server.runs import changes
from workflow_server.runs.changes import ChangeLog, told


def stored(name: str, status: Status = "running", workflow: str = "flow", *tags: str) -> StoredHandler:
    kept = json.dumps(tags) if tags else None
    return StoredHandler(name, workflow, status, f"run-{name}", None, 1.0, 1.0, None, None, kept, None, False)


def put(log: ChangeLog, name: str, text: str = "{}", *, turned: bool = False) -> None:
    log.put(name, stored(name), text, turned=turned)


def names(log: ChangeLog, place: int) -> list[str]:
    return [change.handler_id for change in log.after(place)]


def test_of_each_handler_the_last_change_is_kept_in_order() -> None:
    log = ChangeLog(7)
    for name, text in (("a", "1"), ("b", "1"), ("a", "2"), ("c", "1")):
        put(log, name, text)
    assert (log.place, log.floor) == (11, 7)
    assert names(log, 7) == ["b", "a", "c"]
    assert names(log, 9) == ["a", "c"]
    assert names(log, 11) == []
    put(log, "b", "1")
    assert log.place == 11
    put(log, "b", "1", turned=True)
    assert names(log, 11) == ["b"]


def test_beyond_a_number_the_first_changes_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "MOST", 3)
    log = ChangeLog(0)
    for name in "abcde":
        put(log, name)
    assert (names(log, 0), log.floor) == (["c", "d", "e"], 2)
    log.forget()
    assert (names(log, 0), log.floor, log.place) == ([], 6, 6)


def test_beyond_a_size_the_first_changes_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "CHARACTERS", 100)
    log = ChangeLog(0)
    for name in "abc":
        put(log, name, "x" * 40)
    assert (names(log, 0), log.floor) == (["b", "c"], 1)
    put(log, "d", "x" * 1_000)
    assert (names(log, 0), log.floor) == (["d"], 3)
    put(log, "d", "")
    for name in "efg":
        put(log, name, "x" * 30)
    assert names(log, 3) == ["d", "e", "f", "g"]


@pytest.mark.parametrize(
    ("wanted", "keys"),
    [
        (ListFilter(), ["handler", "handler", "purged"]),
        (ListFilter(["completed"]), ["left", "handler", "purged"]),
        (ListFilter(workflow_names=["other"]), ["handler", "purged"]),
        (ListFilter(["failed"], workflow_names=["other"]), ["left", "purged"]),
        (ListFilter(tags=["x"]), ["left", "handler", "purged"]),
        (ListFilter(tags=["x", "y"]), ["left", "left", "purged"]),
        (ListFilter(text="RUN-A"), ["left", "handler", "purged"]),
    ],
)
def test_a_reader_is_told_what_belongs_to_its_list(wanted: ListFilter, keys: list[str]) -> None:
    log = ChangeLog(0)
    log.put("a", stored("a"), "{}", turned=True)
    log.put("b", stored("b", "completed", "other", "x"), "{}", turned=True)
    log.put("c", None, "", turned=True)
    assert [one.key for one in told(log.after(0), wanted, 0)] == keys


def test_a_handler_leaves_a_list_only_where_it_may_have_been_in_it() -> None:
    log = ChangeLog(0)
    put(log, "a", "1", turned=True)
    put(log, "a", "2")
    wanted = ListFilter(["failed"])
    assert [one.key for one in told(log.after(0), wanted, 0)] == ["left"]
    assert [one.key for one in told(log.after(1), wanted, 1)] == []


def test_a_reader_that_comes_back_behind_any_line_misses_no_leaving() -> None:
    log = ChangeLog(0)
    put(log, "a", "1", turned=True)
    put(log, "b", "1")
    put(log, "a", "2")
    wanted = ListFilter(text="run-b")
    lines = list(told(log.after(0), wanted, 0))
    assert [(one.key, one.value) for one in lines] == [("left", '"a"'), ("handler", "1")]
    assert [one.key for one in told(log.after(lines[0].place), wanted, lines[0].place)] == ["left", "handler"]
    assert list(told(log.after(lines[1].place), wanted, lines[1].place)) == []
