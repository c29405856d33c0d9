"""The errors with which the web layer itself refuses, before the manager hears of it. Part of the tree of
``workflow_server.errors``."""

from __future__ import annotations

from dataclasses import dataclass

from workflow_server.errors import InvalidRequest, RequestRefused


@dataclass(eq=False)
class InvalidHeader(InvalidRequest):
    """{reason}"""

    reason: str


class TokenRequired(RequestRefused):
    """This server asks for a token: send it as 'Authorization: Bearer TOKEN'."""


class ReadOnlyToken(RequestRefused):
    """This token may only read: GET and HEAD."""


class HostRefused(RequestRefused):
    """This host is not a name of this server. If it should be, add it to the setting allowed_hosts (--allowed-host)."""


class OriginRefused(RequestRefused):
    """This origin is not allowed. If it should be, add it to the setting cors_origins (--cors-origin)."""


class PathNotFound(RequestRefused):
    """There is no such route. GET /openapi.json lists the routes."""


@dataclass(eq=False)
class MethodRefused(RequestRefused):
    """{method} is not allowed here. Allowed: {allowed}."""

    method: str
    allowed: str


class NotHttp(RequestRefused):
    """The request is not valid HTTP."""


class ExpectationRefused(RequestRefused):
    """The only Expect header that is supported is 100-continue: send that, or none."""


@dataclass(eq=False)
class BodyTooSlow(RequestRefused):
    """The body did not arrive in time: it has {seconds:g} s, and after {patience:g} s only as long as it brings
    {pace} bytes a second; without a pause of {patience:g} s."""

    seconds: float
    patience: float
    pace: int


@dataclass(eq=False)
class BodyTooLarge(RequestRefused):
    """The body is too large: at most {limit} bytes are accepted."""

    limit: int


@dataclass(eq=False)
class NotJson(RequestRefused):
    """{reason}"""

    reason: str


class QueueIsForWriters(RequestRefused):
    """This token may only read, and the shared queue gives each event to one reader: ask for a stream of your own with
    after_sequence."""


@dataclass(eq=False)
class TooManyStreamsOfToken(RequestRefused):
    """{limit} streams are open with this token, and it may have no more. Try again when one has ended."""

    limit: int


@dataclass(eq=False)
class TooManyStreams(RequestRefused):
    """{limit} streams are open, and no more are accepted. Try again when one has ended."""

    limit: int
