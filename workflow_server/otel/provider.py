"""The provider of spans: the program's own, or one that is made of the ``OTEL_*`` variables."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from collections.abc import Iterator
from importlib.metadata import entry_points

from opentelemetry import trace
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter

from workflow_server.errors import SettingsError
from workflow_server.printable import printable

logger = logging.getLogger(__name__)

SERVICE = "workflow_server"
"""The name of the service where ``OTEL_SERVICE_NAME`` and ``OTEL_RESOURCE_ATTRIBUTES`` name none."""
FLUSH = 1.0
"""Seconds that a stop waits for spans to be sent; a collector that is gone must not delay it."""

_OTLP = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}


def provider_of(given: object | None) -> TracerProvider:
    """Return the provider ``given``, or the program's global one, or else one that becomes global.

    The exporters of that one send in a thread of their own what a bounded queue holds (``OTEL_BSP_*``).

    Raises:
        SettingsError: it is no provider of OpenTelemetry's SDK, or none can be made of the variables.
    """
    provider = trace.get_tracer_provider() if given is None else given
    if isinstance(provider, TracerProvider):
        return provider
    if given is not None or not isinstance(provider, trace.ProxyTracerProvider):
        kind = f"{type(provider).__module__}.{type(provider).__qualname__}"
        raise SettingsError(f"Invalid tracer provider {kind}: expected opentelemetry.sdk.trace.TracerProvider.")
    try:
        made = _made()
    except SettingsError:
        raise
    except Exception as error:
        problem = printable(f"{type(error).__name__}: {error}", 300)
        raise SettingsError(f"OpenTelemetry cannot be set up from the OTEL_* variables: {problem}") from error
    trace.set_tracer_provider(made)
    return made


def _made() -> TracerProvider:
    resource = Resource.create()
    if str(resource.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: SERVICE}))
    # Not at the exit of the process, which would wait for the collector for half a minute.
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    for exporter in _exporters():
        provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


def _exporters() -> Iterator[SpanExporter]:
    """Yield the exporters that ``OTEL_TRACES_EXPORTER`` names: OTLP over HTTP where it names none."""
    wanted = os.environ.get("OTEL_TRACES_EXPORTER", "") or "otlp"
    for name in (part.strip() for part in wanted.split(",")):
        if name not in ("", "none"):
            yield _exporter(_otlp() if name == "otlp" else name)


def _otlp() -> str:
    names = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
    protocol = next((value for name in names if (value := os.environ.get(name))), "http/protobuf")
    if protocol not in _OTLP:
        raise SettingsError(f"Invalid OTEL_EXPORTER_OTLP_PROTOCOL: expected {' or '.join(_OTLP)}.")
    return _OTLP[protocol]


def _exporter(name: str) -> SpanExporter:
    for found in entry_points(group="opentelemetry_traces_exporter", name=name):
        exporter: SpanExporter = found.load()()
        return exporter
    raise SettingsError(
        f"No exporter '{printable(name, 100)}' is installed: see OTEL_TRACES_EXPORTER and OTEL_EXPORTER_OTLP_PROTOCOL."
    )


async def flush(provider: TracerProvider) -> None:
    """Send the spans that wait, in ``FLUSH`` seconds at most. Those that are left are lost if the process ends."""
    loop = asyncio.get_running_loop()
    sent = asyncio.Event()

    def send() -> None:
        try:
            provider.force_flush(round(FLUSH * 1000))
        except Exception:
            logger.exception("The last spans could not be sent")
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(sent.set)

    # A daemon, and none of a pool: the interpreter waits for those at its exit.
    threading.Thread(target=send, name="send the last spans", daemon=True).start()
    try:
        async with asyncio.timeout(FLUSH):
            await sent.wait()
    except TimeoutError:
        logger.warning("The last spans were not sent within %g s", FLUSH)
