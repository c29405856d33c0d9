"""Classes of every kind whose values users put into events and state."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import typing
from collections import Counter, OrderedDict, UserDict, UserList, UserString, defaultdict, deque, namedtuple
from functools import cached_property
from typing import Annotated, Any, ClassVar, Generic, Literal, TypeVar

import attrs
import numpy
import pydantic
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    Json,
    PrivateAttr,
    RootModel,
    SecretStr,
    SerializeAsAny,
    computed_field,
    field_validator,
    model_validator,
)
from workflows.events import Event

T = TypeVar("T")
K = TypeVar("K")

# -- Enums ---------------------------------------------------------------------------------------


class Color(enum.Enum):
    RED = "red"
    CRIMSON = "red"  # noqa: PIE796 an alias is meant
    BLUE = "blue"


class StrColor(str, enum.Enum):  # noqa: UP042 the older kind is meant
    RED = "red"


class Animal(enum.StrEnum):
    CAT = "cat"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 3


class Rights(enum.Flag):
    READ = enum.auto()
    WRITE = enum.auto()
    RUN = enum.auto()


class IntRights(enum.IntFlag):
    READ = 4
    WRITE = 2


class Planet(enum.Enum):
    EARTH = (5.97, 6.37)

    def __init__(self, mass: float, radius: float) -> None:
        self.mass = mass
        self.radius = radius


Functional = enum.Enum("Functional", ["ONE", "TWO"])


class Outer:
    class Inner(enum.Enum):
        X = 1

    class Deeper:
        class Model(BaseModel):
            n: int = 0


class Unhashed(enum.Enum):
    LIST = [1, 2]  # noqa: RUF012 a member with such a value is meant
    DICT = {"a": 1}  # noqa: RUF012


# -- Of Python's own -----------------------------------------------------------------------------


class MyStr(str):
    pass


class MyInt(int):
    pass


class MyFloat(float):
    pass


class MyBytes(bytes):
    pass


class MyList(list[Any]):
    pass


class MyDict(dict[Any, Any]):
    pass


class MySet(set[Any]):
    pass


class MyByteArray(bytearray):
    note: str


class MyFrozenSet(frozenset[Any]):
    pass


class MyTuple(tuple[Any, ...]):
    pass


class MyDeque(deque[Any]):
    pass


class MyCounter(Counter[Any]):
    pass


class MyOrdered(OrderedDict[Any, Any]):
    pass


class MyDefault(defaultdict[Any, Any]):
    pass


class Shouting(dict[str, Any]):
    """A dictionary that answers otherwise than what it holds."""

    def __getitem__(self, key: str) -> Any:
        return str(super().__getitem__(key)).upper()

    def items(self) -> Any:
        return [(key, self[key]) for key in self]


class Picky(dict[str, Any]):
    """A dictionary that wants arguments, and does more when one is set."""

    def __init__(self, owner: str) -> None:
        super().__init__()
        self.owner = owner
        self.sets = 0

    def __setitem__(self, key: str, value: Any) -> None:
        self.sets += 1
        super().__setitem__(key, value)


class MyDate(dt.date):
    pass


class MyDateTime(dt.datetime):
    pass


class MyUserDict(UserDict[str, Any]):
    pass


class MyUserList(UserList[Any]):
    pass


class MyUserString(UserString):
    pass


class Point(typing.NamedTuple):
    x: int
    y: int = 0


Old = namedtuple("Old", "a b")


class Berlin(dt.tzinfo):
    """A time zone of one's own."""

    def utcoffset(self, when: dt.datetime | None) -> dt.timedelta:
        return dt.timedelta(hours=1)

    def dst(self, when: dt.datetime | None) -> dt.timedelta:
        return dt.timedelta(0)

    def tzname(self, when: dt.datetime | None) -> str:
        return "Berlin"


# -- Dataclasses ---------------------------------------------------------------------------------


@dataclasses.dataclass
class Plain:
    a: Any
    b: list[Any] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Frozen:
    a: Any = None
    twice: Any = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "twice", (self.a, self.a))


@dataclasses.dataclass(slots=True)
class Slotted:
    a: Any
    b: Any = 2


@dataclasses.dataclass(frozen=True, slots=True)
class FrozenSlotted:
    a: Any
    b: Any = 2


@dataclasses.dataclass(kw_only=True, order=True)
class Keyword:
    a: Any
    b: Any = dataclasses.field(default=None, compare=False, repr=False)


@dataclasses.dataclass
class WithInitVar:
    a: Any
    seed: dataclasses.InitVar[int] = 3
    total: int = dataclasses.field(init=False, default=0)

    def __post_init__(self, seed: int) -> None:
        self.total = seed * 2


@dataclasses.dataclass
class Derived(Plain):
    c: Any = 3


@dataclasses.dataclass
class Box(Generic[T]):
    item: T


@dataclasses.dataclass
class Cached:
    n: int

    @cached_property
    def double(self) -> int:
        return self.n * 2


@pydantic.dataclasses.dataclass
class PydanticData:
    when: dt.datetime
    tags: set[str] = dataclasses.field(default_factory=set)


@pydantic.dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PydanticFrozen:
    n: int = 0


class Bare:
    """An object of an ordinary class."""

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)


class SlotsOnly:
    __slots__ = ("__mine", "a", "b")

    def __init__(self, a: Any) -> None:
        self.a = a
        self.__mine = a

    def mine(self) -> Any:
        return self.__mine


class SlotsAndMore(SlotsOnly):
    def __init__(self, a: Any, more: Any) -> None:
        super().__init__(a)
        self.more = more


class NewWithArguments:
    def __new__(cls, n: int) -> NewWithArguments:
        return super().__new__(cls)

    def __init__(self, n: int) -> None:
        self.n = n


class NewArgs:
    def __new__(cls, n: int) -> NewArgs:
        made = super().__new__(cls)
        made.n = n  # type: ignore[attr-defined]
        return made

    def __getnewargs__(self) -> tuple[Any, ...]:
        return (self.n,)  # type: ignore[attr-defined]


class NewArgsEx:
    def __new__(cls, *, n: int) -> NewArgsEx:
        made = super().__new__(cls)
        made.n = n  # type: ignore[attr-defined]
        return made

    def __getnewargs_ex__(self) -> tuple[Any, ...]:
        return (), {"n": self.n}  # type: ignore[attr-defined]


class WithState:
    """An object that says what of it is kept."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.lock = object()

    def __getstate__(self) -> dict[str, Any]:
        return {"n": self.n}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.n = state["n"]


class Reducing:
    def __init__(self, n: int) -> None:
        self.n = n

    def __reduce__(self) -> Any:
        return Reducing, (self.n,)


class Hashable:
    """An object whose hash is of what it holds."""

    def __init__(self, n: Any) -> None:
        self.n = n

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Hashable) and self.n == other.n

    def __hash__(self) -> int:
        return hash(self.n)


class Property:
    """An attribute behind a property, and one that hides a method of the class."""

    def __init__(self, n: int) -> None:
        self._n = n
        self.__dict__["shout"] = n

    @property
    def n(self) -> int:
        return self._n

    @n.setter
    def n(self, value: int) -> None:
        raise AttributeError("set once")

    def shout(self) -> str:
        return "hey"


class Guarded:
    """An object that lets nobody set or read anything as usual."""

    def __init__(self, n: int) -> None:
        object.__setattr__(self, "n", n)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(name)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return "anything"


class Meta(type):
    pass


class OfMeta(metaclass=Meta):
    def __init__(self, n: int) -> None:
        self.n = n


class Node:
    """An object that refers to others of its kind."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.others: list[Any] = []
        self.parent: Any = None


def a_function(n: int) -> int:
    """Return what it is given."""
    return n


# -- attrs ---------------------------------------------------------------------------------------


@attrs.define
class AttrsSlots:
    a: Any
    b: list[Any] = attrs.field(factory=list)


@attrs.frozen
class AttrsFrozen:
    a: Any
    b: Any = attrs.field(default=1, converter=str)


@attrs.define(slots=False)
class AttrsDict:
    a: Any = attrs.field(validator=attrs.validators.instance_of(int))
    _hidden: int = 3


# -- pydantic ------------------------------------------------------------------------------------


class Cat(BaseModel):
    name: str


class Dog(BaseModel):
    name: str


class Person(BaseModel):
    name: str
    age: int = 0
    more: Any = None


class Employee(Person):
    salary: int = 1


class Holder(BaseModel):
    base: Person
    any: SerializeAsAny[Person]
    either: Cat | Dog
    several: list[Person] = []


class Page(BaseModel, Generic[T]):
    items: list[T]
    following: Page[T] | None = None


class Pair(BaseModel, Generic[K, T]):
    key: K
    value: T


class Numbers(RootModel[list[int]]):
    pass


class FrozenModel(BaseModel):
    model_config = ConfigDict(frozen=True)
    n: int = 0


class Aliased(BaseModel):
    n: int = Field(alias="number")
    hidden: int = Field(default=1, exclude=True)
    strict: int = Field(default=1, strict=True)


class Extras(BaseModel):
    model_config = ConfigDict(extra="allow")
    n: int = 0


class TypedExtras(BaseModel):
    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, dt.date] = Field(init=False)


class Private(BaseModel):
    n: int = 0
    _cache: dict[str, Any] = PrivateAttr(default_factory=dict)
    _unset: int = PrivateAttr()


class Computed(BaseModel):
    n: int = 1

    @computed_field  # type: ignore[prop-decorator]
    @property
    def double(self) -> int:
        return self.n * 2

    @cached_property
    def slow(self) -> int:
        return self.n * 3


class Jsonic(BaseModel):
    parsed: Json[list[int]]
    past: pydantic.PastDatetime = dt.datetime(2020, 1, 1)


class Validated(BaseModel):
    n: Annotated[int, AfterValidator(lambda n: n + 1)]
    kind: str = "x"

    @field_validator("kind")
    @classmethod
    def _double(cls, value: str) -> str:
        return value * 2

    @model_validator(mode="before")
    @classmethod
    def _take(cls, data: Any) -> Any:
        return {"n": data.pop("n"), **data} if isinstance(data, dict) else data


class Circle(BaseModel):
    shape: Literal["circle"] = "circle"
    radius: float = 1.0


class Square(BaseModel):
    shape: Literal["square"] = "square"
    side: float = 1.0


class Drawing(BaseModel):
    shapes: list[Annotated[Circle | Square, Field(discriminator="shape")]]


class Login(BaseModel):
    user: str
    password: SecretStr


class Assigned(BaseModel):
    model_config = ConfigDict(validate_assignment=True)
    n: int = 0
    limit: ClassVar[int] = 3


class Arbitrary(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    bare: Bare


class WithClassName(BaseModel):
    """As the engine's components are: with a field of this name."""

    class_name: str = "x"
    n: int = 0


class SlottedModel(BaseModel):
    __slots__ = ("beside",)
    n: int = 0


Made = pydantic.create_model("Made", n=(int, 0))


# -- Exceptions ----------------------------------------------------------------------------------


class PlainError(Exception):
    pass


class ArgumentsError(Exception):
    """An exception that wants arguments which it does not pass on."""

    def __init__(self, code: int, *, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class QuietError(Exception):
    """An exception that passes nothing on."""

    def __init__(self, code: int) -> None:
        self.code = code


class DataError(ValueError):
    def __init__(self, rows: list[Any]) -> None:
        super().__init__()
        self.rows = rows


@dataclasses.dataclass
class DataclassError(Exception):
    code: int
    where: str = "here"


class FileError(FileNotFoundError):
    pass


class GroupError(ExceptionGroup[Exception]):
    def derive(self, excs: Any) -> GroupError:  # type: ignore[override]
        return GroupError(self.message, excs)


# -- Components ----------------------------------------------------------------------------------


class Component:
    """As llama-index-core's: with ``to_dict`` and ``from_dict``, which takes its argument apart."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items
        self.view = memoryview(b"not kept")

    @classmethod
    def class_name(cls) -> str:
        return "Component"

    def to_dict(self) -> dict[str, Any]:
        return {"store": {"items": self.items}}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Component:
        return cls(data.pop("store").pop("items"))


class Money:
    """A type that is registered."""

    __slots__ = ("_lock", "cents")

    def __init__(self, cents: int) -> None:
        self.cents = cents
        self._lock = memoryview(b"")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Money) and self.cents == other.cents

    def __hash__(self) -> int:
        return hash(self.cents)


class KeywordError(Exception):
    """An exception that is made of keywords alone."""

    def __new__(cls, *, code: int) -> KeywordError:
        return super().__new__(cls)

    def __init__(self, *, code: int) -> None:
        self.code = code


class SlottedError(Exception):
    """An exception that holds something in a slot."""

    __slots__ = ("code",)

    def __init__(self, code: int) -> None:
        super().__init__("slotted")
        self.code = code


class MyArray(numpy.ndarray[Any, Any]):
    """An array with attributes of its own."""


class Typed(Event, Generic[T]):
    """A generic event."""

    item: T
