"""Comparison of trees: whether two are equal, and where they differ."""

from __future__ import annotations

import math
from typing import Any

from workflow_server.execution.codec.failures import shortened
from workflow_server.execution.codec.layout import TAG

Json = Any


def same(left: Json, right: Json) -> bool:
    """Return whether two trees are equal.

    Unlike in Python, 1, 1.0 and true differ, and so do dictionaries in another order; members of a set have no order.
    """
    if left is right:
        return True
    kind = type(left)
    if kind is not type(right):
        return False
    if kind is dict:
        return _same_parts(left, right)
    if kind is list:
        return len(left) == len(right) and all(
            one is other or same(one, other) for one, other in zip(left, right, strict=True)
        )
    if kind is float:
        # 0.0 and -0.0 are equal in Python.
        return bool(left == right) and math.copysign(1, left) == math.copysign(1, right)
    return bool(left == right)


def _same_parts(left: dict[str, Json], right: dict[str, Json]) -> bool:
    # The parts of a node have names, and no order.
    if list(left) != list(right) and (left.keys() != right.keys() or TAG not in left):
        return False
    if is_set(left) and is_set(right):
        return left["v"].keys() == right["v"].keys() and all(
            same(value, right[key]) for key, value in left.items() if key != "v"
        )
    return all(value is right[key] or same(value, right[key]) for key, value in left.items())


def is_set(node: dict[str, Json]) -> bool:
    """Return whether a node stands for a set, whose members have no order."""
    tag = node.get(TAG)
    return tag in ("s", "fs") or (tag == "sub" and node["b"] == "set")


def difference(left: Json, right: Json) -> str | None:
    """Return where two trees differ, in words for a user; None where they are equal."""
    if same(left, right):
        return None
    if isinstance(left, dict) and isinstance(right, dict) and left.keys() == right.keys():
        for key, value in left.items():
            found = difference(value, right[key])
            if found is not None:
                shown = "" if TAG in left and key in ("v", "p", "x", "a", "s", "l", "k") else f" in '{shortened(key)}'"
                return shown + found
    return ""
