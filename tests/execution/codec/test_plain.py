"""The short way of values of plain data: it gives the text of the general way, or leaves them to that."""

from __future__ import annotations

import enum
import json
import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, PrivateAttr
from workflows.events import Event, StartEvent, StopEvent
from workflows.runtime.types.results import EmissionKey, SentEvent, StepWorkerResult
from workflows.runtime.types.step_id import StepId
from workflows.runtime.types.ticks import TickAddEvent, TickStepResult

from tests.values import classes as c
from tests.values.equality import differs
from tests.values.strategies import SHOWN_VALUES, Shown
from workflow_server.errors import Unstorable
from workflow_server.execution.codec import Codec, register_type, text_of
from workflow_server.execution.codec.names import Names
from workflow_server.execution.codec.plain import PlainTexts
from workflow_server.execution.engine import compact_layouts


class Point(BaseModel):
    x: Any = 1
    y: Any = None


class Holding(Event):
    a: Any = 1
    b: str = "b"
    point: Point | None = None
    _own: Any = PrivateAttr(default=None)


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    a: int = 1


class Stateful(Event):
    a: int = 1

    def __getstate__(self) -> dict[Any, Any]:
        return super().__getstate__()


class Slotted(BaseModel):
    __slots__ = ("more",)
    a: int = 1


class Registered(BaseModel):
    a: int = 1


class Text(str):
    __slots__ = ()


class Whole(int):
    pass


class Level(enum.IntEnum):
    LOW = 1


class Raising:
    def __bool__(self) -> bool:
        raise RuntimeError("no truth")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no equality")

    __hash__ = None  # type: ignore[assignment]


register_type(Registered, encode=lambda value: value.a, decode=lambda a: Registered(a=a))

PLAIN: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(1 - 2**63, 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=12)
    | st.dictionaries(st.text().filter(lambda key: key != "$"), inner, max_size=12)
    | st.builds(Point, x=inner, y=inner)
    | st.lists(inner, max_size=3).map(tuple),
    max_leaves=12,
)  # fmt: skip
"""Values of the short way; none of them holds an object twice."""


def holding(value: Any, beside: Any) -> list[Any]:
    """Events, models and ticks that hold these values in every place."""
    event = Holding(a=value, point=Point(x=beside), more=beside)
    event._own = value
    added = Point(x=value)
    added.__dict__["$"] = beside
    return [
        value,
        [value, beside],
        {"a": value, "$": beside},
        event,
        Holding(a=value),
        added,
        Open(a=1, more=value),
        StopEvent(result=value, more=beside),
        tick_of(StartEvent(topic=value), beside),
    ]


def tick_of(event: Event, value: Any) -> TickStepResult:
    """A tick as the engine makes it."""
    result = StepWorkerResult(result=Holding(a=value))
    sent = SentEvent(index=0, event=event, step_id=StepId.from_str("next"))
    return TickStepResult(
        step_id=StepId.from_str("a"), worker_id=3, event=event, result=[result], stamped_at=1.5, invocation_id="i",
        sends=[sent],
    )  # fmt: skip


SHORT, GENERAL = Codec(compact=compact_layouts()), Codec(compact=compact_layouts())


def written(write: Callable[[Any], str], value: Any) -> str:
    """A text, or the refusal."""
    try:
        return write(value)
    except Unstorable as error:
        return f"refused: {error}"


def assert_equal_ways(value: Any) -> None:
    """Both ways give one text or one refusal, and the text is read as its tree is."""
    text = written(SHORT.dumps, value)
    assert text == written(lambda value: text_of(GENERAL.encode(value)), value)
    if not text.startswith("refused"):
        found = differs(GENERAL.decode(json.loads(text)), SHORT.loads(text))
        assert found is None, found


@settings(deadline=None)
@given(SHOWN_VALUES, SHOWN_VALUES)
def test_arbitrary_values_have_one_text_by_either_way(value: Shown, beside: Shown) -> None:
    for whole in holding(value.value, beside.value):
        assert_equal_ways(whole)


@given(PLAIN, PLAIN)
def test_plain_values_have_one_text_by_either_way(value: Any, beside: Any) -> None:
    for whole in holding(value, beside):
        assert_equal_ways(whole)


def plain_texts() -> PlainTexts:
    """The short way alone."""
    return PlainTexts(Names(), {layout.kind: layout for layout in compact_layouts()})


@given(PLAIN, PLAIN)
def test_plain_values_go_the_short_way(value: Any, beside: Any) -> None:
    start = StartEvent(topic=beside)
    event = Holding(a=value, more=beside)
    add = TickAddEvent(event=Holding(a=value), stamped_at=1.5, emission=EmissionKey("i", 1))
    for whole in (value, {"k": value}, event, StopEvent(result=value), tick_of(start, value), add):
        assert plain_texts().text(whole) is not None


def nested(levels: int) -> Any:
    """Lists within lists."""
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value


def cycle() -> Any:
    value: dict[str, Any] = {}
    value["me"] = [value]
    return value


def without(name: str) -> Any:
    event = Holding()
    event.__dict__.pop(name)
    return event


def without_private() -> Any:
    event = Holding()
    assert event.__pydantic_private__ is not None
    del event.__pydantic_private__["_own"]
    return event


def local() -> Any:
    class Local(Event):
        a: int = 1

    return Local()


SHARED = [1]
LONG = [0.5] * 20
ODD = {
    "a subclass of str": Text("a"),
    "a subclass of int": Whole(1),
    "a member of an enum": Level.LOW,
    "two surrogates": "\ud83d\ude00",
    "a surrogate": "\ud800",
    "a large number": 2**63,
    "the least of 64 bits": -(2**63),
    "a large number among many": [*range(20), 2**63],
    "no number": math.nan,
    "infinity": -math.inf,
    "infinity among many": [*LONG, math.inf],
    "infinity among others": [*LONG, 1, "a", math.inf],
    "a tag": {"$": 1},
    "a key that is no text": {1: 2},
    "a key of a subclass": {Text("a"): 1},
    "an object held twice": [SHARED, SHARED],
    "itself": cycle(),
    "too many levels": nested(151),
    "a subclass of dict": OrderedDict(a=1),
    "a set": {1},
    "a class": int,
    "an exception": ValueError("a"),
    "a missing field": without("b"),
    "a missing private attribute": without_private(),
    "an undeclared field": Open(a=1, more=2),
    "a class with a state of its own": Stateful(),
    "a class with slots": Slotted(),
    "a local class": local(),
    "a registered class": Registered(),
    "a value without truth": Raising(),
    "a model of a library of its own": c.Private(n=1),
}


@pytest.mark.parametrize("value", ODD.values(), ids=ODD.keys())
def test_what_is_not_plain_is_left_to_the_general_way(value: Any) -> None:
    for whole in (value, [value], Holding(a=value), StopEvent(result=value), tick_of(StartEvent(), value)):
        assert plain_texts().text(whole) is None
        assert_equal_ways(whole)


def test_whatever_a_value_raises_is_said_by_the_general_way() -> None:
    event = Holding()
    object.__setattr__(event, "__pydantic_fields_set__", {1, "a"})
    assert plain_texts().text(event) is None
    assert written(SHORT.dumps, event).endswith("register its type with workflow_server.register_type")


def test_the_deepest_value_goes_either_way() -> None:
    for whole in (nested(150), Holding(a=nested(149)), {"a": nested(149)}):
        assert plain_texts().text(whole) == text_of(Codec().encode(whole))
    for whole in (nested(151), Holding(a=nested(150)), {"a": nested(150)}):
        assert plain_texts().text(whole) is None


def test_a_type_that_is_registered_later_leaves_the_short_way() -> None:
    class Later(BaseModel):
        a: int = 1

    Later.__qualname__, Later.__module__ = "Later", __name__
    globals()["Later"] = Later
    codec = Codec()
    before = codec.dumps(Later())
    register_type(Later, encode=lambda value: value.a, decode=lambda a: Later(a=a))
    assert codec.dumps(Later()) == text_of(codec.encode(Later())) != before
