"""Retention by a server in a process of its own, which is killed in the middle of it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.harness.server_process import DurableServer
from tests.harness.tables import EVENT_TABLES, OWNERS
from tests.harness.waiting import until, until_stored
from tests.store.making import event, run_ended, run_started
from workflow_server.records import HandlerTagged, KeyAnswered, StateReplaced
from workflow_server.store import SqliteWorkflowStore
from workflow_server.store.sqlite.maintenance import check

HANDLERS = 3_000
EVENTS = 5
KILLS = 4
TABLES = [*(table for table in OWNERS if table != "all_events"), *EVENT_TABLES]


async def fill(path: Path) -> None:
    """Store handlers that ended long ago, of 12 MB in all."""
    store = SqliteWorkflowStore(path)
    await store.open()
    for number in range(HANDLERS):
        name = f"old{number}"
        store.append(
            run_started(name, at=1_000.0 + number),
            *(event(name, n, data="x" * 600) for n in range(EVENTS)),
            HandlerTagged(name, '["old"]'),
            KeyAnswered("run", name, name, f"{name}-1", "hash", "{}", 1_000.0),
            StateReplaced(f"{name}-1", -1, "{}"),
            run_ended(name, at=2_000.0 + number),
        )
    await store.close()


def left(path: Path) -> int:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        return int(connection.execute("SELECT count(*) FROM handlers").fetchone()[0])


def size_of(path: Path) -> int:
    return path.stat().st_size


@pytest.mark.slow(20)
async def test_kills_in_a_sweep_leave_the_rest_to_the_next_start(tmp_path: Path) -> None:
    """And none in the middle of giving space back does harm: the file becomes smaller, and is sound."""
    path = tmp_path / "runs.sqlite3"
    await fill(path)
    size = size_of(path)
    server = DurableServer(tmp_path, "flows.py", "--retain", "completed=30d")
    async with server:
        for kill in range(1, KILLS + 1):
            await until_stored(path, "SELECT count(*) < ? FROM handlers", HANDLERS - kill * HANDLERS // (KILLS + 1))
            await server.kill()
            await server.start()
        await until(lambda: left(path) == 0, "handlers are left")
        await until(lambda: size_of(path) < size - 4_000_000, lambda: f"{size_of(path)} of {size} bytes")
        await server.kill()
    assert check(path).handlers == 0
    with closing(sqlite3.connect(path)) as connection:
        counts = {table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in TABLES}
    assert counts == dict.fromkeys(TABLES, 0)


async def test_what_a_server_deletes_is_in_its_log_and_its_metrics(tmp_path: Path) -> None:
    async with DurableServer(tmp_path, "flows.py", "--retain", "failed=30d", "--retain-runs", "1") as server:
        handlers = []
        for number in range(3):
            handlers.append((await server.api.start("three_steps", start_event={"number": number}))["handler_id"])
            await server.api.finished(handlers[-1])
        await server.restart()
        await until(lambda: left(server.db) == 1, "more than one handler is left")
        listed = await server.api.wants("GET", "/handlers")
        assert [handler["handler_id"] for handler in listed["handlers"]] == handlers[2:]
        await server.api.wants("GET", f"/handlers/{handlers[0]}", status=404)
        await server.api.wants("GET", "/ready")
        async with server.api.session.get(f"{server.api.url}/metrics") as response:
            assert "\nworkflow_server_handlers_swept_total 2.0\n" in await response.text()
    assert "workflow_server.runs.retention: Retention deleted handlers: 2 completed\n" in server.log_tail()
