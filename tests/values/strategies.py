"""Arbitrary values of all kinds that are kept, nested in each other (hypothesis)."""

from __future__ import annotations

import datetime as dt
import ipaddress
import pathlib
import re
import reprlib
import types
import zoneinfo
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterator
from typing import Any

import numpy
from hypothesis import strategies as st
from pydantic import SecretBytes, SecretStr

from tests.values import classes as c

ZONES = st.sampled_from([zoneinfo.ZoneInfo(key) for key in ("Europe/Berlin", "UTC", "America/New_York")])
OFFSETS = st.integers(-1439, 1439).map(lambda minutes: dt.timezone(dt.timedelta(minutes=minutes)))
TEXTS = st.text(alphabet=st.characters(codec=None, exclude_categories=())) | st.sampled_from(
    ["$", "$$", "__is_pydantic", "__is_component", "__is_plain", "qualified_name", "\ud83d\ude00"]
)
MARKERS = st.sampled_from(
    [
        {"$": "m", "c": "os:system", "v": {}},
        {"$": "ref", "n": 0},
        {"$": "graph", "v": {"$": "ref", "n": 0}},
        {"$": "r", "f": {"$": "fn", "c": "os:system"}, "a": ["true"]},
        {"$$": {"$": "t", "v": []}},
        {"__is_pydantic": True, "value": {}, "qualified_name": "os.system"},
        {"__is_component": True, "value": {}, "qualified_name": "os.system"},
        {"__is_plain": True, "value": {}},
    ]
)
"""Dictionaries that a client may send, which look like what stands for an object."""

SCALARS: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(2**60, 2**70),
    st.floats(),
    st.complex_numbers(),
    TEXTS,
    st.binary(),
    st.dates(),
    st.datetimes(timezones=st.none() | ZONES | OFFSETS),
    st.datetimes(timezones=ZONES).map(lambda when: when.replace(fold=1)),
    st.times(timezones=st.none() | OFFSETS),
    st.timedeltas(),
    st.decimals(),
    st.fractions(),
    st.uuids(),
    st.ip_addresses(),
    st.ip_addresses(v=4).map(lambda address: ipaddress.ip_network((address, 32))),
    TEXTS.filter(lambda text: "\0" not in text).map(pathlib.PurePosixPath),
    st.sampled_from([re.compile("a+", re.I), re.compile(b"b", re.M | re.S)]),
    st.sampled_from([*c.Color, *c.StrColor, *c.Animal, *c.Level, *c.Planet, *c.Functional, *c.Outer.Inner]),
    st.integers(0, 7).map(c.Rights),
    st.integers(0, 15).map(c.IntRights),
    TEXTS.map(c.MyStr),
    st.integers().map(c.MyInt),
    st.floats().map(c.MyFloat),
    st.binary().map(c.MyBytes),
    TEXTS.map(SecretStr),
    st.binary().map(SecretBytes),
    st.builds(c.Point, st.integers(), st.integers()),
    st.builds(c.FrozenModel, n=st.integers()),
    st.sampled_from([int, c.Color, c.Page[int], list[int], c.a_function, len, ..., c.Person.model_validate]),
    st.floats(width=32).map(numpy.float32),
    st.integers(-100, 100).map(numpy.int16),
)


def _is_hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    # One of numpy raises when it is compared with bytes.
    return not isinstance(value, numpy.generic)


HASHABLE = (SCALARS | st.tuples(TEXTS, st.integers())).filter(_is_hashable)


def _attributes(values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(TEXTS.filter(lambda text: text.isascii()), values, max_size=3)


def _with(value: Any, attributes: dict[str, Any]) -> Any:
    value.__dict__.update(attributes)
    return value


def _held_twice(value: Any) -> list[Any]:
    return [value, {"again": value}, value]


def _holding_itself(name: str, value: Any) -> c.Node:
    node = c.Node(name)
    node.others = [value, node, (node,)]
    node.parent = {"me": node}
    return node


def _private(n: int, cache: dict[str, Any], unset: bool) -> c.Private:
    model = c.Private(n=n)
    model._cache = cache
    if not unset:
        model._unset = n
    return model


def _inside(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    lists = st.lists(values, max_size=4)
    pairs = st.lists(st.tuples(HASHABLE, values), max_size=4)
    return st.one_of(
        lists,
        lists.map(tuple),
        st.builds(deque, lists, st.none() | st.integers(4, 9)),
        st.dictionaries(TEXTS, values, max_size=4),
        pairs.map(dict),
        pairs.map(OrderedDict),
        pairs.map(lambda items: defaultdict(list, items)),
        pairs.map(c.MyDict),
        st.sets(HASHABLE, max_size=4),
        st.frozensets(HASHABLE, max_size=4),
        st.lists(TEXTS, max_size=4).map(Counter),
        st.builds(_with, lists.map(c.MyList), _attributes(values)),
        lists.map(c.MyTuple),
        st.binary().map(bytearray),
        st.dictionaries(TEXTS, values, max_size=3).map(types.MappingProxyType),
        st.builds(c.Old, values, values),
        st.builds(c.Plain, values, lists),
        st.builds(c.Frozen, values),
        st.builds(c.Slotted, values, values),
        st.builds(c.FrozenSlotted, values, values),
        st.builds(c.Box, values),
        st.builds(c.AttrsSlots, values, lists),
        st.builds(c.SlotsAndMore, values, values),
        st.builds(_with, st.builds(c.Bare), _attributes(values)),
        st.builds(c.Person, name=TEXTS.filter(_encodes), more=values),
        st.builds(c.Employee, name=st.just("a"), salary=st.integers(), more=values),
        st.builds(lambda items: c.Page[Any](items=items), lists),
        st.builds(lambda extra: c.Extras(**extra), st.dictionaries(st.sampled_from(["$", "x", "$$"]), values)),
        st.builds(lambda age, more: c.Person.model_construct(age=age, more=more), values, values),  # type: ignore[call-arg]
        st.builds(_private, st.integers(), st.dictionaries(TEXTS, values, max_size=2), st.booleans()),
        st.builds(lambda items: c.PlainError(*items), lists),
        st.builds(c.DataError, lists),
        st.builds(_with, st.builds(c.ArgumentsError, st.integers(), detail=st.just("d")), _attributes(values)),
        st.builds(_held_twice, values),
        st.builds(_holding_itself, TEXTS, values),
        st.lists(st.floats(), max_size=4).map(numpy.array),
    )


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


VALUES = st.recursive(SCALARS | MARKERS, _inside, max_leaves=12)
"""Arbitrary values."""


class Shown:
    """A value that is shown cut: some hold one thing so often that all of it does not fit into memory."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __repr__(self) -> str:
        return reprlib.repr(self.value)


SHOWN_VALUES = VALUES.map(Shown)


def kinds_in(value: Any) -> Iterator[str]:
    """The names of the classes of a value and of what it holds, as far as containers tell."""
    yield type(value).__qualname__
    if isinstance(value, dict):
        for key, item in dict.items(value):
            yield from (*kinds_in(key), *(() if item is value else kinds_in(item)))
    elif isinstance(value, (list, tuple, set, frozenset, deque)):
        for item in value:
            yield from kinds_in(item)
