"""Whatever is nested in whatever comes back equal and of the same types."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings

from tests.values.equality import differs
from tests.values.strategies import VALUES
from workflow_server.runtime.codec import Codec

CODEC = Codec()


@settings(max_examples=200, suppress_health_check=list(HealthCheck), deadline=None)
@given(VALUES)
def test_any_value_comes_back_equal_and_of_equal_types(value: Any) -> None:
    text = CODEC.dumps(value)
    assert text.isascii()
    assert differs(value, CODEC.loads(text)) is None
