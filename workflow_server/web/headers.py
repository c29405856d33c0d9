"""The headers that every answer has."""

from __future__ import annotations

from aiohttp import hdrs, web
from aiohttp.http import SERVER_SOFTWARE

SERVER = "workflow_server"
"""Instead of aiohttp's, which names its version and Python's to whoever looks for those with a known fault."""


def add_plain_headers(response: web.StreamResponse) -> None:
    """Add them, but for those that the answer has already: a stream says for itself how it may be kept."""
    headers = response.headers
    headers.setdefault(hdrs.CACHE_CONTROL, "no-store")
    headers["X-Content-Type-Options"] = "nosniff"
    if headers.get(hdrs.SERVER, SERVER_SOFTWARE) == SERVER_SOFTWARE:
        headers[hdrs.SERVER] = SERVER
