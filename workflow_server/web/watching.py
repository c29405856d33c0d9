"""Each request as it is watched from outside the access control: counted and traced, whatever becomes of it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from workflow_server.execution.sums import Durations
from workflow_server.tracing import Tracing
from workflow_server.web.request_spans import begin_span, end_span

if TYPE_CHECKING:
    from workflow_server.web.routes.route import Route

LIMITS = (0.01, 0.1, 1.0)
"""Seconds: a request that reads takes milliseconds, one that is committed tens of them, and a second is noticed."""
CLIENT_LEFT = 499
"""Stands for the status of a request whose client has gone before its answer, as it does in nginx."""
FAILED = 500

StatusClass = Literal["2xx", "4xx", "5xx"]
CLASSES: tuple[StatusClass, ...] = ("2xx", "4xx", "5xx")

UNKNOWN = ("", "")
"""Stands for the method and the path of a route that is not in the table, such as one of the user's own."""


class RequestSums:
    """Sums over the requests that have been answered: a stream counts when it ends."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self.answered: Counter[tuple[tuple[str, str], StatusClass]] = Counter()
        """Requests by the method and the path of their route, and the class of their status. HEAD counts as GET."""
        self.durations = Durations(LIMITS)
        """Of all but those that wait for the end of a run, and streams."""
        self._routes: dict[object, tuple[tuple[str, str], bool]] = {
            route.handler: ((route.method, route.path), route.waits) for route in routes
        }

    def add(self, handler: object, status: int, seconds: float) -> None:
        """Add a request that was answered with this status, by the request handler of its route."""
        route, waits = self._routes.get(handler, (UNKNOWN, True))
        # An answer that is neither is a redirect by a middleware of the user's own.
        self.answered[route, "5xx" if status >= 500 else "4xx" if status >= 400 else "2xx"] += 1
        if not waits:
            self.durations.add(seconds)


def watched(control: Middleware, requests: RequestSums, tracing: Tracing | None) -> Middleware:
    """Return the middleware ``control``, the outermost one, with each request counted in ``requests``, and traced."""

    @web.middleware
    async def watch(request: web.Request, handler: Handler) -> web.StreamResponse:
        began = time.monotonic()
        status = FAILED
        span = None if tracing is None else begin_span(tracing, request)
        try:
            response = await control(request, handler)
            status = response.status
        except web.HTTPException as answer:
            status = answer.status
            raise
        except ConnectionError:
            status = CLIENT_LEFT
            raise
        finally:
            requests.add(request.match_info.route.handler, status, time.monotonic() - began)
            if span is not None:
                end_span(span, request, None if status == CLIENT_LEFT else status)
        return response

    return watch
