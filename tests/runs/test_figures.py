"""The sums over commits: a listener of the store that never fails it."""

from __future__ import annotations

import pytest

from tests.store.making import event, run_ended, run_started
from workflow_server.records import InboxPosted
from workflow_server.runs.figures import RunSums
from workflow_server.runs.run import Run


def test_a_run_that_nobody_knows_any_more_ends_under_no_name() -> None:
    sums = RunSums(lambda _: None)
    sums.on_commit([run_started("a"), run_ended("a", status="failed")])
    assert list(sums.started.values()) == [1]
    assert sums.ended == {("", "failed"): 1}


def test_an_error_of_its_own_stays_its_own(caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: str) -> Run | None:
        raise ValueError("made by a test")

    sums = RunSums(fail)
    sums.on_commit([event("a", 0), InboxPosted(1, "a", "a-1", "{}", None), run_ended("a")])
    sums.on_commit([event("a", 1)])
    assert (sums.published, sums.posted) == (2, 1)
    assert "the figures lack a commit" in caplog.text
