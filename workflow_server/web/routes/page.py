"""The request handlers of the web UI: its page, the form for a token, and the files that they load."""

from __future__ import annotations

import re

from aiohttp import hdrs, web

from workflow_server.web.exceptions import PathNotFound
from workflow_server.web.state import ASSETS
from workflow_server.web.ui.login import login_page
from workflow_server.web.ui.page import HEADERS, start_page

_FOREVER = "public, max-age=31536000, immutable"
_REVALIDATE = "no-cache"
_TAKES_GZIP = re.compile(r"\bgzip\b(?!\s*;\s*q=0(?:\.0*)?\s*(?:,|$))", re.IGNORECASE)
"""Finds gzip in Accept-Encoding, unless it is refused there."""


async def index(request: web.Request) -> web.Response:
    """GET /."""
    return _html(start_page(request.app[ASSETS]))


def login(request: web.Request) -> web.Response:
    """Return the form for a token, with the status that says that one is missing."""
    response = _html(login_page(request.app[ASSETS]), 401)
    response.headers[hdrs.WWW_AUTHENTICATE] = 'Bearer realm="workflow_server"'
    return response


async def get_asset(request: web.Request) -> web.Response:
    """GET /static/{version}/{path}."""
    assets = request.app[ASSETS]
    asset = assets.by_path.get(request.match_info["path"])
    if asset is None:
        raise PathNotFound
    etag = f'"{asset.digest[:32]}"'
    headers = {
        hdrs.ETAG: etag,
        # A page that was opened before an upgrade asks for files of that version, and gets today's.
        hdrs.CACHE_CONTROL: _FOREVER if request.match_info["version"] == assets.version else _REVALIDATE,
        hdrs.VARY: hdrs.ACCEPT_ENCODING,
    }
    if etag in request.headers.get(hdrs.IF_NONE_MATCH, ""):
        return web.Response(status=304, headers=headers)
    if _TAKES_GZIP.search(request.headers.get(hdrs.ACCEPT_ENCODING, "")):
        headers[hdrs.CONTENT_ENCODING] = "gzip"
        body = asset.compressed
    else:
        body = asset.body
    return web.Response(body=body, content_type=asset.content_type, charset="utf-8", headers=headers)


def _html(text: str, status: int = 200) -> web.Response:
    return web.Response(status=status, text=text, content_type="text/html", charset="utf-8", headers=HEADERS)
