"""GET /workflows/{name}/stats: what a workflow's runs did in a period, and its steps since the start."""

from __future__ import annotations

import asyncio
import statistics
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from workflows import Workflow, step
from workflows.events import Event, StartEvent, StopEvent
from workflows.retry_policy import retry_policy, stop_after_attempt, wait_fixed

from tests.harness.waiting import until_seen
from tests.web.conftest import Serve, Served
from workflow_server.runs.statistics import period_until

Json = dict[str, Any]


class Next(Event):
    number: int


class Sometimes(Workflow):
    """Two steps, of which the second is slow, and fails for a number below 0, or once for 0."""

    @step
    async def quick(self, ev: StartEvent) -> Next:
        return Next(number=ev.get("number", 1))

    @step(retry_policy=retry_policy(wait=wait_fixed(0.0), stop=stop_after_attempt(2)))
    async def slow(self, ev: Next) -> StopEvent:
        await asyncio.sleep(0.01)
        if ev.number < 0:
            raise ValueError("below 0")
        if ev.number == 0:
            ev.number = 1
            raise ValueError("0, once")
        return StopEvent()

    @step
    async def never(self, ev: Next) -> StopEvent | None:
        if ev.number > 1_000:
            await asyncio.Event().wait()
        return None


async def stats(served: Served, name: str, query: str = "") -> Json:
    status, found = await served.get(f"/workflows/{name}/stats{query}")
    assert status == 200, found
    assert isinstance(found, dict)
    return found


async def durations(served: Served, name: str) -> list[float]:
    """The durations of the runs that completed, as the list of handlers tells them."""
    _, found = await served.get(f"/handlers?workflow_name={name}&status=completed")
    times = [(handler["started_at"], handler["completed_at"]) for handler in found["handlers"]]
    return [(datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds() for start, end in times]


async def test_runs_are_counted_and_measured(serve: Serve) -> None:
    served = await serve(workflows={"flow": Sometimes(timeout=None)})
    for number in (1, 1, 1, 1, 1, 0, -1, -1):
        await served.finish("flow", number=number)
    cancelled = await served.start("flow", number=2_000)
    assert (await served.post(f"/handlers/{cancelled}/cancel"))[0] == 200
    await served.start("ask")
    found = await stats(served, "flow")
    assert (found["workflow_name"], found["period"], found["sampled"]) == ("flow", "24h", False)
    assert found["runs"] == {"completed": 6, "failed": 2, "cancelled": 1, "running": 0}
    assert found["success_rate"] == 0.75
    took = await durations(served, "flow")
    assert found["duration"] == {
        "p50": pytest.approx(statistics.median(took), abs=1e-5),
        "p95": pytest.approx(statistics.quantiles(took, n=20, method="inclusive")[-1], abs=1e-5),
        "max": pytest.approx(max(took), abs=1e-5),
    }
    assert [sum(bucket[key] for bucket in found["buckets"]) for key in ("started", "completed", "failed")] == [9, 6, 2]
    assert (await stats(served, "ask"))["runs"]["running"] == 1


async def test_steps_are_told_the_slowest_first(serve: Serve) -> None:
    served = await serve(workflows={"flow": Sometimes(timeout=None)})
    for number in (1, 0, -1):
        await served.finish("flow", number=number)

    async def all_ended() -> bool:
        steps = {one["step"]: one["executions"] for one in (await stats(served, "flow"))["steps"]}
        return steps == {"quick": 3, "slow": 5, "never": 3}

    await until_seen(all_ended, "the executions are not counted")
    steps = (await stats(served, "flow"))["steps"]
    assert [one["mean"] for one in steps] == sorted((one["mean"] for one in steps), reverse=True)
    slow = next(one for one in steps if one["step"] == "slow")
    assert (slow["failures"], slow["retries"]) == (3, 2)
    assert slow["mean"] >= 0.01
    # All of them lie in one bucket, from 5 to 50 ms, or the machine was slow.
    assert slow["p95"] >= 0.005


async def test_a_workflow_that_never_ran_has_nothing_to_tell(served: Served) -> None:
    found = await stats(served, "echo")
    assert found["runs"] == {"completed": 0, "failed": 0, "cancelled": 0, "running": 0}
    assert (found["success_rate"], found["duration"]) == (None, {"p50": None, "p95": None, "max": None})
    assert found["steps"] == [{"step": "echo", "executions": 0, "failures": 0, "retries": 0, "mean": None, "p95": None}]
    assert all(bucket["started"] == 0 and bucket["p50"] is None for bucket in found["buckets"])


@pytest.mark.parametrize(("period", "number", "seconds"), [("1h", 60, 60), ("24h", 48, 1_800), ("7d", 56, 10_800),
                                                           ("30d", 30, 86_400)])  # fmt: skip
async def test_a_period_has_even_buckets_up_to_now(served: Served, period: str, number: int, seconds: int) -> None:
    await served.finish("echo")
    found = await stats(served, "echo", f"?period={period}")
    begins = [datetime.fromisoformat(bucket["from"]).timestamp() for bucket in found["buckets"]]
    assert len(begins) == number
    assert begins == [begins[0] + place * seconds for place in range(number)]
    assert begins[0] % seconds == 0
    assert datetime.fromisoformat(found["since"]).timestamp() == begins[0]
    assert (found["runs"]["completed"], sum(bucket["completed"] for bucket in found["buckets"])) == (1, 1)
    assert list(found["buckets"][0]) == ["from", "started", "completed", "failed", "p50", "p95"]


def test_the_last_bucket_holds_this_moment() -> None:
    for now in (7_200.0, 7_200.1, 7_259.9):
        period = period_until(now, "1h")
        assert period.until - period.width <= now < period.until
        assert period.until - period.since == 3_600.0


async def test_a_workflow_that_is_no_longer_registered_keeps_its_runs(serve: Serve, tmp_path: Path) -> None:
    first = await serve(db=tmp_path / "runs.sqlite3", workflows={"old": Sometimes()})
    await first.finish("old")
    await first.runner.cleanup()
    second = await serve(db=tmp_path / "runs.sqlite3")
    found = await stats(second, "old")
    assert (found["runs"]["completed"], found["steps"]) == (1, [])
    status, body = await second.get("/workflows/nothing/stats")
    assert (status, "nothing" in body["detail"]) == (404, True)


@pytest.mark.parametrize("query", ["period=2h", "period=1h&period=24h", "since=1h"])
async def test_what_is_not_understood_is_refused(served: Served, query: str) -> None:
    assert (await served.get(f"/workflows/echo/stats?{query}"))[0] == 400
