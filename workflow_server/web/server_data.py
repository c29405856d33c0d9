"""The state of the server as clients read it: figures, versions and sizes, put together."""

from __future__ import annotations

import platform
import sqlite3
import time
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from os import sysconf
from pathlib import Path
from typing import TYPE_CHECKING

from workflow_server.execution.sums import Lags, quantile
from workflow_server.protocol.server import (
    CodeVersionsData,
    CommitsData,
    DatabaseData,
    LoopLagData,
    RequestsData,
    ResumeData,
    ServerData,
    SuspendedRunData,
)
from workflow_server.runs.figures import Figures
from workflow_server.runs.views import iso_time
from workflow_server.web.watching import RequestSums

if TYPE_CHECKING:
    from workflow_server.runs.server_state import ServerState


def server_data(
    figures: Figures, state: ServerState, requests: RequestSums, *, streams: int, problem: str | None
) -> ServerData:
    """Return the state of the server; ``problem`` says what is wrong, in words for clients."""
    sizes = figures.sizes
    return ServerData(
        version=_version_of("workflow_server"),
        python=platform.python_version(),
        sqlite=sqlite3.sqlite_version,
        engine=_version_of("llama-index-workflows"),
        aiohttp=_version_of("aiohttp"),
        started_at=iso_time(figures.started_at),
        now=iso_time(time.time()) or "",
        is_ready=figures.is_ready,
        problem=problem,
        resume=ResumeData(
            seconds=figures.resume_seconds, resumed=figures.resumed, suspended=figures.suspended_at_start
        ),
        database=DatabaseData(
            file_bytes=None if sizes is None else sizes.database,
            wal_bytes=None if sizes is None else sizes.log,
            free_bytes=state.free_space,
        ),
        commits=_commits(figures),
        loop_lag=_loop_lag(figures.lag),
        streams=streams,
        requests=RequestsData(
            count=requests.answered.total(),
            errors=sum(number for (_, status), number in list(requests.answered.items()) if status == "5xx"),
        ),
        runs=dict(state.runs),
        code_versions=[CodeVersionsData(**versions._asdict()) for versions in state.code_versions],
        suspended=[SuspendedRunData(**run._asdict()) for run in state.suspended],
        memory_bytes=_resident_bytes(),
    )


def _commits(figures: Figures) -> CommitsData:
    committed, limits = figures.committed, figures.commit_limits
    p50, p95, p99 = (quantile(share, limits, committed.within) for share in (0.5, 0.95, 0.99))
    count = committed.transactions
    mean = committed.seconds / count if count else None
    return CommitsData(
        count=count, records=committed.records, mean_seconds=mean, p50=p50, p95=p95, p99=p99, backlog=figures.backlog
    )


def _loop_lag(lag: Lags | None) -> LoopLagData:
    looks = 0 if lag is None else sum(lag.within)
    if lag is None or not looks:
        return LoopLagData(mean=None, p95=None, max=None)
    # The estimate knows only the bounds of a bucket.
    p95 = min(lag.longest, quantile(0.95, lag.limits, lag.within) or 0.0)
    return LoopLagData(mean=lag.seconds / looks, p95=p95, max=lag.longest)


@cache
def _version_of(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        # Code that runs from a folder, and is not installed.
        return "unknown"


def _resident_bytes() -> int | None:
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    except OSError:
        return None
    return int(pages) * sysconf("SC_PAGE_SIZE")
