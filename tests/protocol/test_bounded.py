"""However many errors a large value has, few are ever in memory; what is valid is what its class makes of it."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest
from pydantic import BaseModel, Field, Json, ValidationError, create_model, field_validator
from workflows.events import Event

from workflow_server.protocol.bounded import LARGE, validate
from workflow_server.protocol.explaining import explain

Line = create_model("Line", **{f"field_{number}": (int, ...) for number in range(20)})  # type: ignore[call-overload]


class Node(BaseModel):
    left: Node | None = None
    right: Node | None = None
    x: int
    y: int


class Lines(Event):
    lines: list[Line] = Field(default_factory=list)
    table: dict[str, list[int]] = Field(default_factory=dict)
    choices: list[int | float | dict[str, int]] = Field(default_factory=list)
    root: Node | None = None
    text: Json[list[Line]] | None = None


def tree(depth: int) -> dict[str, Any]:
    return {"left": tree(depth - 1), "right": tree(depth - 1)} if depth else {}


@pytest.mark.parametrize(
    "fields",
    [
        {"lines": [{}] * 150_000},
        {"table": {"k" * 200_000: [""] * 100_000}},
        {"table": {str(number): "" for number in range(60_000)}},
        {"choices": [""] * 150_000},
        {"root": tree(14)},
        {"text": json.dumps([{}] * 150_000)},
    ],
    ids=["models", "long key", "many keys", "union", "tree", "json"],
)
def test_a_value_with_very_many_errors_is_refused_in_little_memory(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as small:
        validate(Lines, {"lines": [{}]})
    assert small.value.error_count() == 20
    tracemalloc.start()
    try:
        with pytest.raises(ValidationError) as refused:
            validate(Lines, fields)
        told = explain(refused.value, fields, Lines)
        assert tracemalloc.get_traced_memory()[1] < 8 * 1024 * 1024
    finally:
        tracemalloc.stop()
    assert refused.value.error_count() <= 25, "what pydantic itself holds is not traced"
    assert 20 < len(told) < 2_000


class Counted(Event):
    numbers: list[int] = Field(default_factory=list)
    total: int = 0

    @field_validator("numbers")
    @classmethod
    def _no_zero(cls, numbers: list[int]) -> list[int]:
        if 0 in numbers:
            raise RuntimeError("a validator that raises what it likes")
        return numbers


def test_a_large_valid_value_is_what_its_class_makes_of_it_with_what_only_the_engine_keeps() -> None:
    made = validate(Counted, {"numbers": [1] * (LARGE + 1), "total": "7", "undeclared": {"a": 1}})
    assert made == Counted(numbers=[1] * (LARGE + 1), total=7, undeclared={"a": 1})
    assert made.undeclared == {"a": 1}


def test_what_a_validator_raises_besides_is_raised() -> None:
    with pytest.raises(RuntimeError, match="what it likes"):
        validate(Counted, {"numbers": [0] * (LARGE + 1)})
