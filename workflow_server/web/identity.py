"""The identity of a client: what the guards have found out about a request, for those behind them."""

from __future__ import annotations

from aiohttp import web

from workflow_server.web.exceptions import QueueIsForWriters

TOKEN = web.RequestKey("token", str)
"""Name of the token that came with the request, which is no secret; absent where no token is required."""

MAY_WRITE = web.RequestKey("may_write", bool)
"""True if that token may do everything; absent where no token is required."""


def check_may_take_events(request: web.Request) -> None:
    """Refuse a token that may only read where events are taken from others: those of a shared queue.

    Raises:
        QueueIsForWriters: it is such a token.
    """
    if not request.get(MAY_WRITE, True):
        raise QueueIsForWriters
