"""Shapes of trees: what of them decides whether a value that was once read back is read back again."""

from __future__ import annotations

from typing import Any

from workflow_server.runtime.codec.layout import TAG

Json = Any

_LEVELS = 3
_PARTS = 16
"""How deep, and how many parts of each container, a shape goes: a value whose shape is new is read back once more."""


def shape_of(tree: Json, levels: int = _LEVELS) -> object:
    """The shape of a tree: the classes and names in it, and not its values."""
    if type(tree) is list:
        return ("l", *(shape_of(item, levels - 1) for item in tree[:_PARTS])) if levels else "l"
    if type(tree) is not dict:
        return type(tree)
    if not levels:
        return str(tree.get(TAG, ""))
    parts = list(tree.items())[:_PARTS]
    return tuple((name, item if name == TAG else shape_of(item, levels - 1)) for name, item in parts)
