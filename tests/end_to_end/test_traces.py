"""A run that is killed in the middle goes on in the trace of the request that started it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.harness.collector import Collector
from tests.harness.server_process import DurableServer

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
CLIENT = {"traceparent": f"00-{TRACE_ID}-00f067aa0ba902b7-01"}


async def test_a_killed_run_is_one_trace_from_the_client_to_its_end(tmp_path: Path) -> None:
    async with Collector() as collector, asyncio.timeout(120):
        server = DurableServer(tmp_path, "features.py")
        server.environment = collector.environment
        async with server:
            begun = await server.api.wants("POST", "/workflows/nested/run-nowait", {}, headers=CLIENT)
            await server.ledger.reached("nested")
            before = list(await collector.until(lambda spans: {"step prepare"} <= {span.name for span in spans}))
            (request,) = [span for span in before if span.name == "POST /workflows/{name}/run-nowait"]
            await server.restart()
            server.ledger.open("nested")
            handler = await server.api.finished(begun["handler_id"])
            assert handler["status"] == "completed"
            spans = list(await collector.until(lambda spans: any(span.name == "run nested" for span in spans)))
    ours = [span for span in spans if span.trace_id == TRACE_ID]
    (run,) = [span for span in ours if span.name == "run nested"]
    assert (request.trace_id, request.parent_id) == (TRACE_ID, "00f067aa0ba902b7")
    assert run.parent_id == request.span_id
    inside = [span for span in ours if span not in (run, request)]
    assert [span.name for span in inside] == ["step prepare", "resume", "step outer"]
    assert {span.parent_id for span in inside} == {run.span_id}
    assert {span.span_id for span in inside if span in before} == {inside[0].span_id}, "made before the kill"
    assert inside[1].attributes["workflow_server.crashed"] is True
    assert {span.attributes["workflow_server.run_id"] for span in [run, *inside]} == {handler["run_id"]}
    assert run.began <= inside[0].began <= inside[1].began <= inside[2].ended <= run.ended
    assert {span.service for span in spans} == {"workflow_server"}


async def test_a_stop_sends_what_waits_to_be_sent(tmp_path: Path) -> None:
    async with Collector() as collector, asyncio.timeout(120):
        server = DurableServer(tmp_path, "features.py")
        server.environment = {
            **collector.environment,
            "OTEL_BSP_SCHEDULE_DELAY": "3600000",
            "OTEL_SERVICE_NAME": "another",
        }
        async with server:
            await server.api.wants("GET", "/workflows", headers=CLIENT)
            server.terminate()
            assert await server.ended() == 0
    assert [(span.name, span.service) for span in collector.spans] == [("GET /workflows", "another")]
