"""An HTTP/1.1 answer taken apart as it comes: which bytes are its head, its chunks' frames, and its body."""

from __future__ import annotations

import re
from enum import Enum

_FIRST_SIZE = re.compile(rb"([0-9a-f]+)\r\n")
_SIZE = re.compile(rb"\r\n([0-9a-f]+)\r\n")


class Place(Enum):
    """The place in an answer at which a byte stands."""

    HEAD = "the HTTP head"
    FRAME = "a chunk's frame"
    BODY = "the body"
    LAST_CHUNK = "the last chunk"


class Framing:
    """Takes the bytes of one answer in whatever pieces they come; an answer without chunks ends with its connection.

    Anything but strict framing fails an assertion: a second answer behind the first, bytes past the last chunk.
    """

    def __init__(self) -> None:
        self.status = 0
        self.head = b""
        self.chunked = False
        self.complete = False
        """The last chunk has come, or an answer that has no body."""
        self._frame = b""
        self._left = 0
        self._size = _FIRST_SIZE

    def feed(self, data: bytes) -> list[tuple[Place, bytes]]:
        """The same bytes, cut where one place ends and the next begins."""
        parts: list[tuple[Place, bytes]] = []
        while data:
            place, taken = self._step(data)
            parts.append((place, taken))
            data = data[len(taken) :]
        return parts

    def _step(self, data: bytes) -> tuple[Place, bytes]:
        assert not self.complete, f"bytes behind the end of the answer: {data[:80]!r}"
        if not self.status:
            return Place.HEAD, self._take_head(data)
        if not self.chunked:
            return Place.BODY, data
        if self._left:
            taken = data[: self._left]
            self._left -= len(taken)
            return Place.BODY, taken
        return self._take_frame(data)

    def _take_head(self, data: bytes) -> bytes:
        before = len(self.head)
        end = (self.head + data).find(b"\r\n\r\n")
        if end < 0:
            self.head += data
            return data
        self.head = (self.head + data)[: end + 4]
        self.status = int(self.head.split(b" ", 2)[1])
        self.chunked = b"\r\ntransfer-encoding: chunked\r\n" in self.head.lower()
        self.complete = self.status == 204
        return data[: end + 4 - before]

    def _take_frame(self, data: bytes) -> tuple[Place, bytes]:
        """The line end behind a chunk and the size line before the next; they are one frame."""
        for position in range(len(data)):
            self._frame += data[position : position + 1]
            size = self._size.fullmatch(self._frame)
            if size and int(size[1], 16):
                self._left, self._frame, self._size = int(size[1], 16), b"", _SIZE
                return Place.FRAME, data[: position + 1]
            if self._frame.endswith(b"0\r\n\r\n"):
                self.complete = True
                return Place.LAST_CHUNK, data[: position + 1]
            assert len(self._frame) < 20, f"no chunk begins like this: {self._frame!r}"
        return (Place.LAST_CHUNK if b"\n0" in self._frame else Place.FRAME), data
