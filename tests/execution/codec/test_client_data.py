"""Nothing that a client sends names a class: dictionaries that look like tags come back as data."""

from __future__ import annotations

import json
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from workflows.events import Event

from tests.execution.codec.roundtrip import assert_kept
from tests.values import classes as c
from tests.values.strategies import MARKERS
from workflow_server.execution.codec import Codec
from workflow_server.execution.engine import DictState
from workflow_server.execution.state import decode_state, encode_state

TAGS = st.sampled_from([
    "m", "o", "r", "x", "x?", "d", "t", "s", "fs", "q", "e", "type", "fn", "sub", "comp", "reg", "ref", "graph",
    "proxy", "str", "ba", "broker", "add_event", 1, None, ["m"],
])  # fmt: skip
NAMES = st.sampled_from(["$", "$$", "$$$", "c", "v", "n", "f", "a", "k", "#00", "__is_pydantic", "qualified_name"])
SENT: st.SearchStrategy[Any] = st.recursive(
    MARKERS
    | st.fixed_dictionaries({"$": TAGS}, optional={"c": st.just("os:system"), "v": st.just({"$": "type", "c": "os"})})
    | st.dictionaries(NAMES, TAGS | st.integers()),
    lambda inside: st.dictionaries(NAMES, inside, max_size=3) | st.lists(inside, max_size=3),
    max_leaves=6,
)
HOLDERS: list[Callable[[Any], Any]] = [
    lambda sent: sent,
    lambda sent: [sent],
    lambda sent: (sent, (sent,)),
    lambda sent: {1: sent},
    lambda sent: OrderedDict(a=sent),
    lambda sent: deque([sent]),
    lambda sent: c.MyDict({"a": sent}),
    lambda sent: c.MyList([sent]),
    lambda sent: c.Point(sent, 1),
    lambda sent: c.Plain(sent),
    lambda sent: c.AttrsSlots(sent),
    lambda sent: c.Bare(a=sent),
    lambda sent: c.Person(name="a", more=sent),
    lambda sent: c.PlainError(sent),
    lambda sent: c.Component([sent]),
    lambda sent: Event(a=sent),
    lambda sent: Event(**{"$": sent}),
]


@pytest.mark.parametrize("holder", HOLDERS)
@given(sent=SENT)
def test_what_looks_like_a_tag_is_data_in_every_container(holder: Callable[[Any], Any], sent: Any) -> None:
    json.dumps(sent)
    value = holder(sent)
    if isinstance(value, c.Component):
        codec = Codec()
        assert codec.loads(codec.dumps(value)).items == [sent]
    else:
        assert_kept(value)


@given(st.dictionaries(NAMES, SENT, max_size=3))
def test_and_so_it_is_as_the_keys_of_a_state(sent: dict[str, Any]) -> None:
    codec = Codec()
    tree = json.loads(json.dumps(encode_state(DictState(_data=sent), codec)))
    assert dict(decode_state(tree, codec).items()) == sent  # type: ignore[attr-defined]
