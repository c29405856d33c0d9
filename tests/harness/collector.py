"""A collector of traces: what a server sends by OTLP over HTTP, decoded."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import NamedTuple, Self

from aiohttp import web
from aiohttp.test_utils import TestServer
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from tests.harness.waiting import until


class Sent(NamedTuple):
    """A span that was sent; ids are hexadecimal."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    began: int
    ended: int
    attributes: dict[str, object]
    service: object


class Collector:
    """Listens inside ``async with``, and keeps all spans in the order in which they came."""

    def __init__(self) -> None:
        self.spans: list[Sent] = []
        app = web.Application()
        app.router.add_post("/v1/traces", self._take)
        self._server = TestServer(app)

    async def __aenter__(self) -> Self:
        await self._server.start_server()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._server.close()

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which a server sends its traces here, soon."""
        return {
            "WORKFLOW_SERVER_TRACING": "true",
            "OTEL_EXPORTER_OTLP_ENDPOINT": str(self._server.make_url("")).rstrip("/"),
            "OTEL_BSP_SCHEDULE_DELAY": "20",
        }

    async def until(self, came: Callable[[list[Sent]], bool]) -> list[Sent]:
        """All spans, once they satisfy this."""
        await until(lambda: came(self.spans), lambda: f"the spans never came; there are {self.spans}")
        return self.spans

    async def _take(self, request: web.Request) -> web.Response:
        sent = ExportTraceServiceRequest.FromString(await request.read())
        for of_resource in sent.resource_spans:
            service = next(
                (_value(one.value) for one in of_resource.resource.attributes if one.key == "service.name"), None
            )
            self.spans += [
                Sent(
                    span.name,
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    span.start_time_unix_nano,
                    span.end_time_unix_nano,
                    {one.key: _value(one.value) for one in span.attributes},
                    service,
                )
                for of_scope in of_resource.scope_spans
                for span in of_scope.spans
            ]
        return web.Response(content_type="application/x-protobuf")


def _value(value: AnyValue) -> object:
    kind = value.WhichOneof("value")
    return None if kind is None else getattr(value, kind)
