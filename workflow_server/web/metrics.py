"""The figures of the server as time series, in the formats of Prometheus.

Labels are the names of registered workflows and of their steps, states and statuses, and routes: nothing that a client
chooses. All series of these are there from the start, so that a rate sees the first of anything; but for those of
routes, most of which a server never sees.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from workflow_server.execution.sums import STEP_LIMITS, StepSums
from workflow_server.records import FINISHED
from workflow_server.runs.figures import UNREGISTERED, Figures
from workflow_server.web.watching import CLASSES, LIMITS, UNKNOWN, RequestSums

PREFIX = "workflow_server_"
TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text"
_write_openmetrics: Callable[[CollectorRegistry], bytes] = openmetrics.generate_latest
ENDED = FINISHED

FEW_LIMITS = (0.25, 5.0, 60.0)
"""Seconds, some of ``STEP_LIMITS``: what a machine does, what a person waits for, and what nobody waits for."""
OTHER_SERIES = 39
"""The number of series that are not about one workflow, those of runs of unregistered workflows among them, and those
of requests of which no more is told than the classes of their statuses."""
SERIES_OF_DURATIONS = len(LIMITS) + 3
SERIES_OF_WORKFLOW = 1 + len(ENDED)


class Detail(NamedTuple):
    """The detail in which steps are told apart."""

    by_step: bool
    """Each step for itself; otherwise all steps of a workflow together, with an empty label."""
    limits: tuple[float, ...]
    """The bounds of the buckets of their durations; without any there are only their number and their sum."""

    def series(self, workflows: int, steps: int) -> int:
        """Return the number of all series, at most, where so many workflows have so many steps in all."""
        durations = len(self.limits) + 3 if self.limits else 2
        failures_and_retries = 2
        apart = steps if self.by_step else workflows
        return OTHER_SERIES + SERIES_OF_WORKFLOW * workflows + apart * (durations + failures_and_retries)


DETAILS = (Detail(True, STEP_LIMITS), Detail(True, FEW_LIMITS), Detail(True, ()), Detail(False, ()))


def detail_within(max_series: int, workflows: int, steps: int) -> Detail:
    """Return the most detail with at most so many series, or the least that there is."""
    return next((detail for detail in DETAILS if detail.series(workflows, steps) <= max_series), DETAILS[-1])


class Exporter:
    """Writes the figures of one server; each has a registry of its own."""

    def __init__(
        self,
        figures: Callable[[], Figures],
        open_streams: Callable[[], int],
        requests: RequestSums,
        *,
        max_series: int,
    ) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Figures(figures, open_streams, requests, max_series))
        ProcessCollector(registry=self._registry)

    def write(self, accept: str) -> tuple[bytes, str]:
        """Return the series as they are now, and the content type, for a client that accepts these types."""
        if _accepts_openmetrics(accept):
            return _write_openmetrics(self._registry), openmetrics.CONTENT_TYPE_LATEST
        return generate_latest(self._registry), TEXT


class _Figures(Collector):
    """Makes metrics of figures when it is asked for them."""

    def __init__(
        self,
        figures: Callable[[], Figures],
        open_streams: Callable[[], int],
        requests: RequestSums,
        max_series: int,
    ) -> None:
        self._figures = figures
        self._open_streams = open_streams
        self._requests = requests
        self._max_series = max_series

    def describe(self) -> Iterable[Metric]:
        """Return nothing: no two collectors of the registry have a name in common."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics."""
        figures = self._figures()
        workflows, steps = len(figures.steps), sum(map(len, figures.steps.values()))
        detail = detail_within(self._max_series, workflows, steps)
        yield from _of_runs(figures)
        yield from _of_steps(figures, detail)
        yield from _of_store(figures)
        yield from _of_requests(self._requests, self._max_series - detail.series(workflows, steps))
        yield _gauge("ready", "1 while the server takes work, else 0.", figures.is_ready)
        yield _gauge("open_streams", "Streams and lists that are being read.", self._open_streams())
        if figures.resume_seconds is not None:
            yield _gauge("resume_seconds", "Time that resuming all runs took at the start.", figures.resume_seconds)
        if figures.lag is not None:
            text = "Time that the event loop took to respond, looked at four times a second."
            lag = HistogramMetricFamily(f"{PREFIX}event_loop_lag_seconds", text, labels=())
            limits = figures.lag.limits
            lag.add_metric((), _buckets(limits, limits, figures.lag.within), figures.lag.seconds)
            yield lag


def _of_runs(figures: Figures) -> Iterator[Metric]:
    now = GaugeMetricFamily(f"{PREFIX}runs", "Runs that have not ended, by what they do.", labels=("state",))
    for state, number in figures.runs.items():
        now.add_metric((state,), number)
    started = CounterMetricFamily(f"{PREFIX}runs_started", "Runs that were started.", labels=("workflow",))
    ended = CounterMetricFamily(f"{PREFIX}runs_ended", "Runs that ended, by status.", labels=("workflow", "status"))
    for workflow in figures.steps:
        started.add_metric((workflow,), figures.sums.started[workflow])
        for status in ENDED:
            ended.add_metric((workflow, status), figures.sums.ended[workflow, status])
    for status in ENDED:
        if number := figures.sums.ended[UNREGISTERED, status]:
            ended.add_metric((UNREGISTERED, status), number)
    yield from (now, started, ended)
    yield _counter("events_published", "Events that runs published.", figures.sums.published)
    yield _counter("handlers_swept", "Ended handlers that retention has deleted.", figures.swept)
    yield _counter("events_posted", "Events that were posted to runs.", figures.sums.posted)


def _of_steps(figures: Figures, detail: Detail) -> Iterator[Metric]:
    labels = ("workflow", "step")
    name, text = f"{PREFIX}step_seconds", "Duration of executions of steps."
    histogram = HistogramMetricFamily(name, text, labels=labels)
    summary = SummaryMetricFamily(name, text, labels=labels)
    failures = CounterMetricFamily(f"{PREFIX}step_failures", "Executions that failed, retried or not.", labels=labels)
    retries = CounterMetricFamily(f"{PREFIX}step_retries", "Failed executions that are tried again.", labels=labels)
    for workflow, by_step in figures.steps.items():
        told_apart = by_step if detail.by_step else {"": _together(by_step.values())}
        for step, sums in told_apart.items():
            took = sums.durations
            if detail.limits:
                buckets = _buckets(detail.limits, took.limits, took.within)
                histogram.add_metric((workflow, step), buckets, took.seconds)
            else:
                summary.add_metric((workflow, step), sum(took.within), took.seconds)
            failures.add_metric((workflow, step), sums.failed)
            retries.add_metric((workflow, step), sums.retried)
    yield from (histogram if detail.limits else summary, failures, retries)


def _of_store(figures: Figures) -> Iterator[Metric]:
    limits, committed = figures.commit_limits, figures.committed
    commits = HistogramMetricFamily(f"{PREFIX}commit_seconds", "Duration of transactions.", labels=())
    commits.add_metric((), _buckets(limits, limits, committed.within), committed.seconds)
    yield commits
    yield _counter("commit_units", "Units that these transactions stored.", committed.units)
    yield _gauge("commit_backlog", "Records that wait for their transaction.", figures.backlog)
    if figures.sizes is not None:
        yield _gauge("database_bytes", "Size of the database file.", figures.sizes.database)
        yield _gauge("wal_bytes", "Size of the write-ahead log.", figures.sizes.log)


def _of_requests(requests: RequestSums, room: int) -> Iterator[Metric]:
    """Yield what is told of requests in fewer than ``room`` further series.

    The routes that were asked for first get series of their own, and keep them; all others are one, without a name.
    """
    text = "Requests that were answered, by route and class of status."
    counted = CounterMetricFamily(f"{PREFIX}http_requests", text, labels=("method", "route", "status"))
    places = max(0, room - SERIES_OF_DURATIONS - 1)
    together: Counter[str] = Counter()
    for (route, status), number in list(requests.answered.items()):
        if route == UNKNOWN or not places:
            together[status] += number
        else:
            places -= 1
            counted.add_metric((*route, status), number)
    for status in CLASSES:
        counted.add_metric((*UNKNOWN, status), together[status])
    yield counted
    if room > SERIES_OF_DURATIONS:
        text = "Duration of requests that wait for no run, streams left out."
        durations = HistogramMetricFamily(f"{PREFIX}http_request_seconds", text, labels=())
        took = requests.durations
        durations.add_metric((), _buckets(LIMITS, LIMITS, took.within), took.seconds)
        yield durations


def _accepts_openmetrics(accept: str) -> bool:
    """Return whether an ``Accept`` header names this format, and does not refuse it with a weight of 0."""
    for item in accept.split(","):
        kind, *parameters = (part.strip().lower() for part in item.split(";"))
        if kind == OPENMETRICS:
            return not any(re.fullmatch(r"q=0(?:\.0*)?", parameter) for parameter in parameters)
    return False


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"{PREFIX}{name}", text, value=value)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"{PREFIX}{name}", text, value=value)


def _buckets(bounds: Sequence[float], limits: Sequence[float], within: Sequence[int]) -> list[tuple[str, float]]:
    """Return the buckets with these ``bounds``, each with all durations up to its own. ``within`` are the numbers of
    durations between ``limits``, of which the bounds are some."""
    up_to = dict(zip(limits, accumulate(within), strict=False))
    return [*((str(bound), up_to[bound]) for bound in bounds), ("+Inf", sum(within))]


def _together(steps: Iterable[StepSums]) -> StepSums:
    total = StepSums()
    for sums in steps:
        total.failed += sums.failed
        total.retried += sums.retried
        total.durations.seconds += sums.durations.seconds
        total.durations.within = [
            one + other for one, other in zip(total.durations.within, sums.durations.within, strict=True)
        ]
    return total
