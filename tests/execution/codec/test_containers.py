"""Containers: keys, members, sharing, cycles and depth."""

from __future__ import annotations

import types
from collections import Counter, OrderedDict, defaultdict
from typing import Any

import pytest

from tests.execution.codec.roundtrip import assert_kept, read_back
from tests.values import classes as c
from workflow_server.errors import Unstorable
from workflow_server.execution.codec import Codec


def nested(levels: int, wrap: Any) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = wrap(value)
    return value


def test_keys_of_all_types_stand_beside_each_other() -> None:
    nan = float("nan")
    keys = [1, "1", 1.5, None, (1, (2,)), b"1", c.Color.RED, frozenset({1}), c.MyStr("x"), c.Point(1, 2), nan, "$"]
    assert_kept({key: number for number, key in enumerate(keys)})


def test_keys_and_members_that_look_alike_are_not_one() -> None:
    assert len(read_back({c.Bare(a=1): 1, c.Bare(a=1): 2})) == 2
    assert len(read_back({float("nan"): 1, float("nan"): 2})) == 2
    assert len(read_back({c.PlainError("x"), c.PlainError("x"), c.PlainError("y")})) == 3


def test_sets_within_sets_take_one_more_name_a_level() -> None:
    value = nested(60, lambda inside: frozenset([inside, '"']))
    assert len(Codec().dumps(value)) < 60 * 2_000
    assert_kept(value)


@pytest.mark.parametrize(
    "value",
    [
        c.Shouting(a="x"),
        c.MyCounter("aab"),
        c.MyDefault(list, {"a": [1]}),
        c.MyOrdered(b=1, a=2),
        Counter("aab"),
        defaultdict(None, a=1),
        OrderedDict([(1, 2), ("1", 3)]),
        c.MyDeque([1, 2], 3),
        c.MySet([1]),
        c.MyFrozenSet([1]),
        c.MyByteArray(b"a"),
        c.MyTuple([1, [2]]),
        c.MyFloat("nan"),
        c.MyInt(2**70),
        c.MyDateTime(2026, 1, 1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_subclass_keeps_what_it_holds_and_its_own_attributes(value: Any) -> None:
    assert_kept(value)
    if hasattr(value, "__dict__"):
        value.mine = [value.__class__]
        assert_kept(value)


def test_a_counting_dictionary_counts_nothing_when_it_is_read() -> None:
    value = c.Picky("me")
    value["a"] = 1
    assert read_back(value).sets == 1


def test_what_is_held_twice_is_one_object() -> None:
    shared: list[Any] = [[1], {1: 2}, {1}, bytearray(b"x"), c.Person(name="a"), c.Reducing(1), ValueError(), c.Bare()]
    value = {"once": shared, "again": list(shared), "proxies": [types.MappingProxyType({})] * 2}
    assert_kept(value)
    again = read_back(value)
    assert all(left is right for left, right in zip(again["once"], again["again"], strict=True))
    assert again["proxies"][0] is again["proxies"][1]


def test_what_holds_itself_is_kept() -> None:
    items: list[Any] = [1]
    items.append(items)
    by_key: dict[Any, Any] = {1: 2}
    by_key["me"] = by_key
    node = c.Node("x")
    node.others = [{node}, (node,), {"me": node}]
    model = c.Person(name="a")
    model.more = {"me": model}
    error = c.PlainError("x")
    error.__cause__ = c.PlainError("y")
    error.__cause__.__context__ = error
    for value in (items, by_key, node, model, error):
        assert_kept(value)


def test_what_is_read_is_nobody_elses() -> None:
    codec = Codec()
    tree = codec.encode({"items": [[1]], "component": c.Component([1])})
    codec.decode(tree)["items"][0].append(2)
    assert codec.decode(tree)["items"] == [[1]]
    assert codec.decode(tree)["component"].items == [1]


@pytest.mark.parametrize(
    "wrap",
    [
        lambda inside: [inside],
        lambda inside: (inside,),
        lambda inside: {"a": inside},
        lambda inside: {1: inside},
        lambda inside: OrderedDict(a=inside),
        lambda inside: c.Bare(a=inside),
        lambda inside: c.Plain(inside),
        lambda inside: c.Person(name="a", more=inside),
    ],
    ids=["list", "tuple", "dict", "keys", "ordered", "object", "dataclass", "model"],
)
def test_deep_values_are_kept_and_deeper_ones_refused(wrap: Any) -> None:
    value = nested(140, wrap)
    assert Codec().dumps(read_back(value)) == Codec().dumps(value)
    with pytest.raises(Unstorable, match="is nested deeper than 150 levels") as refused:
        Codec().encode(nested(1_000, wrap))
    assert str(refused.value).endswith("leave it out of events and of ctx.store, or keep it flatter")
    assert len(str(refused.value)) < 600


def test_what_follows_a_buffer_of_an_own_class_is_as_it_was() -> None:
    buffer, shared = c.MyByteArray(b"a"), [1]
    buffer.note = "n"
    again = read_back([buffer, shared, shared, buffer])
    assert (again[0], again[0].note, again[1]) == (buffer, "n", [1])
    assert again[0] is again[3]
    assert again[1] is again[2]
