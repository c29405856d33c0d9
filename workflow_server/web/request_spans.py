"""The spans of requests, where traces are asked for."""

from __future__ import annotations

from aiohttp import web

from workflow_server.tracing import RequestHead, RequestSpan, Tracing
from workflow_server.web.state import HANDLER_ID

UNTRACED = frozenset({"/health", "/ready", "/metrics"})
"""Paths of routes that machines ask over and over."""


def begin_span(tracing: Tracing, request: web.Request) -> RequestSpan | None:
    """Begin the span of a request; None where it has none."""
    resource = request.match_info.route.resource
    route = None if resource is None else resource.canonical
    if route in UNTRACED:
        return None
    path = None if route is None else request.path
    version = f"{request.version.major}.{request.version.minor}"
    return tracing.request(RequestHead(request.method, route, path, request.scheme, version, request.headers))


def end_span(span: RequestSpan, request: web.Request, status: int | None) -> None:
    """End the span of a request that was answered with this status; None where its client left before."""
    found = request.match_info
    span.end(status, workflow=found.get("name"), handler_id=request.get(HANDLER_ID) or found.get("handler_id"))
