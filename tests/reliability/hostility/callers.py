"""The rules for who may call a server, written a second time: host names, origins, methods and tokens, and what each
may expect."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

from tests.reliability.hostility.besieged import READ_TOKEN, TOKEN

OWN_HOSTS = ("localhost", "127.0.0.1", "runs.example.org")
FOREIGN_HOSTS = ("evil.example.org", "runs.example.org.evil.org")
ACROSS = "https://app.example.org"
FOREIGN_ORIGINS = ("https://evil.example.org", "null", "http://app.example.org", "https://app.example.org.evil.org")


class Caller(NamedTuple):
    """One request: POSTs cancel a handler that there is not, which says 404 to those who may write."""

    host: str
    origin: str | None
    method: str
    token: str | None
    own_origin: bool

    @property
    def request(self) -> bytes:
        """Its bytes."""
        path = "/handlers/nothing/cancel" if self.method in ("POST", "OPTIONS") else "/workflows"
        lines = [f"{self.method} {path} HTTP/1.1", f"Host: {self.host}", "Connection: close"]
        if self.origin is not None:
            lines.append(f"Origin: {self.origin}")
        if self.method == "OPTIONS":
            lines.append("Access-Control-Request-Method: POST")
        if self.token is not None:
            lines.append(f"Authorization: Bearer {self.token}")
        return "\r\n".join([*lines, "", ""]).encode()

    @property
    def expected(self) -> int:
        """The status of the answer."""
        if self.host.partition(":")[0] not in OWN_HOSTS or not self.own_origin:
            return 403
        if self.method == "OPTIONS":
            return 204
        if self.token not in (TOKEN, READ_TOKEN):
            return 401
        if self.method == "POST":
            return 404 if self.token == TOKEN else 403
        return 200

    @property
    def may_read_across(self) -> bool:
        """Return whether a page of its origin may read the answer; it may read a refusal, too."""
        return self.origin == ACROSS


def all_callers(port: int) -> Iterator[Caller]:
    """Every combination."""
    hosts = [f"{host}:{port}" for host in (*OWN_HOSTS, *FOREIGN_HOSTS)]
    tokens = (None, TOKEN, READ_TOKEN, TOKEN[:-1])
    for host, method, token in product(hosts, ("GET", "HEAD", "POST", "OPTIONS"), tokens):
        for origin in (f"http://{host}", ACROSS):
            yield Caller(host, origin, method, token, own_origin=True)
        for origin in FOREIGN_ORIGINS:
            yield Caller(host, origin, method, token, own_origin=False)
        if method != "OPTIONS":
            yield Caller(host, None, method, token, own_origin=True)


def guess_of(token: str, chance: random.Random) -> str:
    """Something that is nearly ``token``, and is not."""
    at = chance.randrange(len(token))
    guess = chance.choice(
        (
            token[:at],
            token[at + 1 :],
            token[:at] + chance.choice("!~xX0") + token[at + 1 :],
            token + token[at],
            token.swapcase(),
            token[::-1],
            token[:at] + "," + token[at:],
            f'"{token}"',
            token[:at] + token[at].swapcase() + token[at + 1 :],
        )
    )
    return guess if guess not in (TOKEN, READ_TOKEN) else guess + "x"
