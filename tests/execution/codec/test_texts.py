"""Trees as text, and back."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.values.strategies import TEXTS as ANY_TEXTS
from workflow_server.execution.codec.comparing import same
from workflow_server.execution.codec.scalars import is_plain_text
from workflow_server.execution.codec.texts import exactly, text_of, tree_of

TEXTS = ANY_TEXTS.filter(is_plain_text)
"""Two adjacent surrogates would become one character: the codec writes them otherwise."""
TREES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
    | st.sampled_from(["NaN", "Infinity", "\x7f", "\u2028", "é", "😀", "a\0b", '"\\/'])
    | st.sampled_from([-0.0, 1e16, 1e-7, 5e-324, 1.7976931348623157e308, 0.1]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=10,
)  # fmt: skip


@given(TREES)
def test_a_tree_comes_back_from_its_text(tree: Any) -> None:
    text = text_of(tree)
    assert text.isascii()
    for read in (tree_of(text), json.loads(text), tree_of(exactly(tree))):
        assert same(tree, read)
        assert repr(tree) == repr(read)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_json_does_not_have_is_refused(number: float) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        text_of({"a": [number]})


def test_a_tree_of_many_levels_has_a_text() -> None:
    tree: list[Any] = []
    for _ in range(600):
        tree = [tree]
    assert text_of(tree) == "[" * 601 + "]" * 601
    assert tree_of(text_of(tree)) == tree


@pytest.mark.parametrize("text", ["", "{", "[1,]", '{"a" 1}', "\ufeff1", "01", '"\n"', "[1] 2", "nul"])
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        tree_of(text)
