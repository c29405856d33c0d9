"""The state of the application and of a request: what request handlers look up by key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web
from pydantic import BaseModel, ConfigDict, SecretStr

if TYPE_CHECKING:
    from workflow_server.runs.manager import RuntimeManager
    from workflow_server.web.metrics import Exporter
    from workflow_server.web.streaming.open_requests import OpenStreams


class WebSettings(BaseModel):
    """The fields of ``workflow_server.settings.Settings`` that the web layer needs; bytes and seconds."""

    model_config = ConfigDict(frozen=True)

    host: str = "127.0.0.1"
    """The host that the server was told to listen on: a name that clients may use."""
    allowed_hosts: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    tokens: tuple[SecretStr, ...] = ()
    read_tokens: tuple[SecretStr, ...] = ()
    max_body: int = 1024 * 1024
    body_timeout: float = 30.0
    heartbeat: float = 15.0
    write_timeout: float = 20.0
    send_buffer: int = 65_536
    max_streams: int = 1_000
    access_log: bool = False
    metrics_series: int = 200

    @property
    def needs_token(self) -> bool:
        """True if clients need a token."""
        return bool(self.tokens or self.read_tokens)

    @property
    def streams_of_a_token(self) -> int:
        """The number of streams that one token may hold open: half of all where there are several tokens."""
        alone = len(self.tokens) + len(self.read_tokens) < 2
        return self.max_streams if alone else max(1, self.max_streams // 2)


# -- Of the application ----------------------------------------------------------------------------

MANAGER: web.AppKey[RuntimeManager] = web.AppKey("manager")
SETTINGS = web.AppKey("settings", WebSettings)
STREAMS: web.AppKey[OpenStreams] = web.AppKey("streams")
OPENAPI = web.AppKey("openapi", bytes)
EXPORTER: web.AppKey[Exporter] = web.AppKey("exporter")

# -- Of a request, set by the middleware -----------------------------------------------------------

TOKEN = web.RequestKey("token", str)
"""The name of the request's token, which is not secret; absent where no token is required."""
MAY_WRITE = web.RequestKey("may_write", bool)
"""True if the request's token has full access; absent where no token is required."""

# -- Of a request, set by its handler --------------------------------------------------------------

HANDLER_ID = web.RequestKey("handler_id", str)
"""The id of the handler that the request started; absent where it names one itself, or none."""
