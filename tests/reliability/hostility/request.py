"""A hostile request: its bytes, and the answers that are allowed."""

from __future__ import annotations

from typing import Final, NamedTuple

Statuses = frozenset[int]

OK: Final[Statuses] = frozenset({200, 202, 204})
REFUSED: Final[Statuses] = frozenset({400, 401, 403, 404, 405, 408, 409, 413, 415, 417, 422, 429})
"""The 4xx of the contract, with 408 and 417, which the OpenAPI description names."""
BAD: Final[Statuses] = frozenset({400})
ANY: Final[Statuses] = OK | REFUSED

HOST: Final = b"Host: localhost\r\n"
JSON: Final = b"Content-Type: application/json\r\n"
RUN: Final = b"/workflows/count/run-nowait"
SMUGGLED: Final = b"POST /workflows/smuggled/run-nowait HTTP/1.1\r\n" + HOST + b"Content-Length: 0\r\n\r\n"
"""Starts a run if it is ever taken for a request."""
SECRET: Final = b"hunter2-hunter2"
"""Stands in bodies, headers and paths, and may never be logged."""


class Hostile(NamedTuple):
    """One connection's worth of hostility.

    ``wanted`` are the statuses of which the first answer has one; ``silence`` says that there may also be no answer.
    ``follow_up``: an honest request is sent behind it, which is answered as itself, or not at all.
    ``honest``: it may have become an honest request, or several.
    """

    name: str
    pieces: tuple[bytes, ...]
    wanted: Statuses
    follow_up: bool = True
    silence: bool = False
    honest: bool = False

    @property
    def bodiless(self) -> bool:
        """The first answer is one to a HEAD, without a body."""
        return self.pieces[0].lstrip(b"\r\n").startswith(b"HEAD ")


def request(
    target: bytes = b"/workflows",
    *,
    method: bytes = b"GET",
    version: bytes = b"HTTP/1.1",
    head: bytes = HOST,
    body: bytes | None = None,
) -> bytes:
    """A request of exactly these bytes; with a body, its length is said."""
    length = b"" if body is None else b"Content-Length: %d\r\n" % len(body)
    return b"%s %s %s\r\n%s%s\r\n%s" % (method, target, version, head, length, body or b"")


def post(target: bytes, body: bytes, head: bytes = HOST + JSON) -> bytes:
    """A POST of these bytes."""
    return request(target, method=b"POST", head=head, body=body)
