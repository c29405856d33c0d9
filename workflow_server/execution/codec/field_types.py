"""The types of a model's fields: whether they have changed since a model was stored, and whether it still fits them."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from functools import lru_cache
from hashlib import blake2b
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, PydanticUserError, TypeAdapter, ValidationError

from workflow_server.execution.codec.failures import Undecodable


def fingerprint(kind: type[BaseModel]) -> str:
    """Return a short text that changes with the names and types of the class's fields, equal in every process."""
    fields = [f"{name}: {_described(field.annotation)}" for name, field in kind.model_fields.items()]
    return blake2b("\n".join(fields).encode(), digest_size=4).hexdigest() if fields else ""


def fitted(kind: type[BaseModel], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values, validated by the types of today; those whose types have no validator stay as they are.

    Raises:
        Undecodable: one does not fit.
    """
    fit = dict(values)
    for name, value in values.items():
        try:
            fit[name] = _type_of(kind, name).validate_python(value) if name in kind.model_fields else value
        except ValidationError as error:
            raise Undecodable(
                f"the field '{name}' of '{kind.__name__}' has another type now, which does not accept the stored value",
                remedy="let it accept the value, or deploy code with the earlier type",
            ) from error
        except PydanticUserError:
            # A type that is only complete as part of its class has no validator of its own.
            continue
    return fit


def _described(annotation: Any) -> str:
    """Return a type expression without parts that differ between processes, such as the addresses of functions."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return _described(args[0])
    if origin is typing.Literal:
        return f"Literal{sorted(map(repr, args))}"
    if origin is not None:
        return f"{_described(origin)}[{', '.join(map(_described, args))}]"
    if isinstance(annotation, type):
        return f"{annotation.__module__}.{annotation.__qualname__}"
    if isinstance(annotation, list):
        return f"[{', '.join(map(_described, annotation))}]"
    name = getattr(annotation, "__forward_arg__", None) or getattr(annotation, "__name__", None)
    return str(name or type(annotation).__name__)


@lru_cache(maxsize=1_000)
def _type_of(kind: type[BaseModel], name: str) -> TypeAdapter[Any]:
    annotation: Any = kind.model_fields[name].annotation
    try:
        return TypeAdapter(annotation, config=ConfigDict(arbitrary_types_allowed=True))
    except PydanticUserError:
        # A type that has a configuration accepts no other.
        return TypeAdapter(annotation)
