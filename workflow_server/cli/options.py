"""The options of the command, made from the settings."""

from __future__ import annotations

from collections.abc import Callable
from types import UnionType
from typing import Any, TypeVar, get_args

import click

from workflow_server.settings import ENV_PREFIX, Settings

NOT_OPTIONS = frozenset({"tokens", "read_tokens"})
"""Secrets come from the environment only: every user of a machine can see its command lines."""

SINGULAR = {
    "allowed_hosts": "--allowed-host",
    "cors_origins": "--cors-origin",
    "trusted_proxies": "--trusted-proxy",
    "retain": "--retain",
}
"""Options that can be repeated."""

_PLACEHOLDERS = {"retain": "STATUS=AGE"}

Command = TypeVar("Command", bound=Callable[..., Any])


def setting_options(command: Command) -> Command:
    """Add an option for every setting but the secrets. Values stay text: ``Settings`` validates them."""
    return options_of(*(name for name in Settings.model_fields if name not in NOT_OPTIONS))(command)


def options_of(*names: str) -> Callable[[Command], Command]:
    """Return a decorator that adds the options of these settings."""

    def decorate(command: Command) -> Command:
        for name in reversed(names):
            command = _option(name)(command)
        return command

    return decorate


def _option(name: str) -> Callable[[Command], Command]:
    field = Settings.model_fields[name]
    flag = flag_of(name)
    text = f"{field.description} {_default(field.default)}[{ENV_PREFIX}{name.upper()}]"
    if field.annotation is bool:
        return click.option(flag, name, is_flag=True, default=None, help=text)
    if name in SINGULAR:
        return click.option(
            flag, name, multiple=True, default=None, metavar=_PLACEHOLDERS.get(name, "NAME"), help=f"{text} Repeatable."
        )
    return click.option(flag, name, default=None, metavar=_metavar(field.annotation), help=text)


def flag_of(name: str) -> str:
    """Return the option of a setting, as it is typed."""
    return SINGULAR.get(name, f"--{name.replace('_', '-')}")


def given(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options that are on the command line."""
    return {name: value for name, value in options.items() if value is not None and value != ()}


def _default(value: Any) -> str:
    if value is None or value is False or value == ():
        return ""
    shown = ", ".join(map(str, value)) if isinstance(value, tuple) else value
    return f"[default: {shown}] "


def _metavar(annotation: Any) -> str:
    kinds = get_args(annotation) if isinstance(annotation, UnionType) else (annotation,)
    if int in kinds:
        return "N"
    return "SECONDS" if "float" in str(annotation) else "TEXT"
