"""The identity of a client: what the guards have found out about a request, for those behind them."""

from __future__ import annotations

from aiohttp import web

from workflow_server.web.refusals import QueueIsForWriters

TOKEN = web.RequestKey("token", str)
"""Which of the tokens came with the request, as a name of it that is no secret; absent where none is asked for."""

MAY_WRITE = web.RequestKey("may_write", bool)
"""Whether that token may do everything; absent where none is asked for."""


def check_may_take_events(request: web.Request) -> None:
    """Refuse a token that may only read where events are taken from others: those of a shared queue.

    Raises:
        QueueIsForWriters: it is such a token.
    """
    if not request.get(MAY_WRITE, True):
        raise QueueIsForWriters
