"""The models of the contract."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from workflow_server.store import PersistentHandler
from workflow_server.store.base import COMMIT_LIMITS, Committed


def test_a_result_that_is_no_event_is_refused_by_name() -> None:
    for result in (123, "text", [1], object()):
        with pytest.raises(ValidationError, match=r"result\n.*dictionary or instance of EventEnvelope"):
            PersistentHandler(handler_id="a", workflow_name="flow", status="completed", result=result)


def test_a_transaction_counts_up_to_the_limit_it_does_not_exceed() -> None:
    committed = Committed()
    for seconds in (0.0, *COMMIT_LIMITS, 60.0):
        committed = committed.plus(2, seconds, 5)
    assert committed.within == (2, 1, 1, 1, 1)
    assert (committed.transactions, committed.units, committed.records) == (6, 12, 30)
    assert committed.seconds == sum(COMMIT_LIMITS) + 60.0
