"""Sums that only grow while a server runs: the difference of two looks is what happened in between.

They are kept where things happen, by plain additions on the event loop, and read by whoever shows them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from workflow_server.execution.engine import StepWorkerFailed, TickStepResult, just_ended

STEP_LIMITS = (0.005, 0.05, 0.25, 1.0, 5.0, 15.0, 60.0, 300.0)
"""Seconds: a step that only computes takes milliseconds, one that asks a model or a service a second to a minute, and
a batch or a human-sized job minutes."""
LAG_LIMITS = (0.01, 0.1)
"""Seconds: at 10 ms the loop is busy, and at 100 ms a person notices it. From 1 s on the log names the step."""


class Durations:
    """Sums over durations."""

    __slots__ = ("limits", "seconds", "within")

    def __init__(self, limits: tuple[float, ...]) -> None:
        self.limits = limits
        self.within = [0] * (len(limits) + 1)
        """The number of durations up to each limit and above the limit before; the last is that above all limits."""
        self.seconds = 0.0

    def add(self, seconds: float) -> None:
        """Add a duration."""
        self.within[bisect_left(self.limits, seconds)] += 1
        self.seconds += seconds


class Lags(Durations):
    """Sums over durations, with the longest."""

    __slots__ = ("longest",)

    def __init__(self) -> None:
        super().__init__(LAG_LIMITS)
        self.longest = 0.0

    def add(self, seconds: float) -> None:
        """Add a duration."""
        super().add(seconds)
        self.longest = max(self.longest, seconds)


def quantile(share: float, limits: Sequence[float], within: Sequence[int]) -> float | None:
    """Return the duration that this share of all do not exceed, estimated as Prometheus' ``histogram_quantile`` does:
    within a bucket they are taken to be spread evenly, and above the last limit to be at it. None without any.

    ``within`` are the numbers of durations up to each limit and above the limit before, as in ``Durations``.

    https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile
    """
    rank, below, lower = share * sum(within), 0, 0.0
    for limit, number in zip(limits, within, strict=False):
        if number and below + number >= rank:
            return lower + (limit - lower) * (rank - below) / number
        below, lower = below + number, limit
    return limits[-1] if sum(within) else None


class StepSums:
    """Sums over the executions of one step that ended with a result."""

    __slots__ = ("durations", "failed", "retried")

    def __init__(self) -> None:
        self.durations = Durations(STEP_LIMITS)
        self.failed = 0
        """Executions that failed, those that are retried among them."""
        self.retried = 0
        """Failed executions after which the step is tried again."""

    def ended(self, seconds: float, result: TickStepResult) -> None:
        """Add an execution that took this long and ended with this result."""
        self.durations.add(seconds)
        if just_ended(result):
            return
        for item in result.result:
            if isinstance(item, StepWorkerFailed):
                self.failed += 1
                self.retried += item.retry_decision is not None and item.retry_decision.delay is not None
