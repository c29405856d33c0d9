"""The part of the server's settings that the web layer needs."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, SecretStr


class WebSettings(BaseModel):
    """Sizes are bytes, durations seconds. The fields of the same name in ``workflow_server.settings.Settings``."""

    model_config = ConfigDict(frozen=True)

    host: str = "127.0.0.1"
    """Host that the server was told to listen on: a name that clients may call it by."""
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

    @property
    def guarded(self) -> bool:
        """Return whether a token is asked for."""
        return bool(self.tokens or self.read_tokens)

    @property
    def streams_of_a_token(self) -> int:
        """Return how many streams one token may hold open: half of all where there are others."""
        alone = len(self.tokens) + len(self.read_tokens) < 2
        return self.max_streams if alone else max(1, self.max_streams // 2)
