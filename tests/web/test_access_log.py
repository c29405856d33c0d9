"""The access log: one line for each request, of which a client can write nothing but names, cut and quoted."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from tests.harness.waiting import until
from tests.web.conftest import Serve, Served
from workflow_server.logs import FORMAT, JsonFormatter, OneLineFormatter

CANARY = "canary-7f3"
TOKEN = f"a-token-that-may-do-all-{CANARY}"
READ_TOKEN = f"a-token-that-may-only-read-{CANARY}"

Logged = pytest.LogCaptureFixture


@pytest.fixture
def caplog(caplog: Logged) -> Logged:
    """The records of the access log."""
    caplog.set_level(logging.INFO, "workflow_server.access")
    return caplog


def lines(caplog: Logged) -> list[str]:
    """The records as text: a record is one line."""
    found = [OneLineFormatter(FORMAT).format(record) for record in records(caplog)]
    assert not any(character in line for line in found for character in "\n\r\x1b\u2028\x85")
    return [line.partition(": ")[2] for line in found]


def records(caplog: Logged) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.name == "workflow_server.access"]


def fields(caplog: Logged) -> list[dict[str, Any]]:
    return [json.loads(JsonFormatter().format(record)) for record in records(caplog)]


async def test_by_default_no_request_is_logged(served: Served, caplog: Logged) -> None:
    await served.finish("echo")
    assert not records(caplog)


async def test_each_request_is_one_record_with_what_it_asked_and_got(serve: Serve, caplog: Logged) -> None:
    served = await serve(access_log=True)
    handler_id = await served.finish("count", n=3)
    async with served.client.get(f"/events/{handler_id}?after_sequence=-1&acquire_timeout=1") as response:
        body = await response.read()
    await served.get("/handlers/nothing")
    await served.get("/health")
    await until(lambda: len(records(caplog)) == 4, "each request is logged when it is over")

    run, stream, unknown, health = fields(caplog)
    assert (run["method"], run["path"], run["status"]) == ("POST", "/workflows/{name}/run", 200)
    assert (run["workflow"], run["handler_id"]) == ("count", handler_id)
    assert (run["level"], run["remote"]) == ("INFO", "127.0.0.1")
    assert (stream["path"], stream["handler_id"], stream["status"]) == ("/events/{handler_id}", handler_id, 200)
    assert stream["bytes"] > len(body) > 0
    assert unknown["status"] == 404
    assert health["duration_ms"] >= 0
    assert len({record["request_id"] for record in fields(caplog)}) == 4
    assert "token" not in run
    first = lines(caplog)[0]
    assert first.startswith("POST /workflows/{name}/run 200 ")
    assert f' workflow="count" handler="{handler_id}" from="127.0.0.1" request="' in first


async def test_a_token_is_logged_by_its_name_alone(serve: Serve, caplog: Logged) -> None:
    served = await serve(access_log=True, tokens=(TOKEN,), read_tokens=(READ_TOKEN,))
    for token in (TOKEN, READ_TOKEN, f"wrong-{CANARY}"):
        await served.get("/workflows", headers={"Authorization": f"Bearer {token}"})
    await until(lambda: len(records(caplog)) == 3, "each request is logged when it is over")
    assert [(one["status"], one.get("token")) for one in fields(caplog)] == [
        (200, "write 0"),
        (200, "read 0"),
        (401, None),
    ]
    assert CANARY not in caplog.text


HOSTILE = '%0A2026-01-01 00:00:00,000 INFO workflow_server.access: GET x 200%1b[2J%E2%80%A8%22 token="write 0"'


async def test_no_path_header_query_or_body_forges_a_line(serve: Serve, caplog: Logged) -> None:
    served = await serve(access_log=True)
    path = HOSTILE.replace(" ", "%20").encode()
    requests = [
        b"GET /handlers/" + path + b" HTTP/1.1\r\nHost: localhost\r\n",
        b"GET /" + CANARY.encode() + path + b" HTTP/1.1\r\nHost: localhost\r\n",
        b"GET /handlers/" + b"x" * 5_000 + b" HTTP/1.1\r\nHost: localhost\r\n",
        b"GET /handlers/x?q="
        + CANARY.encode()
        + b" HTTP/1.1\r\nHost: localhost\r\nUser-Agent: "
        + CANARY.encode()
        + b"\r\n",
        b"X" * 500 + b" /health HTTP/1.1\r\nHost: localhost\r\n",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Bad: " + CANARY.encode() + b"\x00\r\n",
    ]
    for request in requests:
        await served.raw(request + b"Connection: close\r\n\r\n")
    await until(lambda: len(records(caplog)) == len(requests), "each request is logged when it is over")
    assert CANARY not in caplog.text
    hostile, unknown, long, _, method, invalid = lines(caplog)
    assert hostile.startswith("GET /handlers/{handler_id} 404 ")
    assert r'handler="\n2026-01-01' in hostile
    assert r'\u2028\" token=\"write 0\"" from=' in hostile
    assert unknown.startswith("GET an unknown path 404 ")
    assert f'handler="{"x" * 128}"' in long
    for line in (method, invalid):
        assert line.startswith("UNKNOWN an unknown path 400 ")
