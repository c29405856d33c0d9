"""Servers in the test's own event loop whose spans are kept in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from aiohttp.test_utils import TestClient, TestServer
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased, Sampler
from workflows import Workflow

from tests.harness.managing import uses_engine_loop
from workflow_server.server import WorkflowServer
from workflow_server.settings import Settings
from workflow_server.store.sqlite.store import SqliteWorkflowStore

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT_ID = "00f067aa0ba902b7"
SAMPLED = {"traceparent": f"00-{TRACE_ID}-{PARENT_ID}-01"}
UNSAMPLED = {"traceparent": f"00-{TRACE_ID}-{PARENT_ID}-00"}


class Traced(NamedTuple):
    """A server that is traced, a client that speaks to it, and the spans that have ended."""

    server: WorkflowServer
    client: TestClient[Any, Any]
    kept: InMemorySpanExporter
    provider: TracerProvider

    async def start(self, workflow: str, headers: Mapping[str, str] = SAMPLED, **fields: Any) -> str:
        """Start a run; its handler's id."""
        body = {"start_event": fields}
        async with self.client.post(f"/workflows/{workflow}/run-nowait", json=body, headers=headers) as response:
            assert response.status == 200, await response.text()
            return str((await response.json())["handler_id"])

    async def finish(self, workflow: str, headers: Mapping[str, str] = SAMPLED, **fields: Any) -> str:
        """Start a run and wait for its end; its handler's id."""
        body = {"start_event": fields}
        async with self.client.post(f"/workflows/{workflow}/run", json=body, headers=headers) as response:
            return str((await response.json())["handler_id"])

    async def status(self, handler_id: str) -> str:
        """The status of a handler."""
        async with self.client.get(f"/handlers/{handler_id}", headers=UNSAMPLED) as response:
            return str((await response.json())["status"])

    def spans(self, prefix: str = "") -> list[ReadableSpan]:
        """The spans whose names begin with this, in the order of their ends."""
        return [span for span in self.kept.get_finished_spans() if span.name.startswith(prefix)]

    def span(self, name: str) -> ReadableSpan:
        """The only span of this name."""
        (found,) = [span for span in self.kept.get_finished_spans() if span.name == name]
        return found


Trace = Callable[..., AbstractAsyncContextManager[Traced]]


def ids(span: ReadableSpan) -> tuple[str, str]:
    """The ids of a span's trace and its own."""
    assert span.context is not None
    return f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}"


def parent(span: ReadableSpan) -> str | None:
    """The id of a span's parent."""
    return None if span.parent is None else f"{span.parent.span_id:016x}"


@pytest.fixture
def traced(tmp_path: Path) -> Trace:
    """Serve workflows from one database file; a second server takes up what the first one left."""

    @asynccontextmanager
    async def serve(
        *processors: SpanProcessor,
        sampler: Sampler | None = None,
        settings: Mapping[str, Any] | None = None,
        **workflows: Workflow,
    ) -> AsyncIterator[Traced]:
        kept = InMemorySpanExporter()
        provider = TracerProvider(sampler=sampler or ParentBased(ALWAYS_ON), shutdown_on_exit=False)
        for processor in (SimpleSpanProcessor(kept), *processors):
            provider.add_span_processor(processor)
        chosen = {"control_loop": "engine" if uses_engine_loop() else "lean", **(settings or {})}
        server = WorkflowServer(
            workflow_store=SqliteWorkflowStore(tmp_path / "db"), settings=Settings(**chosen), tracer_provider=provider
        )
        for name, workflow in workflows.items():
            server.add_workflow(name, workflow)
        async with TestClient(TestServer(server.app)) as client:
            yield Traced(server, client, kept, provider)

    return serve
