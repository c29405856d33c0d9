"""A run's states: every transition that there is, and no other."""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Callable

import pytest
from workflows import Workflow, step
from workflows.events import StartEvent, StopEvent

from workflow_server.execution.engine import Event
from workflow_server.execution.workflow import ServedWorkflow
from workflow_server.records import InboxPosted
from workflow_server.runs.run import Run
from workflow_server.runs.states import NEXT, IllegalTransition, RunState


class Only(Workflow):
    @step
    async def only(self, ev: StartEvent) -> StopEvent:
        return StopEvent()


class Host:
    """Keeps what a run tells it."""

    def left(self, run: Run) -> None:
        raise AssertionError(f"{run.handler_id} was never in memory")

    def send_late(self, run: Run, event: Event, step: str | None) -> None:
        raise AssertionError(f"{run.handler_id} has no step")


SERVED = ServedWorkflow("only", Only(), ())
TRANSITIONS: dict[RunState, Callable[[Run], None]] = {
    RunState.QUEUED: Run.queue,
    RunState.LOADING: Run.load,
    RunState.RELEASED: Run.release,
    RunState.SUSPENDED: lambda run: run.suspend("for a reason"),
    RunState.ENDED: Run.end,
}
WAYS: dict[RunState, list[RunState]] = {
    RunState.RELEASED: [],
    RunState.QUEUED: [RunState.QUEUED],
    RunState.LOADING: [RunState.LOADING],
    RunState.SUSPENDED: [RunState.SUSPENDED],
    RunState.ENDED: [RunState.ENDED],
}
"""The transitions of a new run to each state that needs no session."""


def run_in(state: RunState) -> Run:
    run = Run(Host(), "h", "r", SERVED)
    for after in WAYS[state]:
        TRANSITIONS[after](run)
    assert run.state is state
    return run


def posted() -> InboxPosted:
    return InboxPosted(7, "h", "r", SERVED.encode(StartEvent()), None, "StartEvent", 10)


@pytest.mark.parametrize("before", WAYS)
@pytest.mark.parametrize("after", TRANSITIONS)
def test_a_run_changes_as_the_table_says_or_raises(before: RunState, after: RunState) -> None:
    run = run_in(before)
    is_repeated = before is after and after in {RunState.QUEUED, RunState.ENDED}
    if after in NEXT[before] or is_repeated:
        TRANSITIONS[after](run)
        assert run.state is after
    else:
        with pytest.raises(IllegalTransition, match=f"is {before.value}: it cannot become {after.value}"):
            TRANSITIONS[after](run)
        assert run.state is before


def test_nothing_follows_the_end_and_everything_can_end() -> None:
    assert not NEXT[RunState.ENDED]
    assert all(RunState.ENDED in after for before, after in NEXT.items() if before is not RunState.ENDED)


@pytest.mark.parametrize("state", WAYS)
def test_only_a_released_run_is_loaded_for_what_is_posted(state: RunState) -> None:
    run = run_in(state)
    assert run.deliver(posted()) is (state is RunState.RELEASED)
    assert run.state is state


@pytest.mark.parametrize("state", WAYS)
def test_a_run_that_stands_still_says_why(state: RunState) -> None:
    run = run_in(state)
    assert (run.suspended is not None) is (state in {RunState.QUEUED, RunState.SUSPENDED})


def test_a_run_that_only_waits_is_small() -> None:
    host = Host()
    runs: list[Run] = [Run(host, "", "", SERVED)] * 1_000
    tracemalloc.start()
    try:
        for place in range(len(runs)):
            runs[place] = Run(host, "", "", SERVED)
        each = tracemalloc.get_traced_memory()[0] / len(runs)
    finally:
        tracemalloc.stop()
    assert not hasattr(runs[0], "__dict__")
    assert each <= 200, sys.getsizeof(runs[0])
