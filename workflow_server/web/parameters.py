"""Query parameters, parsed strictly: what is not understood is refused, never guessed."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Literal

from aiohttp import web

from workflow_server.records import STATUSES, Status
from workflow_server.web.exceptions import InvalidParameter, UnknownParameter

Cursor = int | Literal["now"]
"""The sequence after which a stream begins; -1 is the start of the current run."""

_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
_SEQUENCE = re.compile(r"-1|[0-9]{1,18}")
_NUMBER = re.compile(r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


def check_known(request: web.Request, names: Sequence[str]) -> None:
    """Refuse unknown parameters: a misspelt filter would not filter.

    Raises:
        UnknownParameter: one is not among ``names``.
    """
    if any(name not in names for name in request.query):
        raise UnknownParameter(", ".join(names))


def boolean(request: web.Request, name: str, *, default: bool) -> bool:
    """Parse a parameter that is true, false, 1 or 0, in upper or lower case.

    Raises:
        InvalidParameter: it is something else.
    """
    text = single(request, name)
    if text is None:
        return default
    if text.lower() not in _BOOLEANS:
        raise InvalidParameter(name, "true or false")
    return _BOOLEANS[text.lower()]


def seconds(request: web.Request, name: str) -> float | None:
    """Parse a number of seconds; None where there is none.

    Raises:
        InvalidParameter: it is not a number, or below 0.
    """
    text = single(request, name)
    if text is None:
        return None
    # Python's own floats include underscores, other scripts' digits and nan.
    value = float(text) if _NUMBER.fullmatch(text) else math.nan
    if not math.isfinite(value):
        raise InvalidParameter(name, "a number of seconds, 0 or more")
    return value


def cursor(request: web.Request, name: str) -> Cursor | None:
    """Parse a cursor in the query; None where there is none.

    Raises:
        InvalidParameter: it is not one.
    """
    text = single(request, name)
    return None if text is None else parse_cursor(name, text)


def parse_cursor(name: str, text: str) -> Cursor:
    """Parse a cursor; ``name`` says where it came from.

    Raises:
        InvalidParameter: it is not one.
    """
    if text == "now":
        return "now"
    if not _SEQUENCE.fullmatch(text):
        raise InvalidParameter(name, "the sequence of an event, -1 for the start of the run, or now")
    return int(text)


def statuses(request: web.Request) -> list[Status] | None:
    """Parse the statuses to filter by; None for no filter.

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
    """Return all values of a parameter that may be repeated; None where there are none.

    Empty ones do not count: the Python clients send ``status=`` for no filter.
    """
    return [text for text in request.query.getall(name, []) if text] or None


def single(request: web.Request, name: str) -> str | None:
    """Return the value of a parameter that may not be repeated; None where there is none.

    Raises:
        InvalidParameter: it is repeated.
    """
    texts = request.query.getall(name, [])
    if len(texts) > 1:
        raise InvalidParameter(name, "one value")
    return texts[0] if texts else None
