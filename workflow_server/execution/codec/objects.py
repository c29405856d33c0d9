"""Objects of classes: models, the engine's own, components, and everything that Python itself can copy and pickle."""

from __future__ import annotations

import copyreg
from collections.abc import Callable, Iterable
from enum import Enum
from types import FunctionType
from typing import Any

from pydantic import BaseModel

from workflow_server.execution.codec.containers import Containers
from workflow_server.execution.codec.declared import declared_fields
from workflow_server.execution.codec.exceptions import Exceptions
from workflow_server.execution.codec.failures import Unkeepable
from workflow_server.execution.codec.layout import TAG, AttributeEncoder, CompactLayout, ModelLayout, attributes_of
from workflow_server.execution.codec.names import Names
from workflow_server.execution.codec.registered import keeps_failures, registered
from workflow_server.execution.codec.run import REMEDY, Plan, Run

Json = Any


class Objects:
    """Encodes objects; ``encode`` encodes what they hold."""

    def __init__(self, encode: Plan, names: Names, containers: Containers, exceptions: Exceptions) -> None:
        self._encode = encode
        self._names = names
        self._containers = containers
        self._exceptions = exceptions

    # -- Models --------------------------------------------------------------------------------

    def model_plan(self, kind: type[BaseModel]) -> Plan:
        """Return the plan for the models of a class.

        If the class defines how it is pickled, and its plain state cannot be stored, its own way is used.
        """
        layout = ModelLayout(kind)
        parts: AttributeEncoder = self._exceptions if keeps_failures(kind) else self._containers

        def plan(value: BaseModel, run: Run) -> Json:
            mark = run.mark()
            known = run.enter(value)
            if known is not None:
                return known
            try:
                node = {TAG: "m", "c": self._names.of(kind)}
                layout.write(node, value, parts, run)
            except Unkeepable as error:
                # Some classes drop attributes that they cannot pickle, with no more than a warning.
                if not layout.overrides_state or _loses_attributes(value, kind):
                    raise error.in_model(kind) from None
                run.back_to(mark)
                run.left_to_class = run.left_to_class or error
                return self.any_object(value, run)
            run.depth -= 1
            return node

        return plan

    def compact_plan(self, layout: CompactLayout) -> Plan:
        """Return the plan for a class of the engine."""

        def plan(value: Any, run: Run) -> Json:
            known = run.enter(value)
            if known is not None:
                return known
            node = {TAG: layout.tag}
            for name, item in layout.differing(value).items():
                is_failure = name in layout.exceptions and isinstance(item, BaseException)
                encode: Plan = self._exceptions.as_far_as_kept if is_failure else self._encode
                try:
                    node[name] = encode(item, run)
                except Unkeepable as error:
                    raise error.of(type(item)).in_engine(name) from None
            run.depth -= 1
            return node

        return plan

    # -- Named ---------------------------------------------------------------------------------

    def enum(self, value: Enum, run: Run) -> Json:
        """Encode a member of an enum, or several flags."""
        kind = type(value)
        name = self._names.of(kind)
        if value.name is not None and kind.__members__.get(value.name) is value:
            return {TAG: "e", "c": name, "n": value.name}
        node = {TAG: "e", "c": name, "v": self._encode(value.value, run)}
        run.must_be_proven(kind, node)
        return node

    def class_(self, value: Any, run: Run) -> Json:  # noqa: ARG002
        """Encode a class."""
        return {TAG: "type", "c": self._names.of(value)}

    def function(self, value: FunctionType, run: Run) -> Json:  # noqa: ARG002
        """Encode a function of a module."""
        return {TAG: "fn", "c": self._names.of_function(value)}

    # -- By what their classes say -------------------------------------------------------------

    def registered(self, value: Any, run: Run) -> Json:
        """Encode a value whose type was registered."""
        return self._told("reg", value, registered[type(value)].encode, run)

    def or_component(self, exact: Plan) -> Plan:
        """Return a plan like ``exact``, which falls back to the engine's own way for its components."""

        def plan(value: Any, run: Run) -> Json:
            mark = run.mark()
            try:
                return exact(value, run)
            except Unkeepable as exactly:
                run.back_to(mark)
                run.left_to_class = run.left_to_class or exactly
                try:
                    return self._told("comp", value, type(value).to_dict, run)
                except Unkeepable:
                    raise exactly from None

        return plan

    def _told(self, tag: str, value: Any, tell: Callable[[Any], Any], run: Run) -> Json:
        known = run.seen(value)
        if known is not None:
            return known
        kind = type(value)
        run.deeper()
        try:
            told = tell(value)
        except Unkeepable as error:
            raise error.of(kind) from None
        except Exception as error:
            raise Unkeepable(f"the method that stores it raised {type(error).__name__}").of(kind) from error
        node = {TAG: tag, "c": self._names.of(kind), "v": self._encode(told, run)}
        run.must_be_proven(kind, node)
        run.depth -= 1
        run.number(value)
        return node

    # -- By what Python knows ------------------------------------------------------------------

    def any_object(self, value: Any, run: Run) -> Json:
        """Encode an object as Python's copying sees it: the way to create it, and its state."""
        known = run.seen(value)
        if known is not None:
            return known
        kind = type(value)
        reduced = _reduced(value, kind)
        if isinstance(reduced, str):
            return {TAG: "fn", "c": self._names.of_function(value, qualname=reduced)}
        make, args, state, listed, items = (*reduced, None, None, None)[:5]
        is_plain = make is _NEW and len(args) == 1 and listed is items is None and not _has_state_methods(kind)
        if is_plain:
            return self.plain_object(value, run)
        run.deeper()
        node: dict[str, Json] = {TAG: "r", "f": self._encode(make, run), "a": self._sequence(args, run)}
        run.number(value)
        if state is not None:
            node["s"] = self._encode(state, run)
        for key, parts in (("l", listed), ("k", items)):
            if parts is not None:
                node[key] = self._sequence(parts, run)
        forgotten = _forgotten(value, kind, state)
        if forgotten:
            node["at"] = self._containers.attributes(forgotten, run)
        run.must_be_proven(kind, node)
        run.depth -= 1
        return node

    def _sequence(self, parts: Iterable[Any], run: Run) -> list[Json]:
        run.deeper()
        return self._containers.items(parts, run)

    def plain_object(self, value: Any, run: Run) -> Json:
        """Encode an object that consists of its attributes only."""
        known = run.enter(value)
        if known is not None:
            return known
        kind = type(value)
        attributes = attributes_of(value)
        node = {TAG: "o", "c": self._names.of(kind), "v": self._containers.attributes(attributes, run)}
        never = [name for name in declared_fields(kind) if name not in attributes]
        if never:
            node["u"] = never
        if any("__new__" in base.__dict__ for base in kind.__mro__[:-1]):
            run.must_be_proven(kind, node)
        run.depth -= 1
        return node


def _loses_attributes(value: BaseModel, kind: type[BaseModel]) -> bool:
    """Return whether a model recreated from the state that its class returns would lack attributes, or have others."""
    state: Any = value.__getstate__()
    if not isinstance(state, dict):
        return False
    parts = ("__dict__", "__pydantic_private__")
    left_out = [(part, name) for part in parts for name in _part(value, part).keys() - (state.get(part) or {}).keys()]
    if not left_out:
        return False
    made = kind.__new__(kind)
    try:
        made.__setstate__(state)
    except Exception:
        return True
    missing: Any = object()
    return any(
        type(_part(made, part).get(name, missing)) is not type(_part(value, part)[name]) for part, name in left_out
    )


def _part(value: BaseModel, part: str) -> dict[str, Any]:
    return getattr(value, part, None) or {}


_NEW: Any = copyreg.__newobj__  # type: ignore[attr-defined]


def _forgotten(value: Any, kind: type[Any], state: Any) -> dict[str, Any]:
    """Return attributes that Python's copying forgets, as it does for subclasses of types written in C."""
    if any(hasattr(getattr(kind, name, None), "__code__") for name in ("__reduce_ex__", "__reduce__", "__getstate__")):
        return {}
    attributes = attributes_of(value)
    told = [part for part in (state if isinstance(state, tuple) else (state,)) if isinstance(part, dict)]
    return {name: item for name, item in attributes.items() if not any(name in part for part in told)}


def _has_state_methods(kind: type[Any]) -> bool:
    custom = getattr(kind, "__getstate__", None) is not getattr(object, "__getstate__", None)
    return custom or hasattr(kind, "__setstate__")


def _reduced(value: Any, kind: type[Any]) -> Any:
    reduce = copyreg.dispatch_table.get(kind)
    # Some objects make their dictionary of attributes when it is first asked for, and have another state from then on.
    attributes_of(value)
    try:
        return reduce(value) if reduce is not None else value.__reduce_ex__(4)
    except Exception as error:
        raise Unkeepable(f"cannot be copied or pickled: {REMEDY}").of(kind) from error
