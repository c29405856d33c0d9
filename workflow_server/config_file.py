"""The file of settings: TOML whose keys are the names of the settings, with values of their types."""

from __future__ import annotations

import difflib
import os
import re
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import SecretStr
from pydantic_settings import BaseSettings, InitSettingsSource

from workflow_server.errors import SettingsError
from workflow_server.printable import printable

LONGEST = 1 << 20
"""Bytes of a file from which on it is not taken for one of settings: a database, say."""

_PLACE = re.compile(r"\(at ([^()]+)\)$")
"""The place at the end of an error of TOML's parser: "line 3, column 8"."""

_TYPES: dict[Any, tuple[frozenset[type], str]] = {
    bool: (frozenset((bool,)), "true or false"),
    int: (frozenset((int,)), "a whole number"),
    float: (frozenset((int, float)), "a number"),
    str: (frozenset((str,)), "a text in quotes"),
    SecretStr: (frozenset((str,)), "a text in quotes"),
}
"""The types of TOML's values for each type of setting, and their name. A setting of another type takes any value, which
its own validation refuses."""


class ConfigFile(InitSettingsSource):
    """The file that the sources before it name as ``config``."""

    def __init__(self, settings_cls: type[BaseSettings]) -> None:
        super().__init__(settings_cls, {})

    def __call__(self) -> dict[str, Any]:
        return self.read(self.current_state.get("config"))

    def read(self, path: object) -> dict[str, Any]:
        """Return the settings in a file; a path that is not one is left to the validation of ``config``.

        Raises:
            SettingsError: see ``read_config``.
        """
        if not path or not isinstance(path, (str, Path)):
            return {}
        return read_config(path, {name: field.annotation for name, field in self.settings_cls.model_fields.items()})


def read_config(path: str | Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings in the file at ``path``, given the type of each setting by its name.

    Raises:
        SettingsError: the file cannot be read, is not TOML, or has an unknown key or a value of another type. The
            message is one line, names file and key, and never tells a value.
    """
    name = printable(str(path))
    values = _parse(_read(path, name), name)
    for key, value in values.items():
        if key == "config":
            raise SettingsError(f"Invalid setting 'config' in '{name}': a file of settings cannot name another one.")
        if key not in settings:
            raise SettingsError(f"Unknown setting '{printable(key, 100)}' in '{name}'. {_hint(key, settings)}")
        if not _has_type(value, settings[key]):
            raise SettingsError(f"Invalid setting '{key}' in '{name}': expected {_expected(settings[key])}.")
    return values


def is_readable_by_others(path: str | Path) -> bool:
    """Return whether users other than the file's owner and this process's own group may read it."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return False
    by_group = found.st_mode & stat.S_IRGRP and found.st_gid != os.getegid()
    return bool(by_group or found.st_mode & stat.S_IROTH)


def _read(path: str | Path, name: str) -> bytes:
    try:
        # With O_NONBLOCK, the open of a pipe does not wait for the other end.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            # Each server that TARGET creates reads the file again: a pipe would be empty then, and tokens missing.
            if not stat.S_ISREG(found.st_mode):
                raise SettingsError(f"The settings file '{name}' is not a regular file.")
            if found.st_size > LONGEST:
                raise SettingsError(f"The settings file '{name}' is larger than 1 MiB: expected TOML with settings.")
            return file.read(LONGEST)
    except (OSError, ValueError) as error:
        # ValueError stands for a path with a zero byte.
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise SettingsError(f"The settings file '{name}' cannot be read: {reason}.") from error


def _parse(data: bytes, name: str) -> dict[str, Any]:
    try:
        return tomllib.loads(data.decode())
    except UnicodeDecodeError as error:
        raise SettingsError(f"The settings file '{name}' is not UTF-8: expected TOML.") from error
    except (ValueError, RecursionError) as error:
        # A number of very many digits is a plain ValueError. The message of a duplicate key or of a bad escape may
        # quote what stands there, which may be a token.
        place = _PLACE.search(str(error))
        where = f" ({place[1]})" if place else ""
        raise SettingsError(
            f"The settings file '{name}' is not valid TOML{where}: expected lines like port = 8080."
        ) from None


def _hint(key: str, settings: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(key.lower().replace("-", "_"), settings, n=1)
    return f"Did you mean '{near[0]}'?" if near else "'workflow-server settings' lists the names."


# -- The types of values -----------------------------------------------------------------------


def _has_type(value: object, setting: Any) -> bool:
    """Return whether a value of TOML is of the type of a setting: nothing is converted, but integers to floats."""
    kind, parts = get_origin(setting), get_args(setting)
    if kind is Annotated:
        return _has_type(value, parts[0])
    if kind in (Union, UnionType):
        return any(_has_type(value, part) for part in parts)
    if kind is tuple:
        return isinstance(value, list) and all(_has_type(item, parts[0]) for item in value)
    if kind is Literal:
        return isinstance(value, str)
    if setting is type(None):
        # TOML has no such value.
        return False
    return setting not in _TYPES or type(value) in _TYPES[setting][0]


def _expected(setting: Any) -> str:
    kind, parts = get_origin(setting), get_args(setting)
    if kind is Annotated:
        return _expected(parts[0])
    if kind in (Union, UnionType):
        return " or ".join(_expected(part) for part in parts if part is not type(None))
    if kind is tuple:
        return f"a list in brackets, each of it {_expected(parts[0])}"
    return _TYPES.get(setting, _TYPES[str])[1]
