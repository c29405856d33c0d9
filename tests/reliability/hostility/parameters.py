"""Queries, cursors and keys that are not what they are called."""

from __future__ import annotations

from collections.abc import Iterator

from tests.reliability.hostility.request import (
    ANY,
    BAD,
    HOST,
    JSON,
    RUN,
    Hostile,
    post,
    request,
)

_STREAM_QUERIES = (
    *(
        f"acquire_timeout={value}"
        for value in ("nan", "inf", "-inf", "1e400", "-1", "", "0x10", "1,5", "１", "1_0", "1s")
    ),
    *(
        f"after_sequence={value}"
        for value in ("-2", "1e3", "1.0", "", "NOW", "٣", "0x1", "+1", " 1", "9" * 19, "9" * 5_000)
    ),
    *(f"sse={value}" for value in ("maybe", "2", "", "True%00", "ｔｒｕｅ", "tru", "%ff")),
    "include_internal=yes",
    "include_qualified_name=none",
    "sse=true&sse=false",
    "after_sequence=1&after_sequence=2",
    "acquire_timeout=1&acquire_timeout=1",
    "include_internal=true;drop",
)

_LAST_EVENT_IDS = (b"-2", b"1e3", b"NaN", b"9" * 19, b"9" * 5_000, b"\xff\xfe", b"1 OR 1=1", b"{}", b"../../x", b"0x1")

_ACCEPTS = (
    b"x/y",
    b"text/event-stream;q=9e999",
    b"*/*;q=" + b"1" * 5_000,
    b";;;,,,",
    b"application/x-ndjson;q=nan",
    b"\xff",
)

_KEYS = (
    b"x" * 256,
    b"x" * 8_000,
    b"with space",
    b"tab\tin",
    b"\xff",
    "schlüssel".encode(),
    b"'; DROP TABLE x;--\x80",
    b" ",
    b"",
)


def parameters() -> Iterator[Hostile]:
    """All of them."""
    for query in _STREAM_QUERIES:
        yield Hostile(f"stream: {query[:40]}", (request(b"/events/@--ENDED--?" + _percent(query)),), BAD)
    for value in _LAST_EVENT_IDS:
        head = HOST + b"Last-Event-ID: " + value + b"\r\n"
        yield Hostile(f"Last-Event-ID: {value[:20]!r}", (request(b"/events/@--ENDED--", head=head),), BAD)
    for status in ("x", "RUNNING", "running,failed", "%00", "' OR 1=1", "running\x85"):
        yield Hostile(f"status: {status!r}", (request(b"/handlers?status=" + _percent(status)),), BAD)
    for purge in ("maybe", "", "yes", "%00", "tru"):
        target = b"/handlers/@-WAITING-/cancel?purge=" + _percent(purge)
        yield Hostile(f"purge: {purge!r}", (request(target, method=b"POST"),), BAD)
    for accept in _ACCEPTS:
        head = HOST + b"Accept: " + accept + b"\r\n"
        yield Hostile(f"Accept: {accept[:30]!r}", (request(b"/events/@--ENDED--?after_sequence=0", head=head),), ANY)
    for key in _KEYS:
        head = HOST + JSON + b"Idempotency-Key: " + key + b"\r\n"
        for target in (RUN, b"/workflows/count/run", b"/events/@-WAITING-"):
            yield Hostile(f"Idempotency-Key: {key[:12]!r} {target.decode()}", (post(target, b"{}", head),), BAD)
    head = HOST + JSON + b"Idempotency-Key: a\r\nIdempotency-Key: b\r\n"
    yield Hostile("Idempotency-Key twice", (post(RUN, b"{}", head),), BAD)


def _percent(text: str) -> bytes:
    """The text in a query, encoded where it has to be; what is percent-encoded already stays."""
    return b"".join(
        character.encode()
        if character.isascii() and character.isprintable() and character not in " '"
        else b"".join(b"%%%02X" % byte for byte in character.encode())
        for character in text
    )
