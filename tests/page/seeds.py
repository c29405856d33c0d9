"""Databases that are full: many handlers, and runs with many executions of steps or many events."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from benchmark.copying import copy_handlers

from tests.harness.server_process import DurableServer

_BLOCK = 24
"""Executions of the step ``work`` in a run of fan_out: one for each item, and one for each that failed at first."""
_HEAD, _TAIL = 2, 3
"""Events of such a run before and after those of the items."""

Row = tuple[Any, ...]


async def add_handlers(server: DurableServer, count: int = 10_000) -> None:
    """Add so many handlers that ended within the last day: completed, failed and cancelled ones of several workflows,
    a third of them with tags, each with its own events. The server is stopped and started on the same port."""
    await asyncio.gather(*(_make_model(server, number) for number in range(24)))
    await _edit(server, lambda db: copy_handlers(db, count, 0, db.with_suffix(".gone")))


async def _make_model(server: DurableServer, number: int) -> None:
    workflow = ("chain", "fan_out", "failing", "recovering", "chain", "ask")[number % 6]
    tags = ["nightly", f"team-{number % 4}"] if number % 3 == 0 else []
    handler = await server.api.wants("POST", f"/workflows/{workflow}/run-nowait", {"tags": tags})
    if workflow == "ask":
        await server.api.wants("POST", f"/handlers/{handler['handler_id']}/cancel")
    await server.api.finished(handler["handler_id"])


async def add_executions(server: DurableServer, count: int = 10_000) -> str:
    """Add a completed run of fan_out with about so many executions of its step ``work``, four at a time, a sixth of
    them failed, and return its handler. The server is stopped and started on the same port."""
    handler_id = str((await server.api.start("fan_out"))["handler_id"])
    await server.api.finished(handler_id)
    await _edit(server, lambda db: _lengthen(db, handler_id, count // _BLOCK))
    return handler_id


async def add_events(server: DurableServer, count: int = 100_000) -> str:
    """Add a completed run with so many events, a hundred of each execution of its step, and return its handler."""
    handler_id = str((await server.api.start("loop", rounds=count // 100, events=100))["handler_id"])
    await server.api.finished(handler_id)
    return handler_id


async def begin_earlier(server: DurableServer, handler_id: str, seconds: float) -> None:
    """Have a run without tags begun so much earlier. The server is stopped and started on the same port."""

    def change(db: Path) -> None:
        with closing(sqlite3.connect(db)) as connection, connection:
            connection.execute(
                "UPDATE handlers SET started_at = started_at - ? WHERE handler_id = ?", (seconds, handler_id)
            )

    await _edit(server, change)


async def _edit(server: DurableServer, change: Any) -> None:
    port = server.port
    await server.stop()
    await asyncio.to_thread(change, server.db)
    await server.start(port=str(port))


def _lengthen(db: Path, handler_id: str, times: int) -> None:
    """Repeat what lies between the beginning and the end of a run, as if it had begun so much earlier."""
    with closing(sqlite3.connect(db)) as connection, connection:
        number, started_at = connection.execute(
            "SELECT number, started_at FROM handlers WHERE handler_id = ?", (handler_id,)
        ).fetchone()
        query = "SELECT sequence, time, number, run_id, internal, data, took FROM event_log WHERE number = ? ORDER BY 1"
        events = connection.execute(query, (number,)).fetchall()
        query = "SELECT after_sequence, time, number, run_id, place, kind, actor, data FROM history WHERE number = ?"
        entries = connection.execute(query, (number,)).fetchall()
        length = events[-1][1] - started_at
        for table, rows in (("event_log", events), ("history", entries)):
            connection.execute(f"DELETE FROM {table} WHERE number = ?", (number,))
            more = _repeated(rows, len(events), times, length)
            connection.executemany(f"INSERT INTO {table} ({_COLUMNS[table]}) VALUES ({_marks(rows)})", more)
        connection.execute(
            "UPDATE handlers SET started_at = started_at - ? WHERE handler_id = ?", ((times - 1) * length, handler_id)
        )


_COLUMNS = {
    "event_log": "sequence, time, number, run_id, internal, data, took",
    "history": "after_sequence, time, number, run_id, place, kind, actor, data",
}


def _marks(rows: list[Row]) -> str:
    return ", ".join("?" * len(rows[0]))


def _repeated(rows: list[Row], events: int, times: int, length: float) -> list[Row]:
    """Return the rows of all repetitions; each begins with a sequence and a time."""
    body, begin = events - _HEAD - _TAIL, [row for row in rows if row[0] < _HEAD]
    end = [row for row in rows if row[0] >= events - _TAIL]
    middle = [row for row in rows if _HEAD <= row[0] < events - _TAIL]
    parts = [(begin, 0, 0), *((middle, time, time) for time in range(times)), (end, times - 1, times - 1)]
    return [
        (row[0] + blocks * body, row[1] - (times - 1 - time) * length, *row[2:])
        for part, blocks, time in parts
        for row in part
    ]
