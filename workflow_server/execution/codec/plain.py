"""Values of plain data, and models that hold such: their text, from a tree that shares their containers.

The tree of a value is a copy of it, since it outlives the value's changes. A text that is made at once needs none:
containers of plain data are entered as they are, and only looked at as a whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel

from workflow_server.execution.codec.failures import Unkeepable
from workflow_server.execution.codec.layout import NOTHING_BESIDE, TAG, CompactLayout, ModelLayout
from workflow_server.execution.codec.names import MOST_CLASSES, Names
from workflow_server.execution.codec.registered import registration
from workflow_server.execution.codec.run import MAX_DEPTH
from workflow_server.execution.codec.scalars import MANY, PLAIN, TEXTS, TOO_LARGE, are_plain_or_texts, is_plain_integer
from workflow_server.execution.codec.texts import text_of_finite

Json = Any
Met = set[int]
"""Identities of the objects met so far: a value that holds one twice is a graph, which the general way writes."""
Plan = Callable[[Any, Met, int], Json]
"""Returns the tree of a value of one class, at this level of nesting."""


_WITHOUT_IDENTITY = PLAIN | {tuple}


class _NotPlain(Exception):
    """The general way has to write the value."""


class PlainTexts:
    """Writes what consists of plain data. Types are looked at in each value: annotations promise nothing."""

    def __init__(self, names: Names, compact: Mapping[type[Any], CompactLayout]) -> None:
        self._names = names
        self._compact = compact
        self._plans: dict[type[Any], Plan] = {}
        self.forget_plans()

    def forget_plans(self) -> None:
        """Determine the way to write each class anew: a type was registered."""
        containers: dict[type[Any], Plan] = {list: self._list, dict: self._dict, tuple: self._tuple}
        self._plans = {**dict.fromkeys(PLAIN, _as_it_is), int: _integer, float: _number}
        self._plans |= {kind: plan for kind, plan in containers.items() if registration(kind) is None}

    def text(self, value: Any, level: int = 0) -> str | None:
        """Return the text of a value, equal to that of its tree; None where only the general way can write it.
        ``level``: the number of values around it."""
        try:
            return text_of_finite(self._part(value, set(), level))
        except BaseException:
            # Whatever a value's own code raises, the general way meets it again, and says where.
            return None

    def _part(self, value: Any, met: Met, level: int) -> Json:
        kind = type(value)
        plan = self._plans.get(kind)
        if plan is None:
            if len(self._plans) > MOST_CLASSES:
                self.forget_plans()
            plan = self._plans[kind] = self._plan_for(kind)
        if level == MAX_DEPTH:
            raise _NotPlain
        if kind not in _WITHOUT_IDENTITY:
            if id(value) in met:
                raise _NotPlain
            met.add(id(value))
        return plan(value, met, level + 1)

    def _parts(self, values: Mapping[str, Any], met: Met, level: int) -> Mapping[str, Json]:
        """Return the trees of named values: the mapping itself where it holds many, all of them plain."""
        if len(values) >= MANY and are_plain_or_texts(values.values()):
            return values
        part = self._part
        tree: dict[str, Json] = {}
        for name, item in values.items():
            kind = type(item)
            if kind is str or item is None or kind is bool or (kind is int and -TOO_LARGE < item < TOO_LARGE):
                tree[name] = item
            else:
                tree[name] = part(item, met, level)
        return tree

    def _list(self, value: list[Any] | tuple[Any, ...], met: Met, level: int) -> Json:
        return value if are_plain_or_texts(value) else [self._part(item, met, level) for item in value]

    def _tuple(self, value: tuple[Any, ...], met: Met, level: int) -> Json:
        return {TAG: "t", "v": self._list(value, met, level)}

    def _dict(self, value: dict[Any, Any], met: Met, level: int) -> Json:
        if TAG in value or not TEXTS.issuperset(map(type, value)):
            raise _NotPlain
        return self._parts(value, met, level)

    # -- Classes -------------------------------------------------------------------------------

    def _plan_for(self, kind: type[Any]) -> Plan:
        if kind in self._compact:
            return self._compact_plan(self._compact[kind])
        if not issubclass(kind, BaseModel) or registration(kind) is not None:
            return _left_to_the_general_way
        layout = ModelLayout(kind)
        if layout.overrides_state or layout.has_slots or any(name.startswith(TAG) for name in layout.fields):
            return _left_to_the_general_way
        try:
            return self._model_plan(layout, self._names.of(kind))
        except Unkeepable:
            return _left_to_the_general_way

    def _model_plan(self, layout: ModelLayout, name: Json) -> Plan:
        head = {TAG: "m", "c": name, **({"h": layout.fingerprint} if layout.fingerprint else {})}

        def plan(value: BaseModel, met: Met, level: int) -> Json:
            values = value.__dict__
            if values.keys() != layout.fields or value.__pydantic_extra__ is not None:
                raise _NotPlain
            node = {**head, "v": self._parts(values, met, level)}
            if value.__pydantic_fields_set__ != layout.fields:
                node["s"] = sorted(value.__pydantic_fields_set__)
            private = value.__pydantic_private__
            if private is not None and not (layout.has_only_data and private == NOTHING_BESIDE):
                if private.keys() != layout.private.keys():
                    raise _NotPlain
                node["p"] = self._parts(private, met, level)
            return node

        return plan

    def _compact_plan(self, layout: CompactLayout) -> Plan:
        def plan(value: Any, met: Met, level: int) -> Json:
            return {TAG: layout.tag, **self._parts(layout.differing(value), met, level)}

        return plan


def _as_it_is(value: Any, met: Met, level: int) -> Json:  # noqa: ARG001
    return value


def _integer(value: int, met: Met, level: int) -> Json:  # noqa: ARG001
    if not is_plain_integer(value):
        raise _NotPlain
    return value


def _number(value: float, met: Met, level: int) -> Json:  # noqa: ARG001
    if not math.isfinite(value):
        raise _NotPlain
    return value


def _left_to_the_general_way(value: Any, met: Met, level: int) -> Json:  # noqa: ARG001
    raise _NotPlain
