"""The query parameters of a handler's history, and its pages as responses."""

from __future__ import annotations

import re
from typing import NamedTuple

from aiohttp import web

from workflow_server.records import HistoryPlace
from workflow_server.web.exceptions import InvalidParameter
from workflow_server.web.listing import MOST
from workflow_server.web.parameters import check_known, single
from workflow_server.web.responses import JSON

USUAL = 100
"""Entries of a page where no limit is given."""
PARAMETERS = ("limit", "cursor", "order", "include")

_LIMIT = re.compile(r"[1-9][0-9]{0,2}")


class HistoryAsked(NamedTuple):
    """The part of a history that a client asks for."""

    after: HistoryPlace | None
    limit: int
    newest_first: bool
    with_values: bool


def history_asked(request: web.Request) -> HistoryAsked:
    """Parse which entries are asked for.

    Raises:
        InvalidParameter, UnknownParameter: a parameter is not valid.
    """
    check_known(request, PARAMETERS)
    limit = single(request, "limit")
    if limit is not None and (not _LIMIT.fullmatch(limit) or int(limit) > MOST):
        raise InvalidParameter("limit", f"a number from 1 to {MOST}")
    order, include = single(request, "order") or "asc", single(request, "include") or None
    if order not in ("asc", "desc"):
        raise InvalidParameter("order", "asc or desc")
    if include not in (None, "value"):
        raise InvalidParameter("include", "value")
    after = _place(single(request, "cursor"))
    return HistoryAsked(after, USUAL if limit is None else int(limit), order == "desc", include is not None)


def _place(text: str | None) -> HistoryPlace | None:
    if not text:
        return None
    place = HistoryPlace.from_text(text)
    if place is None:
        raise InvalidParameter("cursor", "the cursor of an entry, or the next_cursor of a page")
    return place


def history_response(entries: list[str], following: HistoryPlace | None) -> web.Response:
    """Return a page of entries, each of them JSON, with where the next begins."""
    cursor = "null" if following is None else f'"{following.to_text()}"'
    body = f'{{"history":[{",".join(entries)}],"next_cursor":{cursor}}}'
    return web.Response(body=body.encode(), content_type=JSON)
