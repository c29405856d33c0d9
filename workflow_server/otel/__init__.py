"""Traces by OpenTelemetry, which is an extra: no other package imports it, and this one is only imported where traces
are asked for."""

from workflow_server.otel.spans import OpenTelemetry

__all__ = ["OpenTelemetry"]
