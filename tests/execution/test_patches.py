"""Patches between JSON trees."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.values.strategies import SHOWN_VALUES, Shown
from workflow_server.execution.codec import Codec
from workflow_server.execution.codec.comparing import same
from workflow_server.execution.patches import apply, counted_as, diff

CODEC = Codec()

scalars = (
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.0, -0.0, 1.0, 0.5]) | st.text("ab", max_size=2)
)
trees = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=1), inner, max_size=3),
    max_leaves=12,
)


@example({"a": 1}, {"b": 2}, False)
@example({"a": 1, "b": [1]}, {"b": [1, 2], "a": 1}, False)
@given(trees, trees, st.booleans())
def test_a_patch_makes_the_new_tree_of_the_old_one(old: Any, new: Any, counting: bool) -> None:
    before = json.dumps(old)
    stored = json.loads(json.dumps(diff(old, new, counting=counting)))
    assert same(apply(old, stored), new)
    assert json.dumps(old) == before, "a tree is never changed in place"


@given(trees)
def test_equal_trees_need_no_patch(tree: Any) -> None:
    assert diff(tree, json.loads(json.dumps(tree))) == []


@settings(deadline=None)
@given(SHOWN_VALUES, SHOWN_VALUES, st.booleans())
def test_a_patch_makes_the_tree_of_a_new_value_of_an_old_ones(old: Shown, new: Shown, counting: bool) -> None:
    before, after = CODEC.encode(old.value), CODEC.encode([new.value, old.value])
    for left, right in ((before, after), (after, before), ({"a": before, "b": 1}, {"a": CODEC.encode(new.value)})):
        left_read, right_read = json.loads(json.dumps(left)), json.loads(json.dumps(right))
        assert same(apply(left, diff(left, right, counting=counting)), right)
        assert diff(left, right) == diff(left_read, right_read) == counted_as(diff(left, right, counting=True), [])
        assert diff(right, right_read) == []


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (1, True),
        (1, 1.0),
        (0, False),
        ([1], [True]),
        ({"a": 0}, {"a": 0.0}),
        (0.0, -0.0),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    ],
)
def test_what_differs_in_json_is_a_change(left: Any, right: Any) -> None:
    assert not same(left, right)
    assert diff(left, right) != []


def test_two_steps_that_count_the_same_thing_both_count() -> None:
    # The second step saw the first one's write, which is taken back when the first one is interrupted.
    second = diff({"count": 1}, {"count": 2}, counting=True)
    assert apply({"count": 0}, second) == {"count": 1}
    assert apply({}, second) == {"count": 1}


def test_a_number_that_is_set_and_not_counted_stays_as_set() -> None:
    second = diff({"page": 5}, {"page": 7})
    assert apply({"page": 0}, second) == {"page": 7}


def test_a_list_that_grew_keeps_what_only_this_step_added() -> None:
    second = diff({"seen": ["a"]}, {"seen": ["a", "b"]})
    assert apply({"seen": []}, second) == {"seen": ["b"]}


def test_a_container_that_an_unfinished_step_made_is_made_again() -> None:
    second = diff({"by": {"a": {"n": 1}}}, {"by": {"a": {"n": 1, "m": 2}}})
    assert apply({"by": {}}, second) == {"by": {"a": {"m": 2}}}
    assert apply({}, second) == {"by": {"a": {"m": 2}}}


@pytest.mark.parametrize(
    ("writes", "was"),
    [
        ([diff({"n": 1, "m": 1}, {"n": 2, "m": 1}, counting=True)], 1),
        ([diff({"n": 1, "m": 1}, {"n": 5, "m": 1}), diff({"n": 5, "m": 1}, {"n": 6, "m": 1}, counting=True)], None),
        ([diff({}, {"n": 1})], None),
        ([[{"op": "set", "path": [], "value": {"n": 5, "m": 1}}], diff({"n": 5}, {"n": 6}, counting=True)], None),
        ([], None),
    ],
)
def test_a_number_is_counted_that_all_writes_counted(writes: list[Any], was: int | None) -> None:
    patch = counted_as(diff({"n": 1, "m": 1}, {"n": 6, "m": 1}, counting=True), writes)
    assert patch == [{"op": "set", "path": ["n"], "value": 6, **({} if was is None else {"was": was})}]
