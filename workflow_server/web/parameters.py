"""Query parameters, parsed strictly: what is not understood is refused, never guessed."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from aiohttp import hdrs, web

from workflow_server.records import STATUSES, Status
from workflow_server.web.exceptions import InvalidParameter, UnknownParameter

LAST_EVENT_ID = "Last-Event-ID"
NDJSON = "application/x-ndjson"
SSE = "text/event-stream"

LONGEST_WAIT = 3_600.0
"""Seconds that anybody waits for the shared queue: who asks for more waits so long, and holds one of the open streams
meanwhile."""

Cursor = int | Literal["now"]
START_OF_RUN: Cursor = -1

_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
_SEQUENCE = re.compile(r"-1|[0-9]{1,18}")
_NUMBER = re.compile(r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


@dataclass(frozen=True)
class StreamRequest:
    """The form in which a client wants its events.

    ``acquire_timeout`` is None for an independent reader, who reads past ``cursor``; otherwise the handler's shared
    queue is read.
    """

    sse: bool
    include_internal: bool
    include_qualified_name: bool
    cursor: Cursor
    acquire_timeout: float | None


def stream_request(request: web.Request) -> StreamRequest:
    """Return what the query and the headers ask for.

    Raises:
        InvalidParameter: one of them is not valid.
    """
    sse = boolean(request, "sse", default=_accepts_sse(request.headers.get(hdrs.ACCEPT, "")))
    cursor = _cursor("after_sequence", _single(request, "after_sequence"))
    if sse and (last_event_id := request.headers.get(LAST_EVENT_ID)):
        cursor = _cursor(LAST_EVENT_ID, last_event_id)
    acquire_timeout = _seconds(request, "acquire_timeout")
    return StreamRequest(
        sse=sse,
        include_internal=boolean(request, "include_internal", default=False),
        include_qualified_name=boolean(request, "include_qualified_name", default=True),
        cursor=START_OF_RUN if cursor is None else cursor,
        acquire_timeout=acquire_timeout if cursor is None else None,
    )


def check_known(request: web.Request, names: Sequence[str]) -> None:
    """Refuse a parameter that there is not: a filter that is misspelt would be none.

    Raises:
        UnknownParameter: there is one that is not among ``names``.
    """
    if any(name not in names for name in request.query):
        raise UnknownParameter(", ".join(names))


def boolean(request: web.Request, name: str, *, default: bool) -> bool:
    """A query parameter that is true, false, 1 or 0, in any case of letters.

    Raises:
        InvalidParameter: it is something else.
    """
    text = _single(request, name)
    if text is None:
        return default
    if text.lower() not in _BOOLEANS:
        raise InvalidParameter(name, "true or false")
    return _BOOLEANS[text.lower()]


def statuses(request: web.Request) -> list[Status] | None:
    """The statuses to filter by; None where there is no filter.

    Raises:
        InvalidParameter: one of them is unknown.
    """
    chosen: list[Status] = []
    for text in values(request, "status") or ():
        for status in STATUSES:
            if text == status:
                chosen.append(status)
                break
        else:
            raise InvalidParameter("status", f"one of {', '.join(STATUSES)}")
    return chosen or None


def values(request: web.Request, name: str) -> list[str] | None:
    """All values of a parameter that may be repeated; None where there are none.

    Empty ones do not count: the Python clients send ``status=`` for no filter.
    """
    return [text for text in request.query.getall(name, []) if text] or None


def _single(request: web.Request, name: str) -> str | None:
    texts = request.query.getall(name, [])
    if len(texts) > 1:
        raise InvalidParameter(name, "one value")
    return texts[0] if texts else None


def _cursor(name: str, text: str | None) -> Cursor | None:
    if text is None:
        return None
    if text == "now":
        return "now"
    if not _SEQUENCE.fullmatch(text):
        raise InvalidParameter(name, "the sequence of an event, -1 for the start of the run, or now")
    return int(text)


def _seconds(request: web.Request, name: str) -> float | None:
    text = _single(request, name)
    if text is None:
        return None
    # Python's own floats also have underscores, other scripts' digits and nan.
    seconds = float(text) if _NUMBER.fullmatch(text) else math.nan
    if not math.isfinite(seconds):
        raise InvalidParameter(name, "a number of seconds, 0 or more")
    return min(seconds, LONGEST_WAIT)


def _accepts_sse(accept: str) -> bool:
    """Return whether the client prefers SSE to NDJSON; SSE where it does not say."""
    preference: dict[str, tuple[float, int]] = {}
    for position, item in enumerate(accept.split(",")):
        kind, _, parameters = item.partition(";")
        quality = re.search(r"(?:^|;)\s*q=([0-9.]{1,5})\s*(?:;|$)", parameters)
        try:
            weight = float(quality[1]) if quality else 1.0
        except ValueError:
            weight = 1.0
        preference.setdefault(kind.strip().lower(), (weight, -position))
    nothing = (0.0, -1_000_000)
    return preference.get(SSE, nothing) >= preference.get(NDJSON, nothing)
