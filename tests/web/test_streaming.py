"""GET /events/{id}: what comes, in which form, to whom, and how it ends."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import closing
from typing import Any

import pytest
from aiohttp import ClientPayloadError, ClientResponse

from tests.web.conftest import Serve, Served

START = "after_sequence=-1&include_internal=true"


def lines_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.split("\n") if line]


async def read(served: Served, handler_id: str, query: str = START, **headers: str) -> tuple[int, str]:
    async with served.client.get(f"/events/{handler_id}?{query}", headers=headers) as response:
        return response.status, await response.text()


async def next_event(response: ClientResponse) -> dict[str, Any]:
    """The next event of an NDJSON stream."""
    while True:
        line = await asyncio.wait_for(response.content.readline(), 30)
        assert line, "the stream ended"
        if line.strip():
            event: dict[str, Any] = json.loads(line)
            return event


# -- Forms -----------------------------------------------------------------------------------------


async def test_ndjson_is_an_envelope_a_line_with_its_sequence(served: Served) -> None:
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
        "sequence": first["sequence"],
    }


async def test_sse_is_one_retry_and_then_id_data_and_a_blank_line_an_event(served: Served) -> None:
    handler_id = await served.finish("count", n=2)
    _, ndjson = await read(served, handler_id, "sse=false&" + START)
    status, text = await read(served, handler_id)
    assert status == 200
    retry, *blocks, end = text.split("\n\n")
    assert retry == "retry: 1000"
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


async def test_qualified_names_can_be_left_out(served: Served) -> None:
    handler_id = await served.finish("count", n=1, text='"qualified_name":"x"}')
    _, text = await read(served, handler_id, f"sse=false&{START}&include_qualified_name=false")
    events = lines_of(text)
    assert all(event["qualified_name"] is None for event in events)
    assert '"qualified_name":"x"}' in {event["value"].get("text") for event in events}


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
    ],
)
async def test_a_parameter_that_is_not_understood_is_400_and_names_itself(served: Served, query: str) -> None:
    handler_id = await served.finish("count")
    status, answer = await served.get(f"/events/{handler_id}?{query}")
    assert status == 400
    assert query.partition("=")[0] in answer["detail"]


# -- Cursors ---------------------------------------------------------------------------------------


async def test_a_cursor_brings_every_later_event_once_in_order_to_any_number_of_readers(served: Served) -> None:
    handler_id = await served.finish("count", n=1_200)
    whole = lines_of((await read(served, handler_id, "sse=false&" + START))[1])
    assert [event["sequence"] for event in whole] == list(range(len(whole)))
    parts = await asyncio.gather(
        *(read(served, handler_id, f"sse=false&include_internal=true&after_sequence={n}") for n in (0, 7, 499, 1_100))
    )
    for after, (_, text) in zip((0, 7, 499, 1_100), parts, strict=True):
        assert lines_of(text) == whole[after + 1 :]


async def test_last_event_id_wins_over_after_sequence_in_sse_and_does_not_count_in_ndjson(served: Served) -> None:
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


# -- The shared queue ------------------------------------------------------------------------------


async def test_each_event_of_the_shared_queue_goes_to_one_reader(served: Served) -> None:
    handler_id = await served.finish("count", n=3)
    first = lines_of((await read(served, handler_id, "sse=false"))[1])
    assert [event["type"] for event in first] == ["Counted"] * 3 + ["CountedAll"]
    assert await read(served, handler_id, "sse=false") == (204, "")


async def test_a_second_reader_of_the_shared_queue_is_409(served: Served) -> None:
    handler_id = await served.start("ask")
    async with served.client.get(f"/events/{handler_id}?sse=false"):
        for timeout in ("0", "0.05"):
            status, answer = await served.get(f"/events/{handler_id}?acquire_timeout={timeout}")
            assert status == 409
            assert "after_sequence" in answer["detail"]
        async with served.client.get(f"/events/{handler_id}?after_sequence=-1") as independent:
            assert independent.status == 200


async def test_a_shared_queue_that_is_free_is_taken_without_any_waiting(served: Served) -> None:
    handler_id = await served.finish("count")
    assert (await read(served, handler_id, "acquire_timeout=0"))[0] == 200


async def test_a_reader_that_left_an_idle_queue_frees_it_long_before_the_next_heartbeat(serve: Serve) -> None:
    served = await serve(heartbeat=3_600)
    handler_id = await served.start("ask")
    async with served.client.get(f"/events/{handler_id}?sse=false") as first:
        assert (await next_event(first))["type"] == "Asked"
    async with served.client.get(f"/events/{handler_id}?acquire_timeout=30") as second:
        assert second.status == 200


async def test_a_reader_that_left_while_it_waited_for_the_queue_does_not_get_it(serve: Serve) -> None:
    served = await serve(heartbeat=3_600, max_streams=2)
    handler_id = await served.start("ask")
    async with served.client.get(f"/events/{handler_id}?sse=false") as holder:
        assert (await next_event(holder))["type"] == "Asked"
        _, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(f"GET /events/{handler_id}?acquire_timeout=3000 HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        # Once the second place is taken, a third stream is refused; once its reader has left, it is not.
        while await status_of_a_third(served, handler_id) != 429:
            pass
        writer.close()
        while await status_of_a_third(served, handler_id) == 429:
            pass


async def status_of_a_third(served: Served, handler_id: str) -> int:
    async with served.client.get(f"/events/{handler_id}?sse=false&acquire_timeout=0") as response:
        return response.status


# -- Bounds ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("sse", "heartbeat"), [("true", b": heartbeat\n\n"), ("false", b"\n")])
async def test_an_idle_stream_has_heartbeats(serve: Serve, sse: str, heartbeat: bytes) -> None:
    served = await serve(heartbeat=0.02)
    handler_id = await served.start("ask")
    async with served.client.get(f"/events/{handler_id}?sse={sse}&after_sequence=-1") as response:
        await asyncio.wait_for(response.content.readuntil(b"}\n\n" if sse == "true" else b"}\n"), 30)
        assert await asyncio.wait_for(response.content.readexactly(3 * len(heartbeat)), 30) == 3 * heartbeat


async def test_more_streams_than_allowed_are_429_and_a_place_is_free_again_when_one_ends(serve: Serve) -> None:
    served = await serve(max_streams=1)
    handler_id = await served.start("ask")
    done = await served.finish("count")
    async with served.client.get(f"/events/{handler_id}?sse=false&after_sequence=-1") as response:
        assert (await next_event(response))["type"] == "Asked"
        status, answer = await served.get(f"/events/{done}?{START}")
        assert status == 429
        assert "streams" in answer["detail"]
        await served.post(f"/handlers/{handler_id}/cancel")
        await response.read()
    assert (await read(served, done))[0] == 200


async def test_a_reader_that_does_not_read_is_cut_off_and_loses_nothing(serve: Serve) -> None:
    served = await serve(write_timeout=0.2, send_buffer=4_096)
    handler_id = await served.finish("count", n=2_000, text="x" * 2_000)
    path = f"/events/{handler_id}?sse=false&include_internal=true"
    with closing(socket.socket()) as stalled:
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        stalled.connect(("127.0.0.1", served.port))
        stalled.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert await asyncio.to_thread(stalled.recv, 1) == b"H"
        # Only a holder that was cut off lets the queue go: it would hold it until it has read everything.
        async with served.client.get(f"{path}&acquire_timeout=60") as second:
            assert second.status == 200
            rest = lines_of(await second.text())
    numbers = [event["sequence"] for event in rest]
    assert numbers == list(range(numbers[0], numbers[-1] + 1))
    assert numbers[0] < 2_000
    assert rest[-1]["type"] == "CountedAll"


# -- Stopping --------------------------------------------------------------------------------------


async def test_a_stop_breaks_the_stream_off_so_that_no_client_takes_it_for_the_end(serve: Serve, tmp_path: Any) -> None:
    first = await serve(db=tmp_path / "runs.sqlite3")
    handler_id = await first.start("ask")
    async with first.client.get(f"/events/{handler_id}?sse=false&after_sequence=-1") as response:
        asked = await next_event(response)
        await first.runner.cleanup()
        with pytest.raises(ClientPayloadError):
            await response.read()
    second = await serve(db=tmp_path / "runs.sqlite3")
    query = f"sse=false&after_sequence={asked['sequence']}"
    async with second.client.get(f"/events/{handler_id}?{query}") as response:
        answer = {"event": {"type": "Answered", "value": {"text": "yes"}}}
        assert (await second.post(f"/events/{handler_id}", json=answer))[0] == 200
        events = lines_of(await response.text())
    assert all(event["sequence"] > asked["sequence"] for event in events)
    assert events[-1]["type"] == "StopEvent"
