"""The statistics of a workflow: which are asked for, and as clients read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from aiohttp import web

from workflow_server.protocol.statistics import (
    BucketData,
    DurationData,
    RunCounts,
    StepData,
    WorkflowStatisticsData,
)
from workflow_server.records import Bucket, Period
from workflow_server.runs.statistics import PERIODS, PeriodName
from workflow_server.runs.views import iso_time
from workflow_server.web.exceptions import InvalidParameter
from workflow_server.web.parameters import check_known, single

if TYPE_CHECKING:
    from workflow_server.runs.statistics import WorkflowStatistics

USUAL: PeriodName = "24h"


def period_asked(request: web.Request) -> PeriodName:
    """Parse the period that is asked for.

    Raises:
        InvalidParameter, UnknownParameter: a parameter is not valid.
    """
    check_known(request, ("period",))
    text = single(request, "period") or USUAL
    for period in PERIODS:
        if text == period:
            return period
    raise InvalidParameter("period", f"one of {', '.join(PERIODS)}")


def statistics_data(workflow_name: str, period: PeriodName, found: WorkflowStatistics) -> WorkflowStatisticsData:
    """Return the statistics as clients read them."""
    buckets = found.runs.buckets
    completed, failed = sum(one.completed for one in buckets), sum(one.failed for one in buckets)
    p50, p95, longest = found.runs.took
    return WorkflowStatisticsData(
        workflow_name=workflow_name,
        period=period,
        since=iso_time(found.period.since) or "",
        runs=RunCounts(
            completed=completed,
            failed=failed,
            cancelled=sum(one.cancelled for one in buckets),
            running=found.runs.running,
        ),
        success_rate=completed / (completed + failed) if completed + failed else None,
        duration=DurationData(p50=p50, p95=p95, max=longest),
        buckets=_buckets(buckets, found.period),
        steps=[StepData(**step._asdict()) for step in found.steps],
        sampled=found.runs.sampled,
    )


def _buckets(buckets: Sequence[Bucket], period: Period) -> list[BucketData]:
    return [
        BucketData(
            begins=iso_time(period.since + place * period.width) or "",
            started=one.started,
            completed=one.completed,
            failed=one.failed,
            p50=one.took.p50,
            p95=one.took.p95,
        )
        for place, one in enumerate(buckets)
    ]
