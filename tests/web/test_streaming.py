"""GET /events/{id}: what comes, in which form, and how it ends."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import datetime, timedelta

import pytest

from tests.web.conftest import Served
from tests.web.reading import START, lines_of, next_event, read
from workflow_server.records import StoredEvent
from workflow_server.web.streaming.event_stream import StreamOptions, pieces, without_qualified_name
from workflow_server.web.streaming.ndjson import NDJSON

# -- Forms -----------------------------------------------------------------------------------------


async def test_ndjson_is_an_envelope_a_line_with_time_and_sequence(served: Served) -> None:
    handler_id = await served.finish("count", n=2)
    status, text = await read(served, handler_id, "sse=false&after_sequence=-1")
    assert status == 200
    assert text.endswith("\n")
    events = lines_of(text)
    assert [event["type"] for event in events] == ["Counted", "Counted", "CountedAll"]
    first = events[0]
    assert first == {
        "value": {"n": 0, "text": ""},
        "type": "Counted",
        "types": None,
        "qualified_name": "tests.web.workflows.Counted",
        "time": first["time"],
        "sequence": first["sequence"],
    }
    assert list(first)[-2:] == ["time", "sequence"]


async def test_the_time_of_each_event_is_within_that_of_its_run(served: Served) -> None:
    handler_id = await served.finish("count", n=2)
    _, handler = await served.get(f"/handlers/{handler_id}")
    times = [event["time"] for event in lines_of((await read(served, handler_id, "sse=false&" + START))[1])]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00", time) for time in times)
    assert times == sorted(times)
    first, last = datetime.fromisoformat(times[0]), datetime.fromisoformat(times[-1])
    started_at, completed_at = (datetime.fromisoformat(handler[name]) for name in ("started_at", "completed_at"))
    assert started_at <= first
    assert abs(last - completed_at) < timedelta(seconds=30)


async def test_sse_is_a_retry_line_and_then_id_data_and_blank_lines(served: Served) -> None:
    handler_id = await served.finish("count", n=2)
    _, ndjson = await read(served, handler_id, "sse=false&" + START)
    status, text = await read(served, handler_id)
    assert status == 200
    assert text.startswith("retry: 1000\nid: ")
    *blocks, end = text.removeprefix("retry: 1000\n").split("\n\n")
    assert end == ""
    read_back = []
    for block in blocks:
        identity, data = block.split("\n")
        read_back.append({**json.loads(data.removeprefix("data: ")), "sequence": int(identity.removeprefix("id: "))})
    assert read_back == lines_of(ndjson)


@pytest.mark.parametrize(
    ("query", "accept", "content_type"),
    [
        ("", "*/*", "text/event-stream"),
        ("", "application/x-ndjson", "application/x-ndjson"),
        ("", "text/event-stream", "text/event-stream"),
        ("", "application/x-ndjson;q=0.5, text/event-stream", "text/event-stream"),
        ("", "text/event-stream;q=0.1,application/x-ndjson;q=0.9", "application/x-ndjson"),
        ("&sse=true", "application/x-ndjson", "text/event-stream"),
        ("&sse=0", "text/event-stream", "application/x-ndjson"),
        ("&sse=False", "*/*", "application/x-ndjson"),
    ],
)
async def test_the_query_decides_the_form_and_accept_where_it_is_silent(
    served: Served, query: str, accept: str, content_type: str
) -> None:
    handler_id = await served.finish("count")
    for method in ("GET", "HEAD"):
        path = f"/events/{handler_id}?{START}{query}"
        async with served.client.request(method, path, headers={"Accept": accept}) as response:
            assert response.headers["Content-Type"] == content_type
            assert response.headers["Cache-Control"] == "no-cache, no-transform"
            assert response.headers["X-Accel-Buffering"] == "no"
            assert "Content-Encoding" not in response.headers


async def test_internal_events_come_only_when_asked_for(served: Served) -> None:
    handler_id = await served.finish("count", n=1)
    everything = lines_of((await read(served, handler_id, "sse=false&" + START))[1])
    plain = lines_of((await read(served, handler_id, "sse=false&after_sequence=-1"))[1])
    assert [event["sequence"] for event in everything] == list(range(len(everything)))
    internal = [event for event in everything if event not in plain]
    assert internal
    assert all("InternalDispatchEvent" in event["types"] for event in internal)


async def test_qualified_names_are_left_out_and_no_lookalikes(served: Served) -> None:
    handler_id = await served.finish("echo", inner={"qualified_name": "x"}, text='"qualified_name":"x"}')
    _, text = await read(served, handler_id, f"sse=false&{START}&include_qualified_name=false")
    events = lines_of(text)
    assert all(event["qualified_name"] is None for event in events)
    assert events[-1]["value"]["result"] == {"inner": {"qualified_name": "x"}, "text": '"qualified_name":"x"}'}


def test_a_qualified_name_is_left_out_wherever_it_stands() -> None:
    data = '{"qualified_name": "a.B", "value": {"qualified_name": "x"}, "type": "B", "types": null}'
    assert json.loads(without_qualified_name(data)) == {**json.loads(data), "qualified_name": None}


@pytest.mark.parametrize("sse", ["true", "false"])
async def test_what_some_readers_take_for_the_end_of_a_line_is_escaped(served: Served, sse: str) -> None:
    said = "a\u2028b\u2029c\x85d\ne\r\x0b\x0c\x1cfä\N{GRINNING FACE}"
    handler_id = await served.finish("count", n=1, text=said)
    _, text = await read(served, handler_id, f"sse={sse}&after_sequence=-1")
    # httpx, which both Python clients use, splits as str.splitlines does.
    found = [line[line.index("{") :] for line in text.splitlines() if "{" in line]
    assert json.loads(found[0])["value"]["text"] == said


@pytest.mark.parametrize(
    "query",
    [
        "sse=yes",
        "include_internal=2",
        "include_qualified_name=",
        "after_sequence=-2",
        "after_sequence=1.5",
        "after_sequence=then",
        "after_sequence=",
        "after_sequence=99999999999999999999",
        "after_sequence=%D9%A1",
        "after_sequence=1&after_sequence=2",
        "acquire_timeout=soon",
        "acquire_timeout=nan",
        "acquire_timeout=inf",
        "acquire_timeout=-1",
        "acquire_timeout=1_0",
        "acquire_timeout=%EF%BC%91",
        "acquire_timeout=1e400",
    ],
)
async def test_a_parameter_that_is_not_understood_is_400_and_names_itself(served: Served, query: str) -> None:
    handler_id = await served.finish("count")
    status, answer = await served.get(f"/events/{handler_id}?{query}")
    assert status == 400
    assert query.partition("=")[0] in answer["detail"]


def test_stored_numbers_that_are_no_json_are_streamed_as_strings() -> None:
    kept = '{"value":{"said":"NaN, -Infinity"},"type":"B"}'
    old = '{"value":{"a":NaN,"b":[-Infinity,"NaN"]},"type":"B"}'
    wanted = StreamOptions(format=NDJSON, include_internal=False, include_qualified_name=True)
    [(data, _)] = pieces([StoredEvent(0, False, kept, 1.5), StoredEvent(1, False, old, None)], wanted)
    assert data.decode().split("\n") == [
        '{"value":{"said":"NaN, -Infinity"},"type":"B","time":"1970-01-01T00:00:01.500000+00:00","sequence":0}',
        '{"value":{"a":"NaN","b":["-Infinity","NaN"]},"type":"B","time":null,"sequence":1}',
        "",
    ]


# -- Cursors ---------------------------------------------------------------------------------------


async def test_a_cursor_brings_each_later_event_once_to_each_reader(served: Served) -> None:
    handler_id = await served.finish("count", n=1_200)
    whole = lines_of((await read(served, handler_id, "sse=false&" + START))[1])
    assert [event["sequence"] for event in whole] == list(range(len(whole)))
    parts = await asyncio.gather(
        *(read(served, handler_id, f"sse=false&include_internal=true&after_sequence={n}") for n in (0, 7, 499, 1_100))
    )
    for after, (_, text) in zip((0, 7, 499, 1_100), parts, strict=True):
        assert lines_of(text) == whole[after + 1 :]


@pytest.mark.parametrize("sse", ["true", "false"])
async def test_without_a_cursor_a_reader_gets_all_of_the_current_run(served: Served, sse: str) -> None:
    handler_id = await served.finish("count", n=2)
    body = {"start_event": {"n": 1, "text": "again"}, "handler_id": handler_id}
    assert (await served.post("/workflows/count/run", json=body))[0] == 200
    _, ndjson = await read(served, handler_id, "sse=false&after_sequence=-1")
    assert [event["value"].get("text") for event in lines_of(ndjson)] == ["again", None]
    _, wanted = await read(served, handler_id, f"sse={sse}&after_sequence=-1")
    for _ in range(2):
        assert await read(served, handler_id, f"sse={sse}") == (200, wanted)


async def test_readers_without_a_cursor_read_side_by_side(served: Served) -> None:
    handler_id = await served.start("ask")
    async with (
        served.client.get(f"/events/{handler_id}?sse=false") as first,
        served.client.get(f"/events/{handler_id}?sse=false") as second,
    ):
        assert (await next_event(first)) == (await next_event(second))


async def test_a_cursor_wins_over_acquire_timeout(served: Served) -> None:
    handler_id = await served.finish("count", n=2)
    assert (await read(served, handler_id, "acquire_timeout=1"))[0] == 200
    for query, headers in (("after_sequence=-1", {}), ("", {"Last-Event-ID": "0"})):
        status, text = await read(served, handler_id, f"acquire_timeout=1&{query}", **headers)
        assert (status, '"type":"CountedAll"' in text) == (200, True)
    assert await read(served, handler_id, "acquire_timeout=1") == (204, "")


async def test_last_event_id_wins_in_sse_and_does_not_count_in_ndjson(served: Served) -> None:
    handler_id = await served.finish("count", n=5)
    _, text = await read(served, handler_id, START, **{"Last-Event-ID": "3"})
    assert "id: 3\n" not in text
    assert "id: 4\n" in text
    _, text = await read(served, handler_id, "sse=false&" + START, **{"Last-Event-ID": "3"})
    assert lines_of(text)[0]["sequence"] == 0


async def test_a_last_event_id_that_is_none_is_400(served: Served) -> None:
    handler_id = await served.finish("count")
    assert (await read(served, handler_id, START, **{"Last-Event-ID": "x"}))[0] == 400


@pytest.mark.parametrize("method", ["after_sequence", "Last-Event-ID", "now"])
async def test_nothing_left_past_the_cursor_of_an_ended_run_is_204(served: Served, method: str) -> None:
    handler_id = await served.finish("count")
    last = lines_of((await read(served, handler_id, "sse=false&" + START))[1])[-1]["sequence"]
    query = {"after_sequence": f"after_sequence={last}", "now": "after_sequence=now", "Last-Event-ID": ""}[method]
    headers = {"Last-Event-ID": str(last)} if method == "Last-Event-ID" else {}
    assert await read(served, handler_id, query, **headers) == (204, "")


async def test_now_brings_only_what_is_published_afterwards(served: Served) -> None:
    handler_id = await served.start("ask")
    async with served.client.get(f"/events/{handler_id}?sse=false&after_sequence=-1") as first:
        asked = await next_event(first)
    async with served.client.get(f"/events/{handler_id}?sse=false&after_sequence=now") as response:
        answer = {"event": {"type": "Answered", "value": {"text": "yes"}}}
        assert (await served.post(f"/events/{handler_id}", json=answer))[0] == 200
        events = lines_of(await response.text())
    assert all(event["sequence"] > asked["sequence"] for event in events)
    assert events[-1]["type"] == "StopEvent"


@pytest.mark.parametrize(
    ("workflow", "terminal"), [("count", "CountedAll"), ("echo", "StopEvent"), ("fail", "WorkflowFailedEvent")]
)
async def test_a_stream_ends_after_the_terminal_event(served: Served, workflow: str, terminal: str) -> None:
    handler_id = await served.finish(workflow)
    for query in (START, "include_internal=false"):
        _, text = await read(served, handler_id, f"sse=false&{query}")
        assert lines_of(text)[-1]["type"] == terminal


async def test_the_stream_of_a_cancelled_run_ends_with_its_terminal_event(served: Served) -> None:
    handler_id = await served.start("ask")
    async with served.client.get(f"/events/{handler_id}?sse=false&after_sequence=-1") as response:
        assert (await next_event(response))["type"] == "Asked"
        await served.post(f"/handlers/{handler_id}/cancel")
        assert lines_of(await response.text())[-1]["type"] == "WorkflowCancelledEvent"


async def test_the_headers_come_before_the_first_event(served: Served) -> None:
    handler_id = await served.start("ask")
    async with served.client.get(f"/events/{handler_id}?sse=false&after_sequence=now") as response:
        assert response.status == 200
