"""Bodies are bounded, read in time, and JSON objects; what is refused changed nothing."""

from __future__ import annotations

import asyncio
import gzip
import json

import pytest

from tests.web.conftest import JSON_TYPE, Serve, Served
from workflow_server.web import bodies

RUN = "/workflows/echo/run"


@pytest.mark.parametrize("body", [b"[]", b'"text"', b"1", b"null", b"true", b"[1, 2]"])
async def test_a_body_that_is_no_object_is_400(served: Served, body: bytes) -> None:
    for path in (RUN, "/events/nothing"):
        status, answer = await served.post(path, data=body, headers=JSON_TYPE)
        assert status == 400
        assert "object" in answer["detail"]


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"\xff",
        b'{"start_event": {"x": NaN}}',
        b'{"start_event": {"x": 18446744073709551616}}',
        b'{"start_event": {"x": "\\ud800"}}',
        b'{"start_event": {"x": 1, "x": 2}}',
        b'{"start_event":' + b"[" * 1_000 + b"]" * 1_000 + b"}",
    ],
)
async def test_a_body_that_is_no_strict_json_is_400_and_starts_nothing(served: Served, body: bytes) -> None:
    status, answer = await served.post(RUN, data=body, headers=JSON_TYPE)
    assert status == 400
    assert "The body" in answer["detail"]
    assert await served.get("/handlers") == (200, {"handlers": []})


async def test_a_key_that_the_body_does_not_have_is_400_and_starts_nothing(served: Served) -> None:
    status, answer = await served.post(RUN, json={"name": "Ada"})
    assert status == 400
    assert "'name': unknown key; put the fields of an event inside 'start_event'" in answer["detail"]
    status, answer = await served.post("/events/nothing", json={"event": {"type": "X"}, "stepp": "a"})
    assert status == 400
    assert "'stepp': unknown key; put the fields of an event inside 'event'" in answer["detail"]
    assert await served.get("/handlers") == (200, {"handlers": []})


async def test_of_many_unknown_keys_the_first_are_named_and_cut(served: Served) -> None:
    keys = {"k" * 100_000: 1, "new\nline": 1, **{str(number): 1 for number in range(60_000)}}
    status, answer = await served.post(RUN, json=keys)
    assert status == 400
    assert len(answer["detail"]) < 1_000
    assert r"new\nline" in answer["detail"] and "'7'" in answer["detail"]  # noqa: PT018
    assert "'8'" not in answer["detail"]


async def test_a_body_up_to_the_limit_is_read_and_one_byte_more_is_413(serve: Serve) -> None:
    served = await serve(max_body=2_000)
    body = json.dumps({"start_event": {"x": ""}})
    full = body.replace('""', '"' + "x" * (2_000 - len(body)) + '"')
    assert len(full) == 2_000
    assert (await served.post(RUN, data=full, headers=JSON_TYPE))[0] == 200
    status, answer = await served.post(RUN, data=full + " ", headers=JSON_TYPE)
    assert status == 413
    assert "2000" in answer["detail"]


async def test_a_body_that_announces_too_many_bytes_is_413_at_once(serve: Serve) -> None:
    served = await serve(max_body=2_000)
    head = b"POST /workflows/echo/run HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(head + b"Content-Length: 2001\r\n\r\n")
    assert (await asyncio.wait_for(reader.readline(), 20)).split()[1] == b"413"
    writer.close()


async def test_a_chunked_body_past_the_limit_is_not_read_to_its_end(serve: Serve) -> None:
    served = await serve(max_body=2_000)
    head = b"POST /workflows/echo/run HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(head + b"Transfer-Encoding: chunked\r\n\r\n1000\r\n" + b" " * 4_096 + b"\r\n")
    assert (await asyncio.wait_for(reader.readline(), 30)).split()[1] == b"413"
    writer.close()


async def test_a_body_that_does_not_arrive_in_time_is_408(serve: Serve) -> None:
    served = await serve(body_timeout=0.05)
    head = b"POST /workflows/echo/run HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(head + b"Content-Length: 10\r\n\r\n{")
    assert (await asyncio.wait_for(reader.readline(), 30)).split()[1] == b"408"
    writer.close()


SLOW = (
    b"POST /workflows/echo/run HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n"
    b"Content-Length: 40\r\n\r\n"
)


async def test_a_body_that_comes_slower_than_its_pace_is_408_early(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "PATIENCE", 0.1)
    served = await serve(body_timeout=3_600)
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(SLOW + b"{")
    answered = asyncio.create_task(reader.readline())
    for _ in range(38):
        writer.write(b" ")
        await asyncio.wait([answered], timeout=0.02)
    assert (await asyncio.wait_for(answered, 30)).split()[1] == b"408"
    writer.close()


async def test_a_body_that_keeps_its_pace_has_more_time_than_at_first(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "PATIENCE", 0.4)
    monkeypatch.setattr(bodies, "PACE", 1)
    served = await serve()
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(SLOW + b"{")
    # The pauses are what is tested: all together, they are longer than a body has at first.
    for _ in range(6):
        await asyncio.sleep(0.1)
        writer.write(b" " * 6)
    writer.write(b"  }")
    assert (await asyncio.wait_for(reader.readline(), 30)).split()[1] == b"200"
    writer.close()


async def test_a_body_that_stops_coming_is_408_however_much_of_it_has_come(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "PATIENCE", 0.1)
    monkeypatch.setattr(bodies, "PACE", 1 / 3_600)
    served = await serve(body_timeout=3_600)
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(SLOW + b"{" + b" " * 30)
    assert (await asyncio.wait_for(reader.readline(), 30)).split()[1] == b"408"
    writer.close()


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "", "application/jsonp"])
async def test_a_body_not_declared_as_json_is_415_and_starts_nothing(served: Served, content_type: str) -> None:
    status, answer = await served.post(RUN, data=b"{}", headers={"Content-Type": content_type})
    assert status == 415
    assert "application/json" in answer["detail"]
    assert await served.get("/handlers") == (200, {"handlers": []})


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", 'APPLICATION/JSON;charset="UTF-8"'])
async def test_json_may_name_its_charset(served: Served, content_type: str) -> None:
    assert (await served.post(RUN, data=b"{}", headers={"Content-Type": content_type}))[0] == 200


async def test_another_charset_is_400(served: Served) -> None:
    status, answer = await served.post(RUN, data=b"{}", headers={"Content-Type": "application/json; charset=nope"})
    assert status == 400
    assert "charset" in answer["detail"]


@pytest.mark.parametrize("path", [RUN, "/events/nothing", "/handlers/nothing/cancel"])
async def test_a_compressed_body_is_415(served: Served, path: str) -> None:
    headers = {**JSON_TYPE, "Content-Encoding": "gzip"}
    status, answer = await served.post(path, data=gzip.compress(b"{}"), headers=headers)
    assert status == 415
    assert "Content-Encoding" in answer["detail"]


@pytest.mark.parametrize(
    ("lines", "status", "word"),
    [
        (b"Content-Encoding: identity\r\nContent-Encoding: gzip\r\n", b"415", "Content-Encoding"),
        (b"Content-Encoding: identity, deflate\r\n", b"415", "Content-Encoding"),
        (b"Content-Type: text/plain\r\n", b"400", "not valid HTTP"),
        (b"Content-Type: application/json\r\n", b"400", "not valid HTTP"),
    ],
)
async def test_every_value_of_a_header_that_comes_several_times_counts(
    served: Served, lines: bytes, status: bytes, word: str
) -> None:
    head = b"POST /workflows/echo/run HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    answer = await served.raw(head + b"Content-Type: application/json\r\nContent-Length: 2\r\n" + lines + b"\r\n{}")
    assert answer.split()[1] == status
    assert word in json.loads(answer.partition(b"\r\n\r\n")[2])["detail"]
    assert await served.get("/handlers") == (200, {"handlers": []})


@pytest.mark.parametrize("coding", [b"gzip, chunked", b"identity, chunked", b"chunked, chunked", b"chunked;q=1"])
async def test_a_transfer_encoding_other_than_chunked_is_refused_in_json(served: Served, coding: bytes) -> None:
    head = b"POST /workflows/echo/run HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    answer = await served.raw(
        head + b"Content-Type: application/json\r\nTransfer-Encoding: " + coding + b"\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    )
    assert answer.split()[1] in (b"400", b"415")
    assert "detail" in json.loads(answer.partition(b"\r\n\r\n")[2])
    assert await served.get("/handlers") == (200, {"handlers": []})


async def test_a_chunked_body_is_read(served: Served) -> None:
    head = b"POST /workflows/echo/run HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    answer = await served.raw(
        head + b"Content-Type: application/json\r\nTransfer-Encoding: Chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    )
    assert answer.split()[1] == b"200"
