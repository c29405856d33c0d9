"""Models as JSON for clients: pydantic's, with NaN and infinities as strings, as in Protocol Buffers' JSON.

Pydantic compiles their form into each class (``ser_json_inf_nan``: null by default, which no reader can tell from
None), and no argument of a call overrides it. So each class gets a second serializer here, made from its core schema.
https://protobuf.dev/programming-guides/json/
"""

from __future__ import annotations

import dataclasses
import marshal
from collections import deque
from collections.abc import Callable
from functools import lru_cache
from types import GeneratorType
from typing import Any, cast

from pydantic import BaseModel
from pydantic_core import CoreConfig, CoreSchema, SchemaError, SchemaSerializer, from_json, to_json

from workflow_server.protocol.client_schema import STRINGS, ClientSchema, finite_key, root_config


def to_client_json(model: BaseModel) -> str:
    """Return the fields of a model as valid JSON.

    Raises:
        PydanticSerializationError, ValueError, RecursionError: JSON cannot express a value of it.
    """
    text = _TRUSTING.to_json(model)
    # Keys of plain dictionaries are the only numbers that the fast serializer does not check.
    return _THOROUGH.to_json(model) if 'nan":' in text or 'inf":' in text else text


def with_finite_numbers(stored: str) -> str:
    """Return stored JSON as valid JSON: early builds stored NaN and infinities as constants."""
    if "NaN" not in stored and "Infinity" not in stored:
        return stored
    try:
        from_json(stored, allow_inf_nan=False)
    except ValueError:
        return to_json(from_json(stored), inf_nan_mode="strings").decode()
    return stored


class _Writer:
    """The serializers of the classes that were written so far, made when they are needed."""

    def __init__(self, *, trusts_plain: bool) -> None:
        self._trusts_plain = trusts_plain
        cached = lru_cache(maxsize=4096)(self._new_serializer)
        self._serializer = cast(Callable[[type[Any]], SchemaSerializer], cached)

    def to_json(self, model: BaseModel) -> str:
        """Return the fields of a model as JSON."""
        return self._serializer(type(model)).to_json(model).decode()

    def _new_serializer(self, kind: type[Any]) -> SchemaSerializer:
        if issubclass(kind, BaseModel):
            kind.model_rebuild()
        schema = kind.__pydantic_core_schema__
        rewritten = ClientSchema(self._readable).rewritten(schema)
        config = {**root_config(schema, kind), **STRINGS}
        try:
            return SchemaSerializer(cast(CoreSchema, rewritten), cast(CoreConfig, config))
        except SchemaError:
            # The schema has a part that is unknown here: use the serializer of the class.
            return cast(SchemaSerializer, kind.__pydantic_serializer__)

    def _readable(self, value: Any) -> Any:
        """Return a value of type ``Any``, with all converted that pydantic would write by a class's own serializer."""
        if type(value) in _SCALARS or (self._trusts_plain and _is_plain(value)):
            return value
        try:
            return self._walked(value)
        except RecursionError:
            # Pydantic reports it better.
            return value

    def _walked(self, value: Any) -> Any:
        if isinstance(value, dict):
            if _TEXT.issuperset(map(type, value)) and _SCALARS.issuperset(map(type, value.values())):
                return value
            return {finite_key(key): self._walked(item) for key, item in value.items()}
        if isinstance(value, _ARRAYS):
            if not isinstance(value, GeneratorType) and _SCALARS.issuperset(map(type, value)):
                return value
            return [self._walked(item) for item in value]
        if isinstance(value, BaseModel) or (_is_dataclass(value) and hasattr(value, "__pydantic_serializer__")):
            return self._serializer(type(value)).to_python(value, mode="json")
        if _is_dataclass(value):
            return {field.name: self._walked(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return value


_SCALARS = frozenset({str, int, float, bool, type(None), bytes})
_TEXT = frozenset({str})
_ARRAYS = (list, tuple, set, frozenset, deque, GeneratorType)


def _is_dataclass(value: object) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def _is_plain(value: Any) -> bool:
    """Return whether the value consists of Python's built-in types only."""
    try:
        # The fastest check of all of it: marshal refuses objects of other types.
        marshal.dumps(value)
    except ValueError:
        return False
    return True


_TRUSTING = _Writer(trusts_plain=True)
_THOROUGH = _Writer(trusts_plain=False)
