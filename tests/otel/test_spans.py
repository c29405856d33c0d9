"""The spans of requests, runs and steps: their shape, and what a run's trace survives within one process."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from aiohttp.typedefs import Handler
from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.span import BaseSpan
from llama_index_instrumentation.span_handlers import BaseSpanHandler
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from pydantic import Field
from workflows import Context as RunContext
from workflows import Workflow, step
from workflows.events import Event, HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent
from workflows.retry_policy import retry_policy, stop_after_attempt, wait_fixed

from tests.harness.waiting import until_seen
from tests.otel.conftest import PARENT_ID, SAMPLED, TRACE_ID, UNSAMPLED, Trace, Traced, ids, parent
from tests.web.workflows import Fail
from workflow_server.server import WorkflowServer
from workflow_server.store.sqlite.store import SqliteWorkflowStore

SECRET = "the-value-of-an-event"


class Middle(Event):
    text: str


class Chain(Workflow):
    """Two steps; what the second has as its current span is its result."""

    @step
    async def begin(self, ev: StartEvent) -> Middle:
        return Middle(text=ev.get("text", ""))

    @step
    async def finish(self, ev: Middle) -> StopEvent:
        found = trace.get_current_span().get_span_context()
        return StopEvent(result=f"{found.trace_id:032x} {found.span_id:016x} {found.trace_flags:02x}")


class Asks(Workflow):
    """Asks, waits and ends; a second step follows the answer."""

    @step
    async def ask(self, ctx: RunContext, ev: StartEvent) -> Middle:
        answer = await ctx.wait_for_event(HumanResponseEvent, waiter_event=InputRequiredEvent(), timeout=None)
        return Middle(text=answer.response)

    @step
    async def conclude(self, ev: Middle) -> StopEvent:
        return StopEvent(result=ev.text)


class Twice(Workflow):
    """Fails once, and is tried again."""

    tries = 0

    @step(retry_policy=retry_policy(wait=wait_fixed(0.0), stop=stop_after_attempt(3)))
    async def only(self, ev: StartEvent) -> StopEvent:
        self.tries += 1
        if self.tries == 1:
            raise ValueError(SECRET)
        return StopEvent()


async def ended(served: Traced, handler_id: str) -> None:
    async with served.client.get(f"/events/{handler_id}", headers=UNSAMPLED) as response:
        await response.read()


async def answer(served: Traced, handler_id: str, headers: dict[str, str] = UNSAMPLED) -> None:
    body = {"event": {"type": "HumanResponseEvent", "value": {"response": SECRET}}}

    async def taken() -> bool:
        async with served.client.post(f"/events/{handler_id}", json=body, headers=headers) as response:
            return response.status == 200

    await until_seen(taken, "the answer was refused")


async def released(served: Traced, handler_id: str) -> None:
    async def is_released() -> bool:
        async with served.client.get("/metrics") as response:
            return 'runs{state="released"} 1.0' in await response.text()

    await until_seen(is_released, "the run stayed in memory")


# -- One trace -------------------------------------------------------------------------------------


async def test_a_retry_is_in_the_trace_of_its_own_request(traced: Trace) -> None:
    async with traced(fail=Fail()) as served:
        handler_id = await served.finish("fail")
        other = {"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"}
        async with served.client.post(f"/handlers/{handler_id}/retry", headers=other) as response:
            assert response.status == 200
        await ended(served, handler_id)
        runs = [span for span in served.spans() if span.name == "run fail"]
        request = served.span("POST /handlers/{handler_id}/retry")
        assert [ids(run)[0] for run in runs] == [TRACE_ID, "ab" * 16]
        assert parent(runs[1]) == ids(request)[1]


@pytest.mark.parametrize("control_loop", ["lean", "engine"])
async def test_request_run_and_steps_are_one_trace(traced: Trace, control_loop: str) -> None:
    async with traced(chain=Chain(), settings={"control_loop": control_loop}) as served:
        handler_id = await served.finish("chain", text=SECRET)
        request, run = served.span("POST /workflows/{name}/run"), served.span("run chain")
        steps = [served.span("step begin"), served.span("step finish")]
        assert {ids(span)[0] for span in (request, run, *steps)} == {TRACE_ID}
        assert parent(request) == PARENT_ID
        assert parent(run) == ids(request)[1]
        assert [parent(span) for span in steps] == [ids(run)[1]] * 2
        assert len({ids(span)[1] for span in (request, run, *steps)}) == 4
        assert len(served.spans()) == 4
        assert request.kind is SpanKind.SERVER
        assert request.attributes == {
            "http.request.method": "POST",
            "http.route": "/workflows/{name}/run",
            "http.response.status_code": 200,
            "url.path": "/workflows/chain/run",
            "url.scheme": "http",
            "network.protocol.version": "1.1",
            "workflow_server.workflow": "chain",
            "workflow_server.handler_id": handler_id,
        }
        assert run.attributes is not None
        about = {name: value for name, value in run.attributes.items() if name != "workflow_server.status"}
        assert about.keys() == {f"workflow_server.{name}" for name in ("workflow", "handler_id", "run_id")}
        assert run.attributes["workflow_server.status"] == "completed"
        assert steps[1].attributes == {
            **about,
            "workflow_server.step": "finish",
            "workflow_server.outcome": "completed",
        }
        assert all((run.start_time or 0) <= (span.start_time or 0) <= (run.end_time or 0) for span in steps)
        assert SECRET not in "".join(span.to_json() for span in served.spans())


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"traceparent": ""},
        {"traceparent": "00-not-a-context"},
        {"traceparent": f"00-{'0' * 32}-{PARENT_ID}-01"},
        {"traceparent": f"ff-{TRACE_ID}-{PARENT_ID}-01"},
        {"traceparent": f"00-{TRACE_ID}-{PARENT_ID}-01" * 10},
        [*SAMPLED.items(), *SAMPLED.items()],
        {"tracestate": "vendor=1"},
    ],
)
async def test_without_a_valid_traceparent_a_request_begins_a_trace(traced: Trace, headers: Any) -> None:
    async with traced(chain=Chain()) as served:
        async with served.client.post("/workflows/chain/run", headers=headers) as response:
            assert response.status == 200
        request, run = served.span("POST /workflows/{name}/run"), served.span("run chain")
        assert request.parent is None
        assert ids(request)[0] == ids(run)[0] != TRACE_ID


async def test_what_is_not_sampled_has_no_span_and_steps_know_it(traced: Trace) -> None:
    async with traced(chain=Chain()) as served:
        async with served.client.post("/workflows/chain/run", headers=UNSAMPLED) as response:
            trace_id, _, flags = (await response.json())["result"]["value"]["result"].split()
        assert (trace_id, flags) == (TRACE_ID, "00")
        assert served.spans() == []


async def test_a_tracestate_goes_on_to_the_steps(traced: Trace) -> None:
    class States(Workflow):
        @step
        async def only(self, ev: StartEvent) -> StopEvent:
            return StopEvent(result=trace.get_current_span().get_span_context().trace_state.to_header())

    async with traced(states=States()) as served:
        headers = {**SAMPLED, "tracestate": "vendor=value;of it, other=2"}
        async with served.client.post("/workflows/states/run", headers=headers) as response:
            found = (await response.json())["result"]["value"]["result"]
        assert found.replace(" ", "") == "vendor=value;ofit,other=2"


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("baggage", [",".join([SECRET] * 100)]),
        ("baggage", [f"a{' ' * 8_000}b"]),
        ("tracestate", [f"vendor=1,{SECRET}"]),
        ("tracestate", ["vendor=1", f"vendor={'v' * 300}"]),
        ("tracestate", [f"a{number}=1" for number in range(33)]),
        ("tracestate", [f"a=1{' ' * 8_000}b=2"]),
    ],
)
async def test_lists_that_are_not_valid_are_ignored_unlogged(
    traced: Trace, caplog: pytest.LogCaptureFixture, name: str, lines: list[str]
) -> None:
    async with traced(settings={"tokens": ["a-token-that-may-do-all"]}) as served:
        headers = [*SAMPLED.items(), *((name, line) for line in lines)]
        async with served.client.get("/workflows", headers=headers) as response:
            assert response.status == 401
        (span,) = served.spans()
        assert (ids(span)[0], parent(span)) == (TRACE_ID, PARENT_ID)
        assert span.context is not None
        assert not span.context.trace_state
    assert [record for record in caplog.records if record.name.startswith("opentelemetry")] == []


# -- Requests --------------------------------------------------------------------------------------


async def test_refused_and_unknown_requests_have_spans_of_few_names(traced: Trace) -> None:
    async with traced() as served:
        for path in ("/health", "/ready", "/metrics"):
            await served.client.get(path)
        assert served.spans() == []
        await served.client.get("/no/such?key=" + SECRET)
        await served.client.request("PROPFIND", f"/{SECRET}")
        await served.client.get("/handlers/unknown")
        assert [(span.name, span.attributes) for span in served.spans()] == [
            (name, {"url.scheme": "http", "network.protocol.version": "1.1", **attributes})
            for name, attributes in (
                ("GET", {"http.request.method": "GET", "http.response.status_code": 404}),
                ("HTTP", {"http.request.method": "_OTHER", "http.response.status_code": 404}),
                (
                    "GET /handlers/{handler_id}",
                    {
                        "http.request.method": "GET",
                        "http.route": "/handlers/{handler_id}",
                        "url.path": "/handlers/unknown",
                        "http.response.status_code": 404,
                        "workflow_server.handler_id": "unknown",
                    },
                ),
            )
        ]
        assert all(span.status.status_code is StatusCode.UNSET for span in served.spans())


async def test_what_clients_name_is_cut_and_can_be_sent(traced: Trace) -> None:
    async with traced() as served:
        await served.client.get("/handlers/" + "%ff%ed%a0%80" * 200)
        (span,) = served.spans("GET /handlers/{handler_id}")
        assert 0 < encode_spans([span]).ByteSize() < 3_000


async def test_a_request_that_fails_is_an_error(traced: Trace) -> None:
    async with traced(fail=Fail()) as served:
        await served.finish("fail")
        request = served.span("POST /workflows/{name}/run")
        for span in (request, served.span("run fail"), served.span("step fail")):
            assert span.status.status_code is StatusCode.ERROR
        assert (request.attributes or {})["error.type"] == "500"


async def test_a_span_around_the_mounted_server_is_the_parent(tmp_path: Path) -> None:
    kept, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(kept))
    tracer = provider.get_tracer("the program's own")

    @web.middleware
    async def instrumented(request: web.Request, handler: Handler) -> web.StreamResponse:
        with tracer.start_as_current_span("request"):
            return await handler(request)

    server = WorkflowServer(workflow_store=SqliteWorkflowStore(tmp_path / "db"), tracer_provider=provider)
    outer = web.Application(middlewares=[instrumented])
    outer.add_subapp("/flows", server.app)
    with tracer.start_as_current_span("program"):
        async with TestClient(TestServer(outer)) as client:
            await client.get("/flows/workflows")
            await client.get("/flows/workflows", headers=SAMPLED)
    (first, own, second, other, _) = kept.get_finished_spans()
    assert [first.name, second.name] == ["GET /flows/workflows"] * 2
    assert parent(first) == ids(own)[1]
    assert (ids(second)[0], parent(second)) == (TRACE_ID, PARENT_ID), "the client's trace is another one"
    assert own.name == other.name == "request"


async def test_the_span_within_which_a_server_was_started_is_no_parent(traced: Trace) -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    with provider.get_tracer("the program's own").start_as_current_span("program"):
        async with traced(chain=Chain()) as served:
            await served.finish("chain", {})
    assert served.span("POST /workflows/{name}/run").parent is None


# -- Steps -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("control_loop", ["lean", "engine"])
async def test_what_a_step_opens_is_a_child_of_its_span(traced: Trace, control_loop: str) -> None:
    class Opens(Workflow):
        tracer = trace.NoOpTracer()

        @step
        async def asynchronous(self, ev: StartEvent) -> Middle:
            async def spawned() -> None:
                with self.tracer.start_as_current_span("in a task"):
                    pass

            with self.tracer.start_as_current_span("in the step"):
                await asyncio.sleep(0)
            await asyncio.create_task(spawned())
            return Middle(text="")

        @step
        def synchronous(self, ev: Middle) -> StopEvent:
            with self.tracer.start_as_current_span("in a thread"):
                return StopEvent()

    opens = Opens()
    async with traced(opens=opens, settings={"control_loop": control_loop}) as served:
        opens.tracer = served.provider.get_tracer("a client library")  # type: ignore[assignment]
        await served.finish("opens")
        first, second = ids(served.span("step asynchronous"))[1], ids(served.span("step synchronous"))[1]
        assert parent(served.span("in the step")) == parent(served.span("in a task")) == first
        assert parent(served.span("in a thread")) == second


async def test_a_step_tells_how_it_ended_but_not_what_it_said(traced: Trace) -> None:
    async with traced(twice=Twice(), asks=Asks(timeout=None), fail=Fail()) as served:
        await served.finish("twice")
        handler_id = await served.start("asks")
        await answer(served, handler_id)
        await ended(served, handler_id)
        await served.finish("fail")

        def outcomes(name: str) -> list[tuple[Any, Any]]:
            found = [span.attributes or {} for span in served.spans(f"step {name}")]
            return [(one["workflow_server.outcome"], one.get("error.type")) for one in found]

        assert outcomes("only") == [("retried", "ValueError"), ("completed", None)]
        assert outcomes("ask") == [("waiting", None), ("completed", None)]
        assert outcomes("fail")[0][0] == "failed"
        assert SECRET not in "".join(span.to_json() for span in served.spans())


async def test_a_step_that_a_cancellation_ends_is_no_error(traced: Trace) -> None:
    class Hangs(Workflow):
        @step
        async def hang(self, ev: StartEvent) -> StopEvent:
            await asyncio.Event().wait()
            return StopEvent()

    async with traced(hangs=Hangs(timeout=None)) as served:
        handler_id = await served.start("hangs")

        async def runs() -> bool:
            async with served.client.get(f"/handlers/{handler_id}", headers=UNSAMPLED) as response:
                return any(one["since"] for one in (await response.json())["running_steps"])

        await until_seen(runs, "the step never began")
        await served.client.post(f"/handlers/{handler_id}/cancel", headers=UNSAMPLED)

        async def told() -> bool:
            return len(served.spans("step hang")) == len(served.spans("run hangs")) == 1

        await until_seen(told, "the spans never ended")
        step_span, run = served.span("step hang"), served.span("run hangs")
        assert [span.status.status_code for span in (step_span, run)] == [StatusCode.UNSET] * 2
        assert (step_span.attributes or {})["workflow_server.outcome"] == "interrupted"
        assert (run.attributes or {})["workflow_server.status"] == "cancelled"


class Dispatched(BaseSpanHandler[BaseSpan]):
    """Keeps what was OpenTelemetry's current span when the engine opened one of its own."""

    seen: dict[str, str] = Field(default_factory=dict)

    def new_span(self, id_: str, *args: Any, **options: Any) -> BaseSpan:
        current = trace.get_current_span().get_span_context()
        self.seen[id_.partition("-")[0]] = f"{current.span_id:016x}"
        return BaseSpan(id_=id_)

    def prepare_to_exit_span(self, id_: str, *args: Any, **options: Any) -> BaseSpan | None:
        return self.open_spans.get(id_)

    def prepare_to_drop_span(self, id_: str, *args: Any, **options: Any) -> BaseSpan | None:
        return self.open_spans.get(id_)


async def test_the_engines_own_spans_are_within_ours(traced: Trace) -> None:
    dispatcher, handler = get_dispatcher(), Dispatched()
    before = list(dispatcher.span_handlers)
    dispatcher.span_handlers = [*before, handler]
    try:
        async with traced(chain=Chain()) as served:
            await served.finish("chain")
            run, begin = ids(served.span("run chain"))[1], ids(served.span("step begin"))[1]
    finally:
        dispatcher.span_handlers = before
    assert handler.seen["Chain.begin"] == begin
    assert {found for name, found in handler.seen.items() if "begin" not in name and "finish" not in name} == {run}


# -- A run's trace over time -----------------------------------------------------------------------


async def test_a_post_to_a_run_is_linked_to_it(traced: Trace) -> None:
    async with traced(asks=Asks(timeout=None)) as served:
        handler_id = await served.start("asks")
        await answer(served, handler_id, {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"})
        await ended(served, handler_id)
        post, run = served.spans("POST /events")[-1], served.span("run asks")
        assert ids(post)[0] == "a" * 32
        (link,) = post.links
        assert (f"{link.context.trace_id:032x}", f"{link.context.span_id:016x}") == ids(run)


@pytest.mark.parametrize("idle_timeout", [0.05, 0])
async def test_a_run_goes_on_in_its_trace_after_a_release_and_a_restart(traced: Trace, idle_timeout: float) -> None:
    settings = {"idle_timeout": idle_timeout}
    async with traced(asks=Asks(timeout=None), settings=settings) as served:
        handler_id = await served.start("asks")
        if idle_timeout:
            await released(served, handler_id)
        else:
            await until_seen(lambda: _exists(served, "step ask"), "the step never waited")
        request = served.span("POST /workflows/{name}/run-nowait")
        assert served.spans("run") == []
    async with traced(asks=Asks(timeout=None), settings=settings) as served:
        await answer(served, handler_id)
        await ended(served, handler_id)
        run, resume = served.span("run asks"), served.spans("resume")[-1]
        assert (ids(run)[0], parent(run)) == ids(request)
        assert {parent(span) for span in (resume, *served.spans("step"))} == {ids(run)[1]}
        assert {ids(span)[0] for span in served.spans()} == {TRACE_ID}
        assert (resume.attributes or {})["workflow_server.crashed"] is False
        assert (run.start_time or 0) < (resume.start_time or 0)


async def _exists(served: Traced, name: str) -> bool:
    return bool(served.spans(name))


async def test_a_run_that_is_cancelled_outside_of_memory_has_its_span(traced: Trace) -> None:
    settings = {"idle_timeout": 0.05}
    async with traced(asks=Asks(timeout=None), settings=settings) as served:
        handler_id = await served.start("asks")
        await released(served, handler_id)
    async with traced(settings=settings) as served:
        await served.client.post(f"/handlers/{handler_id}/cancel", headers=UNSAMPLED)
        assert (served.span("run unregistered").attributes or {})["workflow_server.status"] == "cancelled"


async def test_a_continued_handler_has_a_trace_for_each_run(traced: Trace) -> None:
    async with traced(chain=Chain()) as served:
        handler_id = await served.finish("chain")
        other = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
        body = {"handler_id": handler_id}
        async with served.client.post("/workflows/chain/run", json=body, headers=other) as response:
            assert response.status == 200
        first, second = served.spans("run chain")
        assert [ids(span)[0] for span in (first, second)] == [TRACE_ID, "a" * 32]


async def test_a_damaged_trace_costs_the_run_its_spans_only(traced: Trace, tmp_path: Path) -> None:
    async with traced(asks=Asks(timeout=None)) as served:
        handler_id = await served.start("asks")
        await until_seen(lambda: _exists(served, "step ask"), "the step never waited")
    with closing(sqlite3.connect(tmp_path / "db")) as database, database:
        (kept,) = database.execute("SELECT trace FROM handlers").fetchone()
        assert kept == f"00-{TRACE_ID}-{ids(served.span('POST /workflows/{name}/run-nowait'))[1]}-01"
        database.execute("UPDATE handlers SET trace = ?", ("00-damaged",))
    async with traced(asks=Asks(timeout=None)) as served:
        await answer(served, handler_id)
        await ended(served, handler_id)
        assert await served.status(handler_id) == "completed"
        assert served.spans() == []


# -- Other people's code ---------------------------------------------------------------------------


class Raising(SpanProcessor):
    """A processor with an error."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        raise ValueError("of a processor")

    def on_end(self, span: ReadableSpan) -> None:
        raise ValueError("of a processor")


class Unending(Raising):
    """A processor that raises at the ends of spans only."""

    on_start: Callable[..., None] = SpanProcessor.on_start


@pytest.mark.parametrize("processor", [Raising(), Unending()])
async def test_a_processor_that_raises_disturbs_no_run(
    traced: Trace, processor: SpanProcessor, caplog: pytest.LogCaptureFixture
) -> None:
    async with traced(processor, asks=Asks(timeout=None)) as served:
        handler_id = await served.start("asks")
        await answer(served, handler_id)
        await ended(served, handler_id)
        assert await served.status(handler_id) == "completed"
    assert "A span is lost" in caplog.text
    assert json.dumps(SECRET) not in caplog.text
