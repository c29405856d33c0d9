"""The statistics of a workflow: what its runs did in a period, and what its steps did since the start."""

from __future__ import annotations

from math import floor
from typing import Literal, NamedTuple, get_args

from workflow_server.execution.exceptions import WorkflowNotFound
from workflow_server.execution.registry import Registry
from workflow_server.execution.sums import StepSums, quantile
from workflow_server.records import Period, WorkflowPeriod
from workflow_server.store.base import AbstractWorkflowStore

PeriodName = Literal["1h", "24h", "7d", "30d"]
PERIODS: tuple[PeriodName, ...] = get_args(PeriodName)

_MINUTE, _HOUR, _DAY = 60.0, 3_600.0, 86_400.0
_BUCKETS: dict[PeriodName, tuple[float, int]] = {
    "1h": (_MINUTE, 60),
    "24h": (_HOUR / 2, 48),
    "7d": (3 * _HOUR, 56),
    "30d": (_DAY, 30),
}
"""The width and the number of the buckets of each period."""


class StepStatistics(NamedTuple):
    """The executions of a step that ended since the start; durations in seconds, None where none did."""

    step: str
    executions: int
    failures: int
    retries: int
    mean: float | None
    p95: float | None


class WorkflowStatistics(NamedTuple):
    """The runs of a workflow in a period, and the executions of its steps."""

    period: Period
    runs: WorkflowPeriod
    steps: list[StepStatistics]
    """The slowest first; none of a workflow that is not registered."""


def period_until(now: float, name: PeriodName) -> Period:
    """Return the period whose last bucket holds this moment. Buckets begin at multiples of their width, so that they
    stay the same from one look to the next."""
    width, number = _BUCKETS[name]
    return Period((floor(now / width) + 1 - number) * width, width, number)


async def workflow_statistics(
    store: AbstractWorkflowStore, registry: Registry, workflow_name: str, period: Period
) -> WorkflowStatistics:
    """Return the statistics of a workflow.

    Raises:
        WorkflowNotFound: it is not registered, and has no handlers either.
    """
    served = registry.find(workflow_name)
    runs = await store.read_period(workflow_name, period)
    if served is None and not runs.is_known:
        raise WorkflowNotFound(workflow_name)
    steps = [] if served is None else [_of_step(step, sums) for step, sums in served.step_sums.items()]
    steps.sort(key=lambda one: (-1.0 if one.mean is None else one.mean, one.executions), reverse=True)
    return WorkflowStatistics(period, runs, steps)


def _of_step(step: str, sums: StepSums) -> StepStatistics:
    took = sums.durations
    executions = sum(took.within)
    mean = took.seconds / executions if executions else None
    return StepStatistics(step, executions, sums.failed, sums.retried, mean, quantile(0.95, took.limits, took.within))
