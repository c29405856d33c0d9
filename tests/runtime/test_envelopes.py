"""The envelope in which an event is read, and what cannot be written into one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from workflows.events import Event, StopEvent

from workflow_server.errors import Unstorable
from workflow_server.runtime.envelopes import LONGEST_NUMBER, envelope


class Told(Event):
    """An event with a field that takes anything."""

    first: Any = None
    second: Any = None


@pytest.mark.parametrize(
    ("event", "named"),
    [
        (Told(second=object()), "Field 'second' of Told"),
        (Told(handle=object()), "Field 'handle' of Told"),
        (StopEvent(result=[object()]), "Field 'result' of StopEvent"),
        (Told(second=10**LONGEST_NUMBER), "Field 'second' of Told"),
        (StopEvent(result=[1, {"a": -(10**5_000)}]), "Field 'result' of StopEvent"),
        (Told(first="\ud800"), "Field 'first' of Told"),
    ],
)
def test_what_is_no_json_is_refused_and_its_field_is_named(event: Event, named: str) -> None:
    with pytest.raises(Unstorable) as refused:
        envelope(event)
    assert named in str(refused.value)


@pytest.mark.parametrize("before", [0, 1, LONGEST_NUMBER // 2, LONGEST_NUMBER, 3 * LONGEST_NUMBER + 1])
def test_the_longest_number_that_is_read_back_is_written_and_one_more_digit_is_refused(before: int) -> None:
    longest = 10**LONGEST_NUMBER - 1
    assert json.loads(envelope(Told(first="x" * before, second=longest)))["value"]["second"] == longest
    with pytest.raises(Unstorable, match="4,300 digits"):
        envelope(Told(first="x" * before, second=longest + 1))


def test_a_text_of_any_number_of_digits_is_no_number() -> None:
    text = "0" * 3 * LONGEST_NUMBER
    assert json.loads(envelope(Told(first=text)))["value"]["first"] == text
