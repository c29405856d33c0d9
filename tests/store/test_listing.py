"""The list of handlers: a page costs a few statements, however many handlers stand in it, and none sorts the list."""

from __future__ import annotations

import sqlite3
import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from workflow_server.records import STATUSES, HandlersPage, ListCursor, ListFilter
from workflow_server.store.sqlite import listing
from workflow_server.store.sqlite.connection import text
from workflow_server.store.sqlite.listing import CHARACTERS, PAGE, READ, read_page
from workflow_server.store.sqlite.migrations import known_migrations, migrate

RESULT = '{"value":{"result":"%s"},"type":"StopEvent","types":null,"qualified_name":null}'


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(tmp_path / "db", isolation_level=None)) as connection:
        connection.text_factory = text
        migrate(connection, known_migrations("db"))
        yield connection


def add(connection: sqlite3.Connection, count: int) -> None:
    """Add handlers of all statuses, one a second."""
    for number in range(count):
        columns = (f"h{number:05}", "flow", STATUSES[number % 4], 1000.0 + number)
        connection.execute(
            "INSERT INTO handlers (handler_id, workflow_name, status, started_at) VALUES (?,?,?,?)", columns
        )
        connection.execute("INSERT INTO payloads (handler_id, result) VALUES (?, ?)", (columns[0], RESULT % number))


def page(
    connection: sqlite3.Connection,
    wanted: ListFilter | None = None,
    *,
    cursor: ListCursor | None = None,
    limit: int = PAGE,
    with_results: bool = True,
) -> HandlersPage:
    return read_page(connection, wanted or ListFilter(), cursor, limit, with_results=with_results)


def read(connection: sqlite3.Connection) -> list[HandlersPage]:
    """Read a list to its end."""
    pages = [page(connection)]
    while pages[-1].cursor is not None:
        pages.append(page(connection, cursor=pages[-1].cursor))
    return pages


def test_a_page_takes_the_same_few_statements_at_any_size(connection: sqlite3.Connection) -> None:
    add(connection, 2 * PAGE + PAGE // 2)
    statements: list[str] = []
    connection.set_trace_callback(statements.append)
    pages = read(connection)
    connection.set_trace_callback(None)
    assert connection.text_factory is text
    assert [len(one.handlers) for one in pages] == [PAGE, PAGE, PAGE // 2]
    handlers = [handler for one in pages for handler in one.handlers]
    assert [handler.handler_id for handler in handlers] == [f"h{number:05}" for number in range(len(handlers))]
    assert all(handler.result == RESULT % number for number, handler in enumerate(handlers))
    # BEGIN and ROLLBACK, the handlers of each status, and the results; where the list ends, once for each status.
    assert len(statements) == 3 * (2 + len(STATUSES) + 1) + len(STATUSES)


def test_of_large_results_only_that_of_the_page_is_in_memory(connection: sqlite3.Connection) -> None:
    add(connection, 12)
    connection.execute("UPDATE payloads SET result = ?", (RESULT % ("x" * 1_000_000),))
    pages = [page(connection)]
    tracemalloc.start()
    try:
        while pages[-1].cursor is not None:
            pages = [page(connection, cursor=pages[-1].cursor)]
            assert len(pages[0].handlers) <= 1
        assert tracemalloc.get_traced_memory()[1] < 2_500_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("few", [READ, 3])
def test_handlers_that_are_named_are_listed(
    connection: sqlite3.Connection, newest_first: bool, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "READ", few)
    add(connection, 40)
    ids = [f"h{number:05}" for number in range(0, 40, 2)]
    wanted = ListFilter(handler_ids=frozenset([*ids, "unknown"]), newest_first=newest_first, started_after=1004.0)
    found: list[str] = []
    cursor = None
    while not found or cursor is not None:
        one = page(connection, wanted, cursor=cursor, limit=3, with_results=False)
        found += [handler.handler_id for handler in one.handlers]
        cursor = one.cursor
    assert found == (ids[:2:-1] if newest_first else ids[3:])
    nobody = page(connection, wanted._replace(handler_ids=frozenset()))
    assert (nobody.handlers, nobody.cursor) == ([], None)


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("few", [READ, 3])
def test_few_or_many_that_ended_in_a_time_are_listed(
    connection: sqlite3.Connection, newest_first: bool, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "READ", few)
    add(connection, 40)
    connection.execute("UPDATE handlers SET completed_at = 5000 - started_at WHERE status = 'failed'")
    connection.execute("UPDATE handlers SET updated_at = 3990 WHERE status = 'cancelled'")
    wanted = ListFilter(ended_after=3980.0, ended_before=3995.0, newest_first=newest_first)
    expected = [f"h{number:05}" for number in range(40) if STATUSES[number % 4] == "cancelled"]
    expected += [f"h{number:05}" for number in range(6, 20) if STATUSES[number % 4] == "failed"]
    found: list[str] = []
    cursor = None
    while not found or cursor is not None:
        one = page(connection, wanted, cursor=cursor, limit=3, with_results=False)
        found += [handler.handler_id for handler in one.handlers]
        cursor = one.cursor
    assert found == sorted(expected, reverse=newest_first)


def test_the_present_takes_one_statement_and_a_part_of_each_result(connection: sqlite3.Connection) -> None:
    add(connection, 24)
    connection.execute("UPDATE payloads SET result = ?", (RESULT % ("x" * 1_000_000),))
    statements: list[str] = []
    connection.set_trace_callback(statements.append)
    tracemalloc.start()
    try:
        found = read_page(connection, ListFilter(), None, PAGE, with_results=False, with_now=True)
        assert tracemalloc.get_traced_memory()[1] < 200_000
    finally:
        tracemalloc.stop()
        connection.set_trace_callback(None)
    assert [handler.summary for handler in found.handlers if handler.summary] == [f"{'x' * 199}…"] * 6
    # BEGIN and ROLLBACK, twice the handlers of each status, and the present; each result is read by its row.
    assert len([text for text in statements if "payloads" not in text or "json_each" in text]) == 3 + 2 * len(STATUSES)


def test_a_page_ends_where_runs_stand_at_length(connection: sqlite3.Connection) -> None:
    add(connection, 12)
    connection.execute("UPDATE handlers SET status = 'running'")
    connection.execute("UPDATE handlers SET released = 1, standing = ?", ("x" * (CHARACTERS - 1),))
    sizes: list[int] = []
    cursor = None
    while not sizes or cursor is not None:
        found = read_page(connection, ListFilter(), cursor, PAGE, with_results=False, with_now=True)
        sizes.append(len(found.handlers))
        cursor = found.cursor
    assert sizes == [2] * 6


def test_a_damaged_text_hides_nothing_and_is_read_as_far_as_it_goes(connection: sqlite3.Connection) -> None:
    add(connection, 3)
    connection.execute("UPDATE handlers SET workflow_name = CAST(x'66ff' AS TEXT) WHERE handler_id = 'h00001'")
    connection.execute("UPDATE payloads SET result = CAST(x'7bff7d' AS TEXT) WHERE handler_id = 'h00002'")
    (only,) = read(connection)
    assert [handler.workflow_name for handler in only.handlers] == ["flow", "\ufffdf\ufffd", "flow"]
    assert [(handler.result is None, handler.damaged) for handler in only.handlers] == [
        (False, False),
        (False, False),
        (True, True),
    ]
    assert connection.text_factory is text


@pytest.mark.parametrize(
    "wanted",
    [
        ListFilter(workflow_names=["rare", *(f"other{number}" for number in range(listing.MERGED))]),
        ListFilter(code_versions=["rare"]),
    ],
    ids=["workflows", "version"],
)
def test_handlers_that_are_looked_at_for_a_page_are_bounded(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch, wanted: ListFilter
) -> None:
    """Handlers of others are passed over, where so many workflows are asked for that their orders are not merged."""
    monkeypatch.setattr(listing, "READ", 10)
    add(connection, 35)
    connection.execute(
        "UPDATE handlers SET workflow_name = 'rare', code_version = 'rare' WHERE handler_id IN ('h00001', 'h00031')"
    )
    found = [page(connection, wanted)]
    while found[-1].cursor is not None:
        found.append(page(connection, wanted, cursor=found[-1].cursor))
    ids = [[handler.handler_id for handler in one.handlers] for one in found]
    assert ids == [["h00001"], [], [], ["h00031"]]


@pytest.mark.parametrize("newest_first", [False, True])
def test_handlers_of_versions_of_the_code_are_listed(connection: sqlite3.Connection, *, newest_first: bool) -> None:
    add(connection, 40)
    connection.execute("UPDATE handlers SET code_version = 'v' || (cast(substr(handler_id, 2) AS INTEGER) % 3)")
    connection.execute("UPDATE handlers SET code_version = NULL WHERE handler_id < 'h00010'")
    wanted = ListFilter(code_versions=["v0", "v2", "v0"], statuses=["failed"], newest_first=newest_first)
    failed = [f"h{n:05}" for n in range(10, 40) if n % 3 != 1 and STATUSES[n % 4] == "failed"]
    found = [page(connection, wanted, limit=3)]
    while found[-1].cursor is not None:
        found.append(page(connection, wanted, cursor=found[-1].cursor, limit=3))
    ids = [handler.handler_id for one in found for handler in one.handlers]
    assert ids == sorted(failed, reverse=newest_first)
    assert {handler.code_version for one in found for handler in one.handlers} == {"v0", "v2"}
    assert page(connection, ListFilter(code_versions=["v3"])).handlers == []
    many = ListFilter(code_versions=["v1", *(f"w{number}" for number in range(listing.MERGED))])
    assert {handler.code_version for handler in page(connection, many).handlers} == {"v1"}


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize(
    "wanted",
    [
        ListFilter(),
        ListFilter(workflow_names=["flow"]),
        ListFilter(workflow_names=["flow", "other"]),
        ListFilter(code_versions=["v1"]),
    ],
)
def test_a_page_is_found_by_an_index_wherever_it_lies(
    connection: sqlite3.Connection, wanted: ListFilter, newest_first: bool
) -> None:
    """Counts the steps of SQLite's virtual machine: the last page takes no more than the first."""
    add(connection, 4_000)
    connection.execute("UPDATE handlers SET code_version = 'v1'")
    wanted = wanted._replace(newest_first=newest_first)
    steps: list[int] = []
    cursor: ListCursor | None = None
    while True:
        steps.append(0)

        def count() -> int:
            steps[-1] += 1
            return 0

        connection.set_progress_handler(count, 10)
        one = page(connection, wanted, cursor=cursor, limit=100, with_results=False)
        connection.set_progress_handler(None, 0)
        cursor = one.cursor
        if cursor is None:
            break
    assert len(steps) == 40
    assert max(steps) < 1.2 * steps[0]


def test_handlers_that_are_being_purged_are_not_counted(connection: sqlite3.Connection) -> None:
    add(connection, 10)
    connection.execute("UPDATE handlers SET purging = 1 WHERE handler_id IN ('h00000', 'h00001', 'h00005', 'h00009')")
    counts = [(status, number) for _, status, number in listing.count_handlers(connection)]
    assert counts == [("cancelled", 2), ("failed", 2), ("running", 2)]
