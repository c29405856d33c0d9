"""The routes of the handlers: how they stand, what is sent to them, and ending them."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

import pytest

from tests.harness.api import DETAILS
from tests.web.conftest import Served

ANSWER = {"event": {"type": "Answered", "value": {"text": "yes"}}}


async def test_a_handler_is_202_running_and_200_completed(served: Served) -> None:
    running = await served.start("ask")
    completed = await served.finish("echo")
    assert [(await served.get(f"/handlers/{handler_id}"))[0] for handler_id in (running, completed)] == [202, 200]


async def test_a_handler_tells_what_its_run_waits_for(served: Served) -> None:
    handler_id = await served.start("ask")
    async with asyncio.timeout(20):
        while not (told := (await served.get(f"/handlers/{handler_id}"))[1])["waiting_for"]:  # noqa: ASYNC110 runs have no event
            await asyncio.sleep(0.005)
    wait: dict[str, Any] = {"step": "ask", "event": "Answered", "requirements": {}, "question": None, "deadline": None}
    [since] = [each.pop("since") for each in told["waiting_for"]]
    assert datetime.fromisoformat(since) >= datetime.fromisoformat(told["started_at"])
    assert told["waiting_for"] == [{**wait, "prompt": None}]
    assert (told["running_steps"], told["retrying_steps"], told["stalled"]) == ([], [], False)
    _, listed = await served.get("/handlers")
    _, started = await served.post("/workflows/ask/run-nowait")
    assert set(told) - set(listed["handlers"][0]) == set(told) - set(started) == set(DETAILS)
    await served.post(f"/handlers/{handler_id}/cancel")
    _, told = await served.get(f"/handlers/{handler_id}")
    assert [told[key] for key in DETAILS] == [[], [], [], False]


async def test_a_failed_or_cancelled_handler_is_500_with_it_as_body(served: Served) -> None:
    failed = await served.finish("fail")
    cancelled = await served.start("ask")
    await served.post(f"/handlers/{cancelled}/cancel")
    for handler_id, expected in ((failed, "failed"), (cancelled, "cancelled")):
        status, handler = await served.get(f"/handlers/{handler_id}")
        assert (status, handler["status"], handler["handler_id"]) == (500, expected, handler_id)


async def test_run_status_false_is_200_whatever_became_of_it(served: Served) -> None:
    running = await served.start("ask")
    ended = [await served.finish(name) for name in ("echo", "fail")]
    found = [await served.get(f"/handlers/{handler_id}?run_status=false") for handler_id in (running, *ended)]
    told = [(status, handler["status"]) for status, handler in found]
    assert told == [(200, "running"), (200, "completed"), (200, "failed")]
    assert found[-1][1] == (await served.get(f"/handlers/{ended[-1]}"))[1]
    assert (await served.get("/handlers/nothing?run_status=false"))[0] == 404
    assert (await served.get(f"/handlers/{running}?run_status=no"))[0] == 400


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/handlers/nothing"),
        ("GET", "/results/nothing"),
        ("GET", "/events/nothing"),
        ("HEAD", "/events/nothing"),
        ("GET", "/events/nothing?after_sequence=-1"),
        ("POST", "/events/nothing"),
        ("POST", "/handlers/nothing/cancel"),
        ("POST", "/handlers/nothing/cancel?purge=true"),
        ("GET", "/handlers/%ED%A0%80"),
        ("GET", "/handlers/%00%FF"),
        ("GET", "/handlers/a%2Fb"),
    ],
)
async def test_an_unknown_handler_is_404(served: Served, method: str, path: str) -> None:
    body = ANSWER if path.startswith("/events") and method == "POST" else None
    async with served.client.request(method, path, json=body) as response:
        assert response.status == 404
        if method != "HEAD":
            assert (await response.json())["detail"]


async def test_the_deprecated_result_of_a_plain_stop_event_is_plain(served: Served) -> None:
    handler_id = await served.finish("echo", word="hi")
    async with served.client.get(f"/results/{handler_id}") as response:
        assert response.status == 200
        assert response.headers["Deprecation"] == "true"
        assert (await response.json())["result"] == {"word": "hi"}


async def test_the_deprecated_result_has_the_fields_of_its_own_class(served: Served) -> None:
    handler_id = await served.finish("count", n=2)
    status, handler = await served.get(f"/results/{handler_id}")
    assert (status, handler["result"], handler["status"]) == (200, {"total": 2}, "completed")


async def test_the_deprecated_result_of_another_status_has_that(served: Served) -> None:
    running = await served.start("ask")
    failed = await served.finish("fail")
    status, handler = await served.get(f"/results/{running}")
    assert (status, handler["result"]) == (202, None)
    assert (await served.get(f"/results/{failed}"))[0] == 500


async def test_handlers_are_filtered_by_status_and_workflow(served: Served) -> None:
    running = await served.start("ask")
    failed = await served.finish("fail")
    completed = await served.finish("echo")

    async def listed(query: str) -> list[str]:
        status, answer = await served.get(f"/handlers{query}")
        assert status == 200
        return [handler["handler_id"] for handler in answer["handlers"]]

    assert await listed("") == [running, failed, completed]
    assert await listed("?status=running") == [running]
    assert await listed("?status=failed&status=completed") == [failed, completed]
    assert await listed("?workflow_name=echo&workflow_name=ask") == [running, completed]
    assert await listed("?workflow_name=echo&status=running") == []
    assert await listed("?workflow_name=none") == []
    # What the Python clients send where there is no filter.
    assert await listed("?status=&workflow_name=") == [running, failed, completed]


async def test_an_unknown_status_is_400_and_lists_the_known_ones(served: Served) -> None:
    status, answer = await served.get("/handlers?status=running&status=idle")
    assert status == 400
    for word in ("status", "running", "completed", "failed", "cancelled"):
        assert word in answer["detail"]
    assert "idle" not in answer["detail"]


@pytest.mark.parametrize(
    "event",
    [
        {"type": "Answered", "value": {"text": "yes"}},
        {"type": "Answered", "data": {"text": "yes"}},
        {"qualified_name": "tests.web.workflows.Answered", "value": {"text": "yes"}},
        '{"type": "Answered", "value": {"text": "yes"}}',
    ],
)
async def test_an_event_may_be_written_in_every_way_of_the_contract(served: Served, event: object) -> None:
    handler_id = await served.start("ask")
    assert await served.post(f"/events/{handler_id}", json={"event": event}) == (200, {"status": "sent"})
    async with served.client.get(f"/events/{handler_id}?after_sequence=-1") as response:
        await response.read()
    _, handler = await served.get(f"/handlers/{handler_id}")
    assert handler["result"]["value"]["result"] == "yes"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, ["event"]),
        ({"event": None}, ["event"]),
        ({"event": []}, ["event"]),
        ({"event": "{"}, ["event", "JSON"]),
        ({"event": '{"type": "Answered", "value": {"text": "\\ud800"}}'}, ["event", "surrogate"]),
        ({"event": {"type": "Nothing", "value": {}}}, ["Nothing", "Answered"]),
        ({"event": {"value": {}}}, ["type"]),
        ({"event": {"type": "Answered", "value": {}}}, ["text"]),
        ({"event": {"type": "Answered", "value": {"text": "yes"}}, "step": "nostep"}, ["nostep", "ask"]),
        ({"event": {"type": "Answered", "value": {"text": "yes"}}, "step": 1}, ["step"]),
    ],
)
async def test_an_event_that_the_run_does_not_take_is_400_and_says_why(
    served: Served, body: object, words: list[str]
) -> None:
    handler_id = await served.start("ask")
    status, answer = await served.post(f"/events/{handler_id}", json=body)
    assert status == 400
    for word in words:
        assert word in answer["detail"]
    assert (await served.get(f"/handlers/{handler_id}"))[1]["status"] == "running"


async def test_an_event_for_a_run_that_has_ended_is_409(served: Served) -> None:
    handler_id = await served.start("ask")
    await served.post(f"/handlers/{handler_id}/cancel")
    status, answer = await served.post(f"/events/{handler_id}", json=ANSWER)
    assert status == 409
    assert "cancelled" in answer["detail"]


async def test_an_event_sent_again_under_its_key_is_sent_once(served: Served) -> None:
    handler_id = await served.start("ask")
    for _ in range(2):
        status, answer = await served.post(f"/events/{handler_id}", json=ANSWER, headers={"Idempotency-Key": "a1"})
        assert (status, answer) == (200, {"status": "sent"})
    other = {"event": {"type": "Answered", "value": {"text": "no"}}}
    status, _ = await served.post(f"/events/{handler_id}", json=other, headers={"Idempotency-Key": "a1"})
    assert status == 422


async def test_cancel_ends_the_run_and_keeps_the_handler(served: Served) -> None:
    handler_id = await served.start("ask")
    assert await served.post(f"/handlers/{handler_id}/cancel") == (200, {"status": "cancelled"})
    assert (await served.get(f"/handlers/{handler_id}"))[1]["status"] == "cancelled"


async def test_cancelling_what_does_not_run_is_404_without_purge(served: Served) -> None:
    handler_id = await served.finish("echo")
    status, answer = await served.post(f"/handlers/{handler_id}/cancel?purge=false")
    assert status == 404
    assert "not running" in answer["detail"]


@pytest.mark.parametrize("purge", ["true", "1", "TRUE"])
async def test_purge_deletes_the_handler_whether_it_runs_or_not(served: Served, purge: str) -> None:
    for handler_id in (await served.start("ask"), await served.finish("echo")):
        assert await served.post(f"/handlers/{handler_id}/cancel?purge={purge}") == (200, {"status": "deleted"})
        assert (await served.get(f"/handlers/{handler_id}"))[0] == 404
        assert (await served.get(f"/events/{handler_id}?after_sequence=-1"))[0] == 404


async def test_a_purge_that_is_no_boolean_is_400_and_deletes_nothing(served: Served) -> None:
    handler_id = await served.start("ask")
    status, answer = await served.post(f"/handlers/{handler_id}/cancel?purge=yes")
    assert status == 400
    assert "purge" in answer["detail"]
    assert (await served.get(f"/handlers/{handler_id}"))[1]["status"] == "running"
