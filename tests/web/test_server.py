"""GET /server: versions, sizes, sums, and what the runs do, each in one state."""

from __future__ import annotations

import asyncio
import platform
import sqlite3
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from workflows import Context, Workflow, step
from workflows.events import Event, HumanResponseEvent, StartEvent, StopEvent
from workflows.retry_policy import retry_policy, stop_after_attempt, wait_fixed

from tests.harness.waiting import until_seen
from tests.store.failing import fill_up, make_room
from tests.web.conftest import Serve, Served
from workflow_server.errors import StorageFull
from workflow_server.store.sqlite.store import SqliteWorkflowStore

Json = dict[str, Any]

NO_RUNS = {"running": 0, "waiting": 0, "released": 0, "queued": 0, "suspended": 0, "stalled": 0}


class Works(Workflow):
    """Is in a step until it is cancelled."""

    @step
    async def work(self, ev: StartEvent) -> StopEvent:
        await asyncio.Event().wait()
        return StopEvent()


class Waits(Workflow):
    @step
    async def wait(self, ctx: Context, ev: StartEvent) -> StopEvent:
        await ctx.wait_for_event(HumanResponseEvent, timeout=None)
        return StopEvent()


class TriesAgain(Workflow):
    @step(retry_policy=retry_policy(wait=wait_fixed(3_600), stop=stop_after_attempt(2)))
    async def fail(self, ev: StartEvent) -> StopEvent:
        raise ValueError("later")


class Never(Event):
    pass


class Stalls(Workflow):
    """Comes to a point at which nothing can happen any more."""

    @step
    async def begin(self, ev: StartEvent) -> Never | None:
        return None

    @step
    async def end(self, ev: Never) -> StopEvent:
        return StopEvent()


def workflows() -> dict[str, Workflow]:
    return {
        "works": Works(timeout=None),
        "waits": Waits(timeout=None),
        "again": TriesAgain(timeout=None),
        "stalls": Stalls(timeout=None),
        "single": Works(timeout=None, num_concurrent_runs=1),
    }


async def server(served: Served) -> Json:
    status, found = await served.get("/server")
    assert status == 200, found
    assert isinstance(found, dict)
    return found


async def runs_become(served: Served, **expected: int) -> Json:
    async def look() -> bool:
        return bool((await server(served))["runs"] == {**NO_RUNS, **expected})

    await until_seen(look, f"the runs never are {expected}")
    return await server(served)


async def test_a_server_without_runs_tells_of_itself(serve: Serve, tmp_path: Path) -> None:
    served = await serve(db=tmp_path / "runs.sqlite3")
    found = await server(served)
    assert found["runs"] == NO_RUNS
    assert (found["is_ready"], found["problem"], found["suspended"]) == (True, None, [])
    assert (found["python"], found["sqlite"]) == (platform.python_version(), sqlite3.sqlite_version)
    assert found["engine"].startswith("2.26.")
    assert datetime.fromisoformat(found["started_at"]) <= datetime.fromisoformat(found["now"])
    assert found["resume"]["seconds"] > 0
    assert (found["resume"]["resumed"], found["resume"]["suspended"]) == (0, 0)
    assert all(size > 0 for size in found["database"].values())
    assert found["memory_bytes"] > 1_000_000
    assert [(one["workflow_name"], one["runs"]) for one in found["code_versions"]] == [
        (name, {}) for name in ("count", "echo", "fail", "ask")
    ]
    assert all(one["registered"] for one in found["code_versions"])
    assert str(tmp_path) not in str(found)


async def test_a_database_in_memory_has_no_sizes(served: Served) -> None:
    assert (await server(served))["database"] == {"file_bytes": None, "wal_bytes": None, "free_bytes": None}


async def test_sums_grow_by_what_happens(served: Served) -> None:
    before = await server(served)
    await served.finish("echo")
    await served.get("/nothing")
    await served.client.get("/metrics", headers={"Authorization": "a"})
    after = await server(served)
    assert after["commits"]["count"] > before["commits"]["count"]
    assert after["commits"]["records"] - before["commits"]["records"] >= 5, "a start, ticks, events and an end"
    assert after["commits"]["p50"] <= after["commits"]["p95"] <= after["commits"]["p99"]
    assert after["commits"]["mean_seconds"] > 0
    assert after["requests"]["count"] - before["requests"]["count"] == 4, "the first look at it included"
    assert after["requests"]["errors"] == 0


async def test_errors_are_requests_that_the_server_failed(serve: Serve, tmp_path: Path) -> None:
    served = await serve(db=tmp_path / "runs.sqlite3")
    assert (await served.post("/workflows/fail/run", json={}))[0] == 500
    assert (await server(served))["requests"]["errors"] == 1


async def test_how_late_the_loop_was_is_told(served: Served) -> None:
    async def look() -> bool:
        return (await server(served))["loop_lag"]["mean"] is not None

    await until_seen(look, "nobody looks at the loop")
    lag = (await server(served))["loop_lag"]
    assert 0 <= lag["mean"] <= lag["max"]
    assert 0 <= lag["p95"] <= lag["max"]


@pytest.mark.parametrize("idle_timeout", [0.0, 0.01])
async def test_each_run_is_in_one_state(serve: Serve, idle_timeout: float) -> None:
    served = await serve(workflows=workflows(), idle_timeout=idle_timeout, grace_period=0.1)
    for name in ("works", "waits", "again", "stalls", "single", "single", "ask"):
        await served.start(name)
    # In memory, a retry that is to come counts as running.
    again = {"running": 3} if idle_timeout == 0.0 else {"running": 2, "released": 1}
    found = await runs_become(served, **again, waiting=2, queued=1, stalled=1)
    assert sum(found["runs"].values()) == 7
    assert {one["workflow_name"]: sum(one["runs"].values()) for one in found["code_versions"] if one["runs"]} == {
        "works": 1,
        "waits": 1,
        "again": 1,
        "stalls": 1,
        "single": 2,
        "ask": 1,
    }


async def test_suspended_runs_are_named_with_the_reason(serve: Serve, tmp_path: Path) -> None:
    first = await serve(db=tmp_path / "runs.sqlite3", workflows=workflows())
    handler_id = await first.start("waits")
    await first.start("ask")
    await runs_become(first, waiting=2)
    version = {one["workflow_name"]: one["registered"] for one in (await server(first))["code_versions"]}["waits"]
    await first.runner.cleanup()
    second = await serve(db=tmp_path / "runs.sqlite3")
    found = await runs_become(second, waiting=1, suspended=1)
    assert found["suspended"] == [
        {
            "handler_id": handler_id,
            "workflow_name": "waits",
            "reason": "its workflow is not registered on this server",
        }
    ]
    assert (found["resume"]["resumed"], found["resume"]["suspended"]) == (1, 1)
    assert found["code_versions"][-1] == {"workflow_name": "waits", "registered": None, "runs": {version: 1}}


async def test_a_full_disk_is_told_as_the_problem(serve: Serve, tmp_path: Path) -> None:
    served = await serve(db=tmp_path / "runs.sqlite3")
    store = served.server._store
    assert isinstance(store, SqliteWorkflowStore)
    await fill_up(store)
    status, _ = await served.post("/workflows/echo/run-nowait", json={"start_event": {"text": "x" * 50_000}})
    assert status == 507
    found = await server(served)
    assert (found["is_ready"], found["problem"]) == (False, str(StorageFull()))
    assert str(tmp_path) not in str(found)
    await make_room(store)


async def test_an_unknown_parameter_is_refused(served: Served) -> None:
    assert (await served.get("/server?period=1h"))[0] == 400
