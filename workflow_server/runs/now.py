"""The present of runs: what they do, in a word, and where they stand, in short, for lists."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from workflow_server.concurrency import map_cooperatively
from workflow_server.execution.standing import OpenWait, PendingRetry, RunningStep, Standing
from workflow_server.protocol.handlers import NowData, OpenWaitData, PendingRetryData, RunningStepData
from workflow_server.records import NOW_STATES, NowState, StoredHandler
from workflow_server.runs.run import Run
from workflow_server.runs.states import RunState
from workflow_server.runs.table import RunTable
from workflow_server.runs.views import iso
from workflow_server.store.base import from_timestamp

MOST = 10
"""Steps, waits and retries that a list tells of one run."""


def now_of(run: Run) -> NowState | None:
    """Return what a run does; None of one that has ended."""
    state = run.state
    if state is RunState.RELEASED:
        return "released" if run.left_as is None or run.left_as == "running" else run.left_as
    if state is RunState.QUEUED or state is RunState.SUSPENDED:
        return "queued" if state is RunState.QUEUED else "suspended"
    if state is RunState.ENDED:
        return None
    return "running" if run.session is None else run.session.doing


async def count_now(table: RunTable) -> dict[NowState, int]:
    """Return how many runs do what; others have their turn meanwhile, so each is counted at a moment of its own."""
    numbers = Counter(await map_cooperatively(now_of, list(table)))
    return {state: numbers[state] for state in NOW_STATES}


async def handlers_now(table: RunTable, states: Collection[NowState]) -> frozenset[str]:
    """Return the ids of the handlers whose runs do one of these."""
    runs = list(table)
    found = await map_cooperatively(now_of, runs)
    return frozenset(run.handler_id for run, state in zip(runs, found, strict=True) if state in states)


def now_listed(table: RunTable, handler: StoredHandler, behind: float) -> NowData:
    """Return the present of a handler in a list; ``behind``: see ``ServerClock.behind``."""
    run = table.get(handler.handler_id) if handler.status == "running" else None
    standing: Standing | None = Standing()
    if handler.status == "running":
        standing = None if run is None or run.run_id != handler.run_id else run.standing
        if standing is None and handler.standing is not None:
            standing = Standing.from_json(handler.standing)
    state = None if run is None else now_of(run)
    if standing is None:
        return NowData(state=state, running_steps=None, waiting_for=None, retrying_steps=None, summary=None)
    return NowData(
        state=state,
        running_steps=[running_step_data(one) for one in standing.running[:MOST]],
        waiting_for=[wait_data(one, behind) for one in standing.waits[:MOST]],
        retrying_steps=[retry_data(one, behind) for one in standing.retries[:MOST]],
        running_count=len(standing.running),
        waiting_count=len(standing.waits),
        retrying_count=len(standing.retries),
        summary=handler.summary,
    )


def running_step_data(one: RunningStep) -> RunningStepData:
    """Return an execution of a step as clients read it."""
    return RunningStepData(step=one.step, since=iso(from_timestamp(one.since)))


def wait_data(one: OpenWait, behind: float) -> OpenWaitData:
    """Return a wait as clients read it."""
    times = {"deadline": _by_wall_clock(one.deadline, behind), "since": _by_wall_clock(one.since, behind)}
    return OpenWaitData(**{**one._asdict(), **times})


def retry_data(one: PendingRetry, behind: float) -> PendingRetryData:
    """Return a retry as clients read it."""
    return PendingRetryData(step=one.step, attempt=one.attempt, at=_by_wall_clock(one.at, behind))


def _by_wall_clock(time: float | None, behind: float) -> str | None:
    """Return a time of the server's clock as clients read it; ``behind``: the seconds to add for the wall clock's.

    In milliseconds: the two clocks are not read in the same moment, and a client that asks again should find no change.
    """
    return None if time is None else iso(from_timestamp(round(time + behind, 3)))
