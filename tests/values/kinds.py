"""The kinds of value that are kept: one list for the end-to-end tests and for the table of docs/guide.md."""

from __future__ import annotations

import datetime as dt
import decimal
import fractions
import ipaddress
import operator
import pathlib
import re
import types
import uuid
import zoneinfo
from collections import Counter, OrderedDict, UserDict, defaultdict, deque
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy
from pydantic import AnyUrl, ByteSize, Secret, SecretBytes, SecretStr
from pydantic_core import PydanticSerializationError, to_json

from tests.values import classes as c
from workflow_server import register_type

BY_VALIDATOR = object()
"""No JSON makes such a value of a start event's field by itself: a validator of the field makes it."""


class Kind(NamedTuple):
    """One kind of value."""

    name: str
    """As docs/guide.md has it."""
    make: Callable[[], Any]
    """Makes an example, equal to every other one."""
    annotation: Any = Any
    """A field's type."""
    json: Any = BY_VALIDATOR
    """The JSON that a client sends for the example in a start event."""

    @property
    def key(self) -> str:
        """The name as an identifier."""
        return re.sub(r"\W+", "_", self.name).strip("_").lower()

    @property
    def in_result(self) -> bool:
        """True if pydantic writes it as JSON, so that clients can read it in a result."""
        try:
            to_json(self.make())
        except (PydanticSerializationError, ValueError):
            return False
        return True


register_type(c.Money, encode=lambda money: money.cents, decode=c.Money)

BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
WHEN = dt.datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=BERLIN)


def with_attributes(value: Any, **attributes: Any) -> Any:
    """The value, with these attributes set."""
    for name, item in attributes.items():
        setattr(value, name, item)
    return value


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    """An exception that was raised and caught."""
    try:
        raise error from cause
    except type(error) as caught:
        return caught


def counted_up() -> c.Computed:
    """A model with a field of its own and a cached one."""
    model = c.Computed(n=2)
    assert model.slow
    return model


def circle() -> c.Node:
    """Objects that refer to each other."""
    first, second = c.Node("first"), c.Node("second")
    first.others, second.parent = [first, second], first
    second.others = [first.others, (first,)]
    return first


def private() -> c.Private:
    """A model with private attributes."""
    model = c.Private(n=1)
    model._cache["a"] = (1,)
    return model


KINDS: list[Kind] = [
    Kind("None", lambda: None, None, None),
    Kind("bool", lambda: True, bool, True),
    Kind("int of any size", lambda: [0, -5, 2**63, -(2**200)], list[int], [0, -5, str(2**63), str(-(2**200))]),
    Kind("float", lambda: [1.5, -0.0, 1e308], list[float], [1.5, -0.0, 1e308]),
    Kind("NaN", lambda: float("nan"), float, "NaN"),
    Kind("infinities", lambda: [float("inf"), float("-inf")], list[float], ["inf", "-inf"]),
    Kind("complex", lambda: complex(1.5, -0.0), complex, "1.5-0j"),
    Kind("str", lambda: "a\0ä😀", str, "a\0ä😀"),
    Kind("str with lone surrogates", lambda: "a\ud800\udc00b"),
    Kind("bytes", lambda: b"a\0b", bytes, "a\0b"),
    Kind("bytes that are not UTF-8", lambda: b"\xff\0"),
    Kind("bytearray", lambda: bytearray(b"ab")),
    Kind("date", lambda: dt.date(2026, 1, 2), dt.date, "2026-01-02"),
    Kind("datetime", lambda: dt.datetime(2026, 1, 2, 3, 4, 5, 6), dt.datetime, "2026-01-02T03:04:05.000006"),
    Kind("datetime in UTC", lambda: dt.datetime(2026, 1, 2, tzinfo=dt.UTC)),
    Kind("datetime with ZoneInfo and fold", lambda: WHEN),
    Kind("time", lambda: dt.time(1, 2, 3, fold=1)),
    Kind("timedelta", lambda: dt.timedelta(days=-1, microseconds=3), dt.timedelta, -86399.999997),
    Kind("timezone", lambda: dt.timezone(dt.timedelta(hours=5), "X")),
    Kind("ZoneInfo", lambda: BERLIN, zoneinfo.ZoneInfo, "Europe/Berlin"),
    Kind("Decimal", lambda: decimal.Decimal("1.10"), decimal.Decimal, "1.10"),
    Kind("Fraction", lambda: fractions.Fraction(1, 3), fractions.Fraction, "1/3"),
    Kind("UUID", lambda: uuid.UUID(int=5), uuid.UUID, str(uuid.UUID(int=5))),
    Kind("Path", lambda: pathlib.Path("/a/b"), pathlib.Path, "/a/b"),
    Kind(
        "IP addresses, interfaces and networks",
        lambda: [ipaddress.ip_address("::1"), ipaddress.ip_network("10.0.0.0/8")],
        list[ipaddress.IPv6Address | ipaddress.IPv4Network],
        ["::1", "10.0.0.0/8"],
    ),
    Kind("re.Pattern with flags", lambda: re.compile("a+", re.I | re.M)),
    Kind("Enum, and its aliases", lambda: [c.Color.CRIMSON, c.Color.BLUE], list[c.Color], ["red", "blue"]),
    Kind("Enum that is a str or an int", lambda: [c.StrColor.RED, c.Level.HIGH]),
    Kind("StrEnum", lambda: c.Animal.CAT, c.Animal, "cat"),
    Kind("Enum inside a class", lambda: c.Outer.Inner.X, c.Outer.Inner, 1),
    Kind("Flag and IntFlag", lambda: c.Rights.READ | c.Rights.RUN, c.Rights, 5),
    Kind("tuple", lambda: (1, ("a", None)), tuple[int, tuple[str, None]], [1, ["a", None]]),
    Kind("named tuple", lambda: c.Point(1, 2), c.Point, {"x": 1, "y": 2}),
    Kind("set", lambda: {1, 2}, set[int], [1, 2]),
    Kind("frozenset", lambda: frozenset({("a", 1)}), frozenset[tuple[str, int]], [["a", 1]]),
    Kind("list in lists", lambda: [[1], [[]]], list[Any], [[1], [[]]]),
    Kind("deque", lambda: deque([1, 2], 3)),
    Kind(
        "dict with keys of any type",
        lambda: {1: "int", "1": "str", 1.5: 1, None: 1, (1, "a"): 1, c.Color.RED: 1, b"x": 1},
    ),
    Kind("dict with keys of one type", lambda: {1: "one", 2: "two"}, dict[int, str], {"1": "one", "2": "two"}),
    Kind(
        "dict that looks like a marker",
        lambda: {"$": "m", "c": "os:system", "__is_pydantic": True, "qualified_name": "os.system"},
        dict[str, Any],
        {"$": "m", "c": "os:system", "__is_pydantic": True, "qualified_name": "os.system"},
    ),
    Kind("defaultdict", lambda: defaultdict(list, {"a": [1]})),
    Kind("OrderedDict", lambda: OrderedDict(b=1, a=2), OrderedDict[str, int], {"b": 1, "a": 2}),
    Kind("Counter", lambda: Counter("aab"), Counter[str], {"a": 2, "b": 1}),
    Kind("UserDict", lambda: UserDict(a=1)),
    Kind("MappingProxyType", lambda: types.MappingProxyType({"a": 1})),
    Kind("SimpleNamespace", lambda: types.SimpleNamespace(a=(1,))),
    Kind("subclass of str", lambda: c.MyStr("a")),
    Kind("subclass of int", lambda: c.MyInt(3)),
    Kind("subclass of list, with attributes", lambda: with_attributes(c.MyList([1]), more=2)),
    Kind("subclass of dict", lambda: c.MyDict({1: 2})),
    Kind("subclass of datetime", lambda: c.MyDateTime(2026, 1, 1, tzinfo=BERLIN)),
    Kind("range and slice", lambda: [range(1, 5), slice(1, 2)]),
    Kind("dataclass", lambda: c.Plain((1,), [{2}])),
    Kind("frozen dataclass with init=False", lambda: c.Frozen([1]), c.Frozen, {"a": [1]}),
    Kind("dataclass with slots", lambda: c.FrozenSlotted({1})),
    Kind("dataclass with InitVar", lambda: c.WithInitVar(1, seed=5)),
    Kind("generic dataclass", lambda: c.Box[int](3)),
    Kind("attrs class", lambda: c.AttrsSlots((1,), [2])),
    Kind("frozen attrs class", lambda: c.AttrsFrozen((1,))),
    Kind("object of an ordinary class", lambda: c.Bare(a=(1,))),
    Kind("object with slots", lambda: c.SlotsAndMore(1, (2,))),
    Kind("objects that refer to each other", circle),
    Kind("pydantic model", lambda: c.Person(name="a", more=[1]), c.Person, {"name": "a", "more": [1]}),
    Kind(
        "subclass in a field of its base",
        lambda: c.Holder(base=c.Employee(name="a"), any=c.Employee(name="b"), either=c.Dog(name="c")),
    ),
    Kind("model with aliases and excluded and strict fields", lambda: c.Aliased(number=5), c.Aliased, {"number": 5}),
    Kind("model with undeclared fields", lambda: c.Extras(**{"n": 1, "$": 2, "x": (3,)})),
    Kind("model with private attributes", private),
    Kind("model with computed and cached fields", counted_up),
    Kind(
        "model whose validators change what they get",
        lambda: c.Validated(n=1, kind="ab"),
        c.Validated,
        {"n": 1, "kind": "ab"},
    ),
    Kind("model made without validation", lambda: c.Person.model_construct(age="no number")),  # type: ignore[call-arg,arg-type]
    Kind("model with a Json field", lambda: c.Jsonic(parsed="[1]"), c.Jsonic, {"parsed": "[1]"}),
    Kind(
        "discriminated union",
        lambda: c.Drawing(shapes=[c.Square(shape="square", side=2)]),
        c.Drawing,
        {"shapes": [{"shape": "square", "side": 2}]},
    ),
    Kind(
        "generic model",
        lambda: c.Page[int](items=[1], following=c.Page[int](items=[])),
        c.Page[int],
        {"items": [1], "following": {"items": []}},
    ),
    Kind(
        "generic of generics",
        lambda: c.Pair[str, c.Page[int | None]](key="a", value=c.Page[int | None](items=[None])),
        c.Pair[str, c.Page[int | None]],
        {"key": "a", "value": {"items": [None]}},
    ),
    Kind("root model", lambda: c.Numbers([1, 2]), c.Numbers, [1, 2]),
    Kind("model of create_model", lambda: c.Made(n=3), c.Made, {"n": 3}),
    Kind(
        "model with a field class_name",
        lambda: c.WithClassName(class_name="other"),
        c.WithClassName,
        {"class_name": "other"},
    ),
    Kind(
        "pydantic dataclass",
        lambda: c.PydanticData(dt.datetime(2026, 1, 1), {"a"}),
        c.PydanticData,
        {"when": "2026-01-01T00:00:00", "tags": ["a"]},
    ),
    Kind("SecretStr", lambda: SecretStr("hush"), SecretStr, "hush"),
    Kind("SecretBytes", lambda: SecretBytes(b"hush"), SecretBytes, "hush"),
    Kind("Secret of another type", lambda: Secret[int](5)),
    Kind(
        "secret inside a model",
        lambda: c.Login(user="a", password=SecretStr("hush")),
        c.Login,
        {"user": "a", "password": "hush"},
    ),
    Kind("URL", lambda: AnyUrl("http://a/b?c"), AnyUrl, "http://a/b?c"),
    Kind("ByteSize", lambda: ByteSize(5), ByteSize, 5),
    Kind("exception", lambda: with_attributes(ValueError("x", (1,)), rows=[1])),
    Kind("exception with a cause and notes", lambda: raised(KeyError("k"), c.DataError([1]))),
    Kind("exception that wants arguments", lambda: c.ArgumentsError(3, detail="d")),
    Kind("OSError with its file", lambda: c.FileError(2, "none", "f")),
    Kind("exception group", lambda: ExceptionGroup("g", [ValueError(1), c.QuietError(2)])),
    Kind("class and type expression", lambda: [int, c.Color, list[int], int | None, Literal["a"]]),
    Kind(
        "function of a module, partial, method", lambda: [c.a_function, c.Person.model_validate, operator.itemgetter(1)]
    ),
    Kind("component (to_dict, from_dict)", lambda: c.Component([1, (2,)])),
    Kind("type of register_type", lambda: c.Money(5)),
    Kind("numpy array", lambda: numpy.arange(6, dtype="f4").reshape(2, 3)),
    Kind("numpy scalar", lambda: [numpy.float32(1.5), numpy.float64("nan"), numpy.int64(3)]),
]
