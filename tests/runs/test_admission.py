"""Admission: the slots of num_concurrent_runs."""

from __future__ import annotations

import pytest
from workflows import Workflow, step
from workflows.events import StartEvent, StopEvent

from workflow_server.execution.engine import Event
from workflow_server.execution.workflow import ServedWorkflow
from workflow_server.runs.admission import Admission
from workflow_server.runs.run import Run
from workflow_server.runs.states import RunState


class One(Workflow):
    @step
    async def only(self, ev: StartEvent) -> StopEvent:
        return StopEvent()


class Nobody:
    """A host that hears of nothing."""

    def left(self, run: Run) -> None:
        raise AssertionError

    def send_late(self, run: Run, event: Event, step: str | None) -> None:
        raise AssertionError


def runs(limit: int | None, names: str) -> list[Run]:
    served = ServedWorkflow("one", One(num_concurrent_runs=limit), ())
    return [Run(Nobody(), name, f"run {name}", served) for name in names]


def handlers(admission: Admission) -> str:
    return "".join(sorted(admission))


def test_without_a_limit_every_run_is_admitted() -> None:
    admission = Admission()
    many = runs(None, "".join(map(chr, range(200, 300))))
    assert all(admission.admit(run) for run in many)
    assert admission.leave(many[7]) is None
    assert not handlers(admission)


def test_runs_get_slots_in_the_order_in_which_they_asked() -> None:
    admission = Admission()
    a, b, c, d = runs(2, "abcd")
    assert [admission.admit(run) for run in (a, b, c, d)] == [True, True, False, False]
    assert [run.state for run in (a, c)] == [RunState.LOADING, RunState.QUEUED]
    assert c.suspended is not None
    assert "num_concurrent_runs" in c.suspended
    assert admission.leave(b) is c
    assert c.state is RunState.LOADING
    assert admission.leave(a) is d
    assert admission.leave(c) is None
    assert handlers(admission) == "d"


def test_asking_again_changes_nothing() -> None:
    admission = Admission()
    a, b = runs(1, "ab")
    assert admission.admit(a)
    assert not admission.admit(b)
    assert not admission.admit(b)
    assert handlers(admission) == "ab"
    assert admission.leave(a) is b
    assert admission.leave(a) is None


def test_a_run_that_leaves_the_line_is_passed_over() -> None:
    admission = Admission()
    a, b, c = runs(1, "abc")
    for run in (a, b, c):
        admission.admit(run)
    assert admission.leave(b) is None
    assert admission.leave(a) is c


@pytest.mark.parametrize("limit", [1, 2])
def test_a_run_that_continues_a_handler_has_its_slot(limit: int) -> None:
    admission = Admission()
    before, after = runs(limit, "aa")
    assert admission.admit(before)
    before.end()
    assert admission.admit(after)
    assert handlers(admission) == "a"
