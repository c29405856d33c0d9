"""GET /metrics: what the server does, as series that Prometheus' own parsers accept, and whose number is bounded."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from aiohttp.typedefs import Handler
from prometheus_client.core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse
from workflows import Workflow, step
from workflows.events import Event, StartEvent, StopEvent
from workflows.retry_policy import retry_policy, stop_after_attempt, wait_fixed

from tests.harness.spawning import ROOT
from tests.harness.waiting import until_seen
from tests.store.failing import fill_up
from tests.web.conftest import Serve, Served
from tests.web.workflows import Ask, Echo, Fail
from workflow_server.runs.manager import RuntimeManager
from workflow_server.server import WorkflowServer
from workflow_server.settings import Settings
from workflow_server.store.sqlite.store import SqliteWorkflowStore
from workflow_server.web.app import create_app
from workflow_server.web.metrics import DETAILS, OTHER_SERIES, SERIES_OF_DURATIONS, Detail, detail_within
from workflow_server.web.routes.table import ROUTES
from workflow_server.web.state import WebSettings

TOKEN, READ_TOKEN = "a-token-that-may-do-all", "a-token-that-may-only-read"

Series = dict[str, float]


def series(families: Iterable[Metric]) -> Series:
    """The values by name and labels, as ``name{label=value,…}`` with the labels in order, without the prefix."""
    found: Series = {}
    for family in families:
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            key = sample.name.removeprefix("workflow_server_") + (f"{{{labels}}}" if labels else "")
            assert key not in found
            found[key] = sample.value
    return found


async def metrics(client: Served | TestClient) -> Series:  # type: ignore[type-arg]
    async with (client.client if isinstance(client, Served) else client).get("/metrics") as response:
        assert response.status == 200
        return series(parse(await response.text()))


class First(Event):
    pass


class Second(Event):
    pass


class Three(Workflow):
    """Three steps."""

    @step
    async def one(self, ev: StartEvent) -> First:
        return First()

    @step
    async def two(self, ev: First) -> Second:
        return Second()

    @step
    async def three(self, ev: Second) -> StopEvent:
        return StopEvent()


class Twice(Workflow):
    """Fails once, and is tried again."""

    tries = 0

    @step(retry_policy=retry_policy(wait=wait_fixed(0.0), stop=stop_after_attempt(3)))
    async def only(self, ev: StartEvent) -> StopEvent:
        self.tries += 1
        if self.tries == 1:
            raise ValueError("try again")
        return StopEvent()


# -- The values ------------------------------------------------------------------------------------


async def test_runs_steps_and_events_are_counted_by_workflow(serve: Serve, tmp_path: Path) -> None:
    served = await serve(db=tmp_path / "db", workflows={"three": Three(), "twice": Twice()}, metrics_series=1_000)
    for name in ("three", "three", "fail", "twice"):
        await served.finish(name)
    waiting, cancelled = await served.start("ask"), await served.start("ask")
    await served.post(f"/handlers/{cancelled}/cancel")

    async def waits() -> bool:
        return (await metrics(served))["runs{state=waiting}"] == 1

    await until_seen(waits, "the run never waited")
    assert (await served.post(f"/events/{waiting}", json={"event": {"type": "Answered", "value": {"text": "x"}}}))[
        0
    ] == 200
    async with served.client.get(f"/events/{waiting}?after_sequence=-1") as response:
        assert "StopEvent" in await response.text()

    found = await metrics(served)
    ended = {"completed": 0.0, "failed": 0.0, "cancelled": 0.0}
    for workflow, started, by_status in (
        ("three", 2, {"completed": 2}),
        ("twice", 1, {"completed": 1}),
        ("fail", 1, {"failed": 1}),
        ("ask", 2, {"completed": 1, "cancelled": 1}),
        ("echo", 0, {}),
    ):
        assert found[f"runs_started_total{{workflow={workflow}}}"] == started
        assert {s: found[f"runs_ended_total{{status={s},workflow={workflow}}}"] for s in ended} == ended | by_status
    assert [found[f"runs{{state={state}}}"] for state in ("running", "waiting", "queued", "suspended")] == [0, 0, 0, 0]
    assert found["events_posted_total"] == 1
    assert found["events_published_total"] > 10
    for name, step_name, executions, failures, retries in (
        ("three", "one", 2, 0, 0),
        ("three", "three", 2, 0, 0),
        ("twice", "only", 2, 1, 1),
        ("fail", "fail", 1, 1, 0),
        ("echo", "echo", 0, 0, 0),
    ):
        labels = f"step={step_name},workflow={name}"
        assert found[f"step_seconds_count{{{labels}}}"] == executions
        assert found[f"step_seconds_bucket{{le=+Inf,{labels}}}"] == executions
        assert found[f"step_failures_total{{{labels}}}"] == failures
        assert found[f"step_retries_total{{{labels}}}"] == retries
    assert 0 < found["commit_seconds_count"] <= found["commit_units_total"]
    assert found["commit_seconds_bucket{le=+Inf}"] == found["commit_seconds_count"]
    assert found["database_bytes"] > 0 < found["wal_bytes"]
    assert found["ready"] == 1
    assert found["resume_seconds"] > 0
    assert found["process_resident_memory_bytes"] > 0


async def test_runs_that_wait_queue_or_are_released_are_told_apart(serve: Serve, tmp_path: Path) -> None:
    async def stand(served: Served, **runs: int) -> bool:
        found = await metrics(served)
        return all(found[f"runs{{state={state}}}"] == number for state, number in runs.items())

    one = {"one": Ask(timeout=None, num_concurrent_runs=1)}
    staying = await serve(db=tmp_path / "staying", idle_timeout=0, workflows=one)
    for _ in range(3):
        await staying.start("one")
    await until_seen(lambda: stand(staying, waiting=1, queued=2, running=0), "one waits, and two for its slot")

    leaving = await serve(db=tmp_path / "leaving", idle_timeout=0.1)
    for _ in range(3):
        await leaving.start("ask")
    await until_seen(lambda: stand(leaving, released=3, waiting=0, running=0), "all leave memory")


async def test_open_streams_are_those_that_are_read_now(served: Served) -> None:
    handler_id = await served.start("ask")
    async with served.client.get(f"/events/{handler_id}") as response:
        await response.content.readline()
        assert (await metrics(served))["open_streams"] == 1

    async def closed() -> bool:
        return (await metrics(served))["open_streams"] == 0

    await until_seen(closed, "the stream was never given up")


async def test_a_start_that_is_refused_does_not_count(serve: Serve, tmp_path: Path) -> None:
    served = await serve(db=tmp_path / "db")
    store = served.server._store
    assert isinstance(store, SqliteWorkflowStore)
    await fill_up(store)
    status, _ = await served.post("/workflows/echo/run", json={"start_event": {"text": "x" * 50_000}})
    assert status == 507
    found = await metrics(served)
    assert found["runs_started_total{workflow=echo}"] == 0
    assert found["ready"] == 0


async def test_the_loop_that_a_step_blocked_was_late(serve: Serve) -> None:
    class Block(Workflow):
        @step
        async def block(self, ev: StartEvent) -> StopEvent:
            time.sleep(0.6)  # noqa: ASYNC251 it blocks the loop
            return StopEvent()

    served = await serve(workflows={"block": Block()})
    await served.finish("block")

    async def was_late() -> bool:
        found = await metrics(served)
        late = found["event_loop_lag_seconds_count"] - found["event_loop_lag_seconds_bucket{le=0.1}"]
        return late >= 1

    await until_seen(was_late, "nobody noticed that the loop was late")


async def test_in_the_engines_own_loop_steps_are_counted_too(serve: Serve) -> None:
    served = await serve(control_loop="engine", workflows={"twice": Twice()})
    await served.finish("twice")
    found = await metrics(served)
    assert found["step_seconds_count{step=only,workflow=twice}"] == 2
    assert found["step_failures_total{step=only,workflow=twice}"] == 1
    assert found["step_retries_total{step=only,workflow=twice}"] == 1


# -- Requests --------------------------------------------------------------------------------------


async def test_requests_are_counted_by_route_and_class_of_status(serve: Serve) -> None:
    served = await serve(max_body=2_000, tokens=(TOKEN,))
    client, full = served.client, {"Authorization": f"Bearer {TOKEN}"}
    for path in ("/handlers", "/handlers", "/handlers/unknown", "/no/such/path", "/workflows/canary/schema"):
        await client.get(path, headers=full)
    await client.head("/handlers", headers=full)
    await client.get("/handlers")
    await client.put("/handlers", headers=full)
    await client.post("/workflows/echo/run", json={"start_event": {"text": "x" * 3_000}}, headers=full)
    await client.post("/workflows/echo/run", json={"start_event": {"text": "x"}}, headers=full)
    async with client.get("/metrics", headers=full) as response:
        found = series(parse(await response.text()))
    told = {key.partition("{")[2].rstrip("}"): value for key, value in found.items() if "http_requests_total" in key}
    assert told == {
        "method=GET,route=/handlers,status=2xx": 3,
        "method=GET,route=/handlers,status=4xx": 1,
        "method=GET,route=/handlers/{handler_id},status=4xx": 1,
        "method=GET,route=/workflows/{name}/schema,status=4xx": 1,
        "method=POST,route=/workflows/{name}/run,status=2xx": 1,
        "method=POST,route=/workflows/{name}/run,status=4xx": 1,
        "method=,route=,status=2xx": 0,
        "method=,route=,status=4xx": 2,
        "method=,route=,status=5xx": 0,
    }
    assert found["http_request_seconds_count"] == 6, "neither runs that are waited for nor unknown routes"


async def test_a_stream_counts_when_it_ends_and_a_failure_as_5xx(serve: Serve) -> None:
    @web.middleware
    async def failing(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path == "/workflows":
            raise ValueError("of the user's own middleware")
        if request.path == "/openapi.json":
            raise web.HTTPFound("/elsewhere")
        return await handler(request)

    served = await serve(middlewares=(failing,))
    handler_id = await served.start("ask")
    stream = "http_requests_total{method=GET,route=/events/{handler_id},status=2xx}"
    async with served.client.get(f"/events/{handler_id}") as response:
        await response.content.readline()
        assert stream not in await metrics(served)
        await served.post(f"/handlers/{handler_id}/cancel")
        await response.read()

    async def counted() -> bool:
        return (await metrics(served)).get(stream) == 1

    await until_seen(counted, "the stream was never counted")
    async with served.client.get("/workflows") as response:
        assert response.status == 500
    await served.client.get("/openapi.json", allow_redirects=False)
    found = await metrics(served)
    assert found["http_requests_total{method=GET,route=/workflows,status=5xx}"] == 1
    assert found["http_requests_total{method=GET,route=/openapi.json,status=2xx}"] == 1


def test_each_route_has_a_request_handler_of_its_own() -> None:
    assert len({route.handler for route in ROUTES}) == len(ROUTES)


async def test_routes_beyond_the_budget_are_counted_together(serve: Serve, tmp_path: Path) -> None:
    detail = DETAILS[-1]
    room = SERIES_OF_DURATIONS + 1 + 2
    served = await serve(db=tmp_path / "db", metrics_series=detail.series(4, 0) + room)
    for path in ("/health", "/workflows", "/handlers", "/handlers/stats", "/handlers/stats?x=1"):
        await served.client.get(path)
    found = await metrics(served)
    told = {key.partition("{")[2].rstrip("}"): value for key, value in found.items() if "http_requests_total" in key}
    assert told == {
        "method=GET,route=/health,status=2xx": 1,
        "method=GET,route=/workflows,status=2xx": 1,
        "method=,route=,status=2xx": 2,
        "method=,route=,status=4xx": 1,
        "method=,route=,status=5xx": 0,
    }
    assert found["http_request_seconds_count"] == 5
    assert len(found) < detail.series(4, 0) + room


# -- The number of series --------------------------------------------------------------------------


@pytest.mark.parametrize("workflows", [1, 3, 5, 10, 20])
async def test_up_to_20_workflows_of_3_steps_have_less_than_200(serve: Serve, tmp_path: Path, workflows: int) -> None:
    served = await serve(db=tmp_path / "db", workflows={f"three-{n}": Three() for n in range(workflows - 4)})
    names = served.server.workflow_names
    for name in names:
        await (served.start if name == "ask" else served.finish)(name)
    found = await metrics(served)
    assert len(found) < 200
    labels = {part for key in found for part in key.partition("{")[2].rstrip("}").split(",") if "workflow=" in part}
    assert labels == {f"workflow={name}" for name in names}


async def test_what_clients_and_the_database_name_is_no_label(tmp_path: Path) -> None:
    async def serving(*workflows: tuple[str, Workflow]) -> TestClient:  # type: ignore[type-arg]
        server = WorkflowServer(workflow_store=SqliteWorkflowStore(tmp_path / "db"), settings=Settings())
        for name, workflow in workflows:
            server.add_workflow(name, workflow)
        return TestClient(TestServer(server.app))

    async with await serving(("canary", Ask(timeout=None))) as client:
        response = await client.post("/workflows/canary/run-nowait")
        handler_id = (await response.json())["handler_id"]
    async with await serving(("echo", Echo())) as client:
        assert (await metrics(client))["runs{state=suspended}"] == 1
        await client.post("/workflows/canary-7f3/run")
        await client.get("/handlers/canary-7f3")
        async with client.post(f"/handlers/{handler_id}/cancel") as response:
            assert response.status == 200
        found = await metrics(client)
    assert found["runs_ended_total{status=cancelled,workflow=}"] == 1
    assert "canary" not in str(found)


def test_the_most_detail_is_chosen_that_fits() -> None:
    assert [detail_within(200, *size) for size in ((1, 3), (3, 9), (5, 15), (10, 30), (20, 60), (90, 500))] == [
        DETAILS[0],
        DETAILS[0],
        DETAILS[1],
        DETAILS[2],
        DETAILS[3],
        DETAILS[3],
    ]
    assert detail_within(10_000, 20, 60) is DETAILS[0]
    assert all(detail_within(200, n, 3 * n).series(n, 3 * n) < 200 for n in range(21))


@pytest.mark.parametrize("detail", DETAILS)
async def test_each_detail_has_as_many_as_it_says(serve: Serve, tmp_path: Path, detail: Detail) -> None:
    number = detail.series(6, 10)
    served = await serve(db=tmp_path / "db", workflows={"a": Three(), "b": Three()}, metrics_series=number)
    for name in ("a", "b", "a"):
        await served.finish(name)
    found = await metrics(served)
    unregistered = 3
    assert len(found) == number - unregistered
    executions = [value for key, value in found.items() if key.startswith("step_seconds_count") and "=a" in key]
    assert sum(executions) == 6
    buckets = [
        value for key, value in found.items() if key.startswith("step_seconds_bucket") and "step=two,workflow=a" in key
    ]
    assert buckets == sorted(buckets)
    assert unregistered < OTHER_SERIES


# -- The formats and the access --------------------------------------------------------------------


async def test_both_formats_pass_their_parser_and_say_the_same(served: Served) -> None:
    await served.finish("count")
    accept = {"Accept": "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1"}
    async with served.client.get("/metrics", headers=accept) as response:
        assert response.content_type == "application/openmetrics-text"
        told = series(parse_openmetrics(await response.text()))  # type: ignore[no-untyped-call]
    async with served.client.get(
        "/metrics", headers={"Accept": "x;version=\u00e9,,;=;text/plain;version=1.x"}
    ) as response:
        assert response.content_type == "text/plain"
        plain = series(parse(await response.text()))
    refused = "application/openmetrics-text;version=1.0.0; q=0.000, */*"
    async with served.client.get("/metrics", headers={"Accept": refused}) as response:
        assert response.content_type == "text/plain"
    async with served.client.head("/metrics") as response:
        assert (response.status, await response.read()) == (200, b"")
    assert told.keys() <= plain.keys()
    assert plain.keys() - told.keys() == {"http_requests_total{method=GET,route=/metrics,status=2xx}"}
    assert told["runs_ended_total{status=completed,workflow=count}"] == 1


async def test_where_tokens_are_set_reading_takes_one(serve: Serve) -> None:
    served = await serve(tokens=(TOKEN,), read_tokens=(READ_TOKEN,))
    for token, status in ((TOKEN, 200), (READ_TOKEN, 200), ("wrong", 401), ("", 401)):
        async with served.client.get("/metrics", headers={"Authorization": f"Bearer {token}"}) as response:
            assert response.status == status


async def test_two_servers_of_one_process_count_for_themselves(serve: Serve) -> None:
    one, other = await serve(), await serve()
    await one.finish("echo")
    assert (await metrics(one))["runs_started_total{workflow=echo}"] == 1
    assert (await metrics(other))["runs_started_total{workflow=echo}"] == 0
    assert "database_bytes" not in await metrics(one), "a store in memory has no files"


async def test_a_server_that_starts_or_has_stopped_is_told_too(tmp_path: Path) -> None:
    store = SqliteWorkflowStore(tmp_path / "db")
    manager = RuntimeManager(store)
    manager.add_workflow("fail", Fail())
    async with TestClient(TestServer(create_app(manager, WebSettings()))) as client:
        before = await metrics(client)
        assert before["ready"] == 0
        assert "resume_seconds" not in before
        manager.listen()
        await store.open()
        await manager.resume()
        assert (await metrics(client))["ready"] == 1
        await manager.stop(0.0)
        await store.close()
        after = await metrics(client)
        assert after["ready"] == 0
        assert "event_loop_lag_seconds_count" not in after


# -- The page --------------------------------------------------------------------------------------


async def test_the_page_about_what_to_watch_names_each_metric(serve: Serve, tmp_path: Path) -> None:
    served = await serve(db=tmp_path / "db")
    async with served.client.get("/metrics") as response:
        families = list(parse(await response.text()))
    own = {
        family.name.removeprefix("workflow_server_") + ("_total" if family.type == "counter" else ""): family
        for family in families
        if family.name.startswith("workflow_server_")
    }
    section = (ROOT / "docs/operations.md").read_text().partition("## What to watch")[2].partition("\n## ")[0]
    rows = [row.split("|") for row in section.splitlines() if row.startswith("| `")]
    told = {name: re.findall(r"`(\w+)`", row[2]) for row in rows for name in re.findall(r"`(\w+)`", row[1])}
    assert told.keys() == own.keys()
    for name, family in own.items():
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        assert set(told[name]) == labels, name
