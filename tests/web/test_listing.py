"""GET /handlers: the same JSON, however many handlers there are."""

from __future__ import annotations

import json

import pytest

from tests.web.conftest import Served
from workflow_server.protocol.handlers import HandlerData
from workflow_server.web.listing import PAGE, encoded
from workflow_server.web.writing import WRITE_SIZE


def handler(number: int, error: str | None = None) -> HandlerData:
    return HandlerData(
        handler_id=f"{number:010}",
        workflow_name="w",
        run_id=None,
        error=error,
        result=None,
        status="running",
        started_at="2026-01-01T00:00:00+00:00",
        updated_at=None,
        completed_at=None,
    )


@pytest.mark.parametrize("count", [0, 1, PAGE - 1, PAGE, PAGE + 1, 5 * PAGE])
def test_the_pieces_are_one_json_object_with_every_handler_in_order_and_each_is_bounded(count: int) -> None:
    handlers = [handler(number) for number in range(count)]
    expected = [json.loads(one.model_dump_json()) for one in handlers]
    pieces = list(encoded(handlers))
    assert json.loads(b"".join(pieces)) == {"handlers": expected}
    assert handlers == []
    assert all(piece.count(b'"handler_id"') <= PAGE for piece in pieces)


def test_large_handlers_go_out_one_by_one() -> None:
    pieces = list(encoded([handler(number, "x" * WRITE_SIZE) for number in range(10)]))
    assert len(pieces) == 10
    assert all(len(piece) < 2 * WRITE_SIZE for piece in pieces)


async def test_a_long_list_comes_whole_and_in_order_in_chunks_and_over_http_1_0(served: Served) -> None:
    started = [await served.finish("echo", text="ä" * 40_000) for _ in range(5)]
    async with served.client.get("/handlers") as response:
        assert response.headers["Transfer-Encoding"] == "chunked"
        assert response.content_type == "application/json"
        listed = (await response.json())["handlers"]
    assert [one["handler_id"] for one in listed] == started
    assert all(one["result"]["value"]["result"] == {"text": "ä" * 40_000} for one in listed)
    old = await served.raw(b"GET /handlers HTTP/1.0\r\nHost: localhost\r\n\r\n")
    assert json.loads(old.partition(b"\r\n\r\n")[2])["handlers"] == listed
    async with served.client.head("/handlers") as response:
        assert (response.status, response.content_type, await response.read()) == (200, "application/json", b"")
