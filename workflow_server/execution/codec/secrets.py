"""Secrets in values that people look at: told by the names they stand under, and by what a class says of its fields."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple, cast

from pydantic import PlainSerializer, WrapSerializer
from pydantic.fields import FieldInfo

HIDDEN = "(hidden)"
"""Stands for a value that is not shown."""
SECRET_VALUE = "_secret_value"  # noqa: S105
"""The attribute in which pydantic's ``SecretStr``, ``SecretBytes`` and ``Secret`` keep theirs."""

_WORDS = (
    r"passwords?|passwds?|secrets?|api_?keys?|authorization|cookies?|credentials?|private_?keys?"
)  # fmt: skip
_NAMES_SECRET = re.compile(rf"(?:^|_)(?:{_WORDS})(?:_|$)")
_NAMES_TOKEN = re.compile(r"(?:^|_)token_?$")
_NAMES_TOKENS = re.compile(r"(?:^|_)tokens?(?:_|$)")
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_OTHERS = re.compile(r"[^a-z]+")
LONGEST_NAME = 1_000
"""Characters of a name that are looked at."""


def names_secret(name: str, *, of_number: bool) -> bool:
    """Return whether a value under this name is a secret: a word of the name says so. ``of_number``: it is a number;
    then ``max_tokens`` and ``token_limit`` name a count."""
    words = _OTHERS.sub("_", _HUMP.sub("_", name[:LONGEST_NAME]).lower())
    if _NAMES_SECRET.search(words) is not None:
        return True
    return (_NAMES_TOKEN if of_number else _NAMES_TOKENS).search(words) is not None


class HiddenFields(NamedTuple):
    """The fields of a class that others are not to see."""

    always: frozenset[str] = frozenset()
    """Those that are left out of its JSON, or of its text."""
    masked: frozenset[str] = frozenset()
    """Those with a serializer of their own: it may mask a text or a number. A value with parts is shown part by
    part."""


def _hidden_fields(kind: type[Any]) -> HiddenFields:
    # Of models, and of pydantic's own dataclasses.
    fields: dict[str, FieldInfo] = getattr(kind, "__pydantic_fields__", {})
    always = {name for name, field in fields.items() if field.exclude or not field.repr}
    attributes = dataclasses.fields(kind) if dataclasses.is_dataclass(kind) else getattr(kind, "__attrs_attrs__", ())
    always |= {attribute.name for attribute in attributes if not attribute.repr}
    masked = {name for name, field in fields.items() if any(map(_serializes, field.metadata))}
    decorators = getattr(kind, "__pydantic_decorators__", None)
    for decorated in () if decorators is None else decorators.field_serializers.values():
        masked |= fields.keys() if "*" in decorated.info.fields else set(decorated.info.fields)
    return HiddenFields(frozenset(always), frozenset(masked))


def _serializes(part: object) -> bool:
    return isinstance(part, (PlainSerializer, WrapSerializer))


hidden_fields = cast(Callable[[type[Any]], HiddenFields], lru_cache(maxsize=1_000)(_hidden_fields))
"""Return the fields of a model, a dataclass or a class of attrs that others are not to see."""
