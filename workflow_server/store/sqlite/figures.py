"""Counts of runs and statistics of workflows, by bounded reads."""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Iterable, Sequence
from itertools import chain
from math import floor
from typing import Any

from workflow_server.records import Bucket, Period, Took, VersionCount, WorkflowPeriod
from workflow_server.store.sqlite.reads import READS

Row = tuple[Any, ...]

MOST_RUNNING = 100_000
MOST_VERSIONS = 1_000


def count_versions(connection: sqlite3.Connection) -> list[VersionCount]:
    """Return the unfinished runs by version; of so many at most."""
    bounds = {"most": MOST_RUNNING, "versions": MOST_VERSIONS}
    return [VersionCount(*row) for row in connection.execute(READS["running_versions"], bounds)]


MOST_HANDLERS = 100_000
"""Handlers that are looked at for the statistics of a workflow: that takes a reader 0.2 s."""


def read_period(connection: sqlite3.Connection, workflow_name: str, period: Period) -> WorkflowPeriod:
    """Return what the handlers of a workflow did in a period; see ``AbstractWorkflowStore.read_period``."""
    of_workflow = {"workflow_name": workflow_name}
    most, more = {"most": MOST_HANDLERS}, {"most": MOST_HANDLERS + 1}
    connection.execute("BEGIN")
    try:
        handlers = _count(connection, "workflow_handlers", {**of_workflow, **more})
        ended = _count(connection, "ended_since", {"since": period.since, **more})
        running = _count(connection, "workflow_running", {**of_workflow, **most})
        by_end = ended < handlers and ended <= MOST_HANDLERS
        bounds = {"since": period.since, "until": period.until, "width": period.width}
        looked_at = {"by_end": by_end, "began_after": period.since if by_end else 0.0}
        rows = connection.execute(READS["workflow_period"], {**of_workflow, **most, **bounds, **looked_at})
        buckets, took = _buckets(rows, period.buckets)
    finally:
        connection.execute("ROLLBACK")
    started = sum(bucket.started for bucket in buckets)
    is_partial = started == MOST_HANDLERS if by_end else handlers > MOST_HANDLERS
    return WorkflowPeriod(handlers > 0, running, buckets, took, is_partial)


def _count(connection: sqlite3.Connection, name: str, query: dict[str, Any]) -> int:
    number: int = connection.execute(READS[name], query).fetchone()[0]
    return number


def _buckets(rows: Iterable[Row], number: int) -> tuple[list[Bucket], Took]:
    """Return the buckets of a period, and what all that completed in it took."""
    counts: list[dict[str, int]] = [{} for _ in range(number)]
    durations = [array("d") for _ in range(number)]
    for kind, place, value in rows:
        # A rounded quotient may lie at the end of the period.
        place = min(place, number - 1)
        if kind == "took":
            durations[place].append(value)
        else:
            counts[place][kind] = counts[place].get(kind, 0) + value
    buckets = [Bucket(**of, took=took_of(own)) for of, own in zip(counts, durations, strict=True)]
    return buckets, took_of(sorted(chain.from_iterable(durations)))


def took_of(durations: Sequence[float]) -> Took:
    """Return the percentiles of durations that are in order, each interpolated between the two next to its place."""
    if not durations:
        return Took()
    return Took(_percentile(durations, 0.5), _percentile(durations, 0.95), durations[-1])


def _percentile(durations: Sequence[float], share: float) -> float:
    place = share * (len(durations) - 1)
    below = floor(place)
    above = min(below + 1, len(durations) - 1)
    return durations[below] + (durations[above] - durations[below]) * (place - below)
