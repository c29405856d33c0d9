"""The models of a workflow's statistics."""

from __future__ import annotations

from pydantic import ConfigDict, Field

from workflow_server.protocol.responses import Response


class RunCounts(Response):
    """Runs by what became of them."""

    completed: int
    failed: int = Field(description="Those that timed out among them.")
    cancelled: int
    running: int = Field(description="Those that have not ended now, whenever they were started; up to 100,000.")


class DurationData(Response):
    """Durations of the runs that completed, in seconds; null without any."""

    p50: float | None
    p95: float | None
    max: float | None


class BucketData(Response):
    """A part of the period."""

    model_config = ConfigDict(serialize_by_alias=True)

    begins: str = Field(serialization_alias="from", description="ISO 8601, UTC. It ends where the next begins.")
    started: int
    completed: int
    failed: int
    p50: float | None = Field(description="Seconds; of the runs that completed in it, null without any.")
    p95: float | None


class StepData(Response):
    """The executions of a step that ended since the server's start."""

    step: str
    executions: int
    failures: int = Field(description="Executions that failed, those that were tried again among them.")
    retries: int
    mean: float | None = Field(description="Seconds; null without executions.")
    p95: float | None = Field(description="Seconds, estimated from a histogram; null without executions.")


class WorkflowStatisticsData(Response):
    """The runs of a workflow in a period, the current one of each handler, and its steps since the start."""

    workflow_name: str
    period: str
    since: str = Field(description="The begin of the period and of its first bucket, ISO 8601, UTC.")
    runs: RunCounts = Field(description="Those that ended in the period.")
    success_rate: float | None = Field(
        description="The share of completed runs in those that completed or failed; null without any."
    )
    duration: DurationData
    buckets: list[BucketData]
    steps: list[StepData] = Field(description="The slowest first, by the mean.")
    sampled: bool = Field(
        description="True if more than 100,000 handlers would have had to be read: of these only the ones that started "
        "last are counted."
    )
