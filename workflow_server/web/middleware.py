"""Access control: host names, origins, tokens and content types are checked before any request handler runs.

GET /health needs no token, so that supervisors can use it; preflight requests cannot carry one.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import urlsplit

from aiohttp import HttpVersion11, hdrs, web
from aiohttp.typedefs import Handler, Middleware
from pydantic import SecretStr

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

OPEN_PATHS = frozenset({"/health"})
READING = frozenset({hdrs.METH_GET, hdrs.METH_HEAD})

RouteHandler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[^\s:/@\[\]]+)(?::(?P<port>[0-9]{1,5}))?", re.ASCII)
_CORS_HEADERS = "Accept, Authorization, Content-Type, Idempotency-Key, Last-Event-ID"
_PREFLIGHT_SECONDS = "600"


def access_control(
    settings: WebSettings, open_handlers: frozenset[RouteHandler], methods: frozenset[str]
) -> Sequence[Middleware]:
    """Return the checks in their order. GET requests to ``open_handlers`` need no token; ``methods`` are those that
    web pages of allowed origins may use."""
    tokens = _token_middleware(settings, open_handlers)
    return (_host_middleware(settings), _origin_middleware(settings, methods), tokens, _check_body, _answer_expect)


# -- Host: DNS rebinding, a foreign page whose host name resolves to this machine, is refused -------


def _host_middleware(settings: WebSettings) -> Middleware:
    names = {_bare_name(name) for name in ("localhost", settings.host, *settings.allowed_hosts)}

    @web.middleware
    async def check_host(request: web.Request, handler: Handler) -> web.StreamResponse:
        hosts = request.headers.getall(hdrs.HOST, [])
        if len(hosts) != 1 or not _HOST.fullmatch(hosts[0]):
            raise InvalidHeader("Invalid Host: expected one header, a host name or address with or without a port.")
        # An absolute request target has its own host, or none.
        for host in dict.fromkeys((hosts[0], request.host or "")):
            name = _bare_name(host)
            if name not in names and not _is_own_address(name, request):
                raise HostRefused
        return await handler(request)

    return check_host


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


def _is_own_address(name: str, request: web.Request) -> bool:
    """Return whether ``name`` is an address of this machine; DNS rebinding needs a host name."""
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    if address.is_loopback:
        return True
    local = request.transport.get_extra_info("sockname") if request.transport else None
    return isinstance(local, tuple) and _bare_name(str(local[0]).partition("%")[0]) == name


# -- Origin and CORS: exact origins, never credentials ---------------------------------------------


def _origin_middleware(settings: WebSettings, methods: frozenset[str]) -> Middleware:
    allowed = frozenset(settings.cors_origins)
    cors_methods = ", ".join(sorted(methods))

    @web.middleware
    async def check_origin(request: web.Request, handler: Handler) -> web.StreamResponse:
        origins = request.headers.getall(hdrs.ORIGIN, [])
        for origin in origins:
            if origin not in allowed and not _is_same_origin(origin, request):
                raise OriginRefused
        preflight = request.method == hdrs.METH_OPTIONS and hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers
        if origins and preflight:
            return web.Response(
                status=204,
                headers={
                    hdrs.ACCESS_CONTROL_ALLOW_METHODS: cors_methods,
                    hdrs.ACCESS_CONTROL_ALLOW_HEADERS: _CORS_HEADERS,
                    hdrs.ACCESS_CONTROL_MAX_AGE: _PREFLIGHT_SECONDS,
                },
            )
        return await handler(request)

    return check_origin


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
    if not allowed:
        return
    response.headers.add(hdrs.VARY, hdrs.ORIGIN)
    origin = request.headers.get(hdrs.ORIGIN)
    if origin in allowed:
        response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin


# -- Tokens ----------------------------------------------------------------------------------------


def _token_middleware(settings: WebSettings, open_handlers: frozenset[RouteHandler]) -> Middleware:
    writers, readers = settings.tokens, settings.read_tokens

    @web.middleware
    async def check_token(request: web.Request, handler: Handler) -> web.StreamResponse:
        # Known by its handler, not its path, which has a prefix where the application is mounted.
        is_open = request.method in READING and request.match_info.route.handler in open_handlers
        if settings.needs_token and not is_open:
            sent = _bearer(request)
            as_writer, as_reader = _find(sent, writers), _find(sent, readers)
            if as_writer is None and as_reader is None:
                raise TokenRequired
            if as_writer is None and request.method not in READING:
                raise ReadOnlyToken
            request[MAY_WRITE] = as_writer is not None
            request[TOKEN] = f"read {as_reader}" if as_writer is None else f"write {as_writer}"
        return await handler(request)

    return check_token


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


@web.middleware
async def _check_body(request: web.Request, handler: Handler) -> web.StreamResponse:
    if request.method not in READING and request.body_exists and request.content_length != 0:
        if not _listed(request, hdrs.CONTENT_ENCODING) <= {"", "identity"}:
            raise NotJson(f"Compressed bodies are not accepted: omit {hdrs.CONTENT_ENCODING}.")
        if [coding.lower() for coding in request.headers.getall(hdrs.TRANSFER_ENCODING, ["chunked"])] != ["chunked"]:
            raise NotJson(f"Invalid {hdrs.TRANSFER_ENCODING}: only chunked is accepted, once.")
        # The parser lets no second one through.
        kind, _, parameters = request.headers.get(hdrs.CONTENT_TYPE, "").partition(";")
        if kind.strip().lower() != JSON:
            raise NotJson(f"The body must be JSON: send {hdrs.CONTENT_TYPE}: {JSON}.")
        charset = re.search(r'(?:^|;)\s*charset\s*=\s*"?([^";]*)', parameters, re.IGNORECASE)
        if charset and charset[1].strip().lower() not in ("utf-8", "utf8", "us-ascii"):
            raise InvalidHeader(f"Invalid charset of {hdrs.CONTENT_TYPE}: expected utf-8, or none.")
    return await handler(request)


def _listed(request: web.Request, name: str) -> set[str]:
    """Return every value of a header that may be a list and may be repeated."""
    return {value.strip().lower() for line in request.headers.getall(name, []) for value in line.split(",")}


# -- Expect: a client that asks before it sends its body gets "100 Continue" after all other checks ------


async def defer_expect(_: web.Request) -> None:
    """Do nothing where aiohttp handles ``Expect``, before any middleware: the last check answers it."""


@web.middleware
async def _answer_expect(request: web.Request, handler: Handler) -> web.StreamResponse:
    expected = _listed(request, hdrs.EXPECT) - {""}
    if expected and request.version >= HttpVersion11:
        if expected != {"100-continue"}:
            raise ExpectationRefused
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        # aiohttp tells by this count whether a response was begun; these bytes are not part of one.
        request.writer.output_size = 0
    return await handler(request)
