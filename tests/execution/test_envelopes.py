"""The envelope in which an event is read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError
from workflows.events import (
    Event,
    SerializableException,
    StepFailedEvent,
    StepState,
    StepStateChanged,
    WorkflowFailedEvent,
)

from workflow_server.errors import Unstorable
from workflow_server.execution.envelopes import envelope, step_state_envelope
from workflow_server.execution.unwritable import LONGEST_NUMBER
from workflow_server.protocol.events import EventEnvelope


class Told(Event):
    """An event with a field that takes anything."""

    first: Any = None
    second: Any = None


@pytest.mark.parametrize("before", [0, 1, LONGEST_NUMBER // 2, LONGEST_NUMBER, 3 * LONGEST_NUMBER + 1])
def test_a_number_of_one_digit_too_many_is_refused(before: int) -> None:
    longest = 10**LONGEST_NUMBER - 1
    assert json.loads(envelope(Told(first="x" * before, second=longest)))["value"]["second"] == longest
    with pytest.raises(Unstorable, match="4,300 digits"):
        envelope(Told(first="x" * before, second=longest + 1))


def test_a_text_of_any_number_of_digits_is_no_number() -> None:
    text = "0" * 3 * LONGEST_NUMBER
    assert json.loads(envelope(Told(first=text)))["value"]["first"] == text


class Number(BaseModel):
    number: int


class OwnReport(Event):
    """An event of a user with an exception."""

    failure: SerializableException


def of_numbers(said: str | None = None) -> Exception:
    with pytest.raises(ValidationError) as refused:
        Number(number="canary")
    return refused.value if said is None else RuntimeError(said.format(refused.value))


@pytest.mark.parametrize("error", [of_numbers(), of_numbers("no: {}")], ids=["itself", "quoted"])
def test_a_failure_is_published_without_values_that_pydantic_quotes(error: Exception) -> None:
    failed = {"step_name": "a", "exception": error, "attempts": 1, "elapsed_seconds": 0.5}
    given = {**failed, "input_event": Told(first=1), "failed_at": "2026-01-01T00:00:00Z"}
    for event in (WorkflowFailedEvent(**failed), StepFailedEvent(**given), OwnReport(failure=error)):
        assert "canary" in event.model_dump_json()
        value = json.loads(envelope(event))["value"]
        written = value.get("exception") or value["failure"]
        assert "canary" not in json.dumps(value)
        assert "number" in written["exception_message"]
        assert written["exception_type"].endswith(type(error).__name__)


def test_what_a_user_says_of_a_failure_is_published_as_it_is() -> None:
    event = OwnReport(failure=KeyError("input_value=5 of\ncustomer"))
    assert json.loads(envelope(event))["value"]["failure"]["exception_message"] == repr("input_value=5 of\ncustomer")


def test_a_failure_with_a_file_name_of_no_utf_8_is_published() -> None:
    error = LookupError("é: no caf\udce9.txt")
    failed = WorkflowFailedEvent(step_name="read", exception=error, attempts=1, elapsed_seconds=0.5)
    for event, field in ((failed, "exception"), (OwnReport(failure=error), "failure")):
        written = json.loads(envelope(event))["value"][field]
        assert written == {"exception_type": "builtins.LookupError", "exception_message": "é: no caf\\udce9.txt"}
        assert getattr(event, field) is error


class Name(str):
    __slots__ = ()


OUTPUTS = st.none() | st.text()


@given(st.sampled_from(StepState), st.text(), st.text(), st.text(), OUTPUTS)
def test_the_envelope_of_a_steps_state_is_its_events(
    state: StepState, name: str, worker: str, taken: str, given_back: str | None
) -> None:
    fields = {"step_state": state, "name": name, "worker_id": worker, "input_event_name": taken}
    event = StepStateChanged(**fields, output_event_name=given_back)
    known = step_state_envelope(state.value, name, worker, taken, given_back)
    assert envelope(event) == known
    assert known == json.dumps(EventEnvelope.from_event(event).model_dump(), ensure_ascii=False, separators=(",", ":"))


def test_the_state_of_a_step_with_more_in_it_is_published_with_that() -> None:
    fields = {"step_state": StepState.RUNNING, "name": "a", "worker_id": "0", "input_event_name": "E"}
    envelope(StepStateChanged(**fields))
    assert json.loads(envelope(StepStateChanged(**fields, more=1)))["value"]["_data"] == {"more": 1}
    event = StepStateChanged(**fields)
    event.__dict__["name"] = Name("b")
    assert json.loads(envelope(event))["value"]["name"] == "b"
    event.__dict__["name"] = 5
    with pytest.warns(UserWarning, match="serializer"):
        assert json.loads(envelope(event))["value"]["name"] == 5
