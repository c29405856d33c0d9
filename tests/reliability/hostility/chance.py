"""Honest requests, mutated by chance."""

from __future__ import annotations

import random
from collections.abc import Iterator

from tests.reliability.hostility.request import ANY, HOST, JSON, Hostile, post, request

_HONEST = (
    request(),
    request(b"/handlers?status=running&workflow_name=count"),
    request(
        b"/events/@--ENDED--?after_sequence=-1&sse=false&include_internal=true",
        head=HOST + b"Accept: application/x-ndjson\r\n",
    ),
    request(b"/results/@--ENDED--", head=HOST + b"Last-Event-ID: 1\r\nOrigin: http://localhost\r\n"),
    post(
        b"/workflows/count/run-nowait",
        b'{"start_event": {"n": 2, "text": "x"}}',
        HOST + JSON + b"Idempotency-Key: a\r\n",
    ),
    post(b"/workflows/count/run", b'{"kwargs": {"n": 1}}'),
    post(b"/events/@--ENDED--", b'{"event": {"type": "Counted", "value": {"n": 1, "text": ""}}, "step": "count"}'),
    request(b"/handlers/@--ENDED--/cancel", method=b"POST", head=HOST + JSON),
)
_PIECES: tuple[bytes, ...] = (
    b"\r\n",
    b"\n",
    b"\r",
    b"\x00",
    b"\xff",
    b" ",
    b"\t",
    b":",
    b"%00",
    b"%",
    b"\x7f",
    b"{",
    b"\\u",
    b"chunked",
    b"Transfer-Encoding: chunked\r\n",
)
_PIECES += (
    b"Content-Length: 3\r\n",
    b"\r\n\r\n",
    b"\xe2\x80\xa8",
    b"-1",
    b"9" * 30,
    b"HTTP/1.1",
    b"Host: x\r\n",
    b";",
    b"?",
    b"#",
    b'"',
)


def mutated(count: int, chance: random.Random) -> Iterator[Hostile]:
    """So many of them."""
    for number in range(count):
        sent = bytearray(chance.choice(_HONEST))
        for _ in range(chance.randint(1, 4)):
            _mutate(sent, chance)
        # What became of it may be honest, or only the beginning of something.
        yield Hostile(f"mutation {number}", _in_pieces(bytes(sent), chance), ANY, silence=True, honest=True)


def _mutate(sent: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(sent) + 1)
    match chance.randrange(6):
        case 0:
            sent[at:at] = chance.choice(_PIECES)
        case 1:
            del sent[at : at + chance.randint(1, 8)]
        case 2:
            sent[at : at + 1] = bytes([chance.randrange(256)])
        case 3:
            other = chance.randrange(len(sent) + 1)
            sent[at:at] = sent[min(at, other) : max(at, other)]
        case 4:
            end = min(at + chance.randint(2, 12), len(sent))
            sent[at:end] = bytes(reversed(sent[at:end]))
        case _:
            sent[at:at] = bytes(chance.randrange(256) for _ in range(chance.randint(1, 6)))


def _in_pieces(sent: bytes, chance: random.Random) -> tuple[bytes, ...]:
    if chance.random() < 0.7:
        return (sent,)
    at = chance.randrange(len(sent) + 1)
    return tuple(piece for piece in (sent[:at], sent[at:]) if piece)
