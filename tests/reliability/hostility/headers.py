"""Hostile headers: hosts and origins that are not ours, floods, and lines that are not headers."""

from __future__ import annotations

from collections.abc import Iterator

from tests.reliability.hostility.request import (
    ANY,
    BAD,
    HOST,
    JSON,
    OK,
    REFUSED,
    RUN,
    SECRET,
    Hostile,
    Statuses,
    post,
    request,
)

_FORBIDDEN: Statuses = frozenset({403})

_AUTHORIZATIONS: tuple[bytes, ...] = (
    b"Bearer",
    b"Bearer ",
    b"Basic YWRtaW46YWRtaW4=",
    b"bearer x",
    b"Bearer " + b"x" * 8_000,
    b"Bearer \xff\xfe",
)
_AUTHORIZATIONS += (b"Bearer a b", b"Digest username=x", b",,,", b"Bearer null", b"Bearer " + SECRET)

_HOSTS: tuple[bytes, ...] = (
    b"evil.example.org",
    b"localhost.evil.example.org",
    b"127.0.0.1.nip.io",
    b"10.0.0.1",
    b"0.0.0.0",
    b"[2001:db8::1]",
)
_HOSTS += (b"evil-localhost:80", b"0x7f000001", b"2130706433.", b"xn--lcalhost-n4a", b"017700000001")

_BAD_HOSTS: tuple[bytes, ...] = (
    b"",
    b"localhost:port",
    b"user@localhost",
    b"local host",
    b"::1",
    b"localhost/..",
    b"localhost:999999",
    b"[::1",
    b"a,b",
)
_BAD_HOSTS += (b"localhost\x80", b"\xff", b"localhost#", b"http://localhost")

_ORIGINS: tuple[bytes, ...] = (
    b"https://evil.example.org",
    b"null",
    b"http://localhost:1",
    b"http://localhost.evil.org",
    b"file://",
    b"http://[",
    b"",
)
_ORIGINS += (
    b"chrome-extension://x",
    b"http://localhost@evil.org",
    b"http://localhost, http://evil.org",
    b"\xff",
    b"http://LOCALHOST\\.evil",
)

_UPGRADING = b"Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk\r\nSec-WebSocket-Version: 13\r\n"
_UPGRADING += b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

_FLOODS = {
    "many headers": b"".join(b"X-%d: y\r\n" % n for n in range(1_000)),
    "one header many times": b"X-Forwarded-For: 1.1.1.1\r\n" * 1_000,
    "a long value": b"X: " + b"y" * 9_000 + b"\r\n",
    "a very long value": b"X: " + b"y" * 1_000_000 + b"\r\n",
    "a long name": b"x" * 9_000 + b": y\r\n",
    "a flood of cookies": b"".join(b"Cookie: c%d=%s\r\n" % (n, b"z" * 200) for n in range(300)),
}

_MALFORMED: tuple[bytes, ...] = (
    b": y",
    b"X",
    b"X Y: z",
    b"X : y",
    b"\tX: y",
    b"X\x00: y",
    b"X: \x00",
    b"X: a\x0bb",
    b"X: a\rb",
    b"(X): y",
)
_MALFORMED += (b"X\xc3\xa4: y", b"@: y")

_FOLDED = (b"Host: localhost\r\n folded", b"X: y\r\n\tfolded", b"Content-Length: 0\r\n 5")

_IGNORED = (
    b"X-HTTP-Method-Override: DELETE",
    b"X-Forwarded-Host: evil.example.org",
    b"X-Original-URL: /nothing",
    b"Forwarded: host=evil",
    b"Range: bytes=0-1,5-9999999999999999999",
    b"If-Modified-Since: yesterday\r\nIf-None-Match: *",
    b"Cookie: " + b"a=b; " * 1_500,
    b'Cookie: =;;"\\,\xff=\xfe; a="',
)


def headers() -> Iterator[Hostile]:
    """All of them."""
    yield from _guarded()
    yield from _asking()
    yield from _strange()


def _guarded() -> Iterator[Hostile]:
    for target in (b"/health", b"/workflows", RUN, b"/nothing", b"/handlers/@-WAITING-/cancel?purge=true"):
        method = b"POST" if target.startswith((RUN, b"/handlers/@")) else b"GET"
        for host in _HOSTS:
            sent = request(target, method=method, head=b"Host: " + host + b"\r\n")
            yield Hostile(f"Host: {host.decode()} {target.decode()}", (sent,), _FORBIDDEN)
        for host in _BAD_HOSTS:
            sent = request(target, method=method, head=b"Host: " + host + b"\r\n")
            yield Hostile(f"bad Host: {host!r} {target.decode()}", (sent,), BAD | _FORBIDDEN)
        for origin in _ORIGINS:
            sent = request(target, method=method, head=HOST + b"Origin: " + origin + b"\r\n")
            yield Hostile(f"Origin: {origin!r} {target.decode()}", (sent,), _FORBIDDEN | BAD)
    yield Hostile("no Host", (request(head=b""),), BAD)
    yield Hostile("two Hosts", (request(head=HOST + b"Host: evil.example.org\r\n"),), BAD)
    yield Hostile("a foreign absolute target", (request(b"http://evil.example.org/workflows", head=HOST),), REFUSED)
    yield Hostile(
        "two Origins", (request(head=HOST + b"Origin: http://localhost\r\nOrigin: https://evil.org\r\n"),), _FORBIDDEN
    )


def _asking() -> Iterator[Hostile]:
    for value in _AUTHORIZATIONS:
        yield _got(f"Authorization: {value[:20]!r}", b"Authorization: " + value, ANY)
    for expect in (b"200-ok", b"100-continue, x", b"x" * 5_000, b"\xff", b"100-continue;q=1"):
        head = HOST + JSON + b"Expect: " + expect + b"\r\n"
        yield Hostile(f"Expect: {expect[:20]!r}", (post(RUN, b"[]", head),), frozenset({417, 400}))
    yield _got("Expect on GET", b"Expect: 100-continue", OK)
    twice = HOST + JSON + b"Expect: 100-continue\r\n" * 2
    yield Hostile("Expect twice", (post(RUN, b"[]", twice),), BAD)
    for upgrade in (b"h2c", b"websocket", b"TLS/1.0", b"foo" * 500):
        head = HOST + _UPGRADING + b"Upgrade: " + upgrade + b"\r\n"
        yield Hostile(f"Upgrade: {upgrade[:20].decode()}", (request(head=head),), OK)
        yield Hostile(f"POST Upgrade: {upgrade[:20].decode()}", (post(RUN, b"[]", head + JSON),), BAD)


def _strange() -> Iterator[Hostile]:
    for name, head in _FLOODS.items():
        yield Hostile(f"headers: {name}", (request(head=HOST + head),), BAD, silence=len(head) > 100_000)
    for line in _MALFORMED:
        yield _got(f"header: {line!r}", line, BAD)
    for line in _FOLDED:
        head = (b"" if b"Host" in line else HOST) + line + b"\r\n"
        yield Hostile(f"obs-fold: {line!r}", (request(head=head),), BAD)
    for line in _IGNORED:
        yield _got(f"ignored: {line[:40]!r}", line, OK)


def _got(name: str, line: bytes, wanted: Statuses) -> Hostile:
    return Hostile(name, (request(head=HOST + line + b"\r\n"),), wanted)
