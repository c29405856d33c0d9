"""The models of the contract."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from workflow_server.store import PersistentHandler


def test_a_result_that_is_no_event_is_refused_by_name() -> None:
    for result in (123, "text", [1], object()):
        with pytest.raises(ValidationError, match=r"result\n.*dictionary or instance of EventEnvelope"):
            PersistentHandler(handler_id="a", workflow_name="flow", status="completed", result=result)
