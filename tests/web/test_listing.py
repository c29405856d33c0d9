"""GET /handlers: the same JSON, however many handlers there are and however large they are, in bounded memory."""

from __future__ import annotations

import json
import math
import sqlite3
import sys
import time
from base64 import urlsafe_b64encode
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.harness.api import as_listed
from tests.harness.waiting import until_seen
from tests.reliability.reading.bulk_reading import Stream, connected
from tests.web.conftest import Serve, Served
from workflow_server.protocol.events import UNREADABLE_RESULT, read_result
from workflow_server.protocol.handlers import ListedHandler
from workflow_server.records import StoredHandler
from workflow_server.runs import views
from workflow_server.runs.table import RunTable
from workflow_server.store.base import PersistentHandler, from_timestamp
from workflow_server.store.sqlite import listing
from workflow_server.store.sqlite.listing import PAGE
from workflow_server.store.sqlite.rows import tags_of
from workflow_server.web.streaming.bounded_writer import WRITE_SIZE
from workflow_server.web.streaming.handler_list import pieces

ENVELOPE = '{"value":{"result":"%s"},"type":"StopEvent","types":null,"qualified_name":null}'


RUNS = RunTable(None, None)  # type: ignore[arg-type]
"""No run is in memory."""


def stored(number: int = 0, *, result: str | None = None, **changes: Any) -> StoredHandler:
    handler = StoredHandler(f"{number:010}", "w", "completed", "run", None, 1.5, 2.25, 2.25, "v1", None, result, False)
    return handler._replace(**changes)


def listed(number: int, result: str | None = None) -> ListedHandler:
    (one,) = views.listed(RUNS, [stored(number, result=result)])
    return one


ODD_TEXT = '"result":null \\ \'é\u2028\x00\x1f\x7f\U0001f600\n</script>'


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"handler_id": ODD_TEXT, "workflow_name": ODD_TEXT, "run_id": ODD_TEXT, "error": ODD_TEXT},
        {"run_id": None, "status": "running", "updated_at": None, "completed_at": None},
        {"started_at": None},
        {"started_at": 1e300, "updated_at": -1e300, "completed_at": float("inf")},
        {"started_at": 1e-7, "updated_at": 1_790_000_000.999_999_9, "completed_at": 1_790_000_000.000_001},
        {"started_at": -62_135_596_800.0, "updated_at": 253_402_300_799.0, "completed_at": None},
        {"damaged": True, "error": "another"},
        {"tags": json.dumps(["a", ODD_TEXT], ensure_ascii=False, separators=(",", ":"))},
        {"status": "failed", "error": "ValueError: no"},
        {"code_version": None},
        {"code_version": ODD_TEXT},
    ],
)
@pytest.mark.parametrize("result", [None, ENVELOPE % "é"])
def test_a_listed_handler_is_the_json_that_its_model_has(changes: dict[str, Any], result: str | None) -> None:
    handler = stored(result=result, **changes)
    envelope, unreadable = read_result(handler.result)
    model = views.from_store(
        PersistentHandler(
            handler_id=handler.handler_id,
            workflow_name=handler.workflow_name,
            status=handler.status,
            run_id=handler.run_id,
            error=UNREADABLE_RESULT if handler.damaged else handler.error,
            result=envelope,
            started_at=from_timestamp(handler.started_at),
            updated_at=from_timestamp(handler.updated_at),
            completed_at=from_timestamp(handler.completed_at),
            code_version=handler.code_version,
            tags=tags_of(handler.tags),
        ),
        None,
    )
    assert unreadable is None
    assert b"".join(pieces(views.listed(RUNS, [handler]), b"")).decode() == model.model_dump_json()


def test_a_listed_handler_takes_few_calls() -> None:
    """Counts calls of functions for each, since these are the cost of a long list: 42 with a model for each."""
    page = [stored(number, result=ENVELOPE % number) for number in range(1_000)]
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    sys.setprofile(count)
    try:
        written = b"".join(pieces(views.listed(RUNS, page), b""))
    finally:
        sys.setprofile(None)
    assert len(json.loads(b"[%b]" % written)) == len(page)
    assert calls < 24 * len(page)


def test_large_results_go_out_one_by_one_small_ones_together() -> None:
    page = [listed(number, result=ENVELOPE % ("x" * WRITE_SIZE)) for number in range(10)]
    large = list(pieces(page, b""))
    assert page == []
    assert sum(len(piece) > WRITE_SIZE for piece in large) == 10
    assert len(json.loads(b"[%b]" % b"".join(large))) == 10
    small = list(pieces([listed(number) for number in range(1_000)], b","))
    assert all(WRITE_SIZE <= len(piece) < 2 * WRITE_SIZE for piece in small[:-1])
    ids = [one["handler_id"] for one in json.loads(b"[0%b]" % b"".join(small))[1:]]
    assert ids == [f"{number:010}" for number in range(1_000)]


async def test_a_long_list_is_whole_in_chunks_and_over_http_1_0(served: Served) -> None:
    started = [await served.finish("echo", text="ä" * 40_000) for _ in range(5)]
    async with served.client.get("/handlers") as response:
        assert response.headers["Transfer-Encoding"] == "chunked"
        assert response.content_type == "application/json"
        listing = (await response.json())["handlers"]
    assert [one["handler_id"] for one in listing] == started
    assert all(one["result"]["value"]["result"] == {"text": "ä" * 40_000} for one in listing)
    assert listing == [as_listed((await served.get(f"/handlers/{handler_id}"))[1]) for handler_id in started]
    old = await served.raw(b"GET /handlers HTTP/1.0\r\nHost: localhost\r\n\r\n")
    assert json.loads(old.partition(b"\r\n\r\n")[2])["handlers"] == listing


async def test_a_parameter_that_there_is_not_is_400(served: Served) -> None:
    status, answer = await served.get("/handlers?statsu=failed")
    assert status == 400
    assert "status, workflow_name" in answer["detail"]
    assert (await served.get("/handlers/stats?status=failed"))[0] == 400
    assert (await served.get("/handlers?status=&workflow_name="))[0] == 200


def store(db: Path, count: int, result: str) -> None:
    """Add completed handlers to the database of a running server, as a run of it would have."""
    with closing(sqlite3.connect(db)) as connection, connection:
        for number in range(count):
            columns = (f"stored{number:04}", "echo", "completed", float(1_000_000 + (number + 1) // 2))
            connection.execute(
                "INSERT INTO handlers (handler_id, workflow_name, status, started_at) VALUES (?, ?, ?, ?)", columns
            )
            connection.execute("INSERT INTO payloads (handler_id, result) VALUES (?, ?)", (columns[0], result))


async def test_each_handler_comes_once_in_order_over_many_pages(serve: Serve, tmp_path: Path) -> None:
    served = await serve(db=tmp_path / "db")
    running = await served.start("ask")
    store(tmp_path / "db", 2 * PAGE + 1, ENVELOPE % "x")
    status, answer = await served.get("/handlers")
    assert status == 200
    expected = [f"stored{number:04}" for number in range(2 * PAGE + 1)]
    assert [one["handler_id"] for one in answer["handlers"]] == [*expected, running]
    filtered = (await served.get("/handlers?status=completed&workflow_name=echo&workflow_name=ask"))[1]["handlers"]
    assert [one["handler_id"] for one in filtered] == expected
    assert (await served.get("/handlers?status=running&workflow_name=echo"))[1] == {"handlers": []}


@pytest.mark.parametrize("result", ["{", "[]", '{"value":1,"type":"X"}', "", ENVELOPE % "\x01", ENVELOPE + "}"])
async def test_a_damaged_result_is_an_error_and_the_list_stays_json(serve: Serve, tmp_path: Path, result: str) -> None:
    served = await serve(db=tmp_path / "db")
    store(tmp_path / "db", 1, result)
    (one,) = (await served.get("/handlers"))[1]["handlers"]
    assert (one["result"], one["error"]) == (None, "The run completed, but its result cannot be read: it is damaged")
    assert one["error"] == (await served.get("/handlers/stored0000"))[1]["error"]


async def test_a_list_being_read_is_an_open_stream_and_head_reads_none(serve: Serve, tmp_path: Path) -> None:
    served = await serve(db=tmp_path / "db", max_streams=1)
    store(tmp_path / "db", 20, ENVELOPE % ("x" * 900_000))
    with await connected(served.port, "/handlers", receive_buffer=4_096):
        while (await served.get("/handlers?status=running"))[0] != 429:
            pass
        async with served.client.head("/handlers") as response:
            assert (response.status, response.content_type, await response.read()) == (200, "application/json", b"")
    while (await served.get("/handlers?status=running"))[0] == 429:
        pass


async def test_a_list_that_cannot_be_read_to_its_end_breaks_off(serve: Serve, tmp_path: Path) -> None:
    served = await serve(db=tmp_path / "db")
    store(tmp_path / "db", 3, ENVELOPE % ("x" * 900_000))
    stream = Stream(await connected(served.port, "/handlers", receive_buffer=4_096))
    assert await stream.read(1_000)
    with closing(sqlite3.connect(tmp_path / "db")) as connection:
        connection.execute("DROP TABLE payloads")
    body = await stream.rest()
    assert not stream.complete
    assert body.startswith(b'{"handlers":[{"handler_id":"stored0000"')
    assert not body.endswith(b"]}")


# -- Pages -----------------------------------------------------------------------------------------


async def read_pages(served: Served, query: str) -> list[list[dict[str, Any]]]:
    """Read a list to its end, page by page."""
    pages: list[list[dict[str, Any]]] = []
    cursor = ""
    while True:
        status, answer = await served.get(f"/handlers?{query}&cursor={cursor}")
        assert status == 200, answer
        pages.append(answer["handlers"])
        cursor = answer["next_cursor"]
        if cursor is None:
            return pages


def cursor_of(*fields: object) -> str:
    return urlsafe_b64encode(json.dumps(fields).encode()).decode().rstrip("=")


def ids(pages: list[list[dict[str, Any]]]) -> list[list[str]]:
    return [[one["handler_id"] for one in page] for page in pages]


async def test_pages_have_a_limit_and_results_only_on_request(served: Served) -> None:
    started = [await served.finish("echo", text=str(n)) for n in range(5)]
    running = await served.start("ask")
    oldest, newest = await read_pages(served, "limit=4"), await read_pages(served, "limit=4&order=desc")
    assert ids(oldest) == [started[:4], [started[4], running]]
    assert ids(newest) == [[running, *started[:1:-1]], started[1::-1]]
    assert await read_pages(served, "limit=500&status=running") == [[oldest[1][1]]]
    whole = (await served.get("/handlers"))[1]
    assert "next_cursor" not in whole
    assert all(one["result"] is None for page in oldest for one in page)
    assert await read_pages(served, "limit=6&include=result") == [whole["handlers"]]
    assert [{**one, "result": None} for one in whole["handlers"]] == [one for page in oldest for one in page]
    reverse = (await served.get("/handlers?order=desc"))[1]["handlers"]
    assert reverse == whole["handlers"][::-1]


async def test_a_list_can_be_bounded_by_the_start(serve: Serve, tmp_path: Path) -> None:
    served = await serve(db=tmp_path / "db")
    store(tmp_path / "db", 6, ENVELOPE % "x")
    expected = [["stored0001", "stored0002"]]
    # The handlers were started 1,000,000 seconds after the epoch, and one, two and three seconds later.
    for after, before in (
        ("1970-01-12T13:46:40Z", "1970-01-12T13:46:42Z"),
        ("1970-01-12T13:46:40", "1970-01-12T13:46:42.000001-00:00"),
        ("1970-01-12T14:46:40%2B01:00", "1970-01-12T14:46:42+01:00"),
        ("1970-01-12 13:46:40.5", "1970-01-12 13:46:41.5"),
    ):
        pages = await read_pages(served, f"limit=10&started_after={after}&started_before={before}")
        assert ids(pages)[0][:2] == expected[0]
    assert ids(await read_pages(served, "limit=10&started_after=1970-01-12T13:46:42Z")) == [["stored0005"]]
    whole = (await served.get("/handlers?started_before=1970-01-12T13:46:41Z"))[1]["handlers"]
    assert [one["handler_id"] for one in whole] == ["stored0000"]


async def test_a_list_can_be_bounded_by_the_end(served: Served) -> None:
    running = await served.start("ask")
    ended = [await served.finish(name) for name in ("echo", "fail", "echo")]
    _, last = await served.get(f"/handlers/{ended[2]}")
    at = last["started_at"].replace("+", "%2B")
    for query, expected in (
        (f"ended_after={at}", [[ended[2]]]),
        (f"ended_before={at}", [ended[:2]]),
        (f"ended_before={at}&status=failed", [[ended[1]]]),
        (f"ended_after={at}&status=failed", [[]]),
        ("ended_after=2020-01-01", [ended]),
        ("ended_after=2020-01-01&order=desc", [ended[::-1]]),
    ):
        assert ids(await read_pages(served, f"limit=10&{query}")) == expected, query
    whole = (await served.get("/handlers?ended_after=2020-01-01"))[1]["handlers"]
    assert [one["handler_id"] for one in whole] == ended
    assert ids(await read_pages(served, "limit=10&started_after=2020-01-01")) == [[running, *ended]]


async def test_a_time_without_an_offset_is_utc_wherever_the_server_is(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = await serve(db=tmp_path / "db")
    store(tmp_path / "db", 6, ENVELOPE % "x")
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        assert ids(await read_pages(served, "limit=10&started_after=1970-01-12T13:46:42")) == [["stored0005"]]
    finally:
        monkeypatch.undo()
        time.tzset()


async def test_a_list_goes_on_where_few_handlers_match(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "READ", 10)
    served = await serve(db=tmp_path / "db")
    store(tmp_path / "db", 35, ENVELOPE % "x")
    for query, expected in (("stored0034", ["stored0034"]), ("stored001", [f"stored{n:04}" for n in range(10, 20)])):
        whole = (await served.get(f"/handlers?q={query}"))[1]["handlers"]
        assert [one["handler_id"] for one in whole] == expected
        paged = await read_pages(served, f"q={query}&limit=100")
        assert [name for page in ids(paged) for name in page] == expected
    assert (await served.get("/handlers?q=none"))[1] == {"handlers": []}


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("limit=-1", "limit"),
        ("limit=1e2", "limit"),
        ("limit=", "limit"),
        ("limit=1&limit=2", "limit"),
        ("cursor=abc", "cursor"),
        ("limit=1&cursor=abc", "cursor"),
        ("limit=1&cursor=bnVsbA", "cursor"),
        ("limit=1&cursor=WyJhc2MiLCJ4IiwiYSIsMSwiYSJd", "cursor"),
        ("limit=1&cursor=" + "W1tb" * 300, "cursor"),
        ("limit=1&cursor=" + cursor_of("asc", math.nan, "a", 1, "a"), "cursor"),
        ("limit=1&cursor=" + cursor_of("asc", 10**400, "a", 1, "a"), "cursor"),
        ("limit=1&cursor=" + cursor_of("asc", True, "a", 1, "a"), "cursor"),
        ("limit=1&cursor=" + cursor_of("asc", 1, "\ud800", 1, "a"), "cursor"),
        ("limit=1&cursor=" + cursor_of("asc", 1, "a", 1), "cursor"),
        ("limit=1&cursor=é", "cursor"),
        ("order=newest", "order"),
        ("include=everything&limit=1", "include"),
        ("started_after=yesterday", "started_after"),
        ("started_after=", "started_after"),
        ("ended_after=yesterday", "ended_after"),
        ("ended_before=now", "ended_before"),
        ("started_before=10000-01-01T00:00:00Z", "started_before"),
        ("started_after=2026-01-01&started_after=2026-01-02", "started_after"),
    ],
)
async def test_a_parameter_of_a_list_that_is_not_valid_is_400(served: Served, query: str, detail: str) -> None:
    status, answer = await served.get(f"/handlers?{query}")
    assert (status, answer["detail"].startswith(f"Invalid {detail}: expected ")) == (400, True), answer


async def test_a_cursor_is_for_the_order_that_it_was_given_in(served: Served) -> None:
    for _ in range(2):
        await served.finish("echo", text="x")
    cursor = (await served.get("/handlers?limit=1"))[1]["next_cursor"]
    assert (await served.get(f"/handlers?limit=1&cursor={cursor}"))[0] == 200
    status, answer = await served.get(f"/handlers?limit=1&order=desc&cursor={cursor}")
    assert (status, answer["detail"]) == (400, "Invalid cursor: expected the next_cursor of a page in the same order.")


async def test_handlers_are_counted(served: Served) -> None:
    for _ in range(3):
        await served.finish("echo", text="x")
    await served.start("ask")

    async def waits() -> bool:
        return bool((await served.get("/handlers/stats"))[1]["now"]["waiting"])

    await until_seen(waits, "the run never waited")
    none = {"running": 0, "completed": 0, "failed": 0, "cancelled": 0}
    assert await served.get("/handlers/stats") == (
        200,
        {
            "total": {**none, "running": 1, "completed": 3},
            "workflows": {"ask": {**none, "running": 1}, "echo": {**none, "completed": 3}},
            "now": {"running": 0, "waiting": 1, "released": 0, "queued": 0, "suspended": 0, "stalled": 0},
            "failed_recently": 0,
        },
    )


# -- Tags ------------------------------------------------------------------------------------------


async def start(served: Served, **body: Any) -> tuple[int, dict[str, Any]]:
    return await served.post("/workflows/echo/run", json={"start_event": {"text": "x"}, **body})


async def test_tags_are_shown_everywhere_and_found(served: Served) -> None:
    status, first = await start(served, tags=["team a", "é", "team a"])
    _, second = await start(served, tags=["team a"])
    _, third = await start(served)
    assert (status, first["tags"], second["tags"], third["tags"]) == (200, ["team a", "é"], ["team a"], [])
    assert as_listed((await served.get(f"/handlers/{first['handler_id']}"))[1]) == first
    assert (await served.get("/handlers"))[1]["handlers"] == [first, second, third]
    found = (await served.get("/handlers?limit=5&tag=team%20a&tag=%C3%A9&include=result"))[1]["handlers"]
    assert found == [first]
    assert ids(await read_pages(served, "limit=1&tag=team%20a")) == [[first["handler_id"]], [second["handler_id"]]]
    assert ids(await read_pages(served, "limit=5&q=TEAM")) == [[first["handler_id"], second["handler_id"]]]
    assert (await served.get("/handlers?q=none"))[1] == {"handlers": []}


async def test_a_continued_handler_keeps_its_tags_or_gets_others(served: Served) -> None:
    _, first = await start(served, tags=["a"])
    bodies: list[dict[str, Any]] = [{}, {"tags": ["b"]}, {"tags": []}]
    kept, changed, cleared = [(await start(served, handler_id=first["handler_id"], **body))[1] for body in bodies]
    assert (kept["tags"], changed["tags"], cleared["tags"]) == (["a"], ["b"], [])
    assert (await served.get(f"/handlers/{first['handler_id']}"))[1]["tags"] == []
    assert (await served.get("/handlers?tag=b"))[1] == {"handlers": []}


@pytest.mark.parametrize(
    "tags", [[""], ["x" * 101], ["a\nb"], [" a"], ["a\u2028"], [1], "a", {"a": "b"}, [f"t{n}" for n in range(21)]]
)
async def test_a_tag_that_is_not_one_line_is_400_and_starts_nothing(served: Served, tags: object) -> None:
    status, answer = await start(served, tags=tags)
    assert (status, "'tags" in answer["detail"]) == (400, True), answer
    assert (await served.get("/handlers"))[1] == {"handlers": []}


async def test_damaged_tags_are_none_and_the_list_stays_json(serve: Serve, tmp_path: Path) -> None:
    served = await serve(db=tmp_path / "db")
    _, one = await start(served, tags=["a"])
    for damaged in ("{", "1", '"a"', "[1, null]", "\x80"):
        with closing(sqlite3.connect(tmp_path / "db")) as connection, connection:
            connection.execute("UPDATE handlers SET tags = ?", (damaged,))
        (listed_one,) = (await served.get("/handlers"))[1]["handlers"]
        assert listed_one == {**one, "tags": []}
        assert as_listed((await served.get(f"/handlers/{one['handler_id']}"))[1]) == listed_one


@pytest.mark.parametrize("name", ["stats", "stream"])
async def test_the_id_of_another_path_cannot_be_chosen(serve: Serve, tmp_path: Path, name: str) -> None:
    served = await serve(db=tmp_path / "db", accept_handler_ids=True)
    status, answer = await start(served, handler_id=name)
    assert (status, "handler_id" in answer["detail"]) == (400, True)
    assert (await start(served, handler_id=f"{name}1"))[0] == 200
