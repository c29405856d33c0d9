"""The present of runs in lists and numbers: each state, in memory, outside of it, and after a restart."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from workflows import Context, Workflow, step
from workflows.events import Event, HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent
from workflows.retry_policy import retry_policy, stop_after_attempt, wait_fixed

from tests.harness.waiting import until_seen
from tests.web.conftest import Serve, Served
from tests.web.workflows import Echo

Json = dict[str, Any]


class Part(Event):
    pass


class Approves(Workflow):
    """Asks with a question, and waits for the answer."""

    @step
    async def ask(self, ctx: Context, ev: StartEvent) -> StopEvent:
        question = InputRequiredEvent(prefix="May it go out?")
        answer = await ctx.wait_for_event(HumanResponseEvent, waiter_event=question, timeout=None)
        return StopEvent(result=answer.get("response"))


class Retries(Workflow):
    @step(retry_policy=retry_policy(wait=wait_fixed(3_600), stop=stop_after_attempt(5)))
    async def fetch(self, ev: StartEvent) -> StopEvent:
        raise ValueError("not there")


class Stalls(Workflow):
    @step
    async def begin(self, ctx: Context, ev: StartEvent) -> Part | None:
        return Part()

    @step
    async def collect(self, ctx: Context, ev: Part) -> StopEvent | None:
        return None if ctx.collect_events(ev, [Part] * 3) is None else StopEvent()


class Works(Workflow):
    """Works in several executions of a step until it may end."""

    def __init__(self, **options: Any) -> None:
        super().__init__(timeout=None, **options)
        self.may_end = asyncio.Event()

    @step
    async def begin(self, ev: StartEvent) -> list[Part]:
        return [Part() for _ in range(ev.get("parts", 1))]

    @step(num_workers=20)
    async def work(self, ev: Part) -> StopEvent:
        await self.may_end.wait()
        return StopEvent()


def flows() -> dict[str, Workflow]:
    return {
        "approves": Approves(timeout=None),
        "retries": Retries(timeout=None),
        "stalls": Stalls(timeout=None),
        "works": Works(),
        "one": Works(num_concurrent_runs=1),
    }


async def listed(served: Served, query: str = "") -> dict[str, Json]:
    """The present of each handler of a list, by its id."""
    status, answer = await served.get(f"/handlers?limit=500&include=now{query}")
    assert status == 200, answer
    return {handler["handler_id"]: handler["now"] for handler in answer["handlers"]}


def in_state(served: Served, handler_id: str, state: str) -> Callable[[], Awaitable[bool]]:
    async def is_seen() -> bool:
        return bool((await listed(served))[handler_id]["state"] == state)

    return is_seen


async def start_each(served: Served) -> dict[str, str]:
    """Start a run of each kind; their ids by the states that they come to."""
    ids = {
        "waiting": await served.start("approves"),
        "retrying": await served.start("retries"),
        "stalled": await served.start("stalls"),
        "running": await served.start("works", parts=3),
        "first": await served.start("one"),
        "queued": await served.start("one"),
    }
    for name, state in {"waiting": "waiting", "stalled": "stalled", "queued": "queued"}.items():
        await until_seen(in_state(served, ids[name], state), f"a run was never {state}")
    return ids


async def until_stored(served: Served, handler_id: str) -> None:
    """Return when a run has left memory."""

    async def has_left() -> bool:
        run = served.server._manager.runs.get(handler_id)
        return run is not None and run.session is None

    await until_seen(has_left, "a run never left memory")


async def test_a_list_tells_the_present_of_each_run(serve: Serve) -> None:
    served = await serve(workflows=flows(), idle_timeout=None, grace_period=0.1)
    ids = await start_each(served)
    done = await served.finish("echo", text="x")
    now = await listed(served)
    states = {name: now[handler_id]["state"] for name, handler_id in ids.items()}
    assert states == {
        "waiting": "waiting",
        "retrying": "running",
        "stalled": "stalled",
        "running": "running",
        "first": "running",
        "queued": "queued",
    }
    assert now[done] == {
        "state": None, "running_steps": [], "waiting_for": [], "retrying_steps": [],
        "running_count": 0, "waiting_count": 0, "retrying_count": 0, "summary": '{"text":"x"}',
    }  # fmt: skip
    waiting = now[ids["waiting"]]
    assert (waiting["waiting_count"], waiting["running_steps"], waiting["summary"]) == (1, [], None)
    assert now[ids["queued"]]["running_steps"] is None
    for handler_id, present in now.items():
        _, details = await served.get(f"/handlers/{handler_id}")
        for name in ("running_steps", "waiting_for", "retrying_steps"):
            assert details[name] == present[name]


async def test_released_runs_wait_as_those_in_memory(serve: Serve, tmp_path: Path) -> None:
    first = await serve(db=tmp_path / "db", workflows=flows(), idle_timeout=0.1)
    ids = {name: await first.start(name) for name in ("approves", "retries", "stalls")}
    for handler_id in ids.values():
        await until_stored(first, handler_id)
    before = await listed(first)
    await first.runner.cleanup()
    served = await serve(db=tmp_path / "db", workflows=flows(), idle_timeout=0.1)
    for now in (before, await listed(served)):
        states = {name: now[handler_id]["state"] for name, handler_id in ids.items()}
        assert states == {"approves": "waiting", "retries": "released", "stalls": "stalled"}
        (wait,) = now[ids["approves"]]["waiting_for"]
        assert (wait["prompt"], wait["question"]) == ("May it go out?", "InputRequiredEvent")
        assert wait["since"] is not None
        assert now[ids["retries"]]["retrying_count"] == 1
    assert (await served.get("/handlers/stats"))[1]["now"] == {
        "running": 0, "waiting": 1, "released": 1, "queued": 0, "suspended": 0, "stalled": 1,
    }  # fmt: skip
    answer = {"event": {"type": "HumanResponseEvent", "value": {"response": "yes"}}}
    assert (await served.post(f"/events/{ids['approves']}", json=answer))[0] == 200

    async def is_done() -> bool:
        return bool((await listed(served))[ids["approves"]]["summary"] == "yes")

    await until_seen(is_done, "the run did not end")


async def test_a_suspended_run_is_told_as_such(serve: Serve, tmp_path: Path) -> None:
    first = await serve(db=tmp_path / "db", workflows=flows(), idle_timeout=None, grace_period=0.1)
    handler_id = await first.start("approves")
    await until_seen(in_state(first, handler_id, "waiting"), "the run never waited")
    await first.runner.cleanup()
    served = await serve(db=tmp_path / "db")
    now = (await listed(served))[handler_id]
    assert (now["state"], now["waiting_for"], now["waiting_count"]) == ("suspended", None, 0)
    assert (await served.get("/handlers/stats"))[1]["now"]["suspended"] == 1


async def test_of_many_steps_ten_are_told_and_all_counted(serve: Serve) -> None:
    served = await serve(workflows=flows(), grace_period=0.1)
    handler_id = await served.start("works", parts=15)

    async def all_run() -> bool:
        return bool((await listed(served))[handler_id]["running_count"] == 15)

    await until_seen(all_run, "not all steps ran")
    assert len((await listed(served))[handler_id]["running_steps"]) == 10


async def test_runs_are_counted_by_what_they_do(serve: Serve) -> None:
    served = await serve(workflows=flows(), idle_timeout=None, grace_period=0.1)
    await start_each(served)
    for _ in range(2):
        assert (await served.post("/workflows/fail/run"))[0] == 500
    _, answer = await served.get("/handlers/stats")
    assert answer["now"] == {
        "running": 3, "waiting": 1, "released": 0, "queued": 1, "suspended": 0, "stalled": 1,
    }  # fmt: skip
    assert answer["failed_recently"] == 2


async def test_a_list_can_be_limited_to_what_runs_do(serve: Serve) -> None:
    served = await serve(workflows=flows(), idle_timeout=None, grace_period=0.1)
    ids = await start_each(served)
    await served.finish("echo")
    for states, names in {
        "now=waiting": {"waiting"},
        "now=queued": {"queued"},
        "now=stalled&now=waiting": {"stalled", "waiting"},
        "now=running": {"retrying", "running", "first"},
        "now=running&workflow_name=one": {"first"},
        "now=suspended": set(),
        "now=released": set(),
        "now=waiting&status=completed": set(),
        "now=waiting&status=running": {"waiting"},
        "now=": {*ids, "echo"},
    }.items():
        for query in (states, f"{states}&limit=500", f"{states}&order=desc&limit=500"):
            handlers = (await served.get(f"/handlers?{query}"))[1]["handlers"]
            found = {handler["handler_id"] for handler in handlers}
            assert {name for name, handler_id in ids.items() if handler_id in found} == names - {"echo"}, query
            assert len(handlers) == len(names)


async def test_bulk_actions_can_be_limited_to_what_runs_do(serve: Serve) -> None:
    served = await serve(workflows=flows(), idle_timeout=None, grace_period=0.1)
    ids = await start_each(served)
    stalled, waiting, queued = (ids[name] for name in ("stalled", "waiting", "queued"))
    for query, dry, done in (
        ("now=waiting&running=true", [waiting], [waiting]),
        ("now=stalled&now=queued&running=true&purge=true", [stalled, queued], [stalled, queued]),
        ("now=waiting&now=stalled&running=true", [], []),
    ):
        _, found = await served.post(f"/bulk/cancel?{query}&dry_run=true")
        assert sorted(found["handler_ids"]) == sorted(dry), query
        _, found = await served.post(f"/bulk/cancel?{query}")
        assert sorted(found["handler_ids"]) == sorted(done), query
    left = {one["handler_id"]: one["status"] for one in (await served.get("/handlers"))[1]["handlers"]}
    assert left == {**{ids[name]: "running" for name in ("retrying", "running", "first")}, waiting: "cancelled"}


@pytest.mark.parametrize(
    "request_line",
    [
        "GET /handlers?now=waiting&now=sleeping",
        "POST /bulk/cancel?now=sleeping&running=true",
        "POST /bulk/cancel?now=waiting",
        "POST /bulk/cancel?now=&running=true&purge=true",
        "POST /bulk/retry?now=waiting",
        "POST /bulk/retry?now=",
        "GET /handlers/stream?now=waiting",
    ],
)
async def test_a_state_that_there_is_not_is_400(served: Served, request_line: str) -> None:
    method, path = request_line.split()
    status, answer = await (served.get(path) if method == "GET" else served.post(path))
    assert status == 400, answer


async def test_suspended_runs_are_retried_by_their_state(serve: Serve, tmp_path: Path) -> None:
    first = await serve(db=tmp_path / "db", workflows=flows(), idle_timeout=None, grace_period=0.1)
    handler_id = await first.start("approves")
    await until_seen(in_state(first, handler_id, "waiting"), "the run never waited")
    await first.runner.cleanup()
    served = await serve(db=tmp_path / "db")
    await served.finish("fail")
    for query in ("now=suspended", "now=suspended&status=running"):
        _, found = await served.post(f"/bulk/retry?{query}&dry_run=true")
        assert found["handler_ids"] == [handler_id]
    _, answer = await served.post("/bulk/retry?now=suspended")
    assert (answer["handler_ids"], [one["handler_id"] for one in answer["refused"]]) == ([], [handler_id])
    assert (await served.post("/bulk/retry?now=suspended&status=failed"))[0] == 400


async def test_the_present_and_results_can_both_be_included(served: Served) -> None:
    handler_id = await served.finish("echo", text="é" * 10_000)
    _, answer = await served.get("/handlers?limit=1&include=result&include=now")
    (handler,) = answer["handlers"]
    assert handler["result"]["value"]["result"] == {"text": "é" * 10_000}
    assert handler["now"]["summary"] == ('{"text":"' + "é" * 200)[:199] + "…"
    (plain,) = (await served.get("/handlers?limit=1&include=result"))[1]["handlers"]
    assert plain == {key: value for key, value in handler.items() if key != "now"}
    assert plain["handler_id"] == handler_id


@pytest.mark.parametrize("query", ["include=now", "limit=1&include=then", "limit=1&include=now&include=x"])
async def test_an_include_that_there_is_not_is_400(served: Served, query: str) -> None:
    status, answer = await served.get(f"/handlers?{query}")
    assert (status, "include" in answer["detail"]) == (400, True)


async def test_a_result_of_many_megabytes_has_a_summary(serve: Serve, tmp_path: Path) -> None:
    class Large(Workflow):
        @step
        async def make(self, ev: StartEvent) -> StopEvent:
            return StopEvent(result="begin " + "x" * 20_000_000)

    served = await serve(db=tmp_path / "db", workflows={"large": Large()})
    await served.start("large")

    async def is_done() -> bool:
        return bool((await served.get("/handlers/stats"))[1]["total"]["completed"])

    await until_seen(is_done, "the run did not end")
    (now,) = (await listed(served)).values()
    assert now["summary"] == "begin " + "x" * 193 + "…"


async def test_a_workflow_named_like_a_state_changes_nothing(serve: Serve) -> None:
    served = await serve(workflows={"now": Echo()})
    await served.finish("now")
    assert [now["state"] for now in (await listed(served)).values()] == [None]
