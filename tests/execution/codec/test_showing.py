"""Trees as JSON that people look at: whatever is in them, bounded, and without secrets."""

from __future__ import annotations

import dataclasses
import datetime
import json
import sys
from collections import Counter, OrderedDict, deque
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from types import ModuleType
from typing import Annotated, Any
from uuid import UUID

import attrs
import pydantic.dataclasses
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, PlainSerializer, Secret, SecretBytes, SecretStr, field_serializer

from workflow_server.execution.codec import Codec
from workflow_server.execution.codec.secrets import HIDDEN, names_secret
from workflow_server.execution.codec.showing import DEEPEST, LONGEST_KEY, LONGEST_TEXT

SECRET = "hunter2"


class Inner(BaseModel):
    name: str = "ann"
    api_token: str = SECRET


class Account(BaseModel):
    name: str = "ann"
    pin: SecretStr = SecretStr(SECRET)
    key: SecretBytes = SecretBytes(SECRET.encode())
    answer: Secret[str] = Secret[str](SECRET)
    left_out: str = Field(SECRET, exclude=True)
    not_printed: str = Field(SECRET, repr=False)
    masked: str = SECRET
    annotated: Annotated[str, PlainSerializer(lambda _: "**")] = SECRET
    inner: list[Inner] = [Inner()]
    mapped: dict[str, Inner] = {"one": Inner()}

    @field_serializer("masked")
    def mask(self, value: str) -> str:
        return "*" * len(value)

    @field_serializer("mapped")
    def as_list(self, value: dict[str, Inner]) -> list[Inner]:
        return list(value.values())


@dataclasses.dataclass
class Login:
    user: str = "ann"
    password: str = SECRET
    code: str = dataclasses.field(default=SECRET, repr=False)


@pydantic.dataclasses.dataclass
class Checked:
    name: str
    left_out: str = Field(exclude=True)


@attrs.define
class Defined:
    name: str = "ann"
    pin: str = attrs.field(default=SECRET, repr=False)


class Plain:
    def __init__(self) -> None:
        self.name, self.secret_word = "ann", SECRET


class Colour(Enum):
    RED = 1


class WithItsOwnWay:
    """Is copied by a call, of which only the state has names."""

    def __reduce__(self) -> tuple[Any, ...]:
        return WithItsOwnWay, (), {"name": "ann", "passwd": SECRET}


def shown(value: Any, size: int = 1_000_000, codec: Codec | None = None) -> tuple[Any, bool]:
    """A value as it is shown, and whether something was left out."""
    codec = codec or Codec()
    showing = codec.showing(size)
    return showing.value(codec.encode(value)), showing.truncated


def test_plain_values_are_shown_as_they_are() -> None:
    value: Any = {"a": [1, 2.5, None, True, "ü", {"b": {}}], "$": "tag", "c": []}
    assert shown(value) == (value, False)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ((1, {2}), [1, [2]]),
        (frozenset({"a"}), ["a"]),
        (deque([1, 2]), [1, 2]),
        (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        (Counter("aab"), {"a": 2, "b": 1}),
        ({1: "a", (2, "b"): "c", None: "d"}, {"1": "a", '[2, "b"]': "c", "null": "d"}),
        ({1: "a", "1": "b"}, {"1": "a", "1 #2": "b"}),
        (float("nan"), "NaN"),
        ([float("inf"), float("-inf")], ["Infinity", "-Infinity"]),
        (2**70, 2**70),
        (b"abcd", "(4 bytes)"),
        (bytearray(b"abcde"), "(5 bytes)"),
        (datetime.datetime(2026, 1, 31, 8, tzinfo=datetime.UTC), "2026-01-31T08:00:00Z"),
        (datetime.date(2026, 1, 31), "2026-01-31"),
        (datetime.timedelta(days=1, seconds=5), "P1DT5S"),
        (Decimal("1.50"), "1.50"),
        (Fraction(1, 3), "1/3"),
        (1 + 2j, "(1+2j)"),
        (UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        (Colour.RED, "Colour.RED"),
        (int, "(int)"),
        (len, "(len)"),
        (range(3), "(range)"),
        (ValueError("no"), "ValueError: no"),
        ("a\ud800b", "a?b"),
    ],
)
def test_each_kind_of_value_has_its_form(value: object, expected: object) -> None:
    assert shown(value) == (expected, False)


def test_an_object_that_is_held_twice_is_shown_once() -> None:
    twice = [1]
    assert shown([twice, twice]) == ([[1], "(the same object again)"], False)
    around: list[Any] = []
    around.append(around)
    assert shown(around) == (["(the same object again)"], False)


def test_secrets_are_hidden_wherever_they_are() -> None:
    found, truncated = shown(
        {
            "account": Account(),
            "login": Login(),
            "plain": Plain(),
            "checked": Checked("ann", SECRET),
            "defined": Defined(),
            "other": WithItsOwnWay(),
            "nested": [{"deep": ({"X-Api-Key": SECRET}, {("password", 1): SECRET}, OrderedDict(cookie=SECRET))}],
            "credentials": {"user": SECRET, "list": [SECRET]},
        }
    )
    assert SECRET not in json.dumps(found)
    assert not truncated
    hidden = {"pin", "key", "answer", "left_out", "not_printed", "masked", "annotated"}
    assert {name for name, value in found["account"].items() if value == HIDDEN} == hidden
    assert found["account"]["inner"] == [{"name": "ann", "api_token": HIDDEN}]
    assert found["account"]["mapped"] == {"one": {"name": "ann", "api_token": HIDDEN}}, "what has parts is not masked"
    assert found["login"] == {"user": "ann", "password": HIDDEN, "code": HIDDEN}
    assert found["checked"] == {"name": "ann", "left_out": HIDDEN}
    assert found["defined"] == {"name": "ann", "pin": HIDDEN}
    assert found["plain"] == {"name": "ann", "secret_word": HIDDEN}
    assert found["other"] == {"name": "ann", "passwd": HIDDEN}
    assert found["credentials"] == HIDDEN


@pytest.mark.parametrize(
    "name",
    ["password", "DB_PASSWORD", "userPasswd", "client-secret", "access_token", "accessToken", "apiKey", "API-KEY",
     "apikey", "OPENAI_APIKey", "Authorization", "x-authorization", "set-cookie", "cookies", "aws.credential",
     "Credentials", "private key", "privateKey", "SSHPrivateKey", "tokens", "password2", "token1", "apiKey2"],
)  # fmt: skip
def test_a_word_of_the_name_tells_a_secret(name: str) -> None:
    assert names_secret(name, of_number=False)


@pytest.mark.parametrize(
    "name",
    ["", "tokenizer", "secretary", "keys", "api", "key", "authorized", "cookiecutter", "passwordless", "private"],
)
def test_a_part_of_a_word_tells_no_secret(name: str) -> None:
    assert not names_secret(name, of_number=False)


def test_a_number_of_tokens_is_no_secret() -> None:
    found, _ = shown({"max_tokens": 512, "token_limit": 512, "tokens": ["a"], "token": 5, "access_token": 5})
    assert found == {
        "max_tokens": 512,
        "token_limit": 512,
        "tokens": HIDDEN,
        "token": HIDDEN,
        "access_token": HIDDEN,
    }


def test_a_key_of_bytes_tells_a_secret() -> None:
    found, _ = shown({b"authorization": SECRET, b"count": 1, "token1": 5})
    assert found == {"b'authorization'": HIDDEN, "b'count'": 1, "token1": HIDDEN}


def test_of_a_class_that_is_gone_only_the_name_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("a_module_of_a_test")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec("class Gone:\n    pass\n", vars(module))
    value: Any = module.Gone()
    value.name = SECRET
    codec = Codec()
    tree = codec.encode([value])
    assert codec.showing(1_000).value(tree) == [{"name": SECRET}]
    monkeypatch.delitem(sys.modules, module.__name__)
    assert Codec().showing(1_000).value(tree) == ["(Gone)"]


def test_long_texts_are_cut_with_their_length() -> None:
    found, truncated = shown({"text": 5_000_000 * "x", "k" * 600: 1})
    assert truncated
    assert found["text"] == LONGEST_TEXT * "x" + "… (5,000,000 characters)"
    assert list(found)[1] == LONGEST_KEY * "k" + "… (600 characters)"
    assert shown(LONGEST_TEXT * "x") == (LONGEST_TEXT * "x", False)


@pytest.mark.parametrize(
    "value",
    [
        list(range(200_000)),
        {f"key {number}": [number] for number in range(50_000)},
        ["ü\n\0" * 3_000] * 200,
        set(range(200_000)),
        dict.fromkeys(range(100000), "x"),
        [[[]] * 100 for _ in range(5_000)],
    ],
)
def test_what_is_shown_is_bounded(value: Any) -> None:
    found, truncated = shown(value, size=100_000)
    assert truncated
    assert 50_000 < len(json.dumps(found, ensure_ascii=False, separators=(",", ":")).encode()) < 150_000
    rest = found["…"] if isinstance(found, dict) else found[-1]
    kept = len(found) - 1
    assert rest == f"({len(value) - kept:,} more)"


def test_deep_nesting_is_cut() -> None:
    value: list[Any] = []
    for _ in range(DEEPEST + 20):
        value = [value]
    found, truncated = shown(value)
    assert truncated
    for _ in range(DEEPEST):
        (found,) = found
    assert found == "(nested deeper)"


def test_a_large_number_is_text() -> None:
    found, truncated = shown(2**1_000_000)
    assert (found[:4], truncated) == ("0x10", True)


TAGS = [
    "m",
    "o",
    "d",
    "s",
    "r",
    "x",
    "x?",
    "e",
    "sub",
    "dt",
    "i",
    "f",
    "b",
    "re",
    "graph",
    "ref",
    "reg",
    "broker",
    "new",
]
TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["$", "v", "c", "k", "n", "a", "f", "p", "b"]),
                                                    inner | st.sampled_from(TAGS)),
    max_leaves=20,
)  # fmt: skip


@given(TREES)
def test_a_damaged_tree_is_shown_as_far_as_it_goes(tree: Any) -> None:
    found = Codec().showing(10_000).value(tree)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
