"""The keys under which the application holds what its handlers use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from workflow_server.web.settings import WebSettings

if TYPE_CHECKING:
    from workflow_server.runs.manager import RuntimeManager
    from workflow_server.web.streaming.open_requests import OpenStreams

MANAGER: web.AppKey[RuntimeManager] = web.AppKey("manager")
SETTINGS = web.AppKey("settings", WebSettings)
STREAMS: web.AppKey[OpenStreams] = web.AppKey("streams")
OPENAPI = web.AppKey("openapi", bytes)
