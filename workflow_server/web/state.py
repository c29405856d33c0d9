"""The state of the application and of a request: what request handlers look up by key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web
from pydantic import BaseModel, ConfigDict, SecretStr

from workflow_server.web.roles import Token

if TYPE_CHECKING:
    from workflow_server.runs.manager import RuntimeManager
    from workflow_server.web.access.authentication import Authentication
    from workflow_server.web.metrics import Exporter
    from workflow_server.web.streaming.open_requests import OpenStreams
    from workflow_server.web.ui.assets import Assets
    from workflow_server.web.watching import RequestSums


class WebSettings(BaseModel):
    """The fields of ``workflow_server.settings.Settings`` that the web layer needs; bytes and seconds."""

    model_config = ConfigDict(frozen=True)

    host: str = "127.0.0.1"
    """The host that the server was told to listen on: a name that clients may use."""
    allowed_hosts: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    tokens: tuple[SecretStr, ...] = ()
    read_tokens: tuple[SecretStr, ...] = ()
    token_file: str | None = None
    trusted_proxies: tuple[str, ...] = ()
    max_body: int = 1024 * 1024
    body_timeout: float = 30.0
    heartbeat: float = 15.0
    write_timeout: float = 20.0
    send_buffer: int = 65_536
    max_streams: int = 1_000
    max_streams_per_token: int | None = None
    max_requests_per_second: int | None = None
    max_wrong_tokens: int = 20
    access_log: bool = False
    metrics_series: int = 200

    @property
    def needs_token(self) -> bool:
        """True if clients need a token."""
        return bool(self.tokens or self.read_tokens or self.token_file)

    def streams_of_a_token(self, tokens: int) -> int:
        """Return the number of streams that one of so many tokens may hold open: by default half of all where there are
        several."""
        if self.max_streams_per_token is not None:
            return min(self.max_streams, self.max_streams_per_token)
        return self.max_streams if tokens < 2 else max(1, self.max_streams // 2)


# -- Of the application ----------------------------------------------------------------------------

MANAGER: web.AppKey[RuntimeManager] = web.AppKey("manager")
SETTINGS = web.AppKey("settings", WebSettings)
STREAMS: web.AppKey[OpenStreams] = web.AppKey("streams")
OPENAPI = web.AppKey("openapi", bytes)
ASSETS: web.AppKey[Assets] = web.AppKey("assets")
REQUESTS: web.AppKey[RequestSums] = web.AppKey("requests")
EXPORTER: web.AppKey[Exporter] = web.AppKey("exporter")
AUTHENTICATION: web.AppKey[Authentication] = web.AppKey("authentication")

# -- Of a request, set by the middleware -----------------------------------------------------------

PRINCIPAL = web.RequestKey("principal", Token)
"""The token of the request, with its name and role; absent where no token is required."""
SESSION = web.RequestKey("session", bytes)
"""The hash of the session's cookie, where the token comes from a session."""
CLIENT = web.RequestKey("client", str)
"""The address of the client, where a trusted proxy has told it."""
SCHEME = web.RequestKey("scheme", str)
"""``http`` or ``https``, where that is certain: by the connection or a trusted proxy."""
FORWARDED_HOST = web.RequestKey("forwarded_host", str)
"""The host that the client has asked for, where a trusted proxy has told it."""

# -- Of a request, set by its handler --------------------------------------------------------------

HANDLER_ID = web.RequestKey("handler_id", str)
"""The id of the handler that the request started; absent where it names one itself, or none."""
