"""HTTP as bytes: what is sent is exactly what was written, and the answers are read without any goodwill."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

TIMEOUT = 60.0
"""Seconds that the server has to close a connection in the end."""
PIECE_PAUSE = 0.02
"""Seconds between two pieces of a request."""


class Answer(NamedTuple):
    """One answer. ``interim`` counts the 1xx that came before it."""

    status: int
    headers: dict[str, str]
    body: bytes
    interim: int

    def json(self) -> Any:
        """The body's JSON."""
        return json.loads(self.body)


class NotAnswers(AssertionError):
    """The bytes that the server sent are not a sequence of HTTP answers."""


async def exchange(port: int, pieces: Sequence[bytes], *, patience: float | None = None) -> bytes:
    """All that the server sends to these pieces until it closes the connection, which it has to do.

    With ``patience``, the client leaves when nothing has come for so many seconds.

    Raises:
        TimeoutError: it did not close it.
    """
    received = bytearray()
    async with asyncio.timeout(TIMEOUT):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        sending = asyncio.create_task(_send(writer, pieces), name="send a hostile request")
        try:
            while part := await asyncio.wait_for(reader.read(65_536), patience or 2 * TIMEOUT):
                received += part
        except ConnectionError:
            # Closed with something of ours unread: what was received until then counts.
            return bytes(received)
        except TimeoutError:
            if patience is None:
                raise
            return bytes(received)
        finally:
            sending.cancel()
            await asyncio.wait([sending])
            writer.transport.abort()
    return bytes(received)


async def _send(writer: asyncio.StreamWriter, pieces: Sequence[bytes]) -> None:
    try:
        for number, piece in enumerate(pieces):
            if number:
                await asyncio.sleep(PIECE_PAUSE)
            writer.write(piece)
            await writer.drain()
    except ConnectionError:
        # The server has heard enough: its answer is what counts.
        return


def answers(received: bytes, *, bodiless: bool = False) -> list[Answer]:
    """The answers in ``received``; the first has no body where it is ``bodiless`` (that to a HEAD).

    Raises: NotAnswers: a part of it is not an answer, or not complete.
    """
    found: list[Answer] = []
    rest = received
    interim = 0
    while rest:
        head, separator, rest = rest.partition(b"\r\n\r\n")
        if not separator:
            raise NotAnswers(f"an answer that ends in its head: {head[:200]!r}")
        status, headers = _head(head)
        if status < 200:
            interim += 1
            continue
        without_body = status in (204, 304) or (bodiless and not found)
        body, rest = (b"", rest) if without_body else _body(headers, rest)
        found.append(Answer(status, headers, body, interim))
        interim = 0
    return found


def _head(head: bytes) -> tuple[int, dict[str, str]]:
    line, *lines = head.decode("latin-1").split("\r\n")
    version, _, rest = line.partition(" ")
    code = rest.partition(" ")[0]
    if version not in ("HTTP/1.1", "HTTP/1.0") or not code.isdigit():
        raise NotAnswers(f"no status line: {line[:200]!r}")
    headers: dict[str, str] = {}
    for text in lines:
        name, colon, value = text.partition(":")
        if not colon or not name or name != name.strip():
            raise NotAnswers(f"no header: {text[:200]!r}")
        if name.lower() in headers:
            raise NotAnswers(f"a header twice: {name}")
        headers[name.lower()] = value.strip()
    return int(code), headers


def _body(headers: dict[str, str], rest: bytes) -> tuple[bytes, bytes]:
    if headers.get("transfer-encoding") == "chunked":
        return _chunked(rest)
    if "content-length" in headers:
        size = int(headers["content-length"])
        if len(rest) < size:
            raise NotAnswers(f"{len(rest)} of {size} bytes of a body")
        return rest[:size], rest[size:]
    if headers.get("connection", "keep-alive") == "keep-alive":
        raise NotAnswers("a body of unknown length on a connection that goes on")
    return rest, b""


def _chunked(rest: bytes) -> tuple[bytes, bytes]:
    body = b""
    while True:
        line, separator, rest = rest.partition(b"\r\n")
        size = int(line, 16) if separator else -1
        if size < 0 or rest[size : size + 2] != b"\r\n":
            raise NotAnswers("a chunked body that breaks off")
        body += rest[:size]
        rest = rest[size + 2 :]
        if size == 0:
            return body, rest
