"""Sums over durations."""

from __future__ import annotations

import pytest

from workflow_server.execution.sums import LAG_LIMITS, STEP_LIMITS, Durations


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
