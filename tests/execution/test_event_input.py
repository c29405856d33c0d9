"""Events and contexts that clients send: invalid ones are refused in little memory and in the server's own words."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, Field, ValidationError
from workflows import Context, Workflow, step
from workflows.events import (
    Event,
    InputRequiredEvent,
    SerializableEvent,
    SerializableEventType,
    StartEvent,
    StepFailedEvent,
    StopEvent,
)

from workflow_server.execution.exceptions import InvalidEvent
from workflow_server.execution.workflow import ServedWorkflow
from workflow_server.protocol.bounded import MANY

FOREIGN = "wsgiref.simple_server.WSGIServer"


class Measured(Event):
    numbers: list[int] = Field(default_factory=list)


class Carrying(Event):
    inner: SerializableEvent
    also: SerializableEventType = Measured


class OwnFailure(StepFailedEvent):
    """A framework type by another name."""


class OwnQuestion(InputRequiredEvent):
    """One of the types that are there to be derived from."""


class Counters(BaseModel):
    counts: list[int] = Field(default_factory=list)


class Carries(Workflow):
    @step
    async def carry(self, ctx: Context[Counters], ev: StartEvent) -> StopEvent:
        return StopEvent()


@pytest.fixture(scope="module")
def served() -> ServedWorkflow:
    return ServedWorkflow("carries", Carries(), [Measured, Carrying, OwnFailure, OwnQuestion])


def marked(kind: str, value: dict[str, Any]) -> dict[str, Any]:
    return {"__is_pydantic": True, "qualified_name": kind, "value": value}


def refusal(served: ServedWorkflow, kind: str, value: dict[str, Any]) -> str:
    with pytest.raises(InvalidEvent) as refused:
        served.posted_event({"type": kind, "value": value}, None)
    return str(refused.value)


def test_an_event_inside_of_another_is_refused_early(served: ServedWorkflow) -> None:
    value = marked(f"{__name__}.Measured", {"numbers": [""] * 100_000})
    # Of all its errors only the number would be told.
    assert "Input should be a valid integer" in refusal(served, "Carrying", {"inner": value})
    good = served.posted_event({"type": "Carrying", "value": {"inner": {**value, "value": {"numbers": ["7"]}}}}, None)
    assert good.inner == Measured(numbers=[7])


def test_events_inside_of_events_are_not_tried_again_on_each_level(served: ServedWorkflow) -> None:
    value = marked(f"{__name__}.Measured", {"numbers": ["7"] * 1_000})
    for _ in range(40):
        value = marked(f"{__name__}.Carrying", {"inner": value})
    event: Any = served.posted_event({"type": "Carrying", "value": {"inner": value}}, None)
    for _ in range(41):
        event = event.inner
    assert event == Measured(numbers=[7] * 1_000)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"inner": marked(FOREIGN, {})}, "event: 'inner': its name is not a type of this workflow"),
        ({"inner": {"a": 1}}, "event: 'inner': this is no event of this workflow"),
        (
            {"inner": marked(f"{__name__}.Measured", {}), "also": FOREIGN},
            "event: 'also': its name is not a type of this workflow",
        ),
    ],
)
def test_an_unknown_name_is_refused_without_the_engines_words(
    served: ServedWorkflow, value: dict[str, Any], told: str
) -> None:
    assert refusal(served, "Carrying", value) == told


def test_a_type_derived_from_the_engines_is_nothing_for_clients(served: ServedWorkflow) -> None:
    assert "is made by the workflow or the engine, and cannot be sent" in refusal(served, "OwnFailure", {})
    assert isinstance(served.posted_event({"type": "OwnQuestion"}, None), OwnQuestion)


MANY_NUMBERS = {"counts": ["x"] * 1_000}


@pytest.mark.parametrize(
    "context",
    [
        {"version": 2, "deliveries": [{}] * 1_000},
        {"version": 2, "workers": {"carry": {"queue": [{}] * 1_000}}},
        {"version": 1, "workers": {"carry": {"in_progress": [7] * 1_000}}},
        {"in_progress": {"carry": [7] * 1_000}},
        {"version": 2, "state": {"state_data": marked(f"{__name__}.Counters", MANY_NUMBERS)}},
    ],
    ids=["deliveries", "queue", "version 1", "version 0", "state"],
)
def test_a_context_with_many_errors_is_refused_at_the_first(served: ServedWorkflow, context: dict[str, Any]) -> None:
    with pytest.raises(InvalidEvent, match="context") as refused:
        served.context_snapshot(context)
    cause = refused.value.__cause__
    assert isinstance(cause, ValidationError)
    assert cause.error_count() <= MANY


def test_a_large_context_of_an_earlier_version_is_taken(served: ServedWorkflow) -> None:
    event = '{"__is_pydantic": true, "qualified_name": "workflows.events.StartEvent", "value": {}}'
    old = {"version": 1, "workers": {"carry": {"in_progress": [event] * 1_000, "queue": []}}}
    assert served.context_snapshot(old)[0].count("StartEvent") == 1_000
