"""The keys under which the application holds what its handlers use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from workflow_server.web.settings import WebSettings
from workflow_server.web.streams import OpenStreams

if TYPE_CHECKING:
    from workflow_server.runtime.manager import RuntimeManager

MANAGER: web.AppKey[RuntimeManager] = web.AppKey("manager")
SETTINGS = web.AppKey("settings", WebSettings)
STREAMS = web.AppKey("streams", OpenStreams)
OPENAPI = web.AppKey("openapi", bytes)
