"""The settings of an operator: command-line options, then ``WORKFLOW_SERVER_*`` variables, then the defaults here."""

from __future__ import annotations

import ipaddress
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from workflow_server.errors import SettingsError

ENV_PREFIX = "WORKFLOW_SERVER_"

_TOKEN_VARIABLES = frozenset({f"{ENV_PREFIX}TOKENS", f"{ENV_PREFIX}READ_TOKENS"})
_tokens_taken: dict[str, str | None] = {}

_options: ContextVar[Mapping[str, Any] | None] = ContextVar("workflow_server_options", default=None)

_ORIGIN = re.compile(
    r"(?P<scheme>https?)://(?:[a-z0-9_-][a-z0-9._-]*|\[[0-9a-f:.]+\])(?::(?P<port>[1-9][0-9]{0,4}))?", re.ASCII
)

LogLevel = Literal["debug", "info", "warning", "error", "critical"]
Seconds = Annotated[float, Field(allow_inf_nan=False, ge=0, le=86_400)]
PositiveSeconds = Annotated[float, Field(allow_inf_nan=False, gt=0, le=86_400)]


def _split(value: Any) -> Any:
    """The parts of ``a, b``: one variable of the environment holds several values."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _split_secrets(value: Any) -> Any:
    """As ``_split``, but a blank part is refused: who meant to set a token must not be left without one."""
    if isinstance(value, str) and value and not all(part.strip() for part in value.split(",")):
        raise ValueError("one of the tokens is blank")
    return _split(value)


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
Secrets = Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_split_secrets)]
Delays = Annotated[tuple[Seconds, ...], NoDecode, BeforeValidator(_split), Field(max_length=20)]


class _Environment(EnvSettingsSource):
    """The environment, out of which the tokens are taken: what steps start would inherit them, and tell them on.

    They stay known to this process, for the other servers that it makes.
    """

    def __call__(self) -> dict[str, Any]:
        for variable in list(os.environ):
            if variable.upper() in _TOKEN_VARIABLES:
                _tokens_taken[variable.lower()] = os.environ.pop(variable)
        self.env_vars = {**self.env_vars, **_tokens_taken}
        return super().__call__()


class Settings(BaseSettings):
    """Everything that can be set about a server; durations are seconds, sizes are bytes.

    Raises:
        SettingsError: the host is open to other machines while nothing protects it (see ``check_bind``).
    """

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False
    )

    host: str = Field("127.0.0.1", min_length=1, description="Address to listen on.")
    port: int = Field(8080, ge=0, le=65_535, description="Port to listen on; 0 takes a free one.")
    db: str = Field("workflow_server.sqlite3", min_length=1, description="SQLite file that holds everything.")
    tokens: Secrets = Field((), description="Bearer tokens that may do everything.")
    read_tokens: Secrets = Field((), description="Bearer tokens that may only read.")
    insecure: bool = Field(False, description="Allow listening beyond this machine without a token.")
    allowed_hosts: Names = Field((), description="Further host names under which clients reach this server.")
    cors_origins: Names = Field((), description="Origins whose web pages may call this server.")
    max_body: int = Field(1_048_576, ge=1_024, le=512 * 1_048_576, description="Largest request body.")
    body_timeout: PositiveSeconds = Field(30.0, description="Longest time for a request body to arrive.")
    heartbeat: PositiveSeconds = Field(15.0, description="Pause after which an idle stream sends a heartbeat.")
    write_timeout: PositiveSeconds = Field(
        20.0, description="Longest wait of a stream or an answer for a client that does not read."
    )
    send_buffer: int = Field(65_536, ge=4_096, le=16 * 1_048_576, description="Send buffer of each stream's socket.")
    max_streams: int = Field(1_000, ge=1, le=1_000_000, description="Most streams that are open at a time.")
    grace_period: Seconds = Field(10.0, description="Longest wait of a stop for steps to reach their next commit.")
    idle_timeout: Seconds | None = Field(60.0, description="Idle time after which a run leaves memory; 0 means never.")
    max_waiting_events: int = Field(10_000, ge=1, le=1_000_000, description="Most posted events that wait for one run.")
    max_held_events: int = Field(
        1_000, ge=1, le=100_000, description="Most posted events that are held for one run until a step waits for them."
    )
    max_waiting_bytes: int = Field(
        64 * 1_048_576, ge=1_024, le=192 * 1_048_576, description="Most bytes of posted events that wait for one run."
    )
    accept_context: bool = Field(False, description="Accept a serialized context from clients.")
    accept_handler_ids: bool = Field(False, description="Let clients choose the ids of new handlers.")
    allow_network_filesystem: bool = Field(False, description="Allow the database on a network file system.")
    persistence_backoff: Delays = Field((0.5, 3.0), description="Delays before a failed write is retried: 0.5,3.")
    max_attempts: int = Field(
        3, ge=1, le=1_000, description="Process deaths in its steps after which a run is on probation."
    )
    log_level: LogLevel = Field("info", description="Lowest severity that is logged, from debug to critical.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, InitSettingsSource(settings_cls, dict(_options.get() or {})), _Environment(settings_cls)

    @classmethod
    def load(cls, options: Mapping[str, Any] | None = None) -> Self:
        """The settings of this process, ``options`` first.

        Raises:
            SettingsError: a value is not valid; one line that names the setting, never its value.
        """
        try:
            return cls(**(options or {}))
        except ValidationError as error:
            raise SettingsError(_first_problem(error)) from None

    @field_validator("host")
    @classmethod
    def _host_is_a_name(cls, host: str) -> str:
        host = host.strip("[]")
        if any(character.isspace() or character == "/" for character in host):
            raise ValueError("give a host name or an address, without a port or a path")
        return host

    @field_validator("db")
    @classmethod
    def _db_is_a_path(cls, db: str) -> str:
        try:
            # Python 3.13 resolves a loop of links to one of them, earlier versions raise.
            is_path = not os.path.islink(Path(db).resolve())
        except (OSError, RuntimeError, ValueError):
            is_path = False
        if not is_path:
            raise ValueError("this is not the path of a file")
        return db

    @field_validator("tokens", "read_tokens")
    @classmethod
    def _tokens_are_long_enough(cls, tokens: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for token in tokens:
            secret = token.get_secret_value()
            if len(secret) < 16 or not secret.isascii() or not secret.isprintable() or " " in secret:
                raise ValueError("a token has at least 16 characters, all of them printable ASCII without spaces")
        return tokens

    @field_validator("cors_origins")
    @classmethod
    def _origins_are_exact(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        # Browsers name their host in lower case, and never the port that the scheme has anyway.
        return tuple(_exact_origin(origin.lower()) for origin in origins)

    @field_validator("idle_timeout")
    @classmethod
    def _zero_is_never(cls, timeout: float | None) -> float | None:
        return timeout or None

    @field_validator("log_level", mode="before")
    @classmethod
    def _level_in_any_case(cls, level: Any) -> Any:
        return level.lower() if isinstance(level, str) else level

    @model_validator(mode="after")
    def _host_is_protected(self) -> Self:
        self.check_bind(self.host)
        return self

    def check_bind(self, host: str) -> None:
        """Refuse to be open to other machines without a token.

        Raises:
            SettingsError: ``host`` is no loopback address, no token is set, and ``insecure`` is not either.
        """
        if not (self.insecure or self.tokens or self.read_tokens or is_loopback(host)):
            raise SettingsError(
                f"Listening on '{host}' lets other machines in, and no token is set. Set {ENV_PREFIX}TOKENS, or add "
                "--insecure where something else keeps strangers out."
            )


def check_interpreter() -> None:
    """Refuse an interpreter without docstrings: they are the messages of every error, and the help of the command.

    Raises:
        SettingsError: Python runs with ``-OO``.
    """
    if sys.flags.optimize > 1:
        raise SettingsError("Python runs with -OO, which drops the messages of this program: run it without.")


def _exact_origin(origin: str) -> str:
    match = _ORIGIN.fullmatch(origin)
    if match is None or int(match["port"] or 1) > 65_535:
        raise ValueError("an origin looks like https://app.example.org, without a path and without '*'")
    if match["port"] == ("443" if match["scheme"] == "https" else "80"):
        raise ValueError("an origin goes without the port that its scheme has anyway")
    return origin


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach ``host``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


@contextmanager
def command_options(options: Mapping[str, Any]) -> Iterator[None]:
    """Settings made inside take ``options`` before the environment.

    A ``WorkflowServer()`` that TARGET makes without settings of its own thus obeys the command line, too.
    """
    reset = _options.set(options)
    try:
        yield
    finally:
        _options.reset(reset)


def _first_problem(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
    name = str(problem["loc"][0]) if problem["loc"] else "settings"
    reason = problem["msg"].removeprefix("Value error, ")
    return f"Setting '{name}' ({ENV_PREFIX}{name.upper()}) is not valid: {reason}."
