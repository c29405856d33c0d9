"""Encoding of values as JSON trees: everything that JSON does not have becomes an object with a tag under ``$``.

The way to encode a class is determined once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from enum import Enum
from types import FunctionType
from typing import Any

from pydantic import BaseModel

from workflow_server.execution.codec.containers import PLAIN_BASES, Containers, reduces_by_itself
from workflow_server.execution.codec.declared import generates_state
from workflow_server.execution.codec.exceptions import Exceptions
from workflow_server.execution.codec.layout import TAG, CompactLayout, is_component
from workflow_server.execution.codec.names import MOST_CLASSES, Names
from workflow_server.execution.codec.objects import Objects
from workflow_server.execution.codec.registered import registered, registration
from workflow_server.execution.codec.run import Plan, Run
from workflow_server.execution.codec.scalars import SCALARS, Part, is_plain_integer, text_node

Json = Any


class Encoder:
    """Encodes values. ``compact`` are classes of the engine, written with a short tag and without default values."""

    def __init__(self, names: Names, compact: Mapping[type[Any], CompactLayout]) -> None:
        self._compact = compact
        self._containers = Containers(self.value, names)
        exceptions = Exceptions(self.value, names, self._containers)
        self._objects = Objects(self.value, names, self._containers, exceptions)
        self._exceptions = exceptions
        self._plans: dict[type[Any], Plan] = {}
        self.forget_plans()

    def forget_plans(self) -> None:
        """Determine the way to encode each class anew: a type was registered."""
        self._plans = {
            **self._containers.plans,
            FunctionType: self._objects.function,
            **{kind: self._scalar(encode) for kind, encode in SCALARS.items()},
            **dict.fromkeys(registered, self._objects.registered),
        }

    def value(self, value: Any, run: Run) -> Json:
        """Return the tree of a value.

        Raises:
            Unkeepable: it cannot be stored.
        """
        kind = type(value)
        if kind is str:
            return value if value.isascii() else text_node(value)
        if value is None or kind is bool:
            return value
        if kind is int:
            return value if is_plain_integer(value) else {TAG: "i", "v": hex(value)}
        if kind is float:
            return value if math.isfinite(value) else {TAG: "f", "v": repr(value)}
        plan = self._plans.get(kind)
        if plan is None:
            if len(self._plans) > MOST_CLASSES:
                self.forget_plans()
            plan = self._plans[kind] = self._plan_for(kind)
        return plan(value, run)

    def _plan_for(self, kind: type[Any]) -> Plan:
        if kind in self._compact:
            return self._objects.compact_plan(self._compact[kind])
        if registration(kind) is not None:
            return self._objects.registered
        plan = self._exact_plan(kind)
        return self._objects.or_component(plan) if is_component(kind) else plan

    def _exact_plan(self, kind: type[Any]) -> Plan:
        if issubclass(kind, Enum):
            return self._objects.enum
        if issubclass(kind, type):
            return self._objects.class_
        if issubclass(kind, BaseModel):
            return self._objects.model_plan(kind)
        if not reduces_by_itself(kind):
            if issubclass(kind, BaseException):
                return self._exceptions.exactly
            base = next((base for base in PLAIN_BASES if issubclass(kind, base)), None)
            if base is not None:
                return self._containers.subclass_plan(kind, base)
        return self._objects.plain_object if generates_state(kind) else self._objects.any_object

    def _scalar(self, encode: Callable[[Any, Part], Json]) -> Plan:
        return lambda value, run: encode(value, lambda part: self.value(part, run))
