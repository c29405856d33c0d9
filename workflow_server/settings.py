"""The settings: options of the command first, then ``WORKFLOW_SERVER_*`` variables, then a file, then the defaults."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from workflow_server.ages import AN_AGE, seconds_of
from workflow_server.config_file import ConfigFile, is_readable_by_others
from workflow_server.errors import SettingsError
from workflow_server.printable import printable
from workflow_server.records import FINISHED, Status

ENV_PREFIX = "WORKFLOW_SERVER_"

_TOKEN_VARIABLES = frozenset({f"{ENV_PREFIX}TOKENS", f"{ENV_PREFIX}READ_TOKENS"})
_tokens_taken: dict[str, str | None] = {}

_options: ContextVar[Mapping[str, Any] | None] = ContextVar("workflow_server_options", default=None)

_ORIGIN = re.compile(
    r"(?P<scheme>https?)://(?:[a-z0-9_-][a-z0-9._-]*|\[[0-9a-f:.]+\])(?::(?P<port>[1-9][0-9]{0,4}))?", re.ASCII
)

EventLoop = Literal["auto", "asyncio", "uvloop"]
ControlLoop = Literal["lean", "engine"]
LogLevel = Literal["debug", "info", "warning", "error", "critical"]
LogFormat = Literal["text", "json"]
Seconds = Annotated[float, Field(allow_inf_nan=False, ge=0, le=86_400)]
PositiveSeconds = Annotated[float, Field(allow_inf_nan=False, gt=0, le=86_400)]


def _split(value: Any) -> Any:
    """Split ``a, b``: one environment variable holds several values."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _split_secrets(value: Any) -> Any:
    """Split like ``_split``, but refuse a blank part: a token that was meant to be set must not be missing."""
    if isinstance(value, str) and value and not all(part.strip() for part in value.split(",")):
        raise ValueError("one of the tokens is blank")
    return _split(value)


_RETAIN = f"expected a status and an age, as in completed=30d,failed=90d: one of {', '.join(FINISHED)}, and {AN_AGE}"


def _ages(value: Any) -> Any:
    """Return the ages by status of ``completed=30d,failed=90d``, of a list of such parts, or of a table."""
    if isinstance(value, (str, list, tuple)):
        value = _by_status(value)
    if value is not None and not (isinstance(value, Mapping) and all(_is_retained(*item) for item in value.items())):
        raise ValueError(_RETAIN)
    return value or None


def _by_status(value: str | Sequence[Any]) -> dict[str, str]:
    parts = [part for item in ([value] if isinstance(value, str) else value) for part in _split(str(item))]
    ages: dict[str, str] = {}
    for part in parts:
        status, _, age = part.partition("=")
        if status.strip() in ages:
            raise ValueError(f"{_RETAIN}; each status once")
        ages[status.strip()] = age.strip()
    return ages


def _is_retained(status: Any, age: Any) -> bool:
    # An age of nothing would delete results that nobody has read; elsewhere, 0 stands for never.
    return status in FINISHED and isinstance(age, str) and bool(seconds_of(age))


Ages = Annotated[dict[str, str] | None, NoDecode, BeforeValidator(_ages)]
Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
Secrets = Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_split_secrets)]
Delays = Annotated[tuple[Seconds, ...], NoDecode, BeforeValidator(_split), Field(max_length=20)]


class _Environment(EnvSettingsSource):
    """The environment. Tokens are removed from it, so that programs that steps start do not inherit them.

    This process remembers them, for further servers that it creates.
    """

    def __call__(self) -> dict[str, Any]:
        for variable in list(os.environ):
            if variable.upper() in _TOKEN_VARIABLES:
                _tokens_taken[variable.lower()] = os.environ.pop(variable)
        self.env_vars = {**self.env_vars, **_tokens_taken}
        return super().__call__()


EXPOSED = "other users can read the tokens in the settings file %s: let only its owner read it (chmod 600)"
"""A warning, with the place for the path of the file."""


class Origin(NamedTuple):
    """The place from which a setting comes."""

    source: Literal["option", "environment", "file", "default"]
    name: str
    """The variable or the path of the file; of an option the name of its setting."""


class Settings(BaseSettings):
    """The settings of a server. Durations are seconds, sizes are bytes.

    Raises:
        SettingsError: the server would listen beyond this machine without a token (see ``check_bind``), or the file
            that ``config`` names cannot be read.
    """

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False
    )

    host: str = Field("127.0.0.1", min_length=1, description="Address to listen on.")
    port: int = Field(8080, ge=0, le=65_535, description="Port to listen on; 0 picks a free one.")
    db: str = Field("workflow_server.sqlite3", min_length=1, description="SQLite database file.")
    config: str | None = Field(None, min_length=1, description="TOML file with further settings.")
    tokens: Secrets = Field((), description="Bearer tokens with full access.")
    read_tokens: Secrets = Field((), description="Bearer tokens with read-only access.")
    token_file: str | None = Field(
        None, min_length=1, description="File of tokens, which workflow-server token edits; read again at SIGHUP."
    )
    tls_cert: str | None = Field(
        None, min_length=1, description="PEM file of the TLS certificate and its chain; read again at SIGHUP."
    )
    tls_key: str | None = Field(None, min_length=1, description="PEM file of the private key of the certificate.")
    insecure: bool = Field(False, description="Allow listening beyond this machine without a token.")
    allowed_hosts: Names = Field((), description="Additional host names that clients use for this server.")
    cors_origins: Names = Field((), description="Origins whose web pages may call this server.")
    trusted_proxies: Names = Field(
        (), description="Addresses or networks of proxies whose X-Forwarded-For, -Proto and -Host are believed."
    )
    max_body: int = Field(1_048_576, ge=1_024, le=512 * 1_048_576, description="Maximum size of a request body.")
    body_timeout: PositiveSeconds = Field(30.0, description="Time limit for a request body to arrive.")
    heartbeat: PositiveSeconds = Field(15.0, description="Interval between heartbeats of an idle stream.")
    write_timeout: PositiveSeconds = Field(
        20.0, description="Time after which a client that does not read is disconnected."
    )
    send_buffer: int = Field(65_536, ge=4_096, le=16 * 1_048_576, description="Socket send buffer of each stream.")
    max_streams: int = Field(1_000, ge=1, le=1_000_000, description="Maximum number of open streams.")
    max_streams_per_token: int | None = Field(
        None,
        ge=1,
        le=1_000_000,
        description="Maximum number of open streams of a token; by default half, or all of one.",
    )
    max_requests_per_second: int | None = Field(
        None, ge=1, le=1_000_000, description="Maximum number of requests per second of a token, or else of an address."
    )
    max_wrong_tokens: int = Field(
        20, ge=1, le=1_000_000, description="Maximum number of wrong tokens per minute of an address."
    )
    max_running_runs: int | None = Field(
        None, ge=1, le=100_000_000, description="Maximum number of runs that have not ended; by default unlimited."
    )
    grace_period: Seconds = Field(
        10.0, description="Time that running steps get to reach their next commit on shutdown."
    )
    idle_timeout: Seconds | None = Field(
        60.0, description="Idle time after which a run is released from memory; 0 for never."
    )
    max_waiting_events: int = Field(
        10_000, ge=1, le=1_000_000, description="Maximum number of posted events waiting for a run."
    )
    max_held_events: int = Field(
        1_000,
        ge=1,
        le=100_000,
        description="Maximum number of posted events held for a run until a step waits for them.",
    )
    max_waiting_bytes: int = Field(
        64 * 1_048_576, ge=1_024, le=192 * 1_048_576, description="Maximum size of the posted events waiting for a run."
    )
    accept_context: bool = Field(False, description="Accept a serialized Context from clients.")
    accept_handler_ids: bool = Field(False, description="Accept handler ids chosen by clients.")
    allow_network_filesystem: bool = Field(False, description="Allow a database on a network file system.")
    persistence_backoff: Delays = Field(
        (0.5, 3.0), description="Delays before each retry of a failed write, as in 0.5,3."
    )
    retain: Ages = Field(
        None, description="Age after which ended handlers are deleted, by status, as in completed=30d,failed=90d."
    )
    retain_runs: int | None = Field(
        None,
        ge=1,
        le=1_000_000_000,
        description="Maximum number of ended handlers; those that ended first are deleted.",
    )
    max_attempts: int = Field(3, ge=1, le=1_000, description="Crashes during a run's step before it is quarantined.")
    control_loop: ControlLoop = Field(
        "lean", description="Control loop of runs: lean, or engine for the engine's own, which is slower."
    )
    event_loop: EventLoop = Field(
        "auto", description="Event loop of the command: asyncio, uvloop, or auto for uvloop where it is installed."
    )
    log_level: LogLevel = Field("info", description="Minimum log level: debug, info, warning, error or critical.")
    log_format: LogFormat = Field("text", description="Format of the log: text, or json for one object a line.")
    access_log: bool = Field(False, description="Log each request, at level info.")
    metrics_series: int = Field(
        200, ge=1, le=1_000_000, description="Number of time series up to which /metrics tells steps apart."
    )
    tracing: bool = Field(
        False, description="Trace requests, runs and steps with OpenTelemetry, as the OTEL_* variables say."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        options = InitSettingsSource(settings_cls, dict(_options.get() or {}))
        return init_settings, options, _Environment(settings_cls), ConfigFile(settings_cls)

    @classmethod
    def load(cls, options: Mapping[str, Any] | None = None) -> Self:
        """Read the settings of this process, ``options`` first.

        Raises:
            SettingsError: a value is not valid. The message names the setting, never the value.
        """
        try:
            return cls(**(options or {}))
        except ValidationError as error:
            raise SettingsError(_first_problem(error, origins(options or {}))) from None

    @property
    def retained(self) -> dict[Status, float]:
        """The seconds for which ended handlers are kept, by status; those of others are kept."""
        retain = self.retain or {}
        return {status: seconds_of(retain[status]) or 0.0 for status in FINISHED if status in retain}

    @property
    def exposed_file(self) -> str | None:
        """The file of settings, if tokens are in it and other users may read it."""
        if not self.config or not is_readable_by_others(self.config):
            return None
        try:
            has_tokens = not ConfigFile(type(self)).read(self.config).keys().isdisjoint(("tokens", "read_tokens"))
        except SettingsError:
            # It was there when the settings were read.
            return None
        return self.config if has_tokens else None

    @field_validator("host")
    @classmethod
    def _host_is_a_name(cls, host: str) -> str:
        host = host.strip("[]")
        if any(character.isspace() or character == "/" for character in host):
            raise ValueError("expected a host name or an address, without port or path")
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
            raise ValueError("expected the path of a file")
        return db

    @field_validator("tokens", "read_tokens")
    @classmethod
    def _tokens_are_long_enough(cls, tokens: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for token in tokens:
            secret = token.get_secret_value()
            if len(secret) < 16 or not secret.isascii() or not secret.isprintable() or " " in secret:
                raise ValueError("expected tokens of at least 16 printable ASCII characters, without spaces")
        return tokens

    @field_validator("trusted_proxies")
    @classmethod
    def _proxies_are_networks(cls, proxies: tuple[str, ...]) -> tuple[str, ...]:
        for proxy in proxies:
            try:
                ipaddress.ip_network(proxy)
            except ValueError:
                raise ValueError("expected addresses or networks, as in 127.0.0.1 or 10.0.0.0/8") from None
        return proxies

    @field_validator("cors_origins")
    @classmethod
    def _origins_are_exact(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        # Browsers send the host in lower case, and never the default port of the scheme.
        return tuple(_exact_origin(origin.lower()) for origin in origins)

    @field_validator("idle_timeout")
    @classmethod
    def _zero_is_never(cls, timeout: float | None) -> float | None:
        return timeout or None

    @field_validator("log_level", "log_format", mode="before")
    @classmethod
    def _in_any_case(cls, name: Any) -> Any:
        return name.lower() if isinstance(name, str) else name

    @model_validator(mode="after")
    def _certificate_has_its_key(self) -> Self:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise SettingsError("The settings 'tls_cert' and 'tls_key' belong together: set both of them, or none.")
        return self

    @model_validator(mode="after")
    def _host_is_protected(self) -> Self:
        self.check_bind(self.host)
        return self

    def check_bind(self, host: str) -> None:
        """Refuse to listen beyond this machine without a token.

        Raises:
            SettingsError: ``host`` is not a loopback address, and neither a token nor ``insecure`` is set.
        """
        if not (self.insecure or self.needs_token or is_loopback(host)):
            raise SettingsError(
                f"Listening on '{host}' without a token would let other machines in. Set {ENV_PREFIX}TOKENS or "
                "--token-file, or add --insecure if something else controls access."
            )

    @property
    def needs_token(self) -> bool:
        """True if clients need a token."""
        return bool(self.tokens or self.read_tokens or self.token_file)


def _exact_origin(origin: str) -> str:
    match = _ORIGIN.fullmatch(origin)
    if match is None or int(match["port"] or 1) > 65_535:
        raise ValueError("expected an origin like https://app.example.org, without a path or '*'")
    if match["port"] == ("443" if match["scheme"] == "https" else "80"):
        raise ValueError("expected an origin without the default port of its scheme")
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
    """Give ``options`` precedence over the environment for settings that are created in the block.

    A ``WorkflowServer()`` that TARGET creates without settings thus obeys the command line.
    """
    reset = _options.set(options)
    try:
        yield
    finally:
        _options.reset(reset)


def origins(options: Mapping[str, Any]) -> dict[str, Origin]:
    """Return the place from which each setting comes that ``Settings.load(options)`` reads.

    Raises:
        SettingsError: the file of settings cannot be read.
    """
    given = {**(_options.get() or {}), **options}
    environment = _Environment(Settings)()
    file = given.get("config", environment.get("config"))
    in_file = ConfigFile(Settings).read(file)
    found = {}
    for name in Settings.model_fields:
        if name in given:
            found[name] = Origin("option", name)
        elif name in environment:
            found[name] = Origin("environment", f"{ENV_PREFIX}{name.upper()}")
        elif name in in_file:
            found[name] = Origin("file", str(file))
        else:
            found[name] = Origin("default", "")
    return found


def _first_problem(error: ValidationError, places: Mapping[str, Origin]) -> str:
    problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
    name = str(problem["loc"][0]) if problem["loc"] else "settings"
    reason = problem["msg"].removeprefix("Value error, ")
    if name in places and places[name].source == "file":
        return f"Invalid setting '{name}' in '{printable(places[name].name)}': {reason}."
    return f"Invalid setting '{name}' ({ENV_PREFIX}{name.upper()}): {reason}."
