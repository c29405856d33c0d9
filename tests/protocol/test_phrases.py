"""Questions and results in a phrase, of envelopes of any size."""

from __future__ import annotations

import json
from typing import Any

import pytest

from workflow_server.protocol.phrases import HEAD, LONGEST_PROMPT, LONGEST_SUMMARY, prompt_of, summary_of


@pytest.mark.parametrize(
    ("fields", "prompt"),
    [
        ({"prefix": "Go on?", "message": "no", "other": "x"}, "Go on?"),
        ({"question": "Why?", "text": "x"}, "Why?"),
        ({"msg": "m", "prompt": "p", "message": ""}, "p"),
        ({"prefix": 1, "text": "The only text"}, "The only text"),
        ({"a": "x", "b": "y"}, '{"a":"x","b":"y"}'),
        ({"n": 1, "m": float("nan")}, '{"n":1,"m":"NaN"}'),
        ({"prefix": "two\nlines"}, "two\nlines"),
        ({"key": "***", "_data": {"prefix": "Go on?"}}, "Go on?"),
        ({"_data": {"n": 1}}, '{"n":1}'),
        ({"_data": 1}, '{"_data":1}'),
        ({}, None),
    ],
)
def test_a_question_is_found_in_the_fields(fields: dict[str, Any], prompt: str | None) -> None:
    assert prompt_of(fields) == prompt


def test_a_long_question_is_cut() -> None:
    for fields in ({"prefix": "é" * 1_000}, {"a": "x" * 1_000, "b": "y"}):
        prompt = prompt_of(fields)
        assert prompt is not None
        assert (len(prompt), prompt[-1]) == (LONGEST_PROMPT, "…")


def summary(value: object, kind: str = "StopEvent") -> str | None:
    stored = json.dumps({"value": value, "type": kind}).encode()
    return summary_of(stored[:HEAD], is_whole=len(stored) <= HEAD)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"result": "done"}, "done"),
        ({"result": " a\n  text  "}, "a text"),
        ({"result": 3}, "3"),
        ({"result": {"n": [1, None]}}, '{"n":[1,null]}'),
        ({"total": 3, "result": "x"}, '{"total":3,"result":"x"}'),
        ({"result": None}, None),
        ({"_data": {"result": "done"}}, "done"),
        ({}, None),
        ([], None),
        (None, None),
    ],
)
def test_a_result_is_told_in_a_phrase(value: object, told: str | None) -> None:
    assert summary(value) == told


@pytest.mark.parametrize("character", ["x", "é", "\U0001f600", "\n", '"', "\\"])
def test_a_long_result_is_cut(character: str) -> None:
    told = summary({"result": f"begin {character * 100_000}"})
    assert told is not None
    assert told.startswith("begin")
    assert len(told) <= LONGEST_SUMMARY
    many = summary({"rows": [character] * 50_000})
    assert many is not None
    assert len(many) <= LONGEST_SUMMARY


def test_a_character_at_the_cut_spoils_nothing() -> None:
    for length in range(4):
        stored = json.dumps({"value": {"result": "x" * length + "\U0001f600" * 3_000}}, ensure_ascii=False).encode()
        told = summary_of(stored[:HEAD], is_whole=False)
        assert told is not None
        assert told.startswith("x" * length + "\U0001f600")


@pytest.mark.parametrize("stored", [b"", b"{", b"[]", b"1", b'{"value":1}', b"\xff", b'{"type":"x"}'])
@pytest.mark.parametrize("is_whole", [True, False])
def test_a_damaged_result_has_no_summary(stored: bytes, is_whole: bool) -> None:
    assert summary_of(stored, is_whole=is_whole) is None
