"""Handlers as clients see them: those that no validation makes are equal to those that it does, in every byte."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflow_server.protocol.events import read_result
from workflow_server.protocol.handlers import HandlerData
from workflow_server.records import RunEnded, RunStarted, Status
from workflow_server.runs.views import from_end, from_start

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
TIMES = st.floats(min_value=0, max_value=4e9)
RESULTS = st.none() | TEXTS.map(
    lambda text: json.dumps({"value": {"result": text}, "type": "StopEvent", "types": None, "qualified_name": text})
)
STATUSES: st.SearchStrategy[Status] = st.sampled_from(["completed", "failed", "cancelled"])


def iso(time: float) -> str:
    """A time in seconds since the epoch."""
    return datetime.fromtimestamp(time, UTC).isoformat()


@given(TEXTS, TEXTS, st.none() | TEXTS, TIMES, st.lists(TEXTS, max_size=3))
def test_a_start_is_shown_as_the_model_has_it(
    handler_id: str, name: str, version: str | None, at: float, tags: list[str]
) -> None:
    made = from_start(RunStarted(handler_id, name, "run", at, 0, "{}", 0.0, None, version, None), tags)
    validated = HandlerData(
        handler_id=handler_id,
        workflow_name=name,
        run_id="run",
        error=None,
        result=None,
        status="running",
        started_at=iso(at),
        updated_at=iso(at),
        completed_at=None,
        code_version=version,
        tags=tags,
    )
    assert made == validated
    assert made.model_dump_json() == validated.model_dump_json()


@given(TIMES, TIMES, STATUSES, st.none() | TEXTS, RESULTS, st.none() | TEXTS)
def test_an_end_is_shown_as_the_model_has_it(
    began: float, ended: float, status: Status, error: str | None, result: str | None, suspended: str | None
) -> None:
    before = from_start(RunStarted("handler", "name", "run", began, 0, "{}", 0.0, None, None, None), ("a",))
    before = before.model_copy(update={"suspended": suspended})
    made = from_end(before, RunEnded("handler", "run", status, error, result, ended))
    at = max(iso(ended), iso(began), key=datetime.fromisoformat)
    validated = HandlerData(
        handler_id="handler",
        workflow_name="name",
        run_id="run",
        error=error,
        result=read_result(result)[0],
        status=status,
        started_at=iso(began),
        updated_at=at,
        completed_at=at,
        tags=["a"],
    )
    assert made == validated
    assert made.model_dump_json() == validated.model_dump_json()


@pytest.mark.parametrize("tags", [(), ("a",)])
def test_the_tags_of_a_start_are_its_own(tags: tuple[str, ...]) -> None:
    first = from_start(RunStarted("handler", "name", "run", 0.0, 0, "{}", 0.0, None, None, None), tags)
    first.tags.append("more")
    assert from_start(RunStarted("handler", "name", "run", 0.0, 0, "{}", 0.0, None, None, None), tags).tags == [*tags]
