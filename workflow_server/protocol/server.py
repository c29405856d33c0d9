"""The models of the server's own state."""

from __future__ import annotations

from pydantic import Field

from workflow_server.protocol.responses import Response
from workflow_server.records import NowState


class ResumeData(Response):
    """The runs of before, as they were found at the start; null while that is not over."""

    seconds: float | None = Field(description="Time until all of them went on, or had a reason not to.")
    resumed: int | None
    suspended: int | None = Field(description="Those that had a reason not to go on.")


class DatabaseData(Response):
    """The sizes of the database's files; null for a database in memory."""

    file_bytes: int | None
    wal_bytes: int | None = Field(description="Of the write-ahead log.")
    free_bytes: int | None = Field(description="Free space of the file system that they are on.")


class CommitsData(Response):
    """The transactions since the start."""

    count: int
    records: int = Field(description="Records that they stored.")
    mean_seconds: float | None = Field(description="Null before the first, as the next three.")
    p50: float | None = Field(description="Seconds, estimated from a histogram, as the next two.")
    p95: float | None
    p99: float | None
    backlog: int = Field(description="Records that wait for their transaction now.")


class LoopLagData(Response):
    """The time by which the event loop responded late since the start, in seconds, looked at four times a second."""

    mean: float | None = Field(description="Null before the first look, as the next two.")
    p95: float | None = Field(description="Estimated from a histogram.")
    max: float | None


class RequestsData(Response):
    """The requests that were answered since the start."""

    count: int
    errors: int = Field(description="Those that were answered with 500 or more.")


class CodeVersionsData(Response):
    """The versions of a workflow's code."""

    workflow_name: str
    registered: str | None = Field(description="That of this server; null where the workflow is not registered.")
    runs: dict[str, int] = Field(
        description="The number of unfinished runs by the version with which each began; the empty text stands for "
        "runs from before versions were noted."
    )


class SuspendedRunData(Response):
    """A run that makes no progress."""

    handler_id: str
    workflow_name: str
    reason: str


class ServerData(Response):
    """The state of the server. Sums are those since its start: the difference of two answers is what happened in
    between."""

    version: str
    python: str
    sqlite: str
    engine: str = Field(description="The version of llama-index-workflows.")
    aiohttp: str
    started_at: str | None = Field(description="ISO 8601, UTC; null before it has started.")
    now: str = Field(description="The server's time, ISO 8601, UTC.")
    is_ready: bool
    problem: str | None = Field(description="Why the store cannot commit, or why no work is taken.")
    resume: ResumeData
    database: DatabaseData
    commits: CommitsData
    loop_lag: LoopLagData
    streams: int = Field(description="Streams and lists that are being read.")
    requests: RequestsData
    runs: dict[NowState, int] = Field(description="Those that have not ended, by what they do, as in /handlers/stats.")
    code_versions: list[CodeVersionsData] = Field(
        description="Of each workflow that is registered or has unfinished runs; of the 1,000 versions that most of "
        "the first 100,000 unfinished runs began with."
    )
    suspended: list[SuspendedRunData] = Field(description="At most 100.")
    memory_bytes: int | None = Field(description="Resident memory of the process; null where it is not known.")
