"""Refusals of what clients cannot be given as JSON: its place, its type, and what would be right."""

from __future__ import annotations

import dataclasses
from collections import UserDict
from typing import Any

import pytest
from pydantic import BaseModel, Field, field_serializer
from workflows.events import Event, StopEvent

from workflow_server.errors import Unstorable
from workflow_server.execution.envelopes import envelope
from workflow_server.execution.unwritable import LONGEST_NUMBER

AS_CLIENTS_READ_IT = "cannot be written as JSON, as clients read it"
REMEDY = "publish and return plain data or models, and keep the rest in ctx.store"


class Told(Event):
    """An event with fields that take anything, one of which clients do not see."""

    unseen: Any = Field(default=None, exclude=True)
    first: Any = None
    second: Any = None


class Part(BaseModel):
    part: Any


@dataclasses.dataclass
class Piece:
    piece: Any


class Handle:
    """Is no JSON."""


class Stubborn(Event):
    number: int = 1

    @field_serializer("number")
    def refuse(self, number: int) -> str:
        raise ValueError("not\ntoday" + 1_000 * "y")


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


def circular() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["a"] = [value]
    return value


HANDLE = f"{__name__}.Handle"


@pytest.mark.parametrize(
    ("event", "place", "kind"),
    [
        (Told(second=Handle()), "Told.second", HANDLE),
        (Told(unseen=Handle(), second=Handle()), "Told.second", HANDLE),
        (Told(handle=Handle()), "Told.handle", HANDLE),
        (StopEvent(result=[Handle()]), "StopEvent.result[0]", HANDLE),
        (StopEvent(result=[1, {"a": -(10**5_000)}]), "StopEvent.result[1]['a']", "int"),
        (Told(second=10**LONGEST_NUMBER), "Told.second", "int"),
        (Told(first=(1, "\ud800")), "Told.first[1]", "str"),
        (Told(first=b"\xff"), "Told.first", "bytes"),
        (Told(first=UserDict(a=1)), "Told.first", "collections.UserDict"),
        (Told(first=[Part(part=Piece([Handle()]))]), "Told.first[0].part.piece[0]", HANDLE),
        (Told(first=Part(part=StopEvent(result=Handle()))), "Told.first.part.result", HANDLE),
        (Told(first={1, (2, Handle())}), "Told.first.key(tuple)[1]", HANDLE),
        (Told(first={(1, Handle()): 2}), "Told.first.key(tuple)[1]", HANDLE),
        (Told(first={"a": 1, frozenset(): 2}), "Told.first.key(frozenset)", "frozenset"),
        (Told(first=circular()), "Told.first['a'][0]", "dict"),
        (Told(first=[*range(999), Handle(), *range(99)]), "Told.first[999]", HANDLE),
    ],
)
def test_what_is_no_json_is_refused_with_its_place_and_its_type(event: Event, place: str, kind: str) -> None:
    with pytest.raises(Unstorable) as refused:
        envelope(event)
    assert str(refused.value).startswith(f"{place} cannot be stored: it is of type {kind}, and ")


def test_a_refusal_tells_what_would_be_right() -> None:
    with pytest.raises(Unstorable) as unknown:
        envelope(Told(first=Handle()))
    assert unknown.value.reason == f"it is of type {HANDLE}, and {AS_CLIENTS_READ_IT}: {REMEDY}"
    with pytest.raises(Unstorable) as no_text:
        envelope(Told(first=b"\xff"))
    problem = "invalid utf-8 sequence of 1 bytes from index 0"
    assert no_text.value.reason == f"it is of type bytes, and {AS_CLIENTS_READ_IT} ({problem}): {REMEDY}"


def test_what_is_nested_too_deep_for_json_is_told_so_at_its_field() -> None:
    with pytest.raises(Unstorable) as refused:
        envelope(Told(second=nested(1_000)))
    assert str(refused.value) == (
        "Told.second cannot be stored: it is of type list, and is nested too deep for JSON, as clients read it: "
        "publish and return flatter data"
    )


def test_what_a_failing_serializer_says_is_one_short_line() -> None:
    with pytest.raises(Unstorable) as refused:
        envelope(Stubborn())
    told = str(refused.value)
    assert told.startswith(f"A Stubborn cannot be stored: it {AS_CLIENTS_READ_IT} (Error calling function `refuse`: ")
    assert "not\\ntodayyyy" in told
    assert told.endswith(f"yy…): {REMEDY}")
    assert len(told) < 600
