"""Access control: host names, origins, tokens and content types are checked before any request handler runs.

GET /health and GET /ready need no token, so that supervisors can use them; preflight requests cannot carry one.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache
from urllib.parse import urlsplit

from aiohttp import HttpVersion11, hdrs, web
from aiohttp.typedefs import Handler, Middleware
from pydantic import SecretStr

from workflow_server.log_context import begin_request
from workflow_server.web.error_mapping import answer_to
from workflow_server.web.exceptions import (
    ExpectationRefused,
    HostRefused,
    InvalidHeader,
    NotJson,
    OriginRefused,
    QueueIsForWriters,
    ReadOnlyToken,
    TokenRequired,
)
from workflow_server.web.responses import JSON
from workflow_server.web.state import MAY_WRITE, TOKEN, WebSettings

OPEN_PATHS = frozenset({"/health", "/ready"})
READING = frozenset({hdrs.METH_GET, hdrs.METH_HEAD})

RouteHandler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[^\s:/@\[\]]+)(?::(?P<port>[0-9]{1,5}))?", re.ASCII)
_CORS_HEADERS = "Accept, Authorization, Content-Type, Idempotency-Key, Last-Event-ID, Traceparent, Tracestate"
_PREFLIGHT_SECONDS = "600"
_KNOWN_HOSTS = 256
"""Values of ``Host`` of which it is remembered whether they are accepted: clients may send any name and port."""


def access_control(
    settings: WebSettings, open_handlers: frozenset[RouteHandler], methods: frozenset[str]
) -> Middleware:
    """Return the outermost middleware: it makes all checks in their order, and turns what is raised there or behind it
    into responses.

    GET requests to ``open_handlers`` need no token; ``methods`` are those that web pages of allowed origins may use.
    """
    control = AccessControl(settings, open_handlers, methods)

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
            return answer_to(request, error)

    return controlled


class AccessControl:
    """The checks of every request; see ``access_control``."""

    def __init__(self, settings: WebSettings, open_handlers: frozenset[RouteHandler], methods: frozenset[str]) -> None:
        self._names = {_bare_name(name) for name in ("localhost", settings.host, *settings.allowed_hosts)}
        self._is_accepted = lru_cache(_KNOWN_HOSTS)(
            lambda host: _HOST.fullmatch(host) is not None and self._is_ours(host)
        )
        self._origins = frozenset(settings.cors_origins)
        self._preflight = {
            hdrs.ACCESS_CONTROL_ALLOW_METHODS: ", ".join(sorted(methods)),
            hdrs.ACCESS_CONTROL_ALLOW_HEADERS: _CORS_HEADERS,
            hdrs.ACCESS_CONTROL_MAX_AGE: _PREFLIGHT_SECONDS,
        }
        self._needs_token = settings.needs_token
        self._writers, self._readers = settings.tokens, settings.read_tokens
        self._open_handlers = open_handlers

    def check(self, request: web.Request) -> web.Response | None:
        """Return the answer to a preflight; None for a request that may go on.

        Raises:
            WorkflowServerError: the request is refused.
        """
        self._check_host(request)
        if hdrs.ORIGIN in request.headers:
            self._check_origins(request)
            if request.method == hdrs.METH_OPTIONS and hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers:
                return web.Response(status=204, headers=self._preflight)
        if self._needs_token:
            self._check_token(request)
        if request.method not in READING and request.body_exists and request.content_length != 0:
            _check_body(request)
        return None

    def _check_host(self, request: web.Request) -> None:
        """Refuse DNS rebinding: a foreign page whose host name resolves to this machine."""
        hosts = request.headers.getall(hdrs.HOST, ())
        if len(hosts) == 1 and request.host == hosts[0] and self._is_accepted(hosts[0]):
            return
        if len(hosts) != 1 or not _HOST.fullmatch(hosts[0]):
            raise InvalidHeader("Invalid Host: expected one header, a host name or address with or without a port.")
        # An absolute request target has its own host, or none.
        for host in (hosts[0], request.host or ""):
            if not self._is_ours(host) and not _is_local_address(_bare_name(host), request):
                raise HostRefused

    def _is_ours(self, host: str) -> bool:
        """Return whether a request for this host is for this server, whatever address it came in at."""
        name = _bare_name(host)
        return name in self._names or _is_loopback(name)

    def _check_origins(self, request: web.Request) -> None:
        """Accept pages of this server and of exact origins."""
        for origin in request.headers.getall(hdrs.ORIGIN):
            if origin not in self._origins and not _is_same_origin(origin, request):
                raise OriginRefused

    def _check_token(self, request: web.Request) -> None:
        # Known by its handler, not its path, which has a prefix where the application is mounted.
        if request.method in READING and request.match_info.route.handler in self._open_handlers:
            return
        sent = _bearer(request)
        as_writer, as_reader = _find(sent, self._writers), _find(sent, self._readers)
        if as_writer is None and as_reader is None:
            raise TokenRequired
        if as_writer is None and request.method not in READING:
            raise ReadOnlyToken
        request[MAY_WRITE] = as_writer is not None
        request[TOKEN] = f"read {as_reader}" if as_writer is None else f"write {as_writer}"


# -- Hosts and origins -----------------------------------------------------------------------------


def _bare_name(host: str) -> str:
    """Return ``host`` in lower case, without port, brackets and final dot."""
    try:
        return ipaddress.ip_address(host.strip("[]")).compressed
    except ValueError:
        match = _HOST.fullmatch(host)
    name = match["name"] if match else host
    try:
        return ipaddress.ip_address(name.strip("[]")).compressed
    except ValueError:
        return name.lower().removesuffix(".")


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _is_local_address(name: str, request: web.Request) -> bool:
    """Return whether ``name`` is the address at which the request came in; DNS rebinding needs a host name."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    local = request.transport.get_extra_info("sockname") if request.transport else None
    return isinstance(local, tuple) and _bare_name(str(local[0]).partition("%")[0]) == name


def _is_same_origin(origin: str, request: web.Request) -> bool:
    # The scheme does not count: a proxy may speak HTTPS in front of this server.
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    if parts.scheme not in ("http", "https") or origin.lower() != f"{parts.scheme}://{parts.netloc}".lower():
        return False
    default = ":443" if parts.scheme == "https" else ":80"
    return parts.netloc.lower().removesuffix(default) == request.headers[hdrs.HOST].lower().removesuffix(default)


def add_cross_origin_headers(response: web.StreamResponse, request: web.Request, allowed: frozenset[str]) -> None:
    """Let pages of the ``allowed`` origins read this response; works for streams, too."""
    response.headers.add(hdrs.VARY, hdrs.ORIGIN)
    origin = request.headers.get(hdrs.ORIGIN)
    if origin in allowed:
        response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin


def _bearer(request: web.Request) -> bytes:
    scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    return token.strip().encode(errors="surrogateescape") if scheme.lower() == "bearer" else b""


def _find(sent: bytes, tokens: Sequence[SecretStr]) -> int | None:
    """Return the index of a token among ``tokens``."""
    # Every token is compared in full, so that timing reveals nothing about any of them.
    matches = [hmac.compare_digest(sent, token.get_secret_value().encode()) for token in tokens]
    return matches.index(True) if any(matches) else None


def check_may_take_events(request: web.Request) -> None:
    """Refuse a read-only token where events are taken from other readers, as from a shared queue.

    Raises:
        QueueIsForWriters: the token is read-only.
    """
    if not request.get(MAY_WRITE, True):
        raise QueueIsForWriters


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
