"""Models as clients read them: as pydantic writes them, but for the numbers that JSON does not have."""

from __future__ import annotations

import dataclasses
import json
import math
from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FieldSerializationInfo,
    Json,
    PlainSerializer,
    RootModel,
    SecretBytes,
    SecretStr,
    SerializeAsAny,
    SerializerFunctionWrapHandler,
    WrapSerializer,
    computed_field,
    field_serializer,
    model_serializer,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic.dataclasses import dataclass as pydantic_dataclass
from typing_extensions import TypedDict
from workflows.events import Event, StopEvent

from workflow_server.protocol.client_json import to_client_json
from workflow_server.protocol.events import EventEnvelope, read_result
from workflow_server.protocol.handlers import HandlerData
from workflow_server.protocol.responses import HandlerResult

NAN, INF = math.nan, math.inf
Item = TypeVar("Item")
CONSTANTS = ConfigDict(ser_json_inf_nan="constants")


class Point(BaseModel):
    x: float | None = None


class PointOfConstants(Point):
    model_config = CONSTANTS


class PointOfStrings(Point):
    model_config = ConfigDict(ser_json_inf_nan="strings")


class Named(Point):
    name: str = "n"


class Holder(BaseModel):
    anything: Any = None
    by_name: dict[str, Any] = {}


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")


class Tree(BaseModel):
    x: float
    branches: list[Tree] = []
    anything: Any = None


class Computing(BaseModel):
    hidden: int = 1

    @computed_field
    def far(self) -> float:
        return -INF

    @field_serializer("hidden")
    def no_number(self, _: int) -> Any:
        return {"is": NAN, "in": PointOfConstants(x=NAN)}


class Wrapping(BaseModel):
    x: float = NAN

    @model_serializer(mode="wrap")
    def wrapped(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {"wrapped": handler(self), "beside": Point(x=NAN)}


class Late(BaseModel):
    model_config = ConfigDict(defer_build=True)
    x: float = NAN


class Numbers(RootModel[list[float]]):
    pass


@dataclasses.dataclass
class Plain:
    x: float | None
    anything: Any = None


@pydantic_dataclass(config=CONSTANTS)
class Checked:
    x: float | None
    anything: Any = None


class Typed(TypedDict):
    x: float | None


class TypedOfConstants(TypedDict):
    __pydantic_config__ = CONSTANTS  # type: ignore[misc]
    x: float


class Pair(NamedTuple):
    a: float
    b: Any


class Real(float):
    pass


class Size(float, Enum):
    unknown = NAN


class Kind(Enum):
    unknown = NAN
    known = 1.5


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    weight: float


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    weight: float


Pet = Annotated[Cat | Dog, Field(discriminator="kind")]


class Loss(Event):
    loss: float


class LossOfConstants(Loss):
    model_config = CONSTANTS


class LossOfStrings(Loss):
    model_config = ConfigDict(ser_json_inf_nan="strings")


class Ended(StopEvent):
    model_config = CONSTANTS
    loss: float


class OwnDump(StopEvent):
    @model_serializer(mode="plain")
    def dumped(self) -> dict[str, Any]:
        return {"loss": NAN, "in": Point(x=NAN)}


class OwnTypedDump(StopEvent):
    @model_serializer(mode="plain")
    def dumped(self) -> Point:
        return Point(x=NAN)


class Camel(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, serialize_by_alias=True)
    some_name: int = 1


class Hexed(BaseModel):
    model_config = ConfigDict(ser_json_bytes="hex", ser_json_timedelta="float")
    raw: bytes = b"\xff"
    anything: Any = timedelta(seconds=1)


class Shape(BaseModel):
    model_config = ConfigDict(polymorphic_serialization=True)
    x: float = 1.0


class Circle(Shape):
    radius: float = 2.0


class Page(BaseModel, Generic[Item]):
    items: list[Item]
    following: Page[Item] | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Slotted:
    a: int
    b: Any = None


class Serialized(BaseModel):
    a: int = 1
    b: Annotated[int | None, WrapSerializer(lambda value, handler: [handler(value)], when_used="json-unless-none")] = 2

    @field_serializer("a", mode="wrap")
    def tell(self, value: int, handler: SerializerFunctionWrapHandler, info: FieldSerializationInfo) -> Any:
        return {info.field_name: handler(value), "b": self.b}

    @model_validator(mode="wrap")
    @classmethod
    def take(cls, value: Any, handler: Any) -> Any:
        return handler(value)


def holding(annotation: Any, value: Any) -> Event:
    """An event with a declared field."""
    kind = type("Holding", (Event,), {"__annotations__": {"v": annotation}, "__module__": __name__})
    return kind(v=value)  # type: ignore[no-any-return]


def numbers() -> Iterator[Any]:
    yield NAN
    yield Point(x=NAN)


def undeclared(value: Any) -> Event:
    return Event(v=value)


VALUES: dict[str, tuple[Any, Any, Any]] = {
    "float": (float, NAN, "NaN"),
    "float that is no plain one": (Any, Real(INF), "Infinity"),
    "optional": (float | None, -INF, "-Infinity"),
    "model": (Point, Point(x=NAN), {"x": "NaN"}),
    "model that writes constants": (PointOfConstants, PointOfConstants(x=NAN), {"x": "NaN"}),
    "model that writes strings": (PointOfStrings, PointOfStrings(x=NAN), {"x": "NaN"}),
    "models in models": (
        Holder,
        Holder(anything=Holder(anything=[NAN, PointOfConstants(x=INF)]), by_name={"a": Holder(anything=NAN)}),
        {
            "anything": {"anything": ["NaN", {"x": "Infinity"}], "by_name": {}},
            "by_name": {"a": {"anything": "NaN", "by_name": {}}},
        },
    ),
    "extra fields": (Open, Open(a=NAN, b=Holder(anything=NAN)), {"a": "NaN", "b": {"anything": "NaN", "by_name": {}}}),
    "recursive": (
        Tree,
        Tree(x=NAN, branches=[Tree(x=INF, anything=Tree(x=NAN))]),
        {
            "x": "NaN",
            "branches": [
                {"x": "Infinity", "branches": [], "anything": {"x": "NaN", "branches": [], "anything": None}}
            ],
            "anything": None,
        },
    ),
    "computed": (Computing, Computing(), {"hidden": {"is": "NaN", "in": {"x": "NaN"}}, "far": "-Infinity"}),
    "wrapped": (Wrapping, Wrapping(), {"wrapped": {"x": "NaN"}, "beside": {"x": "NaN"}}),
    "built late": (Late, Late.model_construct(x=NAN), {"x": "NaN"}),
    "root model": (Numbers, Numbers([NAN, 1.0]), ["NaN", 1.0]),
    "dataclass": (Plain, Plain(NAN, Point(x=NAN)), {"x": "NaN", "anything": {"x": "NaN"}}),
    "pydantic dataclass": (Checked, Checked(NAN, Point(x=INF)), {"x": "NaN", "anything": {"x": "Infinity"}}),
    "typed dict": (Typed, {"x": NAN}, {"x": "NaN"}),
    "typed dict that writes constants": (TypedOfConstants, {"x": NAN}, {"x": "NaN"}),
    "named tuple": (Pair, Pair(NAN, Point(x=NAN)), ["NaN", {"x": "NaN"}]),
    "list": (list[float], [NAN, 1.0], ["NaN", 1.0]),
    "bare list": (list, [Point(x=NAN)], [{"x": "NaN"}]),
    "tuple": (tuple[float, ...], (NAN,), ["NaN"]),
    "bare tuple": (tuple, (Point(x=NAN),), [{"x": "NaN"}]),
    "set": (set[float], {NAN}, ["NaN"]),
    "frozenset": (frozenset[float | None], frozenset([NAN]), ["NaN"]),
    "deque": (deque[float | None], deque([NAN]), ["NaN"]),
    "mapping": (Mapping[str, float | None], {"a": NAN}, {"a": "NaN"}),
    "ordered dict": (OrderedDict[str, float], OrderedDict(a=NAN), {"a": "NaN"}),
    "bare dict": (dict, {"a": NAN, INF: Point(x=NAN)}, {"a": "NaN", "Infinity": {"x": "NaN"}}),
    "keys": (dict[float, float], {NAN: NAN, -INF: 1.0, 1.5: 2.0}, {"NaN": "NaN", "-Infinity": 1.0, "1.5": 2.0}),
    "optional keys": (dict[float | None, int], {NAN: 1, None: 2}, {"NaN": 1, "None": 2}),
    "keys that are enums": (dict[Kind, int], {Kind.unknown: 1, Kind.known: 2}, {"NaN": 1, "1.5": 2}),
    "keys that only look so": (dict[str, int], {"nan": 1, "inf": 2, "-inf": 3}, {"nan": 1, "inf": 2, "-inf": 3}),
    "subclass of its own schema": (Shape, Circle(x=NAN, radius=INF), {"x": "NaN", "radius": "Infinity"}),
    "generic": (Page[float], Page[float](items=[NAN]), {"items": ["NaN"], "following": None}),
    "slotted dataclass": (Slotted, Slotted(1, [NAN, Point(x=NAN)]), {"a": 1, "b": ["NaN", {"x": "NaN"}]}),
    "keys of several types": (dict[tuple[int, str] | float, int], {(1, "a"): 1, NAN: 2}, {"1,a": 1, "NaN": 2}),
    "enum": (Kind, Kind.unknown, "NaN"),
    "enum of floats": (Size, Size.unknown, "NaN"),
    "union": (float | Point, NAN, "NaN"),
    "union by a tag": (Pet, Dog(weight=NAN), {"kind": "dog", "weight": "NaN"}),
    "any subclass": (SerializeAsAny[Point], Named(x=NAN), {"x": "NaN", "name": "n"}),
    "event": (Loss, Loss(loss=NAN), {"loss": "NaN"}),
    "event with undeclared fields": (Event, Event(v=[NAN]), {"_data": {"v": ["NaN"]}}),
    "text that only looks so": (Any, ["NaN", "null", '"nan":', "Infinity"], ["NaN", "null", '"nan":', "Infinity"]),
}  # fmt: skip


@pytest.mark.parametrize("name", VALUES)
def test_nan_and_infinities_are_strings_in_every_kind_of_value(name: str) -> None:
    annotation, value, wanted = VALUES[name]
    for event, path in (
        (holding(annotation, value), "v"),
        (undeclared(value), "_data"),
        (StopEvent(result=value), "result"),
        (undeclared([[value]]), "_data"),
        (undeclared({"in": Holder(anything={"a": value})}), "_data"),
    ):
        written = strict(to_client_json(event))[path]
        found = [wanted, {"v": wanted}, {"v": [[wanted]]}, {"v": {"in": {"anything": {"a": wanted}, "by_name": {}}}}]
        assert written in found


def strict(text: str) -> Any:
    """Parse with a parser that accepts standard JSON alone."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} in {text}")

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len(dict(pairs)) == len(pairs), f"a key stands twice in {text}"
        return dict(pairs)

    return json.loads(text, parse_constant=refuse, object_pairs_hook=once)


@pytest.mark.parametrize(
    ("event", "wanted"),
    [
        (Loss(loss=NAN), {"loss": "NaN"}),
        (LossOfConstants(loss=-INF), {"loss": "-Infinity"}),
        (LossOfStrings(loss=INF), {"loss": "Infinity"}),
        (LossOfConstants(loss=1.0, more=[NAN]), {"loss": 1.0, "_data": {"more": ["NaN"]}}),
        (Ended(loss=NAN), {"loss": "NaN"}),
        (Ended(loss=NAN, result={"a": NAN}), {"loss": "NaN", "result": {"a": "NaN"}}),
        (OwnDump(), {"loss": "NaN", "in": {"x": "NaN"}}),
        (OwnTypedDump(), {"x": "NaN"}),
        (holding(Annotated[int, PlainSerializer(lambda _: NAN)], 1), {"v": "NaN"}),
        (holding(Annotated[int, PlainSerializer(lambda _: NAN, return_type=float)], 1), {"v": "NaN"}),
        (Event(v=numbers()), {"_data": {"v": ["NaN", {"x": "NaN"}]}}),
    ],
)
def test_nan_and_infinities_of_any_event_are_strings(event: Event, wanted: Any) -> None:
    assert strict(to_client_json(event)) == wanted


@pytest.mark.parametrize("kind", [Loss, LossOfConstants, LossOfStrings])
def test_a_typed_client_reads_the_number_back(kind: type[Loss]) -> None:
    for number in (NAN, INF, -INF):
        read = kind.model_validate_json(to_client_json(kind(loss=number))).loss
        assert read == number or (math.isnan(read) and math.isnan(number))


class Features(Event):
    """Features that pydantic offers for describing values."""

    camel: list[Camel] = Field([Camel()])
    hexed: Hexed = Hexed()
    shapes: list[Shape] = Field([Circle(), Shape()])
    page: Page[int] = Page[int](items=[1], following=Page[int](items=[2]))
    pages: Page[Any] = Page[Any](items=[Camel(), Circle()])
    slotted: Slotted = Slotted(1, Camel())
    serialized: Serialized | Camel = Serialized()
    parsed: Json[list[float]] = Field("[1.5]", validate_default=True)
    anything: Any = Field([Camel(), Hexed(), Circle(), Slotted(1, Hexed()), Serialized()])


class Everything(Event):
    text: str = "é\u2028"
    count: int = 2**70
    part: float = 1e22
    when: datetime = datetime(2026, 1, 2, tzinfo=UTC)
    long: timedelta = timedelta(seconds=1.5)
    raw: bytes = b"raw"
    exact: Decimal = Decimal("1.10")
    identity: UUID = UUID(int=1)
    secret: SecretStr = SecretStr("hush")
    secrets: list[SecretBytes] = Field([SecretBytes(b"hush")])
    renamed: int = Field(1, serialization_alias="other")
    hidden: int = Field(1, exclude=True)
    base: Point = Named(x=1.0)
    any_base: SerializeAsAny[Point] = Named(x=1.0)
    base_first: Point | Named = Named(x=1.0)
    sub_first: Named | Point = Point(x=1.0)
    other_keys: dict[datetime, int] = Field({datetime(2026, 1, 2, tzinfo=UTC): 1})
    many_keys: dict[int | str | bool, None] = Field({1: None, "a": None})
    pairs: dict[tuple[float, int], int] = Field({(0.5, 1): 1})
    pairs_and_more: dict[tuple[int, str] | float | None, int] = Field({(1, "a"): 1, 0.5: 2, None: 3})
    tree: Tree = Tree(x=1.0, branches=[Tree(x=2.0)])


@pytest.mark.parametrize(
    "model",
    [
        Features(),
        Features(more=Features().anything),
        Everything(),
        Everything(more=SecretStr("hush"), most=[SecretBytes(b"hush"), Holder(anything=SecretStr("hush"))]),
        StopEvent(result=Everything()),
        StopEvent(result=None),
        StopEvent(result=[Plain(1.0), Checked(1.0, {1: {2.5: (None, b"x")}}), {date(2026, 1, 2): Kind.known}]),
        Event(v=Numbers([1.0]), w=deque([{1}]), y=Kind.known),
        Event(type=1, fields={"type": "any", "schema": {"type": "dict"}}),
    ],
)  # fmt: skip
def test_all_else_is_as_pydantic_writes_it_and_secrets_masked(model: BaseModel) -> None:
    written = to_client_json(model)
    assert written == model.model_dump_json()
    assert "hush" not in written


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=20
)


@given(JSON)
def test_what_is_json_is_written_as_pydantic_writes_it(value: Any) -> None:
    for model in (Event(v=value), StopEvent(result=value), Event(v=Holder(anything=value))):
        assert to_client_json(model) == model.model_dump_json()


def test_a_circle_is_refused_as_pydantic_refuses_it() -> None:
    circle: list[Any] = [Point()]
    circle.append(circle)
    with pytest.raises(ValueError, match="Circular reference"):
        to_client_json(Event(v=circle))


def test_results_stored_with_constants_are_answered_as_strings() -> None:
    result, problem = read_result('{"value":{"result":{"loss":NaN}},"type":"StopEvent"}')
    assert problem is None
    times = {"started_at": "", "updated_at": None, "completed_at": None}
    handler = HandlerData(
        handler_id="h", workflow_name="w", run_id="r", error=None, result=result, status="completed", **times
    )
    assert strict(handler.model_dump_json())["result"]["value"] == {"result": {"loss": "NaN"}}
    assert strict(HandlerResult.of(handler).model_dump_json())["result"] == {"loss": "NaN"}


def test_the_envelope_of_an_event_given_to_the_store_has_strings() -> None:
    assert EventEnvelope.from_event(StopEvent(result=[Point(x=NAN), NAN])).value == {"result": [{"x": "NaN"}, "NaN"]}
