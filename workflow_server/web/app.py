"""The web application: routes, middleware and error mapping, put together."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from aiohttp import web
from aiohttp.typedefs import Middleware

from workflow_server.forking import withhold_sockets
from workflow_server.tracing import Tracing
from workflow_server.web.access.authentication import Authentication
from workflow_server.web.access.hosts import add_cross_origin_headers
from workflow_server.web.access.tokens import Tokens
from workflow_server.web.metrics import Exporter
from workflow_server.web.middleware import READING, access_control, defer_expect
from workflow_server.web.openapi import openapi_schema
from workflow_server.web.responses import add_common_headers
from workflow_server.web.routes.table import ROUTES
from workflow_server.web.routes.workflows import run, run_nowait
from workflow_server.web.state import (
    ASSETS,
    AUTHENTICATION,
    EXPORTER,
    MANAGER,
    OPENAPI,
    REQUESTS,
    SETTINGS,
    STREAMS,
    WebSettings,
)
from workflow_server.web.streaming.open_requests import OpenStreams
from workflow_server.web.ui.assets import Assets
from workflow_server.web.watching import RequestSums, watched

if TYPE_CHECKING:
    from workflow_server.runs.manager import RuntimeManager


def create_app(
    manager: RuntimeManager,
    settings: WebSettings,
    *,
    middlewares: Sequence[Middleware] = (),
    tracing: Tracing | None = None,
) -> web.Application:
    """Create the application that serves ``manager``, to run or to mount elsewhere.

    ``middlewares`` are the user's own: they run behind the access control, and what they raise is mapped to JSON like
    everything else.

    Raises:
        TokenFileError: the file of tokens cannot be used.
    """
    tokens = Tokens(settings.tokens, settings.read_tokens, settings.token_file)
    authentication = Authentication(
        tokens,
        max_wrong_tokens=settings.max_wrong_tokens,
        max_requests_per_second=settings.max_requests_per_second,
    )
    roles = {route.handler: route.role for route in ROUTES}
    methods = READING | {route.method for route in ROUTES}
    requests = RequestSums(ROUTES)
    control = watched(access_control(settings, authentication, roles, methods), requests, tracing)
    app = web.Application(middlewares=[control, *middlewares])
    app[AUTHENTICATION] = authentication
    app[MANAGER] = manager
    app[SETTINGS] = settings
    app[STREAMS] = OpenStreams(
        settings.max_streams,
        share=lambda: settings.streams_of_a_token(tokens.number),
        has_access=authentication.has_access,
    )
    app[REQUESTS] = requests
    app[EXPORTER] = Exporter(manager.figures, lambda: app[STREAMS].number, requests, max_series=settings.metrics_series)
    app[ASSETS] = Assets()
    app[OPENAPI] = json.dumps(openapi_schema(needs_token=settings.needs_token)).encode()
    # The router tries the paths with the same beginning one after another: the starts of runs come first.
    for route in sorted(ROUTES, key=lambda route: route.handler not in (run, run_nowait)):
        # This adds HEAD, too.
        if route.method == "GET":
            app.router.add_get(route.pattern, route.handler, expect_handler=defer_expect)
        else:
            app.router.add_route(route.method, route.pattern, route.handler, expect_handler=defer_expect)
    allowed = frozenset(settings.cors_origins)
    withheld: set[object] = set()

    async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
        add_common_headers(response)
        if allowed:
            add_cross_origin_headers(response, request, allowed)
        name = None if request.transport is None else request.transport.get_extra_info("sockname")
        if name not in withheld:
            # In a runner of the user's own, the sockets are not known earlier.
            withheld.add(name)
            withhold_sockets(name)

    app.on_response_prepare.append(add_headers)
    app.on_shutdown.append(close_streams)
    return app


async def close_streams(app: web.Application) -> None:
    """End every open stream, so that its reader reconnects with its cursor, and accept no more. May be called twice."""
    app[STREAMS].close()
