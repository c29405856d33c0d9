"""Access control: proxies, hosts, origins, tokens, roles, limits and content types are checked before any request
handler runs.

GET /health and GET /ready need no token, so that supervisors can use them; preflight requests cannot carry one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from aiohttp import HttpVersion11, hdrs, web
from aiohttp.typedefs import Handler, Middleware

from workflow_server.log_context import begin_request, principal
from workflow_server.web.access.authentication import Authentication, check_role, client_of
from workflow_server.web.access.hosts import Hosts, check_origins
from workflow_server.web.access.limits import network_of
from workflow_server.web.access.proxies import TrustedProxies
from workflow_server.web.error_mapping import answer_to
from workflow_server.web.exceptions import ExpectationRefused, InvalidHeader, NotJson, OriginRefused, TokenRequired
from workflow_server.web.responses import JSON
from workflow_server.web.roles import Role
from workflow_server.web.routes.page import index, login
from workflow_server.web.routes.route import RouteHandler
from workflow_server.web.state import CLIENT, FORWARDED_HOST, PRINCIPAL, SCHEME, WebSettings

READING = frozenset({hdrs.METH_GET, hdrs.METH_HEAD})

_CORS_HEADERS = "Accept, Authorization, Content-Type, Idempotency-Key, Last-Event-ID, Traceparent, Tracestate"
_PREFLIGHT_SECONDS = "600"


def access_control(
    settings: WebSettings,
    authentication: Authentication,
    roles: Mapping[RouteHandler, Role | None],
    methods: frozenset[str],
) -> Middleware:
    """Return the outermost middleware: it makes all checks in their order, and turns what is raised there or behind it
    into responses.

    ``roles`` are those that request handlers need, None for those that are open; ``methods`` are those that web pages
    of allowed origins may use.
    """
    control = AccessControl(settings, authentication, roles, methods)

    @web.middleware
    async def controlled(request: web.Request, handler: Handler) -> web.StreamResponse:
        begin_request()
        try:
            preflight = control.check(request)
            if preflight is not None:
                return preflight
            if hdrs.EXPECT in request.headers:
                await _answer_expect(request)
            return await handler(request)
        except Exception as error:
            if _asks_for_session(request, error):
                return login(request)
            return answer_to(request, error)

    return controlled


def _asks_for_session(request: web.Request, error: Exception) -> bool:
    """Return whether a browser was refused the start page for want of a session, or because a link on another page led
    to it: others get JSON."""
    if request.match_info.route.handler is not index or "text/html" not in request.headers.get(hdrs.ACCEPT, ""):
        return False
    return isinstance(error, TokenRequired) or (isinstance(error, OriginRefused) and hdrs.ORIGIN not in request.headers)


class AccessControl:
    """The checks of every request; see ``access_control``."""

    def __init__(
        self,
        settings: WebSettings,
        authentication: Authentication,
        roles: Mapping[RouteHandler, Role | None],
        methods: frozenset[str],
    ) -> None:
        self._hosts = Hosts(("localhost", settings.host, *settings.allowed_hosts))
        self._proxies = TrustedProxies(settings.trusted_proxies)
        self._origins = frozenset(settings.cors_origins)
        self._preflight = {
            hdrs.ACCESS_CONTROL_ALLOW_METHODS: ", ".join(sorted(methods)),
            hdrs.ACCESS_CONTROL_ALLOW_HEADERS: _CORS_HEADERS,
            hdrs.ACCESS_CONTROL_MAX_AGE: _PREFLIGHT_SECONDS,
        }
        self._needs_token = settings.needs_token
        self._authentication = authentication
        self._roles = roles
        self._rate = authentication.rate

    def check(self, request: web.Request) -> web.Response | None:
        """Return the answer to a preflight; None for a request that may go on.

        Raises:
            WorkflowServerError: the request is refused.
        """
        self._note_sender(request)
        self._hosts.check(request)
        if hdrs.ORIGIN in request.headers:
            check_origins(request, self._origins)
            if request.method == hdrs.METH_OPTIONS and hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers:
                return web.Response(status=204, headers=self._preflight)
        if self._needs_token or self._rate is not None:
            self._check_client(request)
        if request.method not in READING and request.body_exists and request.content_length != 0:
            _check_body(request)
        return None

    def _note_sender(self, request: web.Request) -> None:
        """Put into the request what is known of its client beside the connection."""
        if request.secure:
            request[SCHEME] = "https"
        forwarded = self._proxies.forwarded(request) if self._proxies else None
        if forwarded is None:
            return
        if forwarded.client is not None:
            request[CLIENT] = forwarded.client
        if forwarded.scheme is not None:
            request[SCHEME] = forwarded.scheme
        if forwarded.host is not None:
            request[FORWARDED_HOST] = forwarded.host

    def _check_client(self, request: web.Request) -> None:
        """Check the token, its role and the rate of requests."""
        needed = self._needed_role(request)
        if needed is None:
            return
        if self._needs_token:
            self._authentication.authenticate(request)
            token = request[PRINCIPAL]
            principal.set(token.name)
            check_role(request, needed)
            client = token.name
        else:
            client = network_of(client_of(request))
        if self._rate is not None:
            self._rate.take(client)

    def _needed_role(self, request: web.Request) -> Role | None:
        """Return the role that a request needs, None where it needs no token."""
        found = request.match_info
        # Known by its handler, not its path, which has a prefix where the application is mounted.
        handler = found.route.handler
        if handler in self._roles:
            return self._roles[handler]
        # Routes that were added to the application: without a role of their own, they are told apart by their method.
        return "read" if request.method in READING or found.http_exception is not None else "full"


# -- Content types: only such as foreign pages cannot send without a preflight ------------------------


def _check_body(request: web.Request) -> None:
    headers = request.headers
    if hdrs.CONTENT_ENCODING in headers and not _listed(request, hdrs.CONTENT_ENCODING) <= {"", "identity"}:
        raise NotJson(f"Compressed bodies are not accepted: omit {hdrs.CONTENT_ENCODING}.")
    if [coding.lower() for coding in headers.getall(hdrs.TRANSFER_ENCODING, ["chunked"])] != ["chunked"]:
        raise NotJson(f"Invalid {hdrs.TRANSFER_ENCODING}: only chunked is accepted, once.")
    # The parser lets no second one through.
    declared = headers.get(hdrs.CONTENT_TYPE, "")
    if declared == JSON:
        return
    kind, _, parameters = declared.partition(";")
    if kind.strip().lower() != JSON:
        raise NotJson(f"The body must be JSON: send {hdrs.CONTENT_TYPE}: {JSON}.")
    charset = re.search(r'(?:^|;)\s*charset\s*=\s*"?([^";]*)', parameters, re.IGNORECASE)
    if charset and charset[1].strip().lower() not in ("utf-8", "utf8", "us-ascii"):
        raise InvalidHeader(f"Invalid charset of {hdrs.CONTENT_TYPE}: expected utf-8, or none.")


def _listed(request: web.Request, name: str) -> set[str]:
    """Return every value of a header that may be a list and may be repeated."""
    return {value.strip().lower() for line in request.headers.getall(name, []) for value in line.split(",")}


# -- Expect: a client that asks before it sends its body gets "100 Continue" after all other checks ------


async def defer_expect(_: web.Request) -> None:
    """Do nothing where aiohttp handles ``Expect``, before any middleware: the last check answers it."""


async def _answer_expect(request: web.Request) -> None:
    expected = _listed(request, hdrs.EXPECT) - {""}
    if expected and request.version >= HttpVersion11:
        if expected != {"100-continue"}:
            raise ExpectationRefused
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        # aiohttp tells by this count whether a response was begun; these bytes are not part of one.
        request.writer.output_size = 0
