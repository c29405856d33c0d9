"""Models of plain data as JSON: the very text of their serializers, or left to them."""

from __future__ import annotations

import math
import warnings
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    PrivateAttr,
    SecretStr,
    computed_field,
    field_serializer,
    model_serializer,
)
from workflows.events import Event, StartEvent, StopEvent

from tests.values.strategies import TEXTS, VALUES
from workflow_server.execution.unwritable import NO_JSON
from workflow_server.protocol.client_json import to_client_json
from workflow_server.protocol.client_plain import plain_json


class Point(BaseModel):
    x: int
    y: float = 1.5


class Colour(Enum):
    RED = 1


class Declaring(Event):
    text: str = "t"
    number: int = 1
    ratio: float = 0.5
    flag: bool = True
    maybe: str | None = None
    either: int | str | float = 1
    anything: Any = None
    numbers: list[float] = Field([])
    texts: dict[str, str] = Field({})
    mixed: dict[str, list[int | None]] = Field({})
    point: Point | None = None
    points: list[Point] = Field([])
    inner: StartEvent | None = None


class OwnStop(StopEvent):
    number: int = 1
    anything: Any = None


class Text(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "another"


class Sub(Point):
    z: int = 3


WHOLE = st.integers() | st.integers(-(2**70), 2**70)
PLAIN: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | WHOLE | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS | st.just("nan"), inner, max_size=3),
    max_leaves=8,
)
ODD: st.SearchStrategy[Any] = st.sampled_from(
    [Text("x"), True, Colour.RED, (1, 2), {1}, {1: 2}, {math.nan: 1}, {Text("k"): 1}, b"b", Point(x=1), Sub(x=2),
     [Sub(x=1)], Declaring(), StopEvent(result=1), SecretStr("s"), [math.nan], math.inf, OwnStop(anything=math.nan)]
)  # fmt: skip
FIELDS = st.dictionaries(st.sampled_from(list(Declaring.model_fields)), PLAIN | ODD | VALUES, max_size=4)


def assert_same(model: BaseModel) -> str | None:
    """It is written as its serializer writes it, without a warning of its own, or is left to that."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        written = plain_json(model)
        if written is not None:
            assert written == to_client_json(model)
    return written


@given(FIELDS, st.dictionaries(st.sampled_from(["a", "b", "text"]), PLAIN | ODD | VALUES, max_size=2))
def test_what_is_written_at_once_is_the_text_of_the_serializer(fields: dict[str, Any], beside: dict[str, Any]) -> None:
    # Assigned fields are not validated: they hold what their annotations do not say.
    event = Declaring()
    event.__dict__.update(fields)
    event._data.update(beside)
    assert_same(event)


@given(PLAIN | ODD | VALUES, PLAIN | ODD | VALUES)
def test_results_are_written_as_their_serializers_do(result: Any, anything: Any) -> None:
    for event in (StopEvent(result=result), StopEvent(result=result, more=anything), OwnStop(result=result)):
        assert_same(event)
    assert_same(OwnStop(anything=anything, result=result, more=1))


@given(st.fixed_dictionaries({}, optional={
    "text": st.text(), "number": WHOLE, "ratio": st.floats(), "flag": st.booleans(), "maybe": st.none() | st.text(),
    "either": WHOLE | st.text() | st.floats(), "anything": st.lists(WHOLE | st.floats()) | st.floats(),
    "numbers": st.lists(st.floats()), "texts": st.dictionaries(st.text(), st.text()),
    "mixed": st.dictionaries(st.text(), st.lists(WHOLE | st.none())), "points": st.lists(st.builds(Point, x=WHOLE)),
    "point": st.builds(Point, x=WHOLE, y=st.floats()), "inner": st.builds(StartEvent, topic=st.text(), n=WHOLE),
}))  # fmt: skip
def test_plain_events_are_written_at_once(fields: dict[str, Any]) -> None:
    assert assert_same(Declaring(**fields)) is not None


class Excluding(Event):
    hidden: int = Field(1, exclude=True)


class Aliased(Event):
    model_config = ConfigDict(serialize_by_alias=True)
    number: int = Field(1, serialization_alias="n")


class Serializing(Event):
    number: int = 1

    @field_serializer("number")
    def as_text(self, number: int) -> str:
        return f"number {number}"


class Computing(Event):
    @computed_field
    def more(self) -> int:
        return 1


class Whole(Event):
    number: int = 1

    @model_serializer(mode="plain")
    def all_of_it(self) -> dict[str, Any]:
        return {"all": self.number}


class Overriding(Event):
    number: int = 1

    def custom_model_dump(self, handler: Any) -> dict[str, Any]:
        return {"own": handler(self)}


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    number: int = 1


class Annotating(Event):
    number: Annotated[int, PlainSerializer(lambda number: -number)] = 1


class Hiding(Event):
    secret: SecretStr = SecretStr("s")
    literal: Literal["a"] = "a"


class Keeping(Event):
    number: int = 1
    _own: int = PrivateAttr(default=5)


@pytest.mark.parametrize(
    "event",
    [Excluding(), Aliased(), Serializing(), Computing(), Whole(), Overriding(), Open(more=1), Annotating(), Hiding()],
    ids=lambda event: type(event).__name__,
)
def test_a_class_that_serializes_in_a_way_of_its_own_is_left_to_it(event: BaseModel) -> None:
    assert plain_json(event) is None


def test_private_attributes_of_no_serializer_are_not_written() -> None:
    assert assert_same(Keeping()) == '{"number":1}'


def test_fields_changed_by_hand_are_left_to_the_serializer() -> None:
    more, less = Keeping(), Keeping()
    more.__dict__["more"] = 1
    del less.__dict__["number"]
    assert plain_json(more) is None
    assert plain_json(less) is None


@pytest.mark.parametrize("text", ["\ud800", "a\udfff"])
def test_what_cannot_be_written_is_left_to_the_serializer_to_refuse(text: str) -> None:
    event = Declaring(anything=[text])
    assert plain_json(event) is None
    with pytest.raises(NO_JSON):
        to_client_json(event)


def test_a_value_within_itself_is_left_to_the_serializer_to_refuse() -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    assert plain_json(Declaring(anything=cycle)) is None
