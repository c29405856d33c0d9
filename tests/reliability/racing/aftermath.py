"""Checks of the database when the races are over."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from itertools import groupby
from pathlib import Path

from tests.harness.tables import BY_HANDLER, BY_RUN
from tests.reliability.racing.races import Fate

TERMINAL = {"completed": "StopEvent", "cancelled": "WorkflowCancelledEvent"}


def check(path: Path, fates: Iterable[Fate]) -> None:
    """Each run ended once, nothing follows its end, and what was purged is nowhere."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        for fate in fates:
            _check_gone(connection, fate) if fate.gone else _check_log(connection, fate)
        # The journal of a run that did not complete is kept for a retry.
        for table, over in (("ticks", "= 'completed'"), ("snapshots", "= 'completed'"), ("inbox", "<> 'running'")):
            left = connection.execute(
                f"SELECT count(*) FROM {table} AS t JOIN handlers AS h USING (run_id) WHERE h.status {over}"
            ).fetchone()
            assert left == (0,), f"{left[0]} rows of {table} are of runs that have ended"


def _check_gone(connection: sqlite3.Connection, fate: Fate) -> None:
    for table in BY_HANDLER:
        left = connection.execute(f"SELECT count(*) FROM {table} WHERE handler_id = ?", (fate.handler_id,)).fetchone()
        assert left == (0,), f"{table} still has {left[0]} rows of {fate}"
    for table in BY_RUN:
        left = connection.execute(f"SELECT count(*) FROM {table} WHERE run_id = ?", (fate.run_ids[0],)).fetchone()
        assert left == (0,), f"{table} still has {left[0]} rows of {fate}"


def _check_log(connection: sqlite3.Connection, fate: Fate) -> None:
    status, run_id = connection.execute(
        "SELECT status, run_id FROM handlers WHERE handler_id = ?", (fate.handler_id,)
    ).fetchone()
    assert (status, run_id) == (fate.status, fate.run_ids[-1]), fate
    rows = connection.execute(
        "SELECT sequence, run_id, data FROM all_events WHERE handler_id = ? ORDER BY sequence", (fate.handler_id,)
    ).fetchall()
    assert [row[0] for row in rows] == list(range(len(rows))), f"the log of {fate} has a gap"
    events = [(run, json.loads(data)) for _, run, data in rows]
    runs = [(run, [event for _, event in group]) for run, group in groupby(events, key=lambda row: row[0])]
    assert [run for run, _ in runs] == fate.run_ids, f"the log of {fate} has the runs {[run for run, _ in runs]}"
    for place, (_, of_run) in enumerate(runs, 1):
        terminal = [event["type"] in TERMINAL.values() for event in of_run]
        assert sum(terminal) == 1, f"{fate} has {sum(terminal)} terminal events in a run"
        assert terminal[-1], f"{fate} has an event after the terminal one: {of_run[-1]}"
        assert place < len(runs) or of_run[-1]["type"] == TERMINAL[status], f"{fate} ends with {of_run[-1]}"
    kept = [event["value"]["number"] for _, event in events if event["type"] == "Kept"]
    assert all(kept.count(number) == 1 for number in fate.kept), f"{fate} kept {kept}"
    assert len(set(kept)) == len(kept), f"{fate} kept {kept}"
