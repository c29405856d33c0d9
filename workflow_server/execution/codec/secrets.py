"""Secrets in values that people look at: told by the names they stand under, and by what a class says of its fields."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, cast

from pydantic import PlainSerializer, WrapSerializer
from pydantic.fields import FieldInfo

HIDDEN = "(hidden)"
"""Stands for a value that is not shown."""
SECRET_VALUE = "_secret_value"  # noqa: S105
"""The attribute in which pydantic's ``SecretStr``, ``SecretBytes`` and ``Secret`` keep theirs."""

_WORDS = (
    r"passwords?|passwds?|secrets?|token|api_?keys?|authorization|cookies?|credentials?|private_?keys?"
)  # fmt: skip
_NAMES_SECRET = re.compile(rf"(?:^|_)(?:{_WORDS})(?:_|$)")
_NAMES_TOKENS = re.compile(r"(?:^|_)tokens(?:_|$)")
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_OTHERS = re.compile(r"[^a-z0-9]+")
LONGEST_NAME = 1_000
"""Characters of a name that are looked at."""


def names_secret(name: str, *, of_number: bool) -> bool:
    """Return whether a value under this name is a secret: a word of the name says so. ``of_number``: it is a number,
    of which ``tokens`` are a count."""
    words = _OTHERS.sub("_", _HUMP.sub("_", name[:LONGEST_NAME]).lower())
    if _NAMES_SECRET.search(words) is not None:
        return True
    return not of_number and _NAMES_TOKENS.search(words) is not None


def _hidden_fields(kind: type[Any]) -> frozenset[str]:
    hidden: set[str] = set()
    # Of models, and of pydantic's own dataclasses.
    fields: dict[str, FieldInfo] = getattr(kind, "__pydantic_fields__", {})
    for name, field in fields.items():
        if field.exclude or not field.repr or any(map(_serializes, field.metadata)):
            hidden.add(name)
    decorators = getattr(kind, "__pydantic_decorators__", None)
    for decorated in () if decorators is None else decorators.field_serializers.values():
        hidden |= fields.keys() if "*" in decorated.info.fields else set(decorated.info.fields)
    attributes = dataclasses.fields(kind) if dataclasses.is_dataclass(kind) else getattr(kind, "__attrs_attrs__", ())
    return frozenset(hidden | {attribute.name for attribute in attributes if not attribute.repr})


def _serializes(part: object) -> bool:
    return isinstance(part, (PlainSerializer, WrapSerializer))


hidden_fields = cast(Callable[[type[Any]], frozenset[str]], lru_cache(maxsize=1_000)(_hidden_fields))
"""Return the fields of a model, a dataclass or a class of attrs that others are not to see: fields that are left out of
its JSON or of its text, or that have a serializer of their own, which may mask them."""
