"""Validation in bounded memory: pydantic keeps every error that it finds, each with a copy of the path to it.

A body of 500 kB can hold 3.4 million errors, which take 1.3 GB before anybody reads one of them, or 100,000 errors
below a key of 200 kB. So a large object is first validated with a twin of its class, which stops at the first error of
each list and dictionary and sums up those of validators and undeclared keys. Small objects, and those that pass, are
validated by their own class alone.

A class that contains itself is always tried with its twin first: in a union, pydantic tries every choice on every
level, so that 30 levels, written in 200 bytes, take hours.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar, get_args, get_type_hints

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticCustomError, PydanticKnownError, SchemaError, SchemaValidator, core_schema

logger = logging.getLogger(__name__)

LARGE = 500
"""Values above which an object is large; a smaller one can have 20 errors a value, which take 5 MB."""
LONG = 2_000
"""Characters of keys, and of strings that may be JSON, above which it is large, too."""
MANY = 20
"""Errors that are kept of one object or validator which may have any number of them."""

WAYS = 100_000
WAYS_OF_A_VALUE = 20
"""Attempts to read an object of a class that contains itself: in a union, each level doubles them."""

_ways: ContextVar[list[int] | None] = ContextVar("ways", default=None)
"""Attempts left for the object that is being validated."""
_TOO_MANY_WAYS = PydanticCustomError(
    "too_many_ways", "it can be read in too many ways: nest it less, or give each part the tag of its form"
)


class _TooManyWays(Exception):
    """Raised past all validators, which would take a ``ValueError`` for an error of the value."""


Model = TypeVar("Model", bound=BaseModel)

_BRACKETS = frozenset("[{ \t\r\n")
# Read from pydantic, which adds some now and then.
_STOPPING: frozenset[str] = frozenset(
    name
    for kind in vars(core_schema).values()
    if isinstance(kind, type) and "fail_fast" in getattr(kind, "__annotations__", ())
    for name in get_args(get_type_hints(kind, vars(core_schema))["type"])
)
_OBJECTS = frozenset({"model", "dataclass", "typed-dict"})
_VALIDATORS = frozenset({"function-before", "function-after", "function-wrap", "function-plain"})
_BY_NAME = ("fields", "choices")
_NO_SCHEMAS = frozenset(
    {"cls", "config", "custom_error_context", "default", "expected", "function", "metadata", "ref", "serialization"}
)


def validate(kind: type[Model], data: Mapping[str, Any]) -> Model:
    """Return ``kind.model_validate(data)``.

    Raises:
        ValidationError: it is not valid. For a large object, it has only some of the errors.
    """
    try_first(kind, data)
    return kind.model_validate(data)


def try_first(kind: type[BaseModel], data: Mapping[str, Any]) -> None:
    """Refuse a large object with some of its errors, so that the validation after this finds few or none.

    Raises:
        ValidationError: it is large, or of a class that contains itself, and is not valid.
    """
    twin = _twin(kind)
    if twin is None or not (twin.contains_itself or _is_large(data)):
        return
    token = _ways.set([WAYS + WAYS_OF_A_VALUE * _count(data)] if twin.contains_itself else None)
    try:
        twin.validator.validate_python(dict(data))
    except ValidationError:
        raise
    except _TooManyWays:
        raise ValidationError.from_exception_data(kind.__name__, [{"type": _TOO_MANY_WAYS, "input": None}]) from None
    except Exception:
        # Validators may raise anything; the class itself will raise it again, where it is handled.
        logger.debug("A validator raised something other than a validation error")
    finally:
        _ways.reset(token)


def _count(data: Any) -> int:
    values = 0
    pending = [data]
    while pending:
        item = pending.pop()
        if isinstance(item, (Mapping, list, tuple)):
            values += len(item)
            pending.extend(item.values() if isinstance(item, Mapping) else item)
        elif isinstance(item, str) and item[:1] in _BRACKETS:
            values += len(item)
    return values


def _is_large(data: Any) -> bool:
    values, characters = 0, 0
    pending = [data]
    while pending:
        item = pending.pop()
        if isinstance(item, Mapping):
            values += len(item)
            characters += sum(map(len, item))
            pending.extend(item.values())
        elif isinstance(item, (list, tuple)):
            values += len(item)
            pending.extend(item)
        elif isinstance(item, str) and item[:1] in _BRACKETS:
            # A field may accept JSON in a string.
            characters += len(item)
        if values > LARGE or characters > LONG:
            return True
    return False


class _Twin(NamedTuple):
    validator: SchemaValidator
    contains_itself: bool
    """True if a part of it may contain another one of its kind, to any depth."""


@lru_cache(maxsize=1_000)
def _twin(kind: type[BaseModel]) -> _Twin | None:
    try:
        schema = kind.__pydantic_core_schema__
        # Not with the validators of nested classes, which collect every error.
        return _Twin(SchemaValidator(_stopping(schema), None, False), _contains_itself(schema))
    except (SchemaError, TypeError, KeyError, ValueError):
        logger.warning("Events of type '%s' are validated without a limit of their errors", kind.__name__)
        return None


def _contains_itself(schema: Any) -> bool:
    inside = {part["ref"]: _references(part) for part in _parts(schema) if part.get("type") and "ref" in part}
    for ref in inside:
        seen: set[str] = set()
        pending = set(inside[ref])
        while pending:
            seen |= pending
            pending = {inner for reached in pending for inner in inside.get(reached, ())} - seen
        if ref in seen:
            return True
    return False


def _references(schema: Any) -> set[str]:
    return {part["schema_ref"] for part in _parts(schema) if part.get("type") == "definition-ref"}


def _parts(schema: Any, *, named: bool = False) -> Iterator[dict[str, Any]]:
    """Yield a core schema and all schemas in it; with ``named``, its keys are names of fields or choices."""
    if isinstance(schema, list | tuple):
        for item in schema:
            yield from _parts(item)
    elif isinstance(schema, dict):
        if not named:
            yield schema
        for key, part in schema.items():
            if named or key not in _NO_SCHEMAS:
                yield from _parts(part, named=not named and key in _BY_NAME and isinstance(part, dict))


def _stopping(schema: Any, root: type[Any] | None = None) -> Any:
    """Return a copy of a core schema whose collections stop at their first error, and whose other parts have few.

    ``root`` is a class whose ``__init__`` has already been called.
    """
    if isinstance(schema, list | tuple):
        return type(schema)(_stopping(item, root) for item in schema)
    if not isinstance(schema, dict):
        return schema
    copy = {key: value if key in _NO_SCHEMAS else _stopping_part(key, value, root) for key, value in schema.items()}
    if copy.get("type") in _STOPPING:
        copy["fail_fast"] = True
    if copy.get("type") == "model" and _is_initialised_by_the_engine(copy["cls"]):
        # The engine's ``__init__`` validates the fields again, with the class's own validator, and keeps unknown
        # fields: they are no errors.
        copy["custom_init"] = False
        copy["config"] = {**copy.get("config", {}), "extra_fields_behavior": "ignore"}
        _ignore_extra(copy["schema"])
        return copy
    if _has_own_initialiser(copy) and copy["cls"] is not root:
        return _summing(_by_initialiser(copy))
    return _summing(copy) if _may_find_many(schema) else copy


def _may_find_many(schema: dict[str, Any]) -> bool:
    """Return whether this part of a schema may have an error for each key of an object, or any number of errors."""
    kind = schema.get("type")
    if kind in _VALIDATORS:
        # Only a field itself has a default.
        return not (isinstance(schema.get("schema"), dict) and schema["schema"].get("type") == "default")
    return kind in _OBJECTS and (bool(schema.get("custom_init")) or _minds_undeclared_keys(schema))


def _minds_undeclared_keys(schema: Any) -> bool:
    while isinstance(schema, dict):
        behaviors = (schema.get("extra_behavior"), (schema.get("config") or {}).get("extra_fields_behavior"))
        if "forbid" in behaviors or schema.get("extras_schema") or schema.get("extras_keys_schema"):
            return True
        schema = schema.get("schema")
    return False


def _stopping_part(key: str, part: Any, root: type[Any] | None) -> Any:
    if key in _BY_NAME and isinstance(part, dict):
        # By name; a field may have the name of a part of a schema.
        return {name: _stopping(value, root) for name, value in part.items()}
    if key == "definitions" and isinstance(part, list):
        return [_summing(_stopping(definition, root)) for definition in part]
    return _stopping(part, root)


def _summing(schema: dict[str, Any]) -> dict[str, Any]:
    """Wrap a part so that it has one error instead of many."""
    inner = {key: value for key, value in schema.items() if key != "ref"}
    outer = {"type": "function-wrap", "function": {"type": "no-info", "function": _sum_up}, "schema": inner}
    return {**outer, "ref": schema["ref"]} if "ref" in schema else outer


def _sum_up(value: Any, handler: Any) -> Any:
    left = _ways.get()
    if left is not None:
        left[0] -= 1
        if left[0] < 0:
            raise _TooManyWays
    try:
        return handler(value)
    except ValidationError as error:
        if error.error_count() <= MANY:
            raise
        raise PydanticCustomError("many_errors", "many of its values are not valid") from None


def _ignore_extra(schema: Any) -> None:
    while isinstance(schema, dict):
        if schema.get("type") == "model-fields":
            schema["extra_behavior"] = "ignore"
        schema = schema.get("schema")


def _has_own_initialiser(schema: dict[str, Any]) -> bool:
    return schema.get("type") == "model" and bool(schema.get("custom_init")) and not schema.get("root_model")


def _by_initialiser(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema for a class with its own ``__init__``, which validates what it makes of its arguments by the
    validator of the class: in the object, one that stops replaces that."""
    kind = schema["cls"]

    def initialised(value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise PydanticKnownError("model_type", {"class_name": kind.__name__})
        made = kind.__new__(kind)
        object.__setattr__(made, "__dict__", {"__pydantic_validator__": _stopping_validator(kind)})
        made.__init__(**value)
        return made

    plain = {"type": "function-plain", "function": {"type": "no-info", "function": initialised}}
    return {**plain, "ref": schema["ref"]} if "ref" in schema else plain


@lru_cache(maxsize=1_000)
def _stopping_validator(kind: type[BaseModel]) -> SchemaValidator:
    return SchemaValidator(_stopping(kind.__pydantic_core_schema__, kind), None, False)


def _is_initialised_by_the_engine(kind: type[Any]) -> bool:
    return str(getattr(kind.__init__, "__module__", "")).partition(".")[0] == "workflows"
