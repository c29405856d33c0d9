"""Explanations of values that do not validate: place and rule, in bounded length, and nothing of the value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Generic, Literal, NewType, TypeVar

import pytest
from pydantic import (
    BaseModel,
    Field,
    Json,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError
from typing_extensions import TypeAliasType, TypedDict
from workflows.events import Event, SerializableEvent

from workflow_server.protocol.explaining import MAX_ERRORS, MAX_PLACE, MAX_RULE, explain, explained, holds_secrets

CANARY = "canary-7f3"


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"]
    int: list[float]


class Animals(BaseModel):
    pet: Cat | Dog | None = None
    tagged: Annotated[Cat | Dog, Field(discriminator="kind")] | None = None
    by_name: dict[str, Cat] = Field(default_factory=dict)
    numbers: dict[int, int] = Field(default_factory=dict)
    text: Json[list[int]] | None = None
    thing: Cat | None = None
    sizes: list[int] = Field(default_factory=list)


def refused(kind: type[BaseModel], data: dict[str, Any]) -> str:
    with pytest.raises(ValidationError) as error:
        kind.model_validate(data)
    return explain(error.value, data, kind)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"sizes": ["x"]}, "'sizes.0': Input should be a valid integer"),
        ({"by_name": {"Tom": {"kind": "cat"}}}, "'by_name.Tom.lives': Field required"),
        ({"pet": {"kind": "dog", "int": [1, CANARY]}}, "'pet.int.1': Input should be a valid number"),
        ({"tagged": {"kind": CANARY}}, "'tagged': 'kind' should be one of 'cat', 'dog'"),
        ({"tagged": {}}, "'tagged': 'kind' is missing"),
        ({"thing": [CANARY]}, "'thing': Input should be an object"),
        ({"numbers": {CANARY: 1}}, f"'numbers.{CANARY}': Input should be a valid integer"),
        ({"text": f'["{CANARY}"]'}, "Input should be a valid integer"),
    ],
)
def test_a_place_names_fields_and_a_rule_no_class_and_no_value(data: dict[str, Any], expected: str) -> None:
    told = refused(Animals, data)
    assert expected in told
    assert not any(name in told for name in ("Cat", "Dog", "literal", "tagged-union", "errors.pydantic.dev"))
    assert CANARY not in told.replace(f"numbers.{CANARY}", "")


def test_without_the_value_a_union_is_told_without_branches() -> None:
    class Choice(BaseModel):
        item: list[int] | dict[str, int]

    with pytest.raises(ValidationError) as error:
        Choice.model_validate({"item": "x"})
    assert explain(error.value) == "'item': Input should be a valid list, or: Input should be an object"


def test_the_first_errors_are_told_and_cut_in_one_line() -> None:
    class Many(BaseModel):
        items: dict[str, Annotated[str, Field(pattern=f"^{'a' * 1_000}$")]]

    told = refused(Many, {"items": {f"\n{number}{'k' * 10_000}": "x" for number in range(1_000)}})
    assert told.count(": ") == MAX_ERRORS
    assert told.endswith("and 990 more")
    assert len(told) < MAX_ERRORS * (MAX_PLACE + MAX_RULE + 10) + 20
    assert told.isprintable()


class Strict(BaseModel):
    name: str = ""
    code: int = 0
    details: dict[str, Any] = Field(default_factory=dict)

    @field_validator("name")
    @classmethod
    def _name_is_known(cls, name: str) -> str:
        if name:
            raise ValueError(f"the name {name!r} is not in the register, nor is {name.upper()}\n")
        return name

    @field_validator("code")
    @classmethod
    def _code_is_known(cls, code: int) -> int:
        if code:
            raise PydanticCustomError("unknown_code", "code {code} is not one of 7 codes", {"code": code})
        return code

    @model_validator(mode="after")
    def _fits(self) -> Strict:
        if self.details:
            raise AssertionError(f"not with {self.details}")
        return self


def test_a_validators_words_are_told_without_the_value() -> None:
    told = refused(Strict, {"name": CANARY, "code": 4711})
    assert told == r"'name': the name '…' is not in the register, nor is …\n; 'code': code … is not one of 7 codes"
    assert refused(Strict, {"details": {"a": CANARY, "b": [815]}}) == "not with {'a': '…', 'b': […]}"
    assert len(refused(Strict, {"name": "x y" * 1_000})) <= MAX_RULE + 10


class Quoting(BaseModel):
    user: str = ""
    token: str = ""

    @field_validator("token")
    @classmethod
    def _never(cls, token: str, info: ValidationInfo) -> str:
        first = token.strip().split("-")[0]
        raise ValueError(f"'{token.strip()}' of {info.data['user']} begins with {first[:5]} or '{first[:3]}', not well")


def test_nor_parts_of_it_nor_the_fields_beside_it() -> None:
    told = refused(Quoting, {"user": "carol@example.org", "token": " Xk9Yq2-rest "})
    assert told == "'token': '…' of … begins with … or '…', not well"
    assert refused(Quoting, {"user": "the one", "token": "short-x"}).endswith(", not well")


@dataclass
class Login:
    password: SecretStr


class WithSecret(Event):
    logins: list[Login | None] = Field(default_factory=list)
    name: str = ""

    @field_validator("name")
    @classmethod
    def _never(cls, name: str) -> str:
        raise ValueError(f"reversed it is {name[::-1]}")


def test_what_validators_say_of_secrets_is_not_told() -> None:
    assert refused(WithSecret, {"name": CANARY}) == "'name': this is not valid"


class Keys(TypedDict):
    key: SecretStr


class Tree(BaseModel):
    keys: list[Keys] = Field(default_factory=list)
    branches: dict[str, Tree] = Field(default_factory=dict)


Token = NewType("Token", SecretStr)
Password = TypeAliasType("Password", SecretStr | None)
S = TypeVar("S", bound=SecretStr)


class Renamed(BaseModel):
    token: list[Token]


class Aliased(BaseModel):
    password: Password = None


class Bound(BaseModel, Generic[S]):
    secret: S


class AnyEvent(Event):
    inner: SerializableEvent


def test_secrets_are_found_behind_aliases_and_within_any_event() -> None:
    assert holds_secrets(Renamed)
    assert holds_secrets(Aliased)
    assert holds_secrets(Bound)
    assert holds_secrets(AnyEvent)


def test_secrets_are_found_wherever_they_are_in_a_class() -> None:
    assert holds_secrets(WithSecret)
    assert holds_secrets(Tree)
    assert not holds_secrets(Animals)


def test_the_fields_that_are_not_valid_are_told_by_their_paths() -> None:
    data = {"pet": {"kind": "dog", "int": [1, CANARY]}, "by_name": {"a.b": {"kind": "cat"}}}
    with pytest.raises(ValidationError) as error:
        Animals.model_validate(data)
    text, problems = explained(error.value, data, Animals)
    assert [problem.path for problem in problems if problem.path[0] == "by_name"] == [("by_name", "a.b", "lives")]
    assert ("pet", "int", 1) in [problem.path for problem in problems]
    assert all(problem.message in text for problem in problems)
