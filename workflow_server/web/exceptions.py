"""The errors with which the web layer itself refuses a request, before the manager sees it."""

from __future__ import annotations

from dataclasses import dataclass

from workflow_server.errors import InvalidRequest, RequestRefused, StartupError

# -- The client and its rights ---------------------------------------------------------------------


class TokenRequired(RequestRefused):
    """Raised for a request without a token that the server knows."""

    def __str__(self) -> str:
        return "This server requires a token: send it as 'Authorization: Bearer TOKEN'."


class TokenExpired(TokenRequired):
    """Raised for a token that was valid once."""

    def __str__(self) -> str:
        return "This token has expired: ask for a new one."


class SessionOver(TokenRequired):
    """Raised for the cookie of a session that has ended, with its token or by itself."""

    def __str__(self) -> str:
        return "This session is over: begin another with POST /session, or send 'Authorization: Bearer TOKEN'."


class AccessEnded(TokenRequired):
    """Raised for a reader whose token or session ends while it reads."""

    def __str__(self) -> str:
        return "The token or session of this request is not valid any more."


@dataclass(eq=False)
class RoleTooSmall(RequestRefused):
    """Raised for a request whose token has a smaller role than is needed."""

    role: str
    needed: str

    def __str__(self) -> str:
        return f"This token has the role '{self.role}'; this needs the role '{self.needed}'."


@dataclass(eq=False)
class TooManyWrongTokens(RequestRefused):
    """Raised for a wrong token of a client that has sent too many."""

    seconds: int

    def __str__(self) -> str:
        return f"Too many wrong tokens came from this address: try again in {self.seconds} s."


@dataclass(eq=False)
class TooManyRequests(RequestRefused):
    """Raised for a request above the ``limit`` per second; ``seconds`` later there is room."""

    limit: int
    seconds: int

    def __str__(self) -> str:
        return f"At most {self.limit} requests a second are accepted from one client: try again in {self.seconds} s."


class NoTokens(InvalidRequest):
    """Raised for a session that is asked for where everybody may do everything."""

    def __str__(self) -> str:
        return "This server has no tokens, so no session is needed."


class TokenFileError(StartupError):
    """Raised with a message: a file of tokens cannot be used."""


class CertificateError(StartupError):
    """Raised with a message: a certificate and its key cannot be used."""


class QueueIsForWriters(RequestRefused):
    """Raised for a shared queue that is asked for with a token that may only read."""

    def __str__(self) -> str:
        return (
            "This token may only read, and the shared queue gives each event to one reader: use after_sequence for a "
            "stream of your own."
        )


class HostRefused(RequestRefused):
    """Raised for a host name that is not the server's."""

    def __str__(self) -> str:
        return (
            "This host is not a name of this server. If it should be, add it to the setting allowed_hosts "
            "(--allowed-host)."
        )


class OriginRefused(RequestRefused):
    """Raised for a web page of an origin that is not allowed."""

    def __str__(self) -> str:
        return "This origin is not allowed. If it should be, add it to the setting cors_origins (--cors-origin)."


# -- Routes, headers and parameters ----------------------------------------------------------------


class PathNotFound(RequestRefused):
    """Raised for a path that no route has."""

    def __str__(self) -> str:
        return "There is no such route. GET /openapi.json lists the routes."


@dataclass(eq=False)
class MethodRefused(RequestRefused):
    """Raised for a method that the path does not have; ``allowed`` lists those that it has."""

    method: str
    allowed: str

    def __str__(self) -> str:
        return f"{self.method} is not allowed here. Allowed: {self.allowed}."


class NotHttp(RequestRefused):
    """Raised for bytes that are not an HTTP request."""

    def __str__(self) -> str:
        return "The request is not valid HTTP."


class ExpectationRefused(RequestRefused):
    """Raised for an ``Expect`` header other than 100-continue."""

    def __str__(self) -> str:
        return "The only Expect header that is supported is 100-continue: send that, or none."


class InvalidHeader(InvalidRequest):
    """Raised with a message for the client: a header is not valid."""


@dataclass(eq=False)
class InvalidParameter(InvalidRequest):
    """Raised for a query parameter, or a header in the place of one, that is not as ``expected``."""

    name: str
    expected: str

    def __str__(self) -> str:
        return f"Invalid {self.name}: expected {self.expected}."


@dataclass(eq=False)
class UnknownParameter(InvalidRequest):
    """Raised for a query parameter that the route does not have; ``known`` lists those that it has."""

    known: str

    def __str__(self) -> str:
        return f"Unknown query parameter. The parameters of this route are: {self.known}."


@dataclass(eq=False)
class FilterMissing(InvalidRequest):
    """Raised where something is to be done to many handlers, and nothing says to which."""

    known: str

    def __str__(self) -> str:
        return f"Say which handlers: add at least one of {self.known}."


class RunningNotAllowed(InvalidRequest):
    """Raised where running runs would be cancelled, and the request does not allow that."""

    def __str__(self) -> str:
        return "This would cancel running runs. Add running=true, or name other statuses with purge=true."


# -- Bodies ----------------------------------------------------------------------------------------


@dataclass(eq=False)
class BodyTooSlow(RequestRefused):
    """Raised for a body that did not arrive in time; see ``read_body``."""

    seconds: float
    patience: float
    pace: int

    def __str__(self) -> str:
        return (
            f"The body did not arrive in time. It may take {self.seconds:g} s; after {self.patience:g} s it must have "
            f"arrived at {self.pace} bytes per second or more, without a pause of {self.patience:g} s."
        )


@dataclass(eq=False)
class BodyTooLarge(RequestRefused):
    """Raised for a body of more than ``limit`` bytes."""

    limit: int

    def __str__(self) -> str:
        return f"The body is too large: at most {self.limit} bytes are accepted."


class NotJson(RequestRefused):
    """Raised with a message for the client: the body is of a type or coding that is not accepted."""


# -- Streams ---------------------------------------------------------------------------------------


@dataclass(eq=False)
class TooManyStreams(RequestRefused):
    """Raised for a stream above the limit of all."""

    limit: int

    def __str__(self) -> str:
        return f"{self.limit} streams are open, and no more are accepted. Try again when one has ended."


@dataclass(eq=False)
class TooManyStreamsOfToken(RequestRefused):
    """Raised for a stream above the share of one token."""

    limit: int

    def __str__(self) -> str:
        return f"{self.limit} streams are open with this token, which is its limit. Try again when one has ended."
