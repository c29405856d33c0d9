"""A value, written by one codec and read by another, as by another process."""

from __future__ import annotations

from typing import Any

from tests.values.equality import differs
from workflow_server.execution.codec import Codec


def read_back(value: Any) -> Any:
    """The value as another codec reads it."""
    return Codec().loads(Codec().dumps(value))


def assert_kept(value: Any) -> None:
    """It comes back equal and of equal types."""
    found = differs(value, read_back(value))
    assert found is None, found
