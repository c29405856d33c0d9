"""Patches between JSON trees: the changes that one step made to ``ctx.store``.

A patch is computed against the live state, which may already hold writes of concurrent steps that have not finished,
and is applied to the durable state, which does not hold them. Its operations therefore say what changed and not what
the state became: a list that grew is an ``extend``, and a number edited in a transaction carries its old value
(``was``), so that two steps that both increment a counter both count.

A tree may hold tagged nodes (see ``codec``). Nodes with named parts are changed part by part; all others are replaced.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, NotRequired, TypedDict, cast

from workflow_server.execution.codec import TAG
from workflow_server.execution.codec.comparing import is_set, same

Json = Any
"""A JSON value. Trees are never changed in place: applying a patch copies the containers along its paths."""


class Operation(TypedDict):
    """One change at ``path``: ``set`` and ``remove`` a value, ``extend`` a list."""

    op: Literal["set", "remove", "extend"]
    path: list[str | int]
    value: NotRequired[Json]
    was: NotRequired[float]


Patch = list[Operation]


def diff(old: Json, new: Json, path: Sequence[str | int] = (), *, counting: bool = False) -> Patch:
    """Return the patch that turns ``old`` into ``new``.

    With ``counting``, a changed number is recorded with its old value, which is 0 where the number is new.
    """
    if old is new:
        return []
    if isinstance(old, dict) and isinstance(new, dict) and _has_parts_like(old, new):
        # Not compared as a whole first: each level would be, once for each level around it.
        return _diff_parts(old, new, path, counting=counting)
    if same(old, new):
        return []
    if isinstance(old, list) and isinstance(new, list) and len(new) > len(old) and same(new[: len(old)], old):
        return [{"op": "extend", "path": list(path), "value": new[len(old) :]}]
    return [_set(path, new, was=old if counting else None)]


def _diff_parts(old: dict[str, Json], new: dict[str, Json], path: Sequence[str | int], *, counting: bool) -> Patch:
    counting = counting and old.get(TAG) != "r"
    if is_set(old):
        members = _diff_members(old["v"], new["v"], (*path, "v"))
        return members + diff(old.get("a"), new["a"], (*path, "a"), counting=counting) if "a" in new else members
    patch: Patch = []
    if list(old) == list(new):
        # Most of them are the same objects, which this passes over at the speed of zip.
        both = zip(new, old.values(), new.values(), strict=True)
        changed = [(key, before, after) for key, before, after in both if before is not after]
        for key, before, after in changed:
            patch += diff(before, after, (*path, key), counting=counting)
        return patch
    if TAG not in old and [key for key in old if key in new] + [key for key in new if key not in old] != list(new):
        # A dictionary keeps its order, too.
        return [_set(path, new, was=None)]
    patch = _removed(old, new, path)
    for key, value in new.items():
        if key in old:
            patch += diff(old[key], value, (*path, key), counting=counting)
        else:
            patch.append(_set((*path, key), value, was=0 if counting else None))
    return patch


def _diff_members(old: dict[str, Json], new: dict[str, Json], path: Sequence[str | int]) -> Patch:
    """Return the added and removed members of a set, which has no order."""
    added = [_set((*path, key), value, was=None) for key, value in new.items() if key not in old]
    return _removed(old, new, path) + added


def _removed(old: dict[str, Json], new: dict[str, Json], path: Sequence[str | int]) -> Patch:
    return [{"op": "remove", "path": [*path, key]} for key in old if key not in new]


_PARTED = frozenset({"m", "o", "d", "s", "fs", "t", "q", "r"})
"""Tags of nodes whose parts can change one by one: models, objects, dictionaries, sets, and sequences, which grow."""
_PARTED_BASES = frozenset({"dict", "list", "set", "frozenset", "deque"})
_FIXED = (TAG, "c", "b", "f", "m")
"""Keys of a node that say what kind of node it is, rather than what it holds."""


def _has_parts_like(old: dict[str, Json], new: dict[str, Json]) -> bool:
    """Return whether one node can become the other part by part: both are dictionaries, sets or objects of one
    class."""
    if TAG not in old and TAG not in new:
        return True
    tag = new.get(TAG)
    if any(old.get(key) != new.get(key) for key in _FIXED):
        return False
    if tag == "r":
        return same(old["a"], new["a"])
    if tag == "sub":
        return new["b"] in _PARTED_BASES and ("a" in old) == ("a" in new)
    return tag in _PARTED


def counted_as(patch: Patch, writes: Iterable[Patch]) -> Patch:
    """Return a patch that ``diff`` made with ``counting``, and that stands for these writes: with the old value of
    those numbers only that they all counted."""
    counted: set[tuple[str | int, ...]] = set()
    placed: set[tuple[str | int, ...]] = set()
    for operation in (operation for write in writes for operation in write):
        (counted if "was" in operation else placed).add(tuple(operation["path"]))

    def is_counted(path: Sequence[str | int]) -> bool:
        return tuple(path) in counted and not any(tuple(path[:size]) in placed for size in range(len(path) + 1))

    return [operation if is_counted(operation["path"]) else _uncounted(operation) for operation in patch]


def _uncounted(operation: Operation) -> Operation:
    return cast(Operation, {key: item for key, item in operation.items() if key != "was"})


def apply(tree: Json, patch: Sequence[Operation], source: Json = None) -> Json:
    """Return the tree with the patch applied; ``tree`` itself is not changed.

    ``source`` is the tree that the patch led to. An object that the patch changes in part may be missing in ``tree``,
    because an unfinished step created it: it is then copied whole from ``source``, once, with all of its changes.
    """
    if source is None and len(patch) == 1 and (applied := _with_value(tree, patch[0])) is not None:
        return applied
    copied: list[Sequence[str | int]] = []
    for operation in patch:
        path = operation["path"]
        if copied and any(path[: len(place)] == place for place in copied):
            continue
        place = None if source is None else _copied_at(tree, path, source)
        if place is not None:
            copied.append(place)
        tree = _apply(tree, path, operation, source)
    return tree


def _with_value(tree: Json, operation: Operation) -> Json:
    """Return the tree with one value set on its second level, as most patches do; None where it is not that simple."""
    path = operation["path"]
    if len(path) != 2 or operation["op"] != "set" or "was" in operation or type(tree) is not dict:
        return None
    part = tree.get(path[0])
    return {**tree, path[0]: {**part, path[1]: operation["value"]}} if type(part) is dict else None


def _set(path: Sequence[str | int], value: Json, *, was: Json) -> Operation:
    operation: Operation = {"op": "set", "path": list(path), "value": value}
    if _is_number(was) and _is_number(value):
        operation["was"] = was
    return operation


def _apply(node: Json, path: Sequence[str | int], operation: Operation, source: Json) -> Json:
    if not path:
        return _changed(node, operation)
    key, rest = path[0], path[1:]
    if _is_other(node, source):
        return source
    inside = _part(source, key)
    if isinstance(node, list) and isinstance(key, int):
        return _apply_in_list(node, key, rest, operation, inside)
    # An unfinished step made the container that is missing here: create it now.
    copy = dict(node) if isinstance(node, dict) else {}
    if operation["op"] == "remove" and not rest:
        copy.pop(key, None)
    else:
        copy[key] = _apply(copy.get(key, _MISSING), rest, operation, inside)
    return copy


def _copied_at(node: Json, path: Sequence[str | int], source: Json) -> Sequence[str | int] | None:
    """Return the path of the object that a change at ``path`` copies from ``source``; None where it copies none."""
    for depth, key in enumerate(path):
        if _is_other(node, source):
            return path[:depth]
        node, source = _part(node, key), _part(source, key)
    return None


def _is_other(node: Json, source: Json) -> bool:
    """Return whether one of them is an object that cannot become the other part by part.

    A patch for a plain dictionary must not change a part, or the class, of an object that stood in its place before.
    """
    if not isinstance(source, (dict, list)) or not (_is_object(node) or _is_object(source)):
        return False
    return not (isinstance(node, dict) and isinstance(source, dict) and _has_parts_like(node, source))


def _is_object(node: Json) -> bool:
    return isinstance(node, dict) and TAG in node


def _part(source: Json, key: str | int) -> Json:
    if isinstance(source, dict):
        return source.get(key)
    return source[key] if isinstance(source, list) and isinstance(key, int) and key < len(source) else None


def _apply_in_list(
    node: list[Json], index: int, rest: Sequence[str | int], operation: Operation, source: Json
) -> list[Json]:
    copy = list(node)
    if index < len(copy):
        copy[index] = _apply(copy[index], rest, operation, source)
    else:
        copy.append(_apply(_MISSING, rest, operation, source))
    return copy


def _changed(current: Json, operation: Operation) -> Json:
    value: Json = operation.get("value")
    if operation["op"] == "extend":
        return current + value if isinstance(current, list) else value
    was = operation.get("was")
    # A counter that is missing counts as 0.
    counted: Json = 0 if current is _MISSING else current
    if was is None or same(counted, was) or not _is_number(counted):
        return value
    return counted + (value - was)


_MISSING: Json = object()


def _is_number(value: Json) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
