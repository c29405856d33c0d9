"""The contexts of traces: of requests, as they are sent and stored, and of runs, which follow from these."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from hashlib import blake2b
from typing import TYPE_CHECKING

from opentelemetry import propagate, trace
from opentelemetry.context import Context, get_current
from opentelemetry.propagators.textmap import Getter
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import NonRecordingSpan, SpanContext
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

if TYPE_CHECKING:
    from multidict import MultiMapping

LONGEST_STATE = 512
"""Characters of a tracestate that is kept: as many as the standard asks for."""

MOST_STATES = 32
"""Members of a tracestate, by the standard."""
_STATE = re.compile(
    r"(?:[a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})"
    r"=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)

_W3C = TraceContextTextMapPropagator()


class _Headers(Getter["MultiMapping[str]"]):
    """The headers of a request, which may come from anybody. A traceparent that is repeated is none: its sender cannot
    be told.

    OpenTelemetry logs each member of a list that it cannot read, with what was sent, and some versions take long to
    split long ones. So it gets a tracestate that is valid, or none; and no baggage, which nothing here asks for.
    """

    def get(self, carrier: MultiMapping[str], key: str) -> list[str] | None:
        found = carrier.getall(key, [])
        if not found or key == "baggage" or (key == "traceparent" and len(found) > 1):
            return None
        return _valid_state(found) if key == "tracestate" else list(found)

    def keys(self, carrier: MultiMapping[str]) -> list[str]:
        return list(carrier.keys())


def _valid_state(lines: list[str]) -> list[str] | None:
    """Return a tracestate in one line, None where it is not valid."""
    members = [member for line in lines for part in line.split(",") if (member := part.strip(" \t"))]
    if not members or len(members) > MOST_STATES or not all(map(_STATE.fullmatch, members)):
        return None
    return [",".join(members)]


_HEADERS = _Headers()


def parent_of(headers: MultiMapping[str], ambient: SpanContext) -> Context:
    """Return the context of a request's span: that of its headers, as ``OTEL_PROPAGATORS`` reads them; or that of a
    span that the program has opened around the request. ``ambient`` is the one within which the server was started."""
    sent = propagate.extract(headers, getter=_HEADERS)
    asked, around = span_in(sent), span_in(get_current())
    if not around.is_valid or around.span_id == ambient.span_id:
        return sent
    # A span around it that belongs to another trace was not opened for this request.
    return get_current() if not asked.is_valid or asked.trace_id == around.trace_id else sent


def span_in(context: Context) -> SpanContext:
    """Return what is known of the current span of a context; it may be none, which is not valid."""
    return trace.get_current_span(context).get_span_context()


def as_text(found: SpanContext) -> str | None:
    """Return a context as it is stored; None where it is not valid."""
    carrier: dict[str, str] = {}
    _W3C.inject(carrier, within(found))
    parent, state = carrier.get("traceparent"), carrier.get("tracestate", "")
    return f"{parent} {state}" if parent and 0 < len(state) <= LONGEST_STATE else parent


def from_text(text: str) -> SpanContext | None:
    """Return a context that was stored; None where it cannot be read."""
    parent, _, state = text.partition(" ")
    found = span_in(_W3C.extract({"traceparent": parent, "tracestate": state} if state else {"traceparent": parent}))
    return found if found.is_valid else None


def of_run(request: SpanContext, run_id: str) -> SpanContext:
    """Return the context of the span of a run that this request started. It follows from both, so that each process
    that goes on with the run knows the parent of its steps, though that span is only made at the end."""
    digest = blake2b(f"{request.trace_id:032x}{run_id}".encode(), digest_size=8).digest()
    span_id = int.from_bytes(digest) or 1
    return SpanContext(request.trace_id, span_id, False, request.trace_flags, request.trace_state)


def within(parent: SpanContext) -> Context:
    """Return a context in which this is the current span, and nothing else is."""
    return trace.set_span_in_context(NonRecordingSpan(parent), Context())


_fixed: ContextVar[int | None] = ContextVar("workflow_server_span_id", default=None)


class RunIds(IdGenerator):
    """The ids of a tracer's own generator, but for spans that are begun within ``fixed``."""

    def __init__(self, ids: IdGenerator) -> None:
        self._ids = ids

    def generate_span_id(self) -> int:
        """Return the id that was fixed, or any."""
        return _fixed.get() or self._ids.generate_span_id()

    def generate_trace_id(self) -> int:
        """Return any id."""
        return self._ids.generate_trace_id()

    def is_trace_id_random(self) -> bool:
        """Return whether ids of traces are random; earlier generators do not say it."""
        return bool(getattr(self._ids, "is_trace_id_random", bool)())


@contextmanager
def fixed(span_id: int) -> Iterator[None]:
    """Within it, a span that is begun has this id, where its tracer has ``RunIds``."""
    reset = _fixed.set(span_id)
    try:
        yield
    finally:
        _fixed.reset(reset)
