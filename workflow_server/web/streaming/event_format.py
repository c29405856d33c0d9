"""The form in which events are written: a content type, and the text around each envelope."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import hdrs


@dataclass(frozen=True)
class EventFormat:
    """A format of event streams.

    ``opening`` is written once at the start, ``heartbeat`` while a stream is idle; neither is a record or an event to
    any reader. ``record`` makes text of a sequence, and of an envelope and its time as JSON.
    """

    content_type: str
    opening: bytes
    heartbeat: bytes
    record: Callable[[int, str, str], str]

    def headers(self) -> dict[str, str]:
        """Return the headers of a stream in this format."""
        return {
            hdrs.CONTENT_TYPE: self.content_type,
            hdrs.CACHE_CONTROL: "no-cache, no-transform",
            "X-Accel-Buffering": "no",
        }
