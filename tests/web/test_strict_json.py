"""Texts that are accepted as JSON, and texts that are not."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflow_server.errors import InvalidBody
from workflow_server.protocol.strict_json import MAX_DEPTH, canonical_json, parse_json

_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
)


@given(_VALUES, st.booleans())
def test_json_that_can_be_stored_is_read_as_it_was_written(value: object, escaped: bool) -> None:
    text = json.dumps(value, ensure_ascii=escaped)
    assert parse_json(text.encode()) == value
    assert parse_json(text) == value


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b'{"a": 1} x', "not valid JSON"),
        (b"{'a': 1}", "not valid JSON"),
        (b"\xef\xbb\xbf{}", "not valid JSON"),
        (b'"\x01"', "not valid JSON"),
        (b'"\xff"', "not valid UTF-8"),
        (b'"\xed\xa0\x80"', "not valid UTF-8"),
        (b"NaN", "NaN"),
        (b"[Infinity]", "Infinity"),
        (b"[-Infinity]", "-Infinity"),
        (b"1e999", "double"),
        (b"9223372036854775808", "64 bits"),
        (b"-9223372036854775809", "64 bits"),
        (b"1" * 5_000, "64 bits"),
        (rb'"\ud800"', "surrogate"),
        (rb'{"\udc00": 1}', "surrogate"),
        (b'{"a": 1, "a": 2}', "twice"),
        (rb'{"a": 1, "\u0061": 2}', "twice"),
        (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), "nested"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "nested"),
        (b"[" * 500_000, "nested"),
    ],
)
def test_json_with_more_than_one_meaning_is_refused(text: bytes, reason: str) -> None:
    with pytest.raises(InvalidBody, match=reason):
        parse_json(text)


@pytest.mark.parametrize("text", [b"[" * MAX_DEPTH + b"]" * MAX_DEPTH, b'{"a": "' + b"[{" * 1_000 + b'"}'])
def test_depth_counts_brackets_outside_of_strings_only(text: bytes) -> None:
    assert parse_json(text) == json.loads(text)


@pytest.mark.parametrize("text", [rb'"\ud83d\ude00"', b'"\xf0\x9f\x98\x80"'])
def test_a_whole_surrogate_pair_is_one_character(text: bytes) -> None:
    assert parse_json(text) == "\N{GRINNING FACE}"


@pytest.mark.timeout(20)
def test_a_string_that_is_never_closed_is_scanned_in_linear_time() -> None:
    # A scan that began again at each quote would take hours.
    with pytest.raises(InvalidBody, match="not valid JSON"):
        parse_json(b"[" * 60 + b'"' + b'\\"[' * 340_000)


def test_canonical_json_is_the_same_for_every_way_of_writing_a_value() -> None:
    first = parse_json(b'{"b": [1, 2], "a": "\xc3\xa4"}')
    second = parse_json(rb'{ "a":"\u00e4","b":[1,2] }')
    assert canonical_json(first) == canonical_json(second) == '{"a":"ä","b":[1,2]}'.encode()
