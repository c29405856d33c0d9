"""Refusals in one line: place, type and remedy for what cannot be kept, and no value of what cannot be read."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from pydantic import BaseModel, PrivateAttr
from workflows.events import StartEvent, StopEvent

from tests.values import classes as c
from workflow_server.errors import Unstorable
from workflow_server.execution.codec import PROOFS, Codec, Undecodable, register_type

LOCK = threading.Lock()


def local() -> Any:
    class Local(BaseModel):
        n: int = 1

    return Local()


def make_once(number: int) -> Once:
    return Once(number + 1)


class Once:
    """An object that says how it is made again, and says it wrongly."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __reduce__(self) -> Any:
        return make_once, (self.number,)


class Raising:
    def __reduce__(self) -> Any:
        raise RuntimeError("secret")


class Owned:
    """A key of the dictionary that it has itself: it is hashed by what it has."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.owner: dict[Owned, int] = {}

    def __hash__(self) -> int:
        return hash(self.name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Owned) and other.name == self.name


def owned() -> Owned:
    key = Owned("a")
    key.owner[key] = 1
    return key


class Ending:
    """An object whose code does to its caller what no value should."""

    raises: type[BaseException] | None = None

    def __init__(self) -> None:
        self.number = 1

    def __getstate__(self) -> dict[str, int]:
        if Ending.raises is not None:
            raise Ending.raises("secret")
        return vars(self)

    def __setstate__(self, state: dict[str, int]) -> None:
        if Ending.raises is not None:
            raise Ending.raises("secret")
        vars(self).update(state)


ENDS = [SystemExit, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError, BaseException]


@pytest.mark.parametrize("end", ENDS)
def test_the_code_of_a_value_ends_nothing(monkeypatch: pytest.MonkeyPatch, end: type[BaseException]) -> None:
    kept = Codec().dumps(Ending())
    monkeypatch.setattr(Ending, "raises", end)
    with pytest.raises(Unstorable, match=f"X cannot be stored: reading its contents raised {end.__name__}"):
        Codec().dumps(Ending(), "X")
    with pytest.raises(Undecodable, match="its class no longer accepts the stored state"):
        Codec().loads(kept)


def test_a_key_hashed_before_it_is_whole_is_refused_each_time() -> None:
    codec = Codec()
    for _ in range(PROOFS + 1):
        with pytest.raises(Unstorable, match="cannot be read back"):
            codec.dumps(owned(), "X")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": [(1, {2: LOCK})]}, r"X\['a'\]\[0\]\[1\]\[2\] cannot be stored: it is of type _thread.lock, and cannot"),
        (c.Person(name="a", more=[object, lambda: 1]), r"X.more\[1\] cannot be stored: it is of type function, and is"),
        (c.Bare(**{"a\nb": LOCK}), r"X.'a\\nb' cannot be stored"),
        ({"a\nb": LOCK}, r"X\['a\\nb'\] cannot be stored"),
        ({"k" * 500: LOCK}, r"X\['k+… ?\]? ?.*cannot be stored"),
        ({LOCK: 1}, r"X.key\(lock\) cannot be stored"),
        (local(), "X cannot be stored: it is of type .*Local, and is of a class that cannot be found by its name"),
        (c.PlainError([local()]), r"X.args\[0\]\[0\] cannot be stored"),
        ((n for n in "ab"), "X cannot be stored: it is of type generator"),
        (
            Once(1),
            "X cannot be stored: .* would come back as a different value( in 'number')?",
        ),
        (Raising(), "X cannot be stored: it is of type .*Raising, and cannot be copied"),
    ],
)
def test_a_refusal_names_place_type_and_remedy_in_one_line(value: Any, message: str) -> None:
    with pytest.raises(Unstorable, match=message) as refused:
        Codec().encode(value, "X")
    assert "\n" not in str(refused.value)
    assert "secret" not in str(refused.value)
    assert "register_type" in str(refused.value) or "define it at the top level of a module" in str(refused.value)


def test_a_model_is_where_a_user_looks_first() -> None:
    with pytest.raises(Unstorable, match=r"^StartEvent\.handle\[0\] cannot be stored"):
        Codec().dumps(StartEvent(handle=[LOCK]), "StartEvent")


class Account(BaseModel):
    """A model that shows one of its private attributes as a property."""

    _owner: Any = PrivateAttr(default=None)
    _lock: Any = PrivateAttr(default=None)

    @property
    def owner(self) -> Any:
        return self._owner


def account(name: str) -> Account:
    made = Account()
    setattr(made, name, LOCK)
    return made


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (StopEvent(result={"a": LOCK}), "StopEvent.result['a']"),
        (account("_owner"), "Account.owner"),
        (account("_lock"), "Account._lock"),
    ],
)
def test_a_private_attribute_is_named_as_the_property_that_shows_it(value: BaseModel, place: str) -> None:
    with pytest.raises(Unstorable) as refused:
        Codec().dumps(value, type(value).__name__)
    assert refused.value.what == place


class Wary:
    """A component that is read back only where its number is small."""

    def __init__(self, number: int) -> None:
        self.number, self.lock = number, LOCK

    @classmethod
    def class_name(cls) -> str:
        return "Wary"

    def to_dict(self) -> dict[str, Any]:
        return {"number": self.number} if self.number < 10 else {"big": self.number}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Wary:
        return cls(data["number"])


def test_the_first_values_of_each_shape_are_read_back_first() -> None:
    codec = Codec()
    for number in range(5):
        codec.encode(Wary(number))
    with pytest.raises(Unstorable, match=r"\.lock cannot be stored: it is of type _thread.lock"):
        codec.encode(Wary(10))


class Changed:
    def __init__(self, secret: str) -> None:
        self.secret, self.lock = secret, LOCK


def refuse(told: str) -> Changed:
    if READABLE:
        return Changed(told)
    raise ValueError(f"{told} is a secret")


READABLE = [True]


def test_what_cannot_be_read_is_told_without_values_and_modules() -> None:
    register_type(Changed, encode=lambda changed: changed.secret, decode=refuse)
    codec = Codec()
    texts = [codec.dumps(Changed("hush")), codec.dumps(c.Color.RED), codec.dumps(c.Person(name="hush"))]
    READABLE.clear()
    gone = [texts[1].replace("RED", "GONE"), texts[2].replace("Person", "Gone")]
    broken = [texts[0], *gone, "{", '{"$":"new"}', '{"$":"o"}']
    try:
        for text in broken:
            with pytest.raises(Undecodable) as unread:
                Codec().loads(text)
            message = str(unread.value)
            named = ("hush", "Changed", "Color", "Person", "classes", "Error")
            assert not any(name in message for name in named)
            # Whoever mends the code has to know which class it lacks, and where that was.
            assert ("'Gone' is no longer in the code" in message) == (text is gone[1])
            assert unread.value.stored_name == (f"{c.__name__}:Gone" if text is gone[1] else None)
    finally:
        READABLE.append(True)


def test_a_codec_remembers_a_bounded_number_of_classes() -> None:
    codec = Codec()
    for _ in range(10_050):
        with pytest.raises(Unstorable):
            codec.encode(type("Local", (), {})())
    assert len(codec._encoder._plans) <= 10_001
