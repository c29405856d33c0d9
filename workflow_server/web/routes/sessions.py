"""The request handlers for sessions of browsers: beginning one, looking at it and ending it."""

from __future__ import annotations

from datetime import UTC, datetime

from aiohttp import hdrs, web

from workflow_server.protocol.requests import SessionBody
from workflow_server.protocol.responses import SessionData, SessionEnded
from workflow_server.web.access.authentication import bearer, cookie_name, is_https, session_cookie
from workflow_server.web.access.sessions import LIFETIME
from workflow_server.web.bodies import read_body
from workflow_server.web.exceptions import NoTokens, TokenRequired
from workflow_server.web.responses import json_response
from workflow_server.web.state import AUTHENTICATION, PRINCIPAL, SETTINGS

LARGEST = 8_192
"""Bytes of the body of a client that has no token yet. A token has a thousand characters at most."""


async def begin_session(request: web.Request) -> web.Response:
    """POST /session."""
    body, _ = await read_body(request, SessionBody, limit=LARGEST)
    if not request.app[SETTINGS].needs_token:
        raise NoTokens
    sent = bearer(request)
    if sent is None and body.token is not None:
        sent = body.token.get_secret_value().encode(errors="surrogateescape")
    if sent is None:
        raise TokenRequired
    authentication = request.app[AUTHENTICATION]
    token = authentication.check(request, sent)
    request[PRINCIPAL] = token
    if authentication.rate is not None:
        # Only here is it known whose request this is.
        authentication.rate.take(token.name)
    secret, session = authentication.sessions.begin(token)
    response = json_response(SessionData(name=token.name, role=token.role, expires_at=_time(session.expires_at)))
    _set_cookie(request, response, secret, LIFETIME)
    return response


async def get_session(request: web.Request) -> web.Response:
    """GET /session."""
    token = request.get(PRINCIPAL)
    if token is None:
        return json_response(SessionData(name=None, role="full", expires_at=None))
    session = request.app[AUTHENTICATION].session_of(request)
    expires_at = None if session is None else _time(session.expires_at)
    return json_response(SessionData(name=token.name, role=token.role, expires_at=expires_at))


async def end_session(request: web.Request) -> web.Response:
    """DELETE /session. A session that is over can be ended, too: the cookie is deleted."""
    cookie = session_cookie(request)
    if cookie is not None:
        request.app[AUTHENTICATION].sessions.end(cookie)
    response = json_response(SessionEnded())
    _set_cookie(request, response, "", 0)
    return response


def _set_cookie(request: web.Request, response: web.Response, value: str, lifetime: int) -> None:
    secure = "; Secure" if is_https(request) else ""
    response.headers[hdrs.SET_COOKIE] = (
        f"{cookie_name(request)}={value}; Path=/; Max-Age={lifetime}; HttpOnly; SameSite=Strict{secure}"
    )


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()
