"""POST /bulk/cancel: many handlers are cancelled or deleted by the filters of lists."""

from __future__ import annotations

from typing import Any

import pytest

from tests.web.conftest import Served


async def statuses(served: Served) -> dict[str, str]:
    """The status of each handler that there is."""
    return {one["handler_id"]: one["status"] for one in (await served.get("/handlers"))[1]["handlers"]}


async def cancel(served: Served, query: str) -> dict[str, Any]:
    answer: dict[str, Any]
    status, answer = await served.post(f"/bulk/cancel?{query}")
    assert status == 200, answer
    return answer


async def test_the_running_handlers_that_match_are_cancelled(served: Served) -> None:
    done = await served.finish("echo", text="x")
    waiting = [await served.start("ask") for _ in range(3)]
    assert await cancel(served, "workflow_name=ask&running=true&dry_run=true") == {
        "status": "cancelled",
        "dry_run": True,
        "handler_ids": waiting,
        "next_cursor": None,
    }
    assert await statuses(served) == {done: "completed", **dict.fromkeys(waiting, "running")}
    assert (await cancel(served, "workflow_name=echo&running=true"))["handler_ids"] == []
    answer = await cancel(served, "workflow_name=ask&workflow_name=echo&running=true")
    assert (answer["handler_ids"], answer["dry_run"]) == (waiting, False)
    assert await statuses(served) == {done: "completed", **dict.fromkeys(waiting, "cancelled")}
    assert (await cancel(served, "workflow_name=ask&running=true"))["handler_ids"] == []


async def test_handlers_that_match_are_deleted_and_others_stay(served: Served) -> None:
    done = [await served.finish("echo", text="x") for _ in range(3)]
    waiting = await served.start("ask")
    assert (await cancel(served, "status=completed&purge=true&dry_run=true"))["handler_ids"] == done
    assert len(await statuses(served)) == 4
    answer = await cancel(served, "status=completed&status=failed&purge=true")
    assert (answer["status"], answer["handler_ids"]) == ("deleted", done)
    assert await statuses(served) == {waiting: "running"}
    assert (await served.get(f"/handlers/{done[0]}"))[0] == 404
    assert (await cancel(served, "workflow_name=ask&purge=true&running=true"))["handler_ids"] == [waiting]
    assert await statuses(served) == {}


async def test_what_ended_before_is_deleted_and_no_running_one(served: Served) -> None:
    waiting = await served.start("ask")
    old, failed, new = [await served.finish(name) for name in ("echo", "fail", "echo")]
    at = (await served.get(f"/handlers/{new}"))[1]["started_at"].replace("+", "%2B")
    answer = await cancel(served, f"ended_before={at}&purge=true")
    assert sorted(answer["handler_ids"]) == sorted([old, failed])
    assert set(await statuses(served)) == {waiting, new}
    status, refused = await served.post(f"/bulk/cancel?ended_before={at}&running=true")
    assert (status, "purge=true" in refused["detail"]) == (400, True)
    assert (await served.post(f"/bulk/retry?ended_after={at}&dry_run=true"))[1]["handler_ids"] == []


async def test_many_handlers_are_deleted_page_by_page(served: Served) -> None:
    done = [await served.finish("echo", text="x") for _ in range(5)]
    found: list[list[str]] = []
    cursor = ""
    while True:
        answer = await cancel(served, f"status=completed&purge=true&limit=2&cursor={cursor}")
        found.append(answer["handler_ids"])
        cursor = answer["next_cursor"]
        if cursor is None:
            break
    assert found == [done[:2], done[2:4], done[4:]]
    assert await statuses(served) == {}


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("", "Say which handlers: add at least one of status,"),
        ("purge=true&running=true", "Say which handlers"),
        ("status=&running=true", "Invalid status: expected a value"),
        ("tag=&status=completed&purge=true", "Invalid tag: expected a value"),
        ("tag=a&tag=&status=completed&purge=true", "Invalid tag: expected a value"),
        ("q=&status=completed&purge=true", "Invalid q: expected a value"),
        ("workflow_name=&status=completed&purge=true", "Invalid workflow_name: expected a value"),
        ("workflow_name=ask", "This would cancel running runs. Add running=true"),
        ("workflow_name=ask&purge=true", "This would cancel running runs."),
        ("status=running&status=failed&purge=true", "This would cancel running runs."),
        ("status=completed&running=true", "Invalid status: expected running"),
        ("status=completed&purge=true&limit=0", "Invalid limit"),
        ("status=completed&purge=true&cursor=x", "Invalid cursor"),
        ("status=completed&purge=yes", "Invalid purge"),
        ("status=completed&purge=true&order=desc", "Unknown query parameter"),
    ],
)
async def test_what_is_not_said_clearly_is_refused(served: Served, query: str, detail: str) -> None:
    await served.finish("echo", text="x")
    await served.start("ask")
    before = await statuses(served)
    status, answer = await served.post(f"/bulk/cancel?{query}")
    assert (status, answer["detail"].startswith(detail)) == (400, True), answer
    assert await statuses(served) == before
