"""Events that were stored before there was a log by number: read, followed and deleted as if they were in one."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.store.making import event, run_ended
from workflow_server.errors import UnitRefused
from workflow_server.records import RunStarted
from workflow_server.store import HandlerQuery, SqliteWorkflowStore
from workflow_server.store.sqlite.migrations import known_migrations, migrate

BEFORE = 5
"""The migrations of the builds that kept all events by the ids of their handlers."""


@pytest.fixture
async def upgraded(path: Path) -> AsyncIterator[SqliteWorkflowStore]:
    """A store on a file of such a build: ``ended`` and ``runs`` have three events each, ``silent`` has none."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        migrate(connection, known_migrations(str(path))[:BEFORE])
        for name in ("ended", "runs", "silent"):
            connection.execute(
                "INSERT INTO handlers (handler_id, workflow_name, run_id, status, started_at) "
                "VALUES (?, 'f', ?, 'running', 1)",
                (name, f"{name}-1"),
            )
            connection.execute("INSERT INTO payloads (handler_id) VALUES (?)", (name,))
            rows = [(name, sequence, f"{name}-1", f'"old {sequence}"') for sequence in range(3)]
            connection.executemany("INSERT INTO events VALUES (?, ?, ?, 0, ?)", rows if name != "silent" else [])
        connection.execute("UPDATE handlers SET status = 'completed' WHERE handler_id = 'ended'")
    store = SqliteWorkflowStore(path)
    await store.open()
    yield store
    await store.close()


async def seen(store: SqliteWorkflowStore, name: str, after: int = -1, limit: int = 100) -> list[tuple[int, str]]:
    return [(one.sequence, one.data) for one in await store.read_events(name, after, limit)]


OLD = [(sequence, f'"old {sequence}"') for sequence in range(3)]


async def test_events_of_older_builds_are_read_by_their_handler(upgraded: SqliteWorkflowStore) -> None:
    for name in ("ended", "runs"):
        assert await seen(upgraded, name) == OLD
        assert await seen(upgraded, name, after=0, limit=1) == OLD[1:2]
        assert await upgraded.event_range(name) == (0, 2, 0, None)
        run = await upgraded.load_run(name)
        assert run is not None
        assert (run.last_sequence, run.last_time) == (2, None)
    assert await seen(upgraded, "silent") == []
    assert await upgraded.event_range("silent") == (0, -1, 0, None)


async def test_a_run_goes_on_behind_its_older_events(upgraded: SqliteWorkflowStore) -> None:
    await upgraded.append(event("runs", 3), event("runs", 4), event("silent", 0))
    assert await seen(upgraded, "runs") == [*OLD, (3, "{}"), (4, "{}")]
    assert await seen(upgraded, "runs", after=1, limit=2) == [OLD[2], (3, "{}")]
    assert await upgraded.event_range("runs") == (0, 4, 0, 1500.0)
    assert await seen(upgraded, "silent") == [(0, "{}")]


async def test_events_of_older_builds_have_no_time(upgraded: SqliteWorkflowStore) -> None:
    await upgraded.append(event("runs", 3))
    assert [one.time for one in await upgraded.read_events("runs", -1, 10)] == [None, None, None, 1500.0]


async def test_a_completed_handler_is_continued_behind_its_older_events(upgraded: SqliteWorkflowStore) -> None:
    started = RunStarted("ended", "f", "ended-2", 2.0, 3, None)
    await upgraded.append(started, event("ended", 3, run="2"), run_ended("ended", run="2"))
    assert await seen(upgraded, "ended") == [*OLD, (3, "{}")]
    assert await upgraded.event_range("ended") == (3, 3, 3, 1500.0)


@pytest.mark.parametrize("sequence", [0, 2])
async def test_the_sequence_of_an_older_event_is_taken(upgraded: SqliteWorkflowStore, sequence: int) -> None:
    with pytest.raises(UnitRefused):
        await upgraded.append(event("runs", sequence))
    await upgraded.append(RunStarted("ended", "f", "ended-2", 2.0, 3, None))
    with pytest.raises(UnitRefused):
        await upgraded.append(event("ended", sequence, run="2"))
    assert await seen(upgraded, "runs") == await seen(upgraded, "ended") == OLD


async def test_older_events_are_deleted_with_their_handler(upgraded: SqliteWorkflowStore, path: Path) -> None:
    await upgraded.append(event("runs", 3))
    assert await upgraded.delete(HandlerQuery(handler_id_in=["runs", "silent"])) == 2
    assert await seen(upgraded, "ended") == OLD
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT DISTINCT handler_id FROM all_events").fetchall() == [("ended",)]
        assert connection.execute("SELECT count(*) FROM event_log").fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM events").fetchone() == (3,)
