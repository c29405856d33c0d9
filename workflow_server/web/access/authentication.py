"""Authentication: the token of a request, from its ``Authorization`` or from the session of its cookie."""

from __future__ import annotations

import time

from aiohttp import hdrs, web

from workflow_server.web.access.hosts import check_own_page
from workflow_server.web.access.limits import RequestRate, WrongTokens, network_of
from workflow_server.web.access.sessions import Session, Sessions
from workflow_server.web.access.token_file import digest_of
from workflow_server.web.access.tokens import Tokens
from workflow_server.web.exceptions import InvalidHeader, RoleTooSmall, SessionOver, TokenExpired, TokenRequired
from workflow_server.web.roles import Role, Token, includes
from workflow_server.web.state import CLIENT, PRINCIPAL, SCHEME, SESSION

COOKIE = "workflow_server_session"
SAFE_COOKIE = f"__Host-{COOKIE}"
"""The name under HTTPS: browsers take such a cookie from this host alone, and not from others under its domain."""


class Authentication:
    """The tokens and sessions of a server, and its limits of wrong tokens and of requests."""

    def __init__(self, tokens: Tokens, *, max_wrong_tokens: int, max_requests_per_second: int | None) -> None:
        self.tokens = tokens
        self.rate = None if max_requests_per_second is None else RequestRate(max_requests_per_second)
        self.sessions = Sessions(tokens)
        self._wrong = WrongTokens(max_wrong_tokens)

    def authenticate(self, request: web.Request) -> None:
        """Find the token of a request, and put it into the request. A bearer token goes before a cookie.

        Raises:
            TokenRequired: there is none that is valid.
            TooManyWrongTokens: too many wrong ones came from this client.
            InvalidHeader: one of the headers cannot be understood.
            OriginRefused: a cookie came from the page of another origin.
        """
        sent = bearer(request)
        if sent is not None:
            request[PRINCIPAL] = self.check(request, sent)
            return
        cookie = session_cookie(request)
        if cookie is None:
            raise TokenRequired
        check_own_page(request)
        session = self.sessions.find(cookie)
        if session is None:
            raise SessionOver
        request[PRINCIPAL] = session.token
        request[SESSION] = cookie

    def check(self, request: web.Request, secret: bytes) -> Token:
        """Return the token that a request came with.

        Raises:
            TokenRequired: it is wrong or has expired.
            TooManyWrongTokens: too many wrong ones came from this client.
        """
        token = self.tokens.find(secret)
        if token is not None and token.is_generated:
            if token.has_expired(time.time()):
                raise TokenExpired
            return token
        client = network_of(client_of(request))
        if token is None:
            self._wrong.add(client)
            raise TokenRequired
        if not self._wrong.is_tried(client, token.digest):
            self._wrong.refuse(client)
        return token

    def has_access(self, request: web.Request) -> bool:
        """Return whether the token and the session of a request, if it has any, are still valid."""
        held = request.get(PRINCIPAL)
        if held is None:
            return True
        cookie = request.get(SESSION)
        if cookie is not None:
            session = self.sessions.find(cookie)
            return session is not None and session.token.role == held.role
        token = self.tokens.get(held.digest)
        return token is not None and token.role == held.role and not token.has_expired(time.time())

    def session_of(self, request: web.Request) -> Session | None:
        """Return the session of a request that was authenticated by its cookie."""
        cookie = request.get(SESSION)
        return None if cookie is None else self.sessions.find(cookie)


def check_role(request: web.Request, needed: Role) -> None:
    """Refuse a token whose role is too small. Where a server has no tokens, everybody may do everything.

    Raises:
        RoleTooSmall: the role of the request's token does not include ``needed``.
    """
    token = request.get(PRINCIPAL)
    if token is not None and not includes(token.role, needed):
        raise RoleTooSmall(token.role, needed)


def client_of(request: web.Request) -> str | None:
    """Return the address of the client, behind trusted proxies that of theirs."""
    return request.get(CLIENT) or request.remote


def is_https(request: web.Request) -> bool:
    """Return whether the client speaks HTTPS, as far as this is certain."""
    return request.get(SCHEME) == "https"


def bearer(request: web.Request) -> bytes | None:
    """Return the token of ``Authorization``; None where it is absent, or is of another scheme, as for a proxy.

    Raises:
        InvalidHeader: it is there twice.
    """
    lines = request.headers.getall(hdrs.AUTHORIZATION, ())
    if len(lines) > 1:
        raise InvalidHeader("Invalid Authorization: expected one header.")
    scheme, _, token = lines[0].partition(" ") if lines else ("", "", "")
    sent = token.strip().encode(errors="surrogateescape")
    return sent if sent and scheme.lower() == "bearer" else None


def cookie_name(request: web.Request) -> str:
    """Return the name of the session's cookie."""
    return SAFE_COOKIE if is_https(request) else COOKIE


def session_cookie(request: web.Request) -> bytes | None:
    """Return the hash of the session's cookie, None where there is no such cookie.

    Raises:
        InvalidHeader: there are two that differ; one of them was planted.
    """
    name = cookie_name(request)
    found: set[str] = set()
    for line in request.headers.getall(hdrs.COOKIE, ()):
        for pair in line.split(";"):
            key, separator, value = pair.partition("=")
            if separator and key.strip() == name:
                found.add(value.strip())
    if len(found) > 1:
        raise InvalidHeader(f"Invalid Cookie: {name} is there twice, with different values. Delete the cookies.")
    return digest_of(found.pop().encode(errors="surrogateescape")) if found else None
