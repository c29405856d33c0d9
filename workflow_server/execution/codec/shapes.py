"""Shapes of trees: the part of a tree that decides whether a value is read back before it is written."""

from __future__ import annotations

from typing import Any

from workflow_server.execution.codec.layout import TAG

Json = Any

_LEVELS = 3
_PARTS = 16
"""Levels of a tree, and parts of each container, that count for its shape. Values of a new shape are read back."""


def shape_of(tree: Json, levels: int = _LEVELS) -> object:
    """Return the shape of a tree: its classes and names, without its values."""
    if type(tree) is list:
        return ("l", *(shape_of(item, levels - 1) for item in tree[:_PARTS])) if levels else "l"
    if type(tree) is not dict:
        return type(tree)
    if not levels:
        return str(tree.get(TAG, ""))
    parts = list(tree.items())[:_PARTS]
    return tuple((name, item if name == TAG else shape_of(item, levels - 1)) for name, item in parts)
