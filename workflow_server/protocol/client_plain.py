"""The JSON of models that hold plain data, written at once: the very text that their serializers would give.

Pydantic enters Python for each event, since the engine's events have a serializer of their own. Where a class's schema
has no serializer but that one, and each value is exactly of a type that the schema names, its fields are their JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel
from pydantic_core import to_json

Node = dict[str, Any]
"""A core schema, or a part of one."""

MOST_FORMS = 4_096
"""Maximum number of remembered classes."""

_SCALARS: frozenset[type[Any]] = frozenset({str, int, float, bool, type(None)})
_NOTHING: frozenset[type[Any]] = frozenset({type(None)})
_LEAVES: dict[str, type[Any]] = {"str": str, "int": int, "float": float, "bool": bool, "none": type(None)}
_FIELDS_KEYS = frozenset({"type", "fields", "model_name", "computed_fields", "metadata", "ref"})
_FIELD_KEYS = frozenset({"type", "schema", "metadata", "validation_alias", "frozen"})
"""Parts of a schema that leave the JSON as it is; one with any other is left to its serializer."""


class _Unsure(Exception):
    """Only the serializer knows what it writes."""


class _Form(NamedTuple):
    """The values of one type of the schema: their types, and the way to those that are not written as they are."""

    leaves: frozenset[type[Any]]
    """Types whose values are their JSON."""
    read: Callable[[Any], Any]
    """Returns what is written for another value; raises ``_Unsure``."""


def plain_json(model: BaseModel) -> str | None:
    """Return the fields of a model as ``to_client_json`` does; None where only its serializer knows what it writes."""
    kind = type(model)
    form = _forms.get(kind, _UNKNOWN)
    if form is _UNKNOWN:
        if len(_forms) >= MOST_FORMS:
            _forms.clear()
        form = _forms[kind] = _form_of(kind)
    if form is None:
        return None
    try:
        return to_json(form.read(model), inf_nan_mode="strings").decode()
    except (_Unsure, ValueError, RuntimeError):
        # Of what cannot be written, is nested too deep or is changed by another thread, the serializer says more.
        return None


_UNKNOWN: Any = object()
_forms: dict[type[BaseModel], _Form | None] = {}


def _form_of(kind: type[BaseModel]) -> _Form | None:
    if not kind.__pydantic_complete__:
        return None
    try:
        form = _Forms().of(kind.__pydantic_core_schema__)
    except _Unsure:
        return None
    return form if kind.__pydantic_core_schema__["type"] in ("model", "definitions") else None


class _Forms:
    """The forms of one schema."""

    def __init__(self) -> None:
        self._definitions: dict[str, Node] = {}
        self._open: set[str] = set()

    def of(self, node: Mapping[str, Any]) -> _Form:
        """Return the form of a part of the schema.

        Raises:
            _Unsure: it has a serializer of its own, or is of a kind that is unknown here.
        """
        kind = node["type"]
        if kind == "model":
            return self._model(node)
        if "serialization" in node:
            raise _Unsure
        if kind in _LEAVES:
            return _Form(frozenset({_LEAVES[kind]}), _unsure)
        make = {
            "any": self._any,
            "default": lambda node: self.of(node["schema"]),
            "nullable": self._nullable,
            "union": self._union,
            "list": self._list,
            "dict": self._dict,
            "definitions": self._defining,
            "definition-ref": self._defined,
        }.get(kind)
        if make is None:
            raise _Unsure
        return make(node)

    def _any(self, node: Mapping[str, Any]) -> _Form:  # noqa: ARG002
        return _Form(_SCALARS, _plain)

    def _nullable(self, node: Mapping[str, Any]) -> _Form:
        inner = self.of(node["schema"])
        return _Form(inner.leaves | _NOTHING, inner.read)

    def _union(self, node: Mapping[str, Any]) -> _Form:
        forms = [self.of(choice[0] if isinstance(choice, tuple) else choice) for choice in node["choices"]]
        if any(form.read is not _unsure for form in forms):
            raise _Unsure
        leaves: set[type[Any]] = {leaf for form in forms for leaf in form.leaves}
        return _Form(frozenset(leaves), _unsure)

    def _list(self, node: Mapping[str, Any]) -> _Form:
        leaves, read = self.of(node.get("items_schema", {"type": "any"}))

        def items(value: Any) -> Any:
            if type(value) is not list:
                raise _Unsure
            if leaves.issuperset(map(type, value)):
                return value
            return [item if type(item) in leaves else read(item) for item in value]

        return _Form(frozenset(), items)

    def _dict(self, node: Mapping[str, Any]) -> _Form:
        keys = self.of(node.get("keys_schema", {"type": "any"}))
        leaves, read = self.of(node.get("values_schema", {"type": "any"}))
        if str not in keys.leaves:
            raise _Unsure

        def pairs(value: Any) -> Any:
            if type(value) is not dict or not _TEXT.issuperset(map(type, value)):
                raise _Unsure
            if leaves.issuperset(map(type, value.values())):
                return value
            return {key: item if type(item) in leaves else read(item) for key, item in value.items()}

        return _Form(frozenset(), pairs)

    def _defining(self, node: Mapping[str, Any]) -> _Form:
        self._definitions |= {defined["ref"]: defined for defined in node["definitions"]}
        return self.of(node["schema"])

    def _defined(self, node: Mapping[str, Any]) -> _Form:
        ref = node["schema_ref"]
        if ref in self._open or ref not in self._definitions:
            raise _Unsure
        self._open.add(ref)
        form = self.of(self._definitions[ref])
        self._open.discard(ref)
        return form

    def _model(self, node: Mapping[str, Any]) -> _Form:
        kind, inner = node["cls"], node["schema"]
        private = _written_private(node.get("serialization"), kind)
        if kind.model_config.get("extra") == "allow" or node.get("root_model") or inner["type"] != "model-fields":
            raise _Unsure
        if not inner.keys() <= _FIELDS_KEYS or inner.get("computed_fields"):
            raise _Unsure
        if any(not field.keys() <= _FIELD_KEYS for field in inner["fields"].values()):
            raise _Unsure
        fields = {name: self.of(field["schema"]) for name, field in inner["fields"].items()}
        return _Form(frozenset(), _model_reader(kind, fields, private))


def _written_private(serialization: Mapping[str, Any] | None, kind: type[BaseModel]) -> str | None:
    """Return the private attribute that the engine's serializer of events writes; None for a model without one."""
    if serialization is None:
        return None
    function: Any = serialization.get("function")
    if getattr(function, "__module__", None) != "workflows.events":
        raise _Unsure
    names = {"DictLikeModel.custom_model_dump": "_data", "StopEvent.custom_model_dump": "_result"}
    name = names.get(function.__qualname__)
    if name is None or name not in kind.__private_attributes__:
        raise _Unsure
    return name


def _model_reader(kind: type[BaseModel], fields: dict[str, _Form], private: str | None) -> Callable[[Any], Any]:
    names = list(fields)

    def read(model: Any) -> dict[str, Any]:
        if type(model) is not kind:
            raise _Unsure
        values: dict[str, Any] = model.__dict__
        if list(values) != names:
            raise _Unsure
        written = values
        for name, (leaves, other) in fields.items():
            value = values[name]
            if type(value) not in leaves:
                found = other(value)
                if found is not value:
                    written = {**written, name: found}
        if private is None:
            return written
        # Without the attribute, the serializer of the class fails.
        item = (model.__pydantic_private__ or {}).get(private, _UNKNOWN)
        if private == "_result":
            return written if item is None else {**written, "result": _any(item)}
        if type(item) is not dict:
            raise _Unsure
        return {**written, "_data": _plain(item)} if item else written

    return read


def _any(value: Any) -> Any:
    return value if type(value) in _SCALARS else _plain(value)


def _plain(value: Any) -> Any:
    """Return a list or a dictionary of plain data as it is; raises ``_Unsure`` for any other."""
    if type(value) is dict:
        if not _TEXT.issuperset(map(type, value)):
            raise _Unsure
        parts: Any = value.values()
    elif type(value) is list:
        parts = value
    else:
        raise _Unsure
    if not _SCALARS.issuperset(map(type, parts)):
        for part in parts:
            if type(part) not in _SCALARS:
                _plain(part)
    return value


def _unsure(value: Any) -> Any:  # noqa: ARG001
    raise _Unsure


_TEXT = frozenset({str})
