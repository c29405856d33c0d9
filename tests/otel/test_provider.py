"""Spans go nowhere by default, else where the OTEL_* variables or the program say, and nothing waits for that."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import NoOpTracerProvider

from tests.harness.spawning import ROOT
from tests.otel.conftest import Trace
from tests.otel.test_spans import Chain
from workflow_server.errors import SettingsError
from workflow_server.server import WorkflowServer
from workflow_server.store.sqlite.store import SqliteWorkflowStore

SERVE = """
import asyncio, os, sqlite3, sys
if "WITHOUT" in os.environ:
    sys.modules["opentelemetry"] = None
from aiohttp.test_utils import TestClient, TestServer
from tests.otel.programs import Says
from workflow_server import Settings, WorkflowServer

async def main():
    server = WorkflowServer()
    server.add_workflow("says", Says())
    headers = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}
    async with TestClient(TestServer(server.app)) as client:
        response = await client.post("/workflows/says/run", headers=headers)
        assert response.status == 200, await response.text()

BEFORE
asyncio.run(main())
AFTER
"""
TRACES = 'sqlite3.connect("db").execute("SELECT trace FROM handlers").fetchall()'


def program(folder: Path, *, before: str = "", after: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program that serves one run."""
    code = SERVE.replace("BEFORE", before).replace("AFTER", after)
    variables = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "WORKFLOW_SERVER_DB": "db", **environment}
    return _run(["-c", code], folder, variables)


def _run(arguments: list[str], folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_without_the_setting_nothing_is_imported_or_stored(tmp_path: Path) -> None:
    after = f"assert not [name for name in sys.modules if 'opentelemetry.' in name]\nassert {TRACES} == [(None,)]"
    ended = program(tmp_path, after=after, WITHOUT="1")
    assert ended.returncode == 0, ended.stderr


def test_the_global_provider_of_the_program_is_used(tmp_path: Path) -> None:
    before = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
kept = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(kept))
trace.set_tracer_provider(provider)
"""
    after = """
names = sorted(span.name for span in kept.get_finished_spans())
assert names == ["POST /workflows/{name}/run", "run says", "step say"], names
"""
    ended = program(tmp_path, before=before, after=after, WORKFLOW_SERVER_TRACING="1")
    assert ended.returncode == 0, ended.stderr


def test_otherwise_ours_is_global_also_for_a_later_server(tmp_path: Path) -> None:
    after = """
asyncio.run(main())
from opentelemetry import trace
with trace.get_tracer("a client library").start_as_current_span("its own"):
    pass
trace.get_tracer_provider().force_flush()
"""
    ended = program(tmp_path, after=after, WORKFLOW_SERVER_TRACING="1", OTEL_TRACES_EXPORTER="console")
    assert ended.returncode == 0, ended.stderr
    for name, number in (("run says", 2), ("step say", 2), ("POST /workflows/{name}/run", 2), ("its own", 1)):
        assert ended.stdout.count(f'"name": "{name}"') == number, ended.stdout


@pytest.mark.parametrize("variable", [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"}])
def test_what_the_sdk_is_told_to_leave_out_is_left_out(tmp_path: Path, variable: dict[str, str]) -> None:
    ended = program(tmp_path, WORKFLOW_SERVER_TRACING="1", **variable)
    assert (ended.returncode, ended.stdout) == (0, ""), ended.stderr
    assert [line for line in ended.stderr.splitlines() if "SQLite" not in line] == []


# -- What is wrong ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"OTEL_TRACES_EXPORTER": "no-such"}, "No exporter 'no-such' is installed"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "carrier-pigeon"}, "Invalid OTEL_EXPORTER_OTLP_PROTOCOL"),
        ({"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "many"}, "OpenTelemetry cannot be set up"),
        ({"OTEL_PROPAGATORS": "smoke"}, "OpenTelemetry cannot be set up"),
        ({"WITHOUT": "1"}, "pip install 'workflow_server[otel]'"),
    ],
)
def test_a_start_that_cannot_trace_ends_with_one_line(tmp_path: Path, variables: dict[str, str], said: str) -> None:
    hide = 'import os, sys\nif "WITHOUT" in os.environ: sys.modules["opentelemetry"] = None\n'
    code = hide + "from workflow_server.cli.main import main\nmain()"
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), **variables}
    ended = _run(["-c", code, "serve", "--tracing", "--port", "0", "tests.otel.programs"], tmp_path, environment)
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.startswith("workflow-server: ")
    assert said in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


async def test_a_provider_that_is_not_the_sdks_is_refused_by_name(tmp_path: Path) -> None:
    server = WorkflowServer(
        workflow_store=SqliteWorkflowStore(tmp_path / "db"),
        tracer_provider=NoOpTracerProvider(),  # type: ignore[arg-type]
    )
    with pytest.raises(SettingsError, match=r"NoOpTracerProvider: expected opentelemetry\.sdk"):
        await server.start()
    await server.stop()


# -- What never waits ------------------------------------------------------------------------------


class Stuck(SpanExporter):
    """Sends nothing, for as long as it is not let go."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.let_go = threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.begun.set()
        self.let_go.wait()
        return SpanExportResult.FAILURE


async def test_neither_runs_nor_a_stop_wait_for_a_collector(traced: Trace, caplog: pytest.LogCaptureFixture) -> None:
    exporter = Stuck()
    queue = BatchSpanProcessor(exporter, max_queue_size=4, max_export_batch_size=2, schedule_delay_millis=1)
    try:
        async with traced(queue, chain=Chain()) as served:
            while not exporter.begun.is_set():
                await served.finish("chain")
            for _ in range(5):
                await served.finish("chain")
            assert len(served.spans("run chain")) >= 6
        assert not exporter.let_go.is_set()
    finally:
        exporter.let_go.set()
        queue.shutdown()  # type: ignore[no-untyped-call]
    assert [record.levelno for record in caplog.records if "last spans" in record.message] == [logging.WARNING]
