"""Both official Python clients, every method of each, against a real server."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from llama_agents.client import WorkflowClient  # type: ignore[import-untyped]
from workflows.events import HumanResponseEvent

from tests.end_to_end.targets.client_workflows import Greeting
from tests.harness.server_process import DurableServer
from tests.harness.spawning import ROOT, clean_environment

OLD_ENGINE = "2.11.1"
OLD_CLIENT = Path(__file__).parent / "old_client.py"


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[DurableServer]:
    async with DurableServer(tmp_path, "client_workflows.py") as server:
        yield server


@pytest.fixture
def client(server: DurableServer) -> WorkflowClient:
    return WorkflowClient(base_url=server.api.url)


# -- The 2.11.1 client, in an environment of its own -------------------------------------------


@pytest.fixture(scope="session")
def old_python() -> Path:
    """The interpreter of an environment with the 2.11.1 client; it is made once and kept for later test runs."""
    folder = ROOT / ".cache" / f"client-{OLD_ENGINE}-{sys.version_info.major}.{sys.version_info.minor}"
    python, made = folder / "bin" / "python", folder / "made"
    if not made.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        packages = [f"llama-index-workflows=={OLD_ENGINE}", "httpx"]
        quietly = ["--quiet", "--disable-pip-version-check", "--root-user-action=ignore"]
        subprocess.run([python, "-m", "pip", "install", *quietly, *packages], check=True, stdin=subprocess.DEVNULL)
        made.touch()
    return python


def what_it_saw(python: Path, url: str) -> dict[str, Any]:
    """Return the result of each call of the 2.11.1 client."""
    command = [str(python), str(OLD_CLIENT), url]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, env=clean_environment(), check=False)
    assert run.returncode == 0, run.stderr
    seen: dict[str, Any] = json.loads(run.stdout)
    return seen


@pytest.mark.slow(15)
@pytest.mark.timeout(300)
async def test_every_method_of_the_2_11_1_client_works_unchanged(old_python: Path, server: DurableServer) -> None:
    seen = await asyncio.to_thread(what_it_saw, old_python, server.api.url)

    assert seen["health"] == {"status": "healthy"}
    assert seen["workflows"] == {"workflows": ["greet", "approve"]}
    assert [seen[name]["result"]["value"]["result"] for name in ("run_fields", "run_event", "run_nothing")] == [
        "Hello Ada, 1",
        "Hello Bob, 1",
        "Hello nobody, 1",
    ]
    assert seen["run_nowait"]["status"] == "running"
    assert seen["run_nowait"]["handler_id"] == seen["run_fields"]["handler_id"]
    assert [event["type"] for event in seen["stream"]] == ["Progress"] * 3 + ["StopEvent"]
    assert seen["stream"][-1]["value"]["result"] == seen["continued"]["result"]["value"]["result"] == "Hello Ada, 2"
    assert seen["stream_again"] == []
    assert "StepStateChanged" in [event["type"] for event in seen["stream_internal"]]
    assert seen["sent"] == {"status": "sent"}
    assert [event["type"] for event in seen["answers"]] == ["InputRequiredEvent", "StopEvent"]
    assert seen["answered"]["result"]["value"]["result"] == "yes"
    assert [handler["workflow_name"] for handler in seen["running"]["handlers"]] == ["approve"]
    assert (seen["cancelled"], seen["purged"]) == ({"status": "cancelled"}, {"status": "deleted"})
    assert {handler["status"] for handler in seen["all"]["handlers"]} == {"completed"}
    assert (seen["gone"], seen["failed"], seen["unknown"]) == (404, 500, 404)
    assert seen["no_stream"] == "Handler not found"


# -- The llama-agents client -------------------------------------------------------------------


async def test_it_asks_for_health_workflows_schemas_and_graph(client: WorkflowClient) -> None:
    assert (await client.is_healthy()).status == "healthy"
    assert (await client.list_workflows()).workflows == ["greet", "approve"]
    schema = await client.get_workflow_schema("greet")
    assert schema.start["properties"]["name"]["default"] == "nobody"
    events = (await client.get_workflow_events_schema("approve")).events
    assert "HumanResponseEvent" in [event["title"] for event in events]
    graph = (await client.get_workflow_graph("greet")).graph
    assert "greet" in [node.label for node in graph.nodes]


async def test_it_runs_a_workflow_from_fields_an_event_and_nothing(client: WorkflowClient) -> None:
    runs = [
        await client.run_workflow("greet", start_event={"name": "Ada"}),
        await client.run_workflow("greet", start_event=Greeting(name="Bob")),
        await client.run_workflow("greet"),
    ]
    results = [run.result.value["result"] for run in runs if run.result is not None]
    assert results == ["Hello Ada, 1", "Hello Bob, 1", "Hello nobody, 1"]


async def test_it_starts_a_run_follows_it_and_gets_its_handler(client: WorkflowClient) -> None:
    begun = await client.run_workflow_nowait("greet", start_event=Greeting(name="Ada"))
    assert begun.status == "running"
    events = [event async for event in client.get_workflow_events(begun.handler_id)]
    assert [event.type for event in events] == ["Progress"] * 3 + ["StopEvent"]
    for handler in (
        await client.get_handler(begun.handler_id),
        await client.get_result(begun.handler_id),
        await client.wait_for_handler(begun.handler_id, timeout=10),
    ):
        assert handler.status == "completed"
        assert handler.result is not None
        assert handler.result.value["result"] == "Hello Ada, 1"


async def test_it_resumes_a_stream_from_its_last_sequence(client: WorkflowClient) -> None:
    begun = await client.run_workflow_nowait("greet")
    stream = client.get_workflow_events(begun.handler_id, include_internal_events=True)
    seen: list[tuple[int | str, str]] = []
    async for event in stream:
        seen.append((stream.last_sequence, event.type))
        if event.type == "Progress":
            break
    await stream.aclose()
    rest = client.get_workflow_events(begun.handler_id, True, after_sequence=stream.last_sequence)
    seen += [(rest.last_sequence, event.type) async for event in rest]
    assert [sequence for sequence, _ in seen] == list(range(len(seen)))
    assert seen[-1][1] == "StopEvent"
    assert [event async for event in client.get_workflow_events(begun.handler_id, after_sequence="now")] == []


async def test_its_stream_reconnects_when_the_server_is_back(
    server: DurableServer,
) -> None:
    port = server.api.url.rpartition(":")[2]
    client = WorkflowClient(base_url=server.api.url)
    begun = await client.run_workflow_nowait("approve")
    stream = client.get_workflow_events(begun.handler_id, max_reconnect_attempts=100_000)
    events = aiter(stream)
    assert (await anext(events)).type == "InputRequiredEvent"
    await server.kill()
    await server.start(port=port)
    await client.send_event(begun.handler_id, HumanResponseEvent.model_validate({"response": "yes"}))
    assert [event.type async for event in events] == ["StopEvent"]


async def test_it_continues_a_completed_handler(client: WorkflowClient) -> None:
    first = await client.run_workflow("greet", start_event={"name": "Ada"})
    second = await client.run_workflow("greet", handler_id=first.handler_id, start_event={"name": "Ada"})
    assert second.handler_id == first.handler_id
    assert second.run_id != first.run_id
    assert second.result is not None
    assert second.result.value["result"] == "Hello Ada, 2"


async def test_it_answers_a_waiting_run_at_the_step_that_it_names(client: WorkflowClient) -> None:
    begun = await client.run_workflow_nowait("approve")
    answer = HumanResponseEvent.model_validate({"response": "yes"})
    assert (await client.send_event(begun.handler_id, answer, step="decide")).status == "sent"
    handler = await client.wait_for_handler(begun.handler_id, timeout=20, poll_interval=0.02)
    assert handler.result is not None
    assert handler.result.value["result"] == "yes"


async def test_it_lists_cancels_and_purges_handlers(client: WorkflowClient) -> None:
    begun = await client.run_workflow_nowait("approve")
    done = await client.run_workflow("greet")
    running = await client.get_handlers(status=["running"], workflow_name=["approve", "greet"])
    assert [handler.handler_id for handler in running.handlers] == [begun.handler_id]
    assert (await client.cancel_handler(begun.handler_id)).status == "cancelled"
    both = await client.get_handlers()
    assert {handler.handler_id: handler.status for handler in both.handlers} == {
        begun.handler_id: "cancelled",
        done.handler_id: "completed",
    }
    for handler in both.handlers:
        assert (await client.cancel_handler(handler.handler_id, purge=True)).status == "deleted"
    assert (await client.get_handlers()).handlers == []


async def test_what_the_server_refuses_reaches_its_caller_with_the_reason(client: WorkflowClient) -> None:
    with pytest.raises(httpx.HTTPStatusError, match="'nothing' not found"):
        await client.run_workflow("nothing")
    with pytest.raises(httpx.HTTPStatusError, match="nobody greets trouble"):
        await client.run_workflow("greet", start_event={"name": "trouble"})
    with pytest.raises(ValueError, match="Handler not found"):
        await anext(aiter(client.get_workflow_events("nobody")))
