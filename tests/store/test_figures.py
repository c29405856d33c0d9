"""The statistics of a workflow in a period: exact against a plain count, by either way of reading, and bounded."""

from __future__ import annotations

import sqlite3
import statistics
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest

from workflow_server.records import Bucket, Period, Took, WorkflowPeriod
from workflow_server.store.sqlite import figures
from workflow_server.store.sqlite.figures import read_period, took_of
from workflow_server.store.sqlite.migrations import known_migrations, migrate

PERIOD = Period(10_000.0, 100.0, 30)


class Handler(NamedTuple):
    workflow: str
    status: str
    started: float | None
    ended: float | None


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(tmp_path / "db", isolation_level=None)) as connection:
        migrate(connection, known_migrations("db"))
        yield connection


def add(connection: sqlite3.Connection, handlers: list[Handler], *, purging: bool = False) -> None:
    for handler in handlers:
        connection.execute(
            "INSERT INTO handlers (handler_id, workflow_name, status, started_at, updated_at, completed_at, purging) "
            "VALUES ((SELECT count(*) FROM handlers), ?, ?, ?, ?, ?, ?)",
            (handler.workflow, handler.status, handler.started, handler.ended, handler.ended, purging),
        )


def some(number: int, workflow: str, seed: int = 1) -> list[Handler]:
    """Handlers that start before, in and behind the period, and that take from nothing to longer than it."""
    random = Random(seed)
    made = []
    for _ in range(number):
        started = random.uniform(PERIOD.since - 2_000, PERIOD.until + 100)
        status = random.choice(["running", "completed", "completed", "completed", "failed", "cancelled"])
        ended = None if status == "running" else started + random.choice([0.0, random.expovariate(0.01), 2_000.0])
        made.append(Handler(workflow, status, started, ended))
    return made


def bucket_of(time: float | None) -> int | None:
    if time is None or not PERIOD.since <= time < PERIOD.until:
        return None
    return int((time - PERIOD.since) // PERIOD.width)


def took(handlers: list[Handler]) -> Took:
    durations = [handler.ended - handler.started for handler in handlers if handler.ended and handler.started]
    if len(durations) < 2:
        return Took(*(durations * 3))
    p95 = statistics.quantiles(durations, n=20, method="inclusive")[-1]
    return Took(statistics.median(durations), p95, max(durations))


def counted(handlers: list[Handler]) -> WorkflowPeriod:
    """The statistics by plain counting."""
    buckets = []
    for place in range(PERIOD.buckets):
        ended = [one for one in handlers if bucket_of(one.ended) == place]
        numbers = Counter(one.status for one in ended)
        started = sum(bucket_of(one.started) == place for one in handlers)
        completed = took([one for one in ended if one.status == "completed"])
        buckets.append(Bucket(started, numbers["completed"], numbers["failed"], numbers["cancelled"], completed))
    all_completed = [one for one in handlers if one.status == "completed" and bucket_of(one.ended) is not None]
    running = sum(one.status == "running" for one in handlers)
    return WorkflowPeriod(bool(handlers), running, buckets, took(all_completed), False)


def flat(found: WorkflowPeriod) -> list[float | None]:
    durations = [part for took in (*(bucket.took for bucket in found.buckets), found.took) for part in took]
    return [*durations, *(number for bucket in found.buckets for number in bucket[:4]), *found[:2], found.sampled]


def approximately(found: WorkflowPeriod) -> list[object]:
    return [None if number is None else pytest.approx(number) for number in flat(found)]


# With many others the newest of the workflow are fewer than what ended in the period, without others they are not.
@pytest.mark.parametrize("others", [0, 2_000])
def test_a_period_is_what_a_plain_count_finds(connection: sqlite3.Connection, others: int) -> None:
    own = some(600, "flow")
    add(connection, own)
    add(connection, some(others, "other", seed=2))
    found = read_period(connection, "flow", PERIOD)
    assert flat(found) == approximately(counted(own))
    assert found.took.longest == pytest.approx(2_000.0)
    assert sum(bucket.completed for bucket in found.buckets) > 100


def test_a_workflow_without_handlers_is_not_known(connection: sqlite3.Connection) -> None:
    add(connection, some(10, "other"))
    found = read_period(connection, "flow", PERIOD)
    assert found == WorkflowPeriod(False, 0, [Bucket()] * PERIOD.buckets, Took(), False)


@pytest.mark.parametrize("others", [0, 200])
def test_handlers_that_are_being_deleted_do_not_count(connection: sqlite3.Connection, others: int) -> None:
    own = some(50, "flow")
    add(connection, own)
    add(connection, some(50, "flow", seed=3), purging=True)
    add(connection, some(others, "other", seed=2))
    assert flat(read_period(connection, "flow", PERIOD)) == approximately(counted(own))


def test_handlers_without_times_do_no_harm(connection: sqlite3.Connection) -> None:
    add(connection, [Handler("flow", status, None, None) for status in ("running", "completed", "failed")])
    add(connection, [Handler("flow", "completed", None, PERIOD.since), Handler("flow", "failed", PERIOD.since, None)])
    found = read_period(connection, "flow", PERIOD)
    assert found.buckets[0][:4] == (1, 1, 1, 0)
    assert sum(sum(bucket[:4]) for bucket in found.buckets) == 3


def test_the_newest_are_counted_where_there_are_too_many(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "MOST_HANDLERS", 40)
    own = some(200, "flow")
    add(connection, own)
    newest = sorted(own, key=lambda handler: handler.started or 0.0)[-40:]
    found = read_period(connection, "flow", PERIOD)
    expected = counted(newest)._replace(running=min(40, counted(own).running), sampled=True)
    assert flat(found) == approximately(expected)


def test_many_starts_are_cut_where_few_have_ended(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "MOST_HANDLERS", 40)
    add(connection, [Handler("flow", "running", PERIOD.since + number, None) for number in range(100)])
    add(connection, [Handler("flow", "completed", PERIOD.since - 500.0, PERIOD.since + 5.0)])
    found = read_period(connection, "flow", PERIOD)
    assert (found.sampled, sum(bucket.started for bucket in found.buckets)) == (True, 40)
    assert found.took == Took(505.0, 505.0, 505.0), "what ended is found by its end"


def test_percentiles_are_between_the_durations_next_to_them() -> None:
    assert took_of([]) == Took()
    assert took_of([4.0]) == Took(4.0, 4.0, 4.0)
    assert tuple(took_of([1.0, 2.0])) == pytest.approx((1.5, 1.95, 2.0))
    assert tuple(took_of([1.0, 2.0, 9.0])) == pytest.approx((2.0, 8.3, 9.0))
