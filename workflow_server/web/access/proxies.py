"""Trusted proxies: the client, the scheme and the host that a request had before it came through them.

``X-Forwarded-For``, ``-Proto`` and ``-Host`` count only on a connection from a trusted proxy: everybody else can write
what they like into them. ``Forwarded`` (RFC 7239) is never read: with two headers that say the same, a proxy sets one
and lets a client's other one through.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from aiohttp import web

from workflow_server.web.exceptions import InvalidHeader

FOR, PROTO, HOST = "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host"
_KNOWN_PEERS = 1_024
"""Addresses of which it is remembered whether they are trusted."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Forwarded(NamedTuple):
    """The request as the outermost trusted proxy got it; None is not known."""

    client: str | None
    scheme: str | None
    host: str | None


class TrustedProxies:
    """Addresses and networks of proxies that are believed."""

    def __init__(self, networks: Sequence[str]) -> None:
        self._networks = [ipaddress.ip_network(network) for network in networks]
        self._is_trusted_peer = lru_cache(_KNOWN_PEERS)(self._is_trusted_text)

    def __bool__(self) -> bool:
        return bool(self._networks)

    def forwarded(self, request: web.BaseRequest) -> Forwarded | None:
        """Return what the headers of a trusted proxy say; None for a request that comes from anybody else.

        Raises:
            InvalidHeader: what the proxy says cannot be understood.
        """
        if request.remote is None or not self._is_trusted_peer(request.remote):
            return None
        scheme, host = _last(request, PROTO), _last(request, HOST)
        if scheme is not None and scheme.lower() not in ("http", "https"):
            raise InvalidHeader(f"Invalid {PROTO}: expected http or https.")
        return Forwarded(self._client(request), None if scheme is None else scheme.lower(), host)

    def _client(self, request: web.BaseRequest) -> str | None:
        """Return the right-most address that is not a trusted proxy: those on its left are what somebody claims."""
        client = None
        for text in reversed(_values(request, FOR)):
            address = _address(text)
            if address is None:
                raise InvalidHeader(f"Invalid {FOR}: expected addresses, separated by commas.")
            client = str(address)
            if not self._is_trusted(address):
                break
        return client

    def _is_trusted_text(self, text: str) -> bool:
        address = _address(text)
        return address is not None and self._is_trusted(address)

    def _is_trusted(self, address: Address) -> bool:
        return any(address in network for network in self._networks)


def _values(request: web.BaseRequest, name: str) -> list[str]:
    """Return the values of a header that is a list, and that may be repeated."""
    return [value.strip() for line in request.headers.getall(name, ()) for value in line.split(",")]


def _last(request: web.BaseRequest, name: str) -> str | None:
    """Return the value that the proxy which connects has written."""
    values = _values(request, name)
    return values[-1] if values else None


def _address(text: str) -> Address | None:
    """Parse an address, with or without a port and brackets."""
    text = text.strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
