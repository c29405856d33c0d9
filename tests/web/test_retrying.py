"""POST /handlers/{id}/retry and POST /bulk/retry: runs that failed or were cancelled go on."""

from __future__ import annotations

from typing import Any

import pytest

from tests.web.conftest import Served


async def retry(served: Served, handler_id: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    options = {} if body is None else {"json": body}
    return await served.post(f"/handlers/{handler_id}/retry", headers=headers, **options)


async def ended(served: Served, handler_id: str) -> tuple[int, Any]:
    """The handler when its run has ended."""
    async with served.client.get(f"/events/{handler_id}?sse=false") as response:
        await response.read()
    return await served.get(f"/handlers/{handler_id}")


async def cancelled(served: Served) -> str:
    """The id of a handler that asks, and was cancelled."""
    handler_id = await served.start("ask")
    assert (await served.post(f"/handlers/{handler_id}/cancel"))[0] == 200
    return handler_id


async def test_a_retry_is_answered_with_the_running_handler(served: Served) -> None:
    handler_id = await cancelled(served)
    before = (await served.get(f"/handlers/{handler_id}"))[1]
    status, handler = await retry(served, handler_id)
    assert (status, handler["status"], handler["handler_id"]) == (200, "running", handler_id)
    assert (handler["error"], handler["completed_at"], handler["tags"]) == (None, None, [])
    assert handler["run_id"] != before["run_id"]
    reply = {"event": {"type": "Answered", "value": {"text": "x"}}}
    status, answer = await served.post(f"/events/{handler_id}", json=reply)
    assert status == 200, answer
    status, handler = await ended(served, handler_id)
    assert (status, handler["result"]["value"]["result"]) == (200, "x")
    assert (await retry(served, handler_id))[0] == 409


async def test_the_history_tells_of_retries_and_forks(served: Served) -> None:
    handler_id = await cancelled(served)
    assert (await retry(served, handler_id, {"from_step": "ask"}))[0] == 200
    assert (await served.post(f"/handlers/{handler_id}/cancel"))[0] == 200
    forked = (await retry(served, handler_id, {"fork": True}))[1]["handler_id"]
    told = {}
    for id_ in (handler_id, forked):
        entries = (await served.get(f"/handlers/{id_}/history"))[1]["history"]
        told[id_] = [(entry["step"], entry["reason"]) for entry in entries if entry["kind"] == "retried"]
    assert told == {handler_id: [("ask", None)], forked: [(None, f"a fork of {handler_id}")]}


async def test_a_repeated_key_gets_the_first_answer(served: Served) -> None:
    handler_id = await cancelled(served)
    first = await retry(served, handler_id, {"tags": ["a"]}, **{"Idempotency-Key": "k"})
    assert first[0] == 200
    assert await retry(served, handler_id, {"tags": ["a"]}, **{"Idempotency-Key": "k"}) == first
    assert (await retry(served, handler_id, {"tags": ["b"]}, **{"Idempotency-Key": "k"}))[0] == 422
    status, handler = await served.get(f"/handlers/{handler_id}")
    assert (status, handler["tags"], handler["run_id"]) == (202, ["a"], first[1]["run_id"])


@pytest.mark.parametrize(
    ("body", "status", "detail"),
    [
        ({"from_step": "nowhere"}, 400, "Workflow 'ask' has no step 'nowhere'. Its steps are: ask."),
        ({"from_step": 1}, 400, "The body is not valid. 'from_step'"),
        ({"fork": "maybe"}, 400, "The body is not valid. 'fork'"),
        ({"handler_id": "mine"}, 400, "The body has a 'handler_id', but not 'fork': true."),
        ({"fork": True, "handler_id": "mine"}, 400, "This server does not accept a 'handler_id' for new handlers."),
        ({"step": "ask"}, 400, "The body is not valid. 'step': unknown key"),
        ([], 400, "The body must be a JSON object"),
    ],
)
async def test_what_is_not_valid_is_refused(served: Served, body: Any, status: int, detail: str) -> None:
    handler_id = await cancelled(served)
    before = await served.get(f"/handlers/{handler_id}")
    answer = await retry(served, handler_id, body)
    assert (answer[0], answer[1]["detail"][: len(detail)]) == (status, detail)
    assert await served.get(f"/handlers/{handler_id}") == before


async def test_a_run_that_is_running_or_completed_is_409(served: Served) -> None:
    running, done = await served.start("ask"), await served.finish("echo", text="x")
    assert await retry(served, running) == (
        409,
        {"detail": f"Handler '{running}' is still running: a run can be retried when it failed or was cancelled."},
    )
    status, answer = await retry(served, done)
    assert (status, answer["detail"].startswith(f"Handler '{done}' has completed:")) == (409, True)
    assert (await retry(served, "unknown"))[0] == 404


# -- Many ------------------------------------------------------------------------------------------


async def bulk(served: Served, query: str) -> dict[str, Any]:
    answer: dict[str, Any]
    status, answer = await served.post(f"/bulk/retry?{query}")
    assert status == 200, answer
    return answer


async def test_the_runs_that_match_are_retried(served: Served) -> None:
    failed = [await served.finish("fail") for _ in range(2)]
    stopped = [await cancelled(served) for _ in range(2)]
    await served.finish("echo", text="x")
    nothing = {"status": "retried", "dry_run": False, "handler_ids": [], "refused": [], "next_cursor": None}
    assert await bulk(served, "workflow_name=echo") == nothing
    # Nobody asked for those that somebody had cancelled.
    assert await bulk(served, "workflow_name=ask") == nothing
    dry = await bulk(served, "workflow_name=ask&status=cancelled&dry_run=true")
    assert dry == nothing | {"dry_run": True, "handler_ids": stopped}
    assert await bulk(served, "workflow_name=ask&status=cancelled") == nothing | {"handler_ids": stopped}
    for handler_id in stopped:
        assert (await served.get(f"/handlers/{handler_id}"))[0] == 202
    assert (await bulk(served, "workflow_name=fail"))["handler_ids"] == failed
    for handler_id in failed:
        await ended(served, handler_id)
    page = await bulk(served, "workflow_name=fail&fork=true&limit=1")
    assert page["next_cursor"] is not None
    assert page["handler_ids"] != failed[:1]


async def test_those_that_cannot_be_retried_are_told(served: Served) -> None:
    failed = await served.finish("fail")
    answer = await bulk(served, "status=failed&from_step=other")
    assert answer["handler_ids"] == []
    (refused,) = answer["refused"]
    assert (refused["handler_id"], "no step 'other'" in refused["detail"]) == (failed, True)


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("", "Say which handlers: add at least one of status,"),
        ("from_step=ask", "Say which handlers"),
        ("workflow_name=", "Invalid workflow_name: expected a value"),
        ("status=running", "Invalid status: expected failed or cancelled"),
        ("status=failed&status=completed", "Invalid status: expected failed or cancelled"),
        ("status=failed&fork=perhaps", "Invalid fork"),
        ("status=failed&limit=0", "Invalid limit"),
        ("status=failed&cursor=x", "Invalid cursor"),
        ("status=failed&running=true", "Unknown query parameter"),
    ],
)
async def test_what_is_not_said_clearly_is_refused(served: Served, query: str, detail: str) -> None:
    await cancelled(served)
    status, answer = await served.post(f"/bulk/retry?{query}")
    assert (status, answer["detail"].startswith(detail)) == (400, True), answer
