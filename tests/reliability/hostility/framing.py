"""Bodies whose length is told in conflicting, wrong or obscure ways, and requests that hide in them."""

from __future__ import annotations

from collections.abc import Iterator

from tests.reliability.hostility.request import ANY, BAD, HOST, JSON, OK, REFUSED, RUN, SMUGGLED, Hostile, request

_CHUNKED = b"Transfer-Encoding: chunked\r\n"
_HIDDEN = b"%x\r\n%s\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)

_LENGTHS: tuple[bytes, ...] = (
    b"-1",
    b"+5",
    b"0x5",
    b"5, 5",
    b"5,6",
    b"5;5",
    b"5 5",
    b" 5 a",
    b"",
    b"abc",
    b"1e1",
    b"5.0",
    b"\xd9\xa5",
    b"5\x00",
)
_LENGTHS += (b"9" * 20, b"9" * 400, b"18446744073709551616", b"18446744073709551621", b"-18446744073709551611")

_CODINGS: tuple[bytes, ...] = (
    b"identity",
    b"chunked, identity",
    b"identity, chunked",
    b"gzip, chunked",
    b"chunked, chunked",
    b"xchunked",
    b"chunked;q=1",
)
_CODINGS += (
    b"\x0bchunked",
    b"\x00chunked",
    b"chunked\x00",
    b'"chunked"',
    b"chun ked",
    b"gzip",
    b"deflate",
    b"compress",
    b"",
    b"CHUNKED, x",
)

_TRANSFER_LINES = {
    "space before the colon": b"Transfer-Encoding : chunked\r\n",
    "tab before the colon": b"Transfer-Encoding\t: chunked\r\n",
    "folded": b"Transfer-Encoding:\r\n chunked\r\n",
    "after a space": b" Transfer-Encoding: chunked\r\n",
    "hidden in another": b"X: y\rTransfer-Encoding: chunked\r\n",
    "after a bare LF": b"X: y\nTransfer-Encoding: chunked\r\n",
    "NUL in the name": b"Transfer\x00-Encoding: chunked\r\n",
    "twice": _CHUNKED * 2,
    "twice, once no coding": _CHUNKED + b"Transfer-Encoding: x\r\n",
}

_CHUNKS = {
    "size -1": b"-1\r\n\r\n",
    "size +2": b"+2\r\n{}\r\n0\r\n\r\n",
    "size 0x2": b"0x2\r\n{}\r\n0\r\n\r\n",
    "size g": b"g\r\n{}\r\n0\r\n\r\n",
    "no size": b"\r\n{}\r\n0\r\n\r\n",
    "a size past 64 bits": b"10000000000000002\r\n{}\r\n0\r\n\r\n",
    "a size with a space": b"2 \r\n{}\r\n0\r\n\r\n",
    "a size behind a space": b" 2\r\n{}\r\n0\r\n\r\n",
    "a size with an underscore": b"0_2\r\n{}\r\n0\r\n\r\n",
    "a bare LF": b"2\n{}\n0\n\n",
    "a bare LF behind the size": b"2\n{}\r\n0\r\n\r\n",
    "a bare CR behind the size": b"2\r{}\r\n0\r\n\r\n",
    "no end of a chunk": b"2\r\n{}0\r\n\r\n",
    "more than its size": b"1\r\n{}\r\n0\r\n\r\n",
    "less than its size": b"9\r\n{}\r\n0\r\n\r\n",
    "an extension with a line end": b"2;a=\n0\r\n{}\r\n0\r\n\r\n",
    "an extension with a NUL": b"2;\x00\r\n{}\r\n0\r\n\r\n",
    "a trailer that is none": b"2\r\n[]\r\n0\r\nGET / HTTP/1.1\r\n\r\n",
    "a trailer flood": b"2\r\n[]\r\n0\r\n" + b"X: y\r\n" * 5_000 + b"\r\n",
    "a trailer with a length": b"2\r\n[]\r\n0\r\nContent-Length: 500\r\n\r\n",
    "text": b"this is no chunk",
    "NULs": b"\x00" * 64,
}


def framing() -> Iterator[Hostile]:
    """All of them."""
    yield from _lengths()
    yield from _codings()
    yield from _chunks()
    yield from _behind_upgrades()
    yield from _hidden()


def _posted(head: bytes, rest: bytes, version: bytes = b"HTTP/1.1") -> bytes:
    return request(RUN, method=b"POST", version=version, head=HOST + JSON + head) + rest


def _lengths() -> Iterator[Hostile]:
    for length in _LENGTHS:
        sent = _posted(b"Content-Length: " + length + b"\r\n", b"[1,2]" + SMUGGLED)
        yield Hostile(f"Content-Length: {length[:24]!r}", (sent,), frozenset({400, 413}))
    for first, second in ((b"5", b"5"), (b"5", b"6"), (b"0", b"5"), (b"5", b"0")):
        lines = b"Content-Length: %s\r\nContent-Length: %s\r\n" % (first, second)
        yield Hostile(f"two lengths: {first.decode()} {second.decode()}", (_posted(lines, b"[1,2]" + SMUGGLED),), BAD)
    for target in (b"/workflows", b"/handlers/@--ENDED--", b"/nothing"):
        sent = request(target, head=HOST + b"Content-Length: %d\r\n" % len(SMUGGLED)) + SMUGGLED
        yield Hostile(f"a body on GET {target.decode()}", (sent,), OK | REFUSED)
    sent = request(
        b"/handlers/@--ENDED--/cancel", method=b"POST", head=HOST + JSON + b"Content-Length: %d\r\n" % len(SMUGGLED)
    )
    yield Hostile("a body that nobody reads", (sent + SMUGGLED,), REFUSED)


def _codings() -> Iterator[Hostile]:
    for coding in _CODINGS:
        sent = _posted(b"Transfer-Encoding: " + coding + b"\r\n", _HIDDEN)
        yield Hostile(f"Transfer-Encoding: {coding!r}", (sent,), frozenset({400, 415}))
    for name, lines in _TRANSFER_LINES.items():
        yield Hostile(f"Transfer-Encoding {name}", (_posted(lines, _HIDDEN),), frozenset({400, 415}))
        both = lines + b"Content-Length: %d\r\n" % len(_HIDDEN)
        yield Hostile(f"Transfer-Encoding {name}, and a length", (_posted(both, _HIDDEN),), frozenset({400, 415}))
    for version in (b"HTTP/1.0", b"HTTP/1.1"):
        for order in (_CHUNKED + b"Content-Length: 5\r\n", b"Content-Length: 5\r\n" + _CHUNKED):
            yield Hostile(
                f"{version.decode()} {order[:7]!r} and the other",
                (_posted(order, b"0\r\n\r\n" + SMUGGLED, version),),
                BAD,
            )
    yield Hostile("chunked in HTTP/1.0", (_posted(_CHUNKED, _HIDDEN, b"HTTP/1.0"),), BAD)


def _chunks() -> Iterator[Hostile]:
    for name, chunks in _CHUNKS.items():
        wanted = frozenset({400, 408, 413})
        yield Hostile(f"chunks: {name}", (_posted(_CHUNKED, chunks + SMUGGLED),), wanted)
    many = b"".join(b"1;%d\r\n \r\n" % n for n in range(2_000)) + b"0\r\n\r\n"
    yield Hostile("chunks: thousands of one byte", (_posted(_CHUNKED, many.replace(b" ", b"[", 1)),), BAD)
    for name, chunk in {"a long size": b"0" * 20_000 + b"2", "a long extension": b"2;" + b"x" * 100_000}.items():
        # Both are valid: what follows is a request, and what they bring is no object.
        yield Hostile(f"chunks: {name}", (_posted(_CHUNKED, chunk + b"\r\n[]\r\n0\r\n\r\n"),), BAD)
    big = b"10000\r\n" + b" " * 65_536 + b"\r\n"
    yield Hostile("chunks: more than the largest body", (_posted(_CHUNKED, big * 40 + b"0\r\n\r\n"),), frozenset({413}))


def _behind_upgrades() -> Iterator[Hostile]:
    for upgrade in (b"h2c", b"websocket", b"TLS/1.0", b"x"):
        # aiohttp drops what comes in one piece with an upgrade to what it does not know.
        head = request(b"/workflows", head=HOST + b"Connection: Upgrade\r\nUpgrade: " + upgrade + b"\r\n")
        hiding = _posted(b"Content-Length: %d\r\n" % len(SMUGGLED), b"")
        for pieces in ((head + hiding, SMUGGLED), (head, hiding, SMUGGLED), (head + hiding + SMUGGLED,)):
            yield Hostile(f"a body behind an upgrade to {upgrade.decode()}, {len(pieces)} pieces", pieces, OK)


def _hidden() -> Iterator[Hostile]:
    yield Hostile("a request in a body", (_posted(b"Content-Length: %d\r\n" % len(SMUGGLED), SMUGGLED),), BAD)
    yield Hostile("a request in a chunk", (_posted(_CHUNKED, _HIDDEN),), BAD)
    yield Hostile(
        "a request in a body, in pieces",
        (_posted(b"Content-Length: %d\r\n" % len(SMUGGLED), b""), SMUGGLED[:20], SMUGGLED[20:]),
        BAD,
    )
    yield Hostile(
        "a request in a refused body",
        (_posted(b"Content-Encoding: gzip\r\nContent-Length: %d\r\n" % len(SMUGGLED), SMUGGLED),),
        frozenset({415}),
    )
    nowhere = request(b"/nothing", method=b"POST", head=HOST + JSON + b"Content-Length: %d\r\n" % len(SMUGGLED))
    yield Hostile("a request in a body for nobody", (nowhere + SMUGGLED,), frozenset({404}))
    large = b"Content-Length: 2000000\r\n"
    yield Hostile(
        "a request in a body that is too large", (_posted(large, SMUGGLED),), frozenset({413}), follow_up=False
    )
    expecting = b"Expect: 100-continue\r\nContent-Length: %d\r\n" % len(SMUGGLED)
    yield Hostile("a request in a body that was asked about", (_posted(expecting, SMUGGLED),), BAD)
    unmet = b"Expect: x\r\nContent-Length: %d\r\n" % len(SMUGGLED)
    yield Hostile("a request in a body with an unknown Expect", (_posted(unmet, SMUGGLED),), frozenset({417}))
    yield Hostile("garbage behind a request", (request() + b"\x00\xff garbage \r\n\r\n",), OK | BAD, follow_up=False)
    yield Hostile("a body behind a request that has none", (request() + b"{}",), OK | BAD)
    yield Hostile("bare LF all through", (request().replace(b"\r\n", b"\n"),), BAD | OK)
    yield Hostile("bare CR all through", (request().replace(b"\r\n", b"\r"),), BAD)
    yield Hostile("a bare LF in the head", (request(head=HOST + b"X: y\nY: z\r\n"),), BAD)
    yield Hostile(
        "a chunk of huge size", (_posted(_CHUNKED, b"7fffffffffffffff\r\n{}"),), frozenset({408}), follow_up=False
    )
    yield Hostile(
        "half a chunk and then nothing", (_posted(_CHUNKED, b"5\r\n{"),), frozenset({400, 408}), follow_up=False
    )
    yield Hostile(
        "half a body and then nothing", (_posted(b"Content-Length: 50\r\n", b"{"),), frozenset({408}), follow_up=False
    )
    yield Hostile(
        "a body that nobody sends",
        (_posted(b"Content-Length: 50\r\nExpect: 100-continue\r\n", b""),),
        frozenset({408}),
        follow_up=False,
    )
    for cut in (1, 10, 30, 60):
        yield Hostile(
            f"half sent: {cut} bytes",
            (_posted(b"Content-Length: 2\r\n", b"{}")[:cut],),
            BAD,
            follow_up=False,
            silence=True,
        )
    slowly = _posted(b"Content-Length: 40\r\n", b"[")
    yield Hostile("a body a byte at a time", (slowly, *([b" "] * 39)), frozenset({400, 408}))
    yield Hostile("a head a byte at a time", tuple(bytes([byte]) for byte in request()), ANY)
