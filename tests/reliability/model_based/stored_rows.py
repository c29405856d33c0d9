"""The rows of the database file while no server has it open, compared with the model."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from tests.harness.api import time_as_told
from tests.harness.tables import BY_HANDLER, BY_RUN
from tests.reliability.model_based.model import CANCELLED, Json, ModelHandler

TERMINAL = ("StopEvent", "WorkflowFailedEvent", CANCELLED)


def check_file(db: Path, handlers: Iterable[ModelHandler], purged: Iterable[tuple[str, list[str]]]) -> None:
    """The file is whole, no row belongs to nobody, nothing of what was purged is left, and the logs are as read."""
    known = {handler.handler_id: handler for handler in handlers}
    with closing(sqlite3.connect(f"file:{db}?mode=ro", uri=True)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        for handler_id, run_ids in purged:
            _check_gone(connection, handler_id, run_ids)
        stored = {row[0] for row in connection.execute("SELECT handler_id FROM handlers WHERE purging = 0")}
        assert stored == set(known)
        assert connection.execute("SELECT count(*) FROM handlers").fetchone() == (len(known),)
        _check_owned(connection, known)
        for handler in known.values():
            _check_log(connection, handler)


def _check_gone(connection: sqlite3.Connection, handler_id: str, run_ids: list[str]) -> None:
    for table in BY_HANDLER:
        left = connection.execute(f"SELECT count(*) FROM {table} WHERE handler_id = ?", (handler_id,)).fetchone()
        assert left == (0,), f"{table} still has {left[0]} rows of {handler_id}, which was purged"
    for table in BY_RUN:
        for run_id in run_ids:
            left = connection.execute(f"SELECT count(*) FROM {table} WHERE run_id = ?", (run_id,)).fetchone()
            assert left == (0,), f"{table} still has {left[0]} rows of run {run_id}, which was purged"


def _check_owned(connection: sqlite3.Connection, known: dict[str, ModelHandler]) -> None:
    for table in BY_HANDLER:
        owners = {row[0] for row in connection.execute(f"SELECT DISTINCT handler_id FROM {table}")}
        assert owners <= set(known), f"{table} has rows of {owners - set(known)}, which nobody knows"
    current = {handler.run_id for handler in known.values()}
    running = {handler.run_id for handler in known.values() if handler.status == "running"}
    completed = {handler.run_id for handler in known.values() if handler.status == "completed"}
    for table, keepers in (("ticks", current - completed), ("snapshots", current - completed), ("inbox", running)):
        owners = {row[0] for row in connection.execute(f"SELECT DISTINCT run_id FROM {table}")}
        assert owners <= keepers, f"{table} has rows of {owners - keepers}, which are over"
    for table in ("state_records", "state_patches"):
        owners = {row[0] for row in connection.execute(f"SELECT DISTINCT run_id FROM {table}")}
        assert owners <= current, f"{table} has rows of {owners - current}, which are no current runs"


def _check_log(connection: sqlite3.Connection, handler: ModelHandler) -> None:
    rows = connection.execute(
        "SELECT sequence, run_id, data, time FROM all_events WHERE handler_id = ? ORDER BY sequence",
        (handler.handler_id,),
    ).fetchall()
    assert [row[0] for row in rows] == list(range(len(rows)))
    read = [
        {**json.loads(data), "time": time_as_told(time), "sequence": sequence}
        for sequence, _, data, time in rows[: len(handler.lines)]
    ]
    assert [row[3] for row in rows] == sorted(row[3] for row in rows)
    assert read == handler.lines
    runs = list(dict.fromkeys(row[1] for row in rows))
    assert runs == handler.run_ids, f"the log of {handler.handler_id} has the runs {runs}, not {handler.run_ids}"
    for run_id in runs:
        _check_end([json.loads(data) for _, of, data, _ in rows if of == run_id], handler, run_id)
    settled = handler.settled and handler.status == "running"
    inbox = connection.execute("SELECT count(*) FROM inbox WHERE handler_id = ?", (handler.handler_id,)).fetchone()
    held = len(handler.early)
    assert not settled or inbox == (held,), (
        f"{handler.handler_id} holds {held} of what it was sent, and {inbox[0]} wait"
    )


def _check_end(events: list[Json], handler: ModelHandler, run_id: str) -> None:
    """A run that has ended has one terminal event, the last; one that runs has none."""
    terminal = [event["type"] in TERMINAL for event in events]
    running = run_id == handler.run_id and handler.status == "running"
    ends = f"run {run_id} of {handler.handler_id} has {sum(terminal)} terminal events"
    assert sum(terminal) == (not running), ends
    assert running or terminal[-1], f"{ends}, and {events[-1]} after it"
