"""The times of events as clients read them."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflow_server.protocol.events import time_as_json

LAST = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("time", "told"),
    [
        (0.0, '"1970-01-01T00:00:00.000000+00:00"'),
        (1_795_807_200.25, '"2026-11-27T19:20:00.250000+00:00"'),
        (1_795_807_199.9999999, '"2026-11-27T19:20:00.000000+00:00"'),
        (-0.5, '"1969-12-31T23:59:59.500000+00:00"'),
        (LAST, '"9999-12-31T23:59:59.000000+00:00"'),
        (LAST + 1, "null"),
        (1e300, "null"),
        (-1e18, "null"),
        (math.inf, "null"),
        (math.nan, "null"),
        (None, "null"),
    ],
)
def test_a_time_is_told_with_microseconds_in_utc(time: float | None, told: str) -> None:
    assert time_as_json(time) == told


@given(st.lists(st.floats(-6e10, LAST)))
def test_the_texts_of_times_sort_as_the_times_do(times: list[float]) -> None:
    texts = [json.loads(time_as_json(time)) for time in sorted(times)]
    assert texts == sorted(texts)
    for time, text in zip(sorted(times), texts, strict=True):
        assert abs(datetime.fromisoformat(text).timestamp() - time) < 1e-4
