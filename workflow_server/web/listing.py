"""The query parameters of lists of handlers: which of them, in which order, and which page."""

from __future__ import annotations

import json
import math
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from aiohttp import web

from workflow_server.records import NOW_STATES, STATUSES, ListCursor, ListFilter, NowState, Status
from workflow_server.web.exceptions import FilterMissing, InvalidParameter, RunningNotAllowed
from workflow_server.web.parameters import boolean, single, statuses, values

MOST = 500
"""The largest ``limit``."""
LONGEST_TEXT = 200
"""Characters of ``q``."""

TIMES = ("started_after", "started_before", "ended_after", "ended_before")
FILTERS = ("status", "workflow_name", "tag", "code_version", "q", *TIMES)
LISTED = (*FILTERS, "now")
"""Parameters that limit a list; the stream of changes has no ``now``."""
PARAMETERS = (*LISTED, "order", "limit", "cursor", "include")
BULK_PARAMETERS = (*LISTED, "limit", "cursor", "purge", "running", "dry_run")
RETRY_PARAMETERS = (*LISTED, "limit", "cursor", "from_step", "fork", "dry_run")
RETRIED: tuple[Status, ...] = ("failed", "cancelled")
"""Statuses of runs that can be retried; those of cancelled ones are named, since somebody had cancelled them."""

_LIMIT = re.compile(r"[1-9][0-9]{0,2}")
_DECODED_PLUS = re.compile(r" (?=[0-9]{2}:?[0-9]{2}\Z)")
"""A plus that the query did not encode: it is read as a space."""


class PageAsked(NamedTuple):
    """The page of a list that a client asks for."""

    limit: int
    cursor: ListCursor | None
    with_results: bool
    with_now: bool


class BulkAsked(NamedTuple):
    """The handlers that a client wants cancelled, deleted or retried: one page of a list."""

    wanted: ListFilter
    cursor: ListCursor | None
    limit: int
    purge: bool
    dry_run: bool
    states: Sequence[NowState]
    """Those to which their runs are limited; none where they are not."""


def list_filter(request: web.Request) -> ListFilter:
    """Parse the handlers that are asked for, and their order.

    Raises:
        InvalidParameter: a parameter is not valid.
    """
    return ListFilter(
        statuses=statuses(request) or STATUSES,
        workflow_names=values(request, "workflow_name"),
        started_after=_time(request, "started_after"),
        started_before=_time(request, "started_before"),
        ended_after=_time(request, "ended_after"),
        ended_before=_time(request, "ended_before"),
        tags=values(request, "tag") or (),
        code_versions=values(request, "code_version") or (),
        text=_text_wanted(request),
        newest_first=_choice(request, "order", ("asc", "desc"), "asc or desc") == "desc",
    )


def states_asked(request: web.Request) -> Sequence[NowState]:
    """Parse the states of runs to which the list is limited; none where it is not.

    Raises:
        InvalidParameter: one of them is unknown.
    """
    asked = values(request, "now") or ()
    if not set(asked) <= set(NOW_STATES):
        raise InvalidParameter("now", f"one of {', '.join(NOW_STATES)}")
    return [state for state in NOW_STATES if state in asked]


def page_asked(request: web.Request) -> PageAsked | None:
    """Parse which page is asked for; None for the whole list.

    Raises:
        InvalidParameter: a parameter is not valid.
    """
    limit = _limit(request)
    included = values(request, "include") or ()
    if not set(included) <= {"result", "now"}:
        raise InvalidParameter("include", "result or now")
    if limit is None:
        if single(request, "cursor") is not None:
            raise InvalidParameter("cursor", "a limit beside it")
        if "now" in included:
            raise InvalidParameter("include", "a limit beside now")
        return None
    return PageAsked(limit, _cursor(request), with_results="result" in included, with_now="now" in included)


def bulk_asked(request: web.Request) -> BulkAsked:
    """Parse which handlers are to be cancelled or deleted.

    Raises:
        InvalidParameter: a parameter is not valid.
        FilterMissing: there is no filter: all handlers would be meant.
        RunningNotAllowed: running runs would be cancelled, and ``running`` does not allow that.
    """
    purge = boolean(request, "purge", default=False)
    wanted = _bulk_filter(request)
    if not purge:
        if values(request, "status") and "running" not in wanted.statuses:
            raise InvalidParameter("status", "running, since only running runs can be cancelled")
        if wanted.is_of_ended:
            raise InvalidParameter("time of the end", "purge=true, since only running runs can be cancelled")
        wanted = wanted._replace(statuses=("running",))
    may_run = "running" in wanted.statuses and not wanted.is_of_ended
    if may_run and not boolean(request, "running", default=False):
        raise RunningNotAllowed
    dry_run = boolean(request, "dry_run", default=False)
    return BulkAsked(wanted, _cursor(request), _limit(request) or MOST, purge, dry_run, states_asked(request))


def retry_asked(request: web.Request) -> BulkAsked:
    """Parse which handlers are to be retried: of those that failed, where no status is given.

    Raises:
        InvalidParameter: a parameter is not valid.
        FilterMissing: there is no filter: all handlers would be meant.
    """
    wanted, states = _bulk_filter(request), states_asked(request)
    if states:
        wanted = _suspended(request, wanted, states)
    elif not values(request, "status"):
        wanted = wanted._replace(statuses=("failed",))
    elif not set(wanted.statuses) <= set(RETRIED):
        raise InvalidParameter("status", "failed or cancelled, since no other runs can be retried")
    dry_run = boolean(request, "dry_run", default=False)
    return BulkAsked(wanted, _cursor(request), _limit(request) or MOST, purge=False, dry_run=dry_run, states=states)


def _suspended(request: web.Request, wanted: ListFilter, states: Sequence[NowState]) -> ListFilter:
    if states != ["suspended"]:
        raise InvalidParameter("now", "suspended, since no other running runs can be retried")
    if set(values(request, "status") or ["running"]) != {"running"}:
        raise InvalidParameter("status", "running beside now")
    return wanted._replace(statuses=("running",))


def _bulk_filter(request: web.Request) -> ListFilter:
    wanted = list_filter(request)
    # An empty one, which lists ignore, may be a variable that was not set: it must not make the action a wider one.
    for name in LISTED:
        if not all(request.query.getall(name, [])):
            raise InvalidParameter(name, "a value")
    if not any(name in request.query for name in LISTED):
        raise FilterMissing(", ".join(LISTED))
    return wanted


# -- Cursors ---------------------------------------------------------------------------------------


def cursor_text(wanted: ListFilter, cursor: ListCursor) -> str:
    """Return a place in a list as clients are given it: a text that says nothing to them."""
    fields = ["desc" if wanted.newest_first else "asc", *(_finite(field) for field in cursor)]
    return urlsafe_b64encode(json.dumps(fields, separators=(",", ":")).encode()).decode().rstrip("=")


def _finite(value: float | str) -> float | str | None:
    # JSON has no infinities: of numbers they alone stand for a missing bound.
    return None if isinstance(value, float) and abs(value) == float("inf") else value


def _cursor(request: web.Request) -> ListCursor | None:
    text = single(request, "cursor")
    return None if not text else _parsed(text, newest_first=single(request, "order") == "desc")


def _parsed(text: str, *, newest_first: bool) -> ListCursor:
    """Parse a cursor.

    Raises:
        InvalidParameter: it was not given out by this server, or belongs to a list in the other order.
    """
    try:
        order, at, handler_id, end_at, end_id = json.loads(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        first, last = (float("inf"), float("-inf")) if newest_first else (float("-inf"), float("inf"))
        cursor = ListCursor(_number(at, first), _text(handler_id), _number(end_at, last), _text(end_id))
    except (ValueError, TypeError, OverflowError, RecursionError):
        raise InvalidParameter("cursor", "the next_cursor of an earlier page") from None
    if order != ("desc" if newest_first else "asc"):
        raise InvalidParameter("cursor", "the next_cursor of a page in the same order")
    return cursor


def _number(value: object, missing: float) -> float:
    if value is None:
        return missing
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise TypeError
    return float(value)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    # A lone surrogate is no text to a database.
    value.encode()
    return value


# -- Values ----------------------------------------------------------------------------------------


def _limit(request: web.Request) -> int | None:
    text = single(request, "limit")
    if text is None:
        return None
    if not _LIMIT.fullmatch(text) or int(text) > MOST:
        raise InvalidParameter("limit", f"a number from 1 to {MOST}")
    return int(text)


def _choice(request: web.Request, name: str, known: tuple[str, ...], expected: str) -> str | None:
    text = single(request, name) or None
    if text is not None and text not in known:
        raise InvalidParameter(name, expected)
    return text


def _text_wanted(request: web.Request) -> str | None:
    text = single(request, "q") or None
    if text is not None and len(text) > LONGEST_TEXT:
        raise InvalidParameter("q", f"at most {LONGEST_TEXT} characters")
    return text


def _time(request: web.Request, name: str) -> float | None:
    """Parse a time, which is UTC where it does not say otherwise, as seconds since the epoch."""
    text = single(request, name)
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(_DECODED_PLUS.sub("+", text) if ":" in text[:-5] else text)
        return (time if time.tzinfo is not None else time.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise InvalidParameter(name, "a time as in 2026-01-31T08:00:00Z") from None
