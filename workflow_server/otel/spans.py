"""The spans of requests, runs and steps.

A run may outlive its process by weeks, and a span that is open when the process dies is lost. So the span of a run is
made at its end, in one go, with the time of its start and an id that follows from what is stored with the run; until
then its steps name it as their parent. That of a step is open while the step runs, and if the process dies it is lost:
the step begins again, with another one.

No attribute has a value of an event or the message of an exception: both may hold what a client sent.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from opentelemetry import trace
from opentelemetry.context import Context, attach, detach, get_current
from opentelemetry.sdk.trace import Tracer, TracerProvider
from opentelemetry.trace import Span, SpanContext, SpanKind, StatusCode

from workflow_server.otel import contexts
from workflow_server.otel.provider import flush, provider_of
from workflow_server.tracing import Outcome, RequestHead, TracedRun

logger = logging.getLogger(__name__)

LONGEST = 256
"""Characters of an attribute; names and paths come from clients."""
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"})

P = ParamSpec("P")
T = TypeVar("T")


def never_raises(function: Callable[P, T]) -> Callable[P, T | None]:
    """Return the function with its exceptions logged: samplers and processors are other people's, and a request or a
    run does not fail for its span."""

    @functools.wraps(function)
    def call(*args: P.args, **options: P.kwargs) -> T | None:
        try:
            return function(*args, **options)
        except Exception:
            logger.exception("A span is lost")
            return None

    return call


class OpenTelemetry:
    """``Tracing`` by a provider of OpenTelemetry's SDK: the program's own where it has one."""

    def __init__(self, provider: object | None) -> None:
        self._given = provider
        self._provider: TracerProvider | None = None
        self._tracer: trace.Tracer = trace.NoOpTracer()
        self._ambient = trace.INVALID_SPAN_CONTEXT
        """The span within which the program has started the server: no request's parent."""

    def start(self) -> None:
        """See ``Tracing``."""
        self._provider = provider_of(self._given)
        self._ambient = contexts.span_in(get_current())
        self._tracer = self._provider.get_tracer("workflow_server")
        # It is no tracer of the SDK where OTEL_SDK_DISABLED is set. No other scope's tracer gets these ids.
        if isinstance(self._tracer, Tracer) and not isinstance(self._tracer.id_generator, contexts.RunIds):
            self._tracer.id_generator = contexts.RunIds(self._tracer.id_generator)

    async def stop(self) -> None:
        """See ``Tracing``."""
        if self._provider is not None:
            await flush(self._provider)

    @never_raises
    def request(self, head: RequestHead) -> RequestSpan:
        """See ``Tracing``."""
        method = head.method if head.method in METHODS else "_OTHER"
        attributes = {
            "http.request.method": method,
            "url.scheme": head.scheme,
            "network.protocol.version": head.protocol,
        }
        if head.route is not None:
            attributes["http.route"] = head.route
        if head.path is not None:
            attributes["url.path"] = head.path[:LONGEST]
        name = "HTTP" if method == "_OTHER" else method
        parent = contexts.parent_of(head.headers, self._ambient)
        span = self._tracer.start_span(
            name if head.route is None else f"{name} {head.route}", parent, SpanKind.SERVER, attributes
        )
        return RequestSpan(span, parent)

    @never_raises
    def context(self) -> str | None:
        """See ``Tracing``."""
        found = contexts.span_in(get_current())
        return None if found.span_id == self._ambient.span_id else contexts.as_text(found)

    @never_raises
    def link(self, run: TracedRun) -> None:
        """See ``Tracing``."""
        request = contexts.from_text(run.trace.context)
        if request is not None:
            trace.get_current_span().add_link(contexts.of_run(request, run.run_id), _about(run))

    @never_raises
    def run(self, run: TracedRun) -> RunSpans | None:
        """See ``Tracing``."""
        request = contexts.from_text(run.trace.context)
        if request is None:
            logger.warning("The trace of handler %s cannot be read: the run goes on without one", run.handler_id)
            return None
        return RunSpans(self._tracer, contexts.of_run(request, run.run_id), _about(run))

    @never_raises
    def resumed(self, run: TracedRun, began: float, *, crashed: bool) -> None:
        """See ``Tracing``."""
        request = contexts.from_text(run.trace.context)
        if request is not None:
            parent = contexts.within(contexts.of_run(request, run.run_id))
            attributes = {**_about(run), "workflow_server.crashed": crashed}
            span = self._tracer.start_span("resume", parent, attributes=attributes, start_time=_nanoseconds(began))
            span.end(_nanoseconds(max(began, time.time())))

    @never_raises
    def ended(self, run: TracedRun, status: str, at: float) -> None:
        """See ``Tracing``."""
        request = contexts.from_text(run.trace.context)
        if request is None:
            return
        began = run.trace.started_at
        attributes = {**_about(run), "workflow_server.status": status}
        with contexts.fixed(contexts.of_run(request, run.run_id).span_id):
            span = self._tracer.start_span(
                f"run {(run.workflow or 'unregistered')[:LONGEST]}",
                contexts.within(request),
                attributes=attributes,
                start_time=_nanoseconds(began),
            )
        if status == "failed":
            span.set_status(StatusCode.ERROR)
        span.end(_nanoseconds(max(began, at)))


class RequestSpan:
    """The span of a request."""

    def __init__(self, span: Span, around: Context) -> None:
        self._span = span
        self._before = attach(trace.set_span_in_context(span, around))

    @never_raises
    def end(self, status: int | None, *, workflow: str | None, handler_id: str | None) -> None:
        """See ``workflow_server.tracing.RequestSpan``."""
        detach(self._before)
        for name, value in (("workflow", workflow), ("handler_id", handler_id)):
            if value is not None:
                self._span.set_attribute(f"workflow_server.{name}", value[:LONGEST])
        if status is None:
            self._span.set_attribute("error.type", "client_left")
        else:
            self._span.set_attribute("http.response.status_code", status)
        if status is not None and status >= 500:
            self._span.set_attribute("error.type", str(status))
            self._span.set_status(StatusCode.ERROR)
        self._span.end()


class RunSpans:
    """The spans within one run: its steps'."""

    def __init__(self, tracer: trace.Tracer, run: SpanContext, about: dict[str, Any]) -> None:
        self._tracer = tracer
        self._within = contexts.within(run)
        self._about = about

    @never_raises
    def enter(self) -> None:
        """See ``workflow_server.tracing.RunSpans``."""
        attach(self._within)

    def step(self, name: str) -> StepSpan:
        """See ``workflow_server.tracing.RunSpans``."""
        return StepSpan(self._step(name))

    @never_raises
    def _step(self, name: str) -> Span:
        attributes = {**self._about, "workflow_server.step": name[:LONGEST]}
        span = self._tracer.start_span(f"step {name[:LONGEST]}", self._within, attributes=attributes)
        attach(trace.set_span_in_context(span, self._within))
        return span


class StepSpan:
    """The span of one execution of a step; None where it could not be made."""

    def __init__(self, span: Span | None) -> None:
        self._span = span

    @never_raises
    def end(self, outcome: Outcome, error: str | None = None) -> None:
        """See ``workflow_server.tracing.StepSpan``."""
        if self._span is None:
            return
        self._span.set_attribute("workflow_server.outcome", outcome)
        if error is not None:
            self._span.set_attribute("error.type", error[:LONGEST])
            self._span.set_status(StatusCode.ERROR)
        self._span.end()


def _about(run: TracedRun) -> dict[str, Any]:
    about = {"workflow_server.handler_id": run.handler_id, "workflow_server.run_id": run.run_id}
    return about if run.workflow is None else {**about, "workflow_server.workflow": run.workflow[:LONGEST]}


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)
