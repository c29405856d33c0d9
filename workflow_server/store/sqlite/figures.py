"""Counts of runs and statistics of workflows: bounded reads, whose sums SQLite makes."""

from __future__ import annotations

import sqlite3

from workflow_server.records import RunningCounts, VersionCount
from workflow_server.store.sqlite.reads import READS

MOST_RUNNING = 100_000
MOST_VERSIONS = 1_000


def count_running(connection: sqlite3.Connection) -> RunningCounts:
    """Return the unfinished runs by version, and what the released ones wait for; of so many at most."""
    bounds = {"most": MOST_RUNNING, "versions": MOST_VERSIONS}
    connection.execute("BEGIN")
    try:
        versions = [VersionCount(*row) for row in connection.execute(READS["running_versions"], bounds)]
        waiting, stalled = connection.execute(READS["released_standings"], {"most": MOST_RUNNING}).fetchone()
    finally:
        connection.execute("ROLLBACK")
    return RunningCounts(versions, waiting, stalled)
