"""Hosts and origins: the names of this server, and the web pages that may call it."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import urlsplit

from aiohttp import hdrs, web

from workflow_server.web.exceptions import HostRefused, InvalidHeader, OriginRefused
from workflow_server.web.state import FORWARDED_HOST, SCHEME

_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[^\s:/@\[\]]+)(?::(?P<port>[0-9]{1,5}))?", re.ASCII)
_KNOWN_HOSTS = 256
"""Values of ``Host`` of which it is remembered whether they are accepted: clients may send any name and port."""


class Hosts:
    """The names under which clients may reach this server."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = {_bare_name(name) for name in names}
        self._is_accepted = lru_cache(_KNOWN_HOSTS)(
            lambda host: _HOST.fullmatch(host) is not None and self._is_ours(host)
        )

    def check(self, request: web.Request) -> None:
        """Refuse DNS rebinding: a foreign page whose host name resolves to this machine.

        Raises:
            InvalidHeader, HostRefused: the request is not for this server.
        """
        hosts = request.headers.getall(hdrs.HOST, ())
        forwarded = request.get(FORWARDED_HOST)
        if forwarded is not None and len(hosts) == 1:
            # Host is the name under which the proxy knows this server.
            if not self._is_accepted(forwarded):
                raise HostRefused
            return
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


def check_origins(request: web.Request, allowed: frozenset[str]) -> None:
    """Accept pages of this server, and of the origins that are allowed.

    Raises:
        OriginRefused: the request comes from another page.
    """
    for origin in request.headers.getall(hdrs.ORIGIN, ()):
        if origin not in allowed and not _is_same_origin(origin, request):
            raise OriginRefused


def check_own_page(request: web.Request) -> None:
    """Accept pages of this server alone. Where no ``Origin`` is sent, browsers say in ``Sec-Fetch-Site`` whose page it
    is: a cookie that is limited to its site goes along with requests of other hosts under the same domain.

    Raises:
        OriginRefused: the request comes from another page.
    """
    check_origins(request, frozenset())
    if not {"same-origin", "none"}.issuperset(request.headers.getall("Sec-Fetch-Site", ())):
        raise OriginRefused


def add_cross_origin_headers(response: web.StreamResponse, request: web.Request, allowed: frozenset[str]) -> None:
    """Let pages of the ``allowed`` origins read this response; works for streams, too."""
    response.headers.add(hdrs.VARY, hdrs.ORIGIN)
    origin = request.headers.get(hdrs.ORIGIN)
    if origin in allowed:
        response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin


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
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    if parts.scheme not in ("http", "https") or origin.lower() != f"{parts.scheme}://{parts.netloc}".lower():
        return False
    # Without a trusted proxy the scheme does not count: another one may speak HTTPS in front of this server.
    if parts.scheme == "http" and request.get(SCHEME) == "https":
        return False
    default = ":443" if parts.scheme == "https" else ":80"
    host = request.get(FORWARDED_HOST) or request.headers[hdrs.HOST]
    return parts.netloc.lower().removesuffix(default) == host.lower().removesuffix(default)
