"""However many errors a large value has, few are ever in memory; what is valid is what its class makes of it."""

from __future__ import annotations

import json
import tracemalloc
from collections import Counter, OrderedDict, deque
from typing import Annotated, Any, NotRequired

import pytest
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Json,
    TypeAdapter,
    ValidationError,
    create_model,
    field_validator,
)
from pydantic.dataclasses import dataclass as pydantic_dataclass
from typing_extensions import TypedDict
from workflows.events import Event

from workflow_server.protocol.bounded import LARGE, MANY, validate
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


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")
    a: int = 0


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, int]


class Row(TypedDict):
    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]
    a: NotRequired[int]


@pydantic_dataclass(config=ConfigDict(extra="forbid"))
class Point:
    a: int = 0


class Own(BaseModel):
    table: dict[str, int] = Field(default_factory=dict)

    def __init__(self, **fields: Any) -> None:
        super().__init__(**fields)


class Kinds(Event):
    queue: dict[str, deque[int]] = Field(default_factory=dict)
    ordered: dict[str, OrderedDict[str, int]] = Field(default_factory=dict)
    counter: dict[str, Counter[str]] = Field(default_factory=dict)
    strict: dict[str, Strict] = Field(default_factory=dict)
    loose: dict[str, Open] = Field(default_factory=dict)
    row: dict[str, Row] = Field(default_factory=dict)
    point: dict[str, Point] = Field(default_factory=dict)
    own: dict[str, Own] = Field(default_factory=dict)
    checked: dict[str, Any] = Field(default_factory=dict)
    late: Annotated[int, BeforeValidator(lambda value: value)] = 7

    @field_validator("checked")
    @classmethod
    def _all_are_numbers(cls, value: dict[str, Any]) -> dict[str, Any]:
        return TypeAdapter(dict[str, dict[str, int]]).validate_python(value)


KEYS = {str(number): "" for number in range(20_000)}


@pytest.mark.parametrize(
    "fields",
    [
        {"queue": {"k": [""] * 20_000}},
        {"ordered": {"k": KEYS}},
        {"counter": {"k": KEYS}},
        {"strict": {"k": KEYS}},
        {"loose": {"k": KEYS}},
        {"row": {"k": KEYS}},
        {"point": {"k": KEYS}},
        {"own": {"k": {"table": KEYS}}},
        {"checked": {"k": KEYS}},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_few_errors_reach_the_key_of_a_value_of_any_kind(fields: dict[str, Any]) -> None:
    # Each of them would get a copy of the key, which may be long.
    with pytest.raises(ValidationError) as refused:
        validate(Kinds, fields)
    assert refused.value.error_count() <= MANY


def test_a_large_value_of_these_kinds_that_is_valid_is_taken() -> None:
    numbers = {str(number): number for number in range(LARGE)}
    made = validate(
        Kinds,
        {
            "queue": {"k": [1] * LARGE},
            "ordered": {"k": numbers},
            "counter": {"k": numbers},
            "strict": {"k": {"a": 1}, "l": {}},
            "loose": {"k": numbers},
            "row": {"k": {}},
            "point": {"k": {}},
            "own": {"k": {"table": numbers}},
            "checked": {"k": numbers},
        },
    )
    assert made.own["k"].table == numbers
    assert made.loose["k"].__pydantic_extra__ == numbers
    assert made.late == 7


class Both(BaseModel):
    parts: list[Both | Either | int]
    x: int = 0


class Either(BaseModel):
    parts: list[Both | Either | int]
    y: int = 0


class Formula(Event):
    root: Both | Either | None = None
    default: Node | None = None


def formula(depth: int, leaf: Any) -> dict[str, Any]:
    return {"parts": [formula(depth - 1, leaf) if depth else leaf], "x": 1}


def test_a_value_of_exponentially_many_readings_is_refused() -> None:
    with pytest.raises(ValidationError, match="too many ways") as refused:
        validate(Formula, {"root": formula(40, "no number")})
    assert refused.value.error_count() == 1
    with pytest.raises(ValidationError, match="valid integer"):
        validate(Formula, {"root": formula(2, "no number")})
    assert validate(Formula, {"root": formula(8, 1)}) == Formula(root=Both(**formula(8, 1)))


class Made(Event):
    """An event with an ``__init__`` of its own, which changes what it is given."""

    table: dict[str, list[int]]
    rows: list[Own] = Field(default_factory=list)

    def __init__(self, rows: int = 0, **fields: Any) -> None:
        super().__init__(rows=[{"table": {"a": 1}}] * rows, **fields)


def test_few_errors_come_of_a_class_with_its_own_initialiser() -> None:
    # Found by its validator, not only told of it: they would be counted here before they are summed up.
    found: list[int] = []

    class Watching(Made):
        def __init__(self, **fields: Any) -> None:
            try:
                super().__init__(**fields)
            except ValidationError as error:
                found.append(error.error_count())
                raise

    with pytest.raises(ValidationError) as refused:
        validate(Watching, {"table": {"k": [""] * 20_000}})
    assert found == [1]
    assert refused.value.error_count() == 1
    made = validate(Made, {"table": {"k": ["7"] * 2 * LARGE}, "rows": 2, "more": 3})
    assert made == Made(table={"k": [7] * 2 * LARGE}, rows=2, more=3)
    assert made.rows == [Own(table={"a": 1})] * 2


class Pair(Event):
    first: Line | None = None
    second: Line | None = None
    log: Annotated[list[int], BeforeValidator(lambda log: [*log, log.append(1)][:-1])]


def test_a_small_object_of_a_flat_class_is_validated_once() -> None:
    log: list[int] = []
    validate(Pair, {"log": log})
    assert log == [1]


class Counted(Event):
    numbers: list[int] = Field(default_factory=list)
    total: int = 0

    @field_validator("numbers")
    @classmethod
    def _no_zero(cls, numbers: list[int]) -> list[int]:
        if 0 in numbers:
            raise RuntimeError("a validator that raises what it likes")
        return numbers


def test_a_large_valid_value_is_what_its_class_makes_of_it() -> None:
    made = validate(Counted, {"numbers": [1] * (LARGE + 1), "total": "7", "undeclared": {"a": 1}})
    assert made == Counted(numbers=[1] * (LARGE + 1), total=7, undeclared={"a": 1})
    assert made.undeclared == {"a": 1}


def test_what_a_validator_raises_besides_is_raised() -> None:
    with pytest.raises(RuntimeError, match="what it likes"):
        validate(Counted, {"numbers": [0] * (LARGE + 1)})
