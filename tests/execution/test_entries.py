"""Entries of the journal that are put together from texts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from workflows.events import Event, StopEvent

from workflow_server.execution.codec import Codec, text_of
from workflow_server.execution.codec.run import MAX_DEPTH
from workflow_server.execution.engine import EmissionKey, StepId, StepWorkerResult, TickStepResult, compact_layouts
from workflow_server.execution.entries import delivery_text, result_text

CODEC = Codec((), compact_layouts())
TEXTS = st.text() | st.sampled_from(["invocation_1", "invocation_12", "für", 'a"b'])
STAMPS = st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.floats(1e9, 1e10)
VALUES = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=5)


class Work(Event):
    """Work to do."""

    what: Any = None


def ended(event: Event | None, invocation: str | None = "invocation_1", **fields: Any) -> TickStepResult:
    fields = {"step_id": StepId.root("step"), "stamped_at": 1.8e9, **fields}
    return TickStepResult(
        worker_id=3, event=Event(), result=[StepWorkerResult(result=event)], invocation_id=invocation, **fields
    )


@given(VALUES, TEXTS, TEXTS.filter(bool), STAMPS)
def test_a_result_has_the_very_text_of_the_codec(value: Any, invocation: str, step: str, stamp: float | None) -> None:
    for event in (Work(what=value), StopEvent(result=value), Event(what=value)):
        tick = ended(event, invocation, step_id=StepId.root(step), stamped_at=stamp)
        text = result_text(tick, CODEC)
        assert text is None or text == CODEC.dumps(tick)


@pytest.mark.parametrize("event", [Work(what=[1, {"a": None}]), StopEvent(result="done"), Event(a="b")])
def test_a_result_of_plain_data_is_put_together(event: Event) -> None:
    tick = ended(event, step_id=StepId(("inner",), "step"))
    assert result_text(tick, CODEC) == CODEC.dumps(tick)


@pytest.mark.parametrize(
    "tick",
    [
        ended(None),
        ended(Event(), None),
        ended(Event(), stamped_at=None),
        ended(Event(), invocation_namespace=("inner",)),
        ended(Work(what=...)),
    ],
)
def test_any_other_result_is_left_to_the_codec(tick: TickStepResult) -> None:
    assert result_text(tick, CODEC) is None


def test_an_event_is_as_deep_as_within_its_tick() -> None:
    def nested(levels: int) -> TickStepResult:
        value: list[Any] = []
        for _ in range(levels):
            value = [value, []]
        return ended(Work(what=value))

    is_plain = [result_text(nested(levels), CODEC) is not None for levels in range(MAX_DEPTH)]
    in_whole = [CODEC._plain.text(nested(levels)) is not None for levels in range(MAX_DEPTH)]
    assert is_plain == in_whole
    assert {True, False} == set(is_plain)


@example("invocation_1", 0, 1e16)
@example("invocation_1", 0, 1e-7)
@given(TEXTS, st.integers(0, 9), STAMPS)
def test_a_delivery_has_the_very_text_of_its_tree(invocation: str, index: int, stamp: float | None) -> None:
    entry = text_of({"ref": [invocation, index], "stamped_at": stamp, "to": ["a"]})
    assert delivery_text(EmissionKey(invocation, index), stamp, ',"to":["a"]') == entry
