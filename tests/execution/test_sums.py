"""Sums over durations."""

from __future__ import annotations

import pytest

from workflow_server.execution.sums import LAG_LIMITS, STEP_LIMITS, Durations, Lags, quantile


def test_a_duration_counts_up_to_the_limit_it_does_not_exceed() -> None:
    for limits in (STEP_LIMITS, LAG_LIMITS):
        durations = Durations(limits)
        for limit in limits:
            durations.add(limit)
        assert durations.within == [1] * len(limits) + [0]
        durations.add(0.0)
        durations.add(limits[-1] + 1)
        assert durations.within == [2] + [1] * (len(limits) - 1) + [1]
        assert durations.seconds == pytest.approx(sum(limits) + limits[-1] + 1)


def test_the_longest_lag_is_kept() -> None:
    lags = Lags()
    for seconds in (0.001, 0.2, 0.05):
        lags.add(seconds)
    assert (lags.longest, lags.within) == (0.2, [1, 1, 1])


def test_quantiles_are_those_that_prometheus_estimates() -> None:
    limits = (0.1, 0.5, 1.0)
    # 10 of 100 up to 0.1, 60 up to 0.5, 90 up to 1.0, the rest above.
    within = (10, 50, 30, 10)
    assert quantile(0.05, limits, within) == pytest.approx(0.05)
    assert quantile(0.5, limits, within) == pytest.approx(0.1 + 0.4 * 40 / 50)
    assert quantile(0.75, limits, within) == pytest.approx(0.5 + 0.5 * 15 / 30)
    assert quantile(0.9, limits, within) == pytest.approx(1.0)
    assert quantile(0.99, limits, within) == 1.0, "more is not known of what is above the last limit"
    assert quantile(0.5, limits, (0, 0, 4, 0)) == pytest.approx(0.75)
    assert quantile(0.5, limits, (0, 0, 0, 0)) is None
