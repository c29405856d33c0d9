"""The events that a reader has received, taken out of the bytes of its connections."""

from __future__ import annotations

import re
from typing import NamedTuple

from tests.reliability.reading.http_framing import Framing, Place

_SSE_EVENT = re.compile(rb"id: (\d+)\ndata: (\{.*\})")
_SSE_BESIDE = re.compile(rb"(?:retry: \d+\n)?(?:: heartbeat\n)*")
_NDJSON_BESIDE = re.compile(rb" *")
_ENVELOPE = re.compile(
    rb'\{"value":\{.*\},"type":"(\w+)","types":(?:null|\[[^\]]*\]),'
    rb'"qualified_name":(?:null|"[\w.]+"),"time":(?:null|"[\dT:.+-]+"),"sequence":(\d+)\}',
    re.DOTALL,
)


class Received(NamedTuple):
    """One event: its sequence, its type, and its NDJSON line without the line end, whichever form it came in."""

    sequence: int
    type: str
    line: bytes


class Answer:
    """One answer of the server, as far as it came. Only whole events count: the last line that was cut does not."""

    def __init__(self, *, sse: bool) -> None:
        self.framing = Framing()
        self.comments = 0
        """Heartbeats."""
        self._sse = sse
        self._separator = b"\n\n" if sse else b"\n"
        self._beside = _SSE_BESIDE if sse else _NDJSON_BESIDE
        self._rest = b""

    @property
    def torn(self) -> bytes:
        """The part that came of the event that was cut."""
        return self._rest[self._beside_end(self._rest) :]

    def feed(self, data: bytes) -> list[Received]:
        """The events that these bytes complete."""
        body = b"".join(part for place, part in self.framing.feed(data) if place is Place.BODY)
        *whole, self._rest = (self._rest + body).split(self._separator)
        assert self.framing.status in (0, 200, 204), self.framing.head + self._rest
        return [self._event(piece) for piece in whole]

    def _beside_end(self, piece: bytes) -> int:
        found = self._beside.match(piece)
        assert found is not None
        return found.end()

    def _event(self, piece: bytes) -> Received:
        start = self._beside_end(piece)
        self.comments += piece.count(b": heartbeat" if self._sse else b" ", 0, start)
        piece = piece[start:]
        if self._sse:
            found = _SSE_EVENT.fullmatch(piece)
            assert found is not None, f"no event of a stream looks like this: {piece[:200]!r}"
            piece = b'%b,"sequence":%b}' % (found[2][:-1], found[1])
        return parsed(piece)


def parsed(line: bytes) -> Received:
    """The event that this NDJSON line holds; its shape is checked, so that no byte of another event hides in it."""
    found = _ENVELOPE.fullmatch(line)
    assert found is not None, f"no event looks like this: {line[:100]!r}…{line[-200:]!r}"
    return Received(int(found[2]), found[1].decode(), line)
