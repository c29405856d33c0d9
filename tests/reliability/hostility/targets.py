"""Hostile request lines: methods, versions, targets and paths."""

from __future__ import annotations

from collections.abc import Iterator

from tests.reliability.hostility.request import (
    ANY,
    BAD,
    HOST,
    OK,
    REFUSED,
    RUN,
    Hostile,
    Statuses,
    post,
    request,
)

_NOT_FOUND: Statuses = frozenset({404})

_NOT_ALLOWED: Statuses = frozenset({405})

_METHODS = (b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"TRACE", b"PROPFIND", b"SEARCH", b"QUERY", b"LINK", b"M-SEARCH")

_NO_METHODS = (b"get", b"G\x00T", b"GE T", b"G\xc3\x84T", b"X" * 5_000, b"", b"PRI", b"\x16\x03\x01\x02\x00\x01")

_TARGETS = {
    "no slash": b"workflows",
    "empty": b"",
    "asterisk": b"*",
    "authority": b"localhost:80",
    "foreign absolute": b"http://evil.example.org/workflows",
    "user in absolute": b"http://a:b@evil.example.org/workflows",
    "file scheme": b"file:///etc/passwd",
    "javascript scheme": b"javascript:alert(1)",
    "two slashes": b"//evil.example.org/workflows",
    "backslashes": b"\\\\evil\\share",
    "fragment": b"/workflows#fragment",
    "NUL": b"/work\x00flows",
    "tab": b"/work\tflows",
    "space": b"/work flows",
    "raw UTF-8": "/wörkflows".encode(),
    "raw 0xff": b"/\xff\xfe",
    "control": b"/\x01\x02",
    "DEL": b"/\x7f",
    "brackets": b"/[::1",
    "bad port": b"http://localhost:99999999/workflows",
    "bad IPv6": b"http://[::1/workflows",
}

_PATHS = {
    "traversal": b"/../../../../etc/passwd",
    "encoded traversal": b"/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
    "twice encoded traversal": b"/%252e%252e/%252e%252e/etc/passwd",
    "encoded slash": b"/workflows%2fcount%2fschema",
    "traversal in a name": b"/workflows/..%2f..%2fetc%2fpasswd/schema",
    "backslash traversal": b"/workflows/..%5c..%5cwindows/schema",
    "overlong UTF-8": b"/workflows/%c0%ae%c0%ae/schema",
    "overlong slash": b"/workflows/%e0%80%af/schema",
    "NUL encoded": b"/workflows/count%00/schema",
    "lone surrogate": b"/workflows/%ed%a0%80/schema",
    "not UTF-8": b"/workflows/%ff%fe/schema",
    "half a percent": b"/workflows/%/schema",
    "percent and no hex": b"/workflows/%zz/schema",
    "percent u": b"/workflows/%u0041/schema",
    "CRLF encoded": b"/workflows/%0d%0aX-Injected:%20yes/schema",
    "dunder": b"/workflows/__class__/schema",
    "format": b"/workflows/{name.__class__.__init__.__globals__}/schema",
    "percent s": b"/workflows/%25s%25n/schema",
    "SQL": b"/handlers/%27%20OR%201=1--%20",
    "SQL with a statement": b"/handlers/x%27;DROP%20TABLE%20handlers;--",
    "script": b"/handlers/%3Cscript%3Ealert(1)%3C/script%3E",
    "very long id": b"/handlers/" + b"a" * 7_000,
    "very long encoded id": b"/handlers/" + b"%41" * 2_000,
    "emoji id": b"/handlers/%F0%9F%92%A3",
    "empty id": b"/handlers/",
    "empty name": b"/workflows//schema",
    "dot segments": b"/workflows/./schema",
    "semicolon": b"/workflows/count;a=b/schema",
    "many slashes": b"/" * 3_000,
    "many segments": b"/a" * 3_000,
    "upper case": b"/WORKFLOWS",
    "favicon": b"/favicon.ico",
    "admin": b"/.git/config",
    "static": b"/static/../../etc/passwd",
}


def targets() -> Iterator[Hostile]:
    """All of them."""
    yield from _lines()
    yield from _targets()


def _lines() -> Iterator[Hostile]:
    for method in _METHODS:
        for target in (b"/workflows", RUN, b"/nothing"):
            wanted = _NOT_FOUND if target == b"/nothing" else _NOT_ALLOWED
            yield Hostile(
                f"method: {method.decode()} {target.decode()}", (request(target, method=method),), wanted | BAD
            )
    for method in _NO_METHODS:
        yield Hostile(f"no method: {method[:20]!r}", (request(method=method),), BAD)
    yield Hostile("CONNECT", (request(b"evil.example.org:443", method=b"CONNECT"),), REFUSED)
    yield Hostile("CONNECT to a path", (request(b"/workflows", method=b"CONNECT"),), REFUSED)
    yield Hostile("HEAD of nothing", (request(b"/nothing", method=b"HEAD"),), _NOT_FOUND)
    for version in (
        b"HTTP/0.9",
        b"HTTP/2.0",
        b"HTTP/9.9",
        b"HTTP/1.10",
        b"HTTP/",
        b"HTTP",
        b"http/1.1",
        b"ICE/1.0",
        b"",
        b"HTTP/1.1 x",
    ):
        yield Hostile(f"version: {version.decode()}", (request(version=version),), BAD)
    yield Hostile("no version", (b"GET /workflows\r\n" + HOST + b"\r\n",), BAD, follow_up=False)
    yield Hostile("no version on POST", (post(RUN, b"{}").replace(b" HTTP/1.1", b""),), BAD, follow_up=False)
    yield Hostile("HTTP/2 preface", (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",), BAD)
    yield Hostile("only line ends", (b"\r\n" * 500,), frozenset({200, 400}))
    yield Hostile("a long line", (request(b"/" + b"x" * 9_000),), BAD)
    yield Hostile("a very long line", (request(b"/" + b"x" * 1_000_000),), BAD, silence=True)
    yield Hostile("a line without an end", (b"GET /" + b"x" * 200_000,), BAD, follow_up=False, silence=True)
    yield Hostile("a long query", (request(b"/workflows?" + b"x=y&" * 5_000),), BAD)
    yield Hostile("many parameters", (request(b"/handlers?" + b"status=running&" * 500),), OK | BAD)
    yield Hostile(
        "many unknown parameters", (request(b"/workflows?" + b"&".join(b"a%d=1" % n for n in range(900))),), OK | BAD
    )


def _targets() -> Iterator[Hostile]:
    for name, target in _TARGETS.items():
        yield Hostile(f"target: {name}", (request(target),), REFUSED if name != "fragment" else ANY)
    for name, path in _PATHS.items():
        yield Hostile(f"path: {name}", (request(path),), _NOT_FOUND | BAD)
    for path in (b"/workflows/%2e%2e/run-nowait", b"/handlers/%00/cancel", b"/events/%ff", b"/events/" + b"a" * 7_000):
        yield Hostile(f"POST path: {path[:40].decode()}", (post(path, b'{"event": {"type": "Decision"}}'),), REFUSED)
