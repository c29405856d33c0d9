"""The queries of the store, one function each, which runs whole on a connection's thread."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from typing import Any

from workflow_server.records import (
    EndedHandler,
    EventRange,
    InboxLoad,
    InboxPosted,
    RunningRun,
    SnapshotTaken,
    StatePatched,
    StateReplaced,
    Status,
    StoredAnswer,
    StoredEvent,
    StoredRun,
    StoredState,
    TickAppended,
    UntakenEvent,
)
from workflow_server.store.internal_records import PurgeSliced
from workflow_server.store.sqlite.connection import DAMAGED
from workflow_server.store.sqlite.statements import load_single

READS = load_single("reads")

PURGE_SIZE = 1 << 20
"""Bytes of values that one transaction of a purge deletes."""
PURGE_ROWS = 2_000
"""The same in rows, where somebody waits for the purge."""
INCREMENTAL = 2
"""The mode of a file that can be made smaller in parts: https://www.sqlite.org/pragma.html#pragma_auto_vacuum"""


def load_run(connection: sqlite3.Connection, handler_id: str) -> StoredRun | None:
    """Read a handler's current run in one transaction."""
    connection.execute("BEGIN")
    try:
        return _load_run(connection, handler_id)
    finally:
        connection.execute("ROLLBACK")


def load_runs(connection: sqlite3.Connection, handler_ids: Sequence[str], characters: int) -> list[StoredRun | None]:
    """Read the current runs of the first of these handlers, one at least, until they have so many characters."""
    runs: list[StoredRun | None] = []
    size = 0
    connection.execute("BEGIN")
    try:
        for handler_id in handler_ids:
            runs.append(_load_run(connection, handler_id))
            size += _characters(runs[-1])
            if size >= characters:
                break
    finally:
        connection.execute("ROLLBACK")
    return runs


def _characters(run: StoredRun | None) -> int:
    if run is None:
        return 0
    texts = [record.data for record in (run.snapshot, run.state) if record is not None]
    texts += [tick.data for tick in run.ticks]
    texts += [patch.patch for patch in run.patches]
    texts += [posted.event for posted in run.inbox]
    return sum(map(len, texts)) + len(run.start_event or "")


def _load_run(connection: sqlite3.Connection, handler_id: str) -> StoredRun | None:
    row = connection.execute(READS["run"], {"handler_id": handler_id}).fetchone()
    if row is None:
        return None
    run_id = row[2]
    snapshot = connection.execute(READS["snapshot"], {"run_id": run_id}).fetchone()
    state = connection.execute(READS["state"], {"run_id": run_id}).fetchone()
    after_snapshot = {"run_id": run_id, "after": snapshot[1] if snapshot else -1}
    after_state = {"run_id": run_id, "after": state[1] if state else -1}
    columns = dict(zip(StoredRun._fields, row, strict=False))
    columns["released"] = bool(columns["released"])
    return StoredRun(
        **columns,
        snapshot=SnapshotTaken(*snapshot) if snapshot else None,
        ticks=[TickAppended(*tick) for tick in connection.execute(READS["ticks"], after_snapshot)],
        state=StateReplaced(*state) if state else None,
        patches=[StatePatched(*patch) for patch in connection.execute(READS["patches"], after_state)],
        inbox=[
            InboxPosted(*posted[:7], *map(bool, posted[7:]))
            for posted in connection.execute(READS["inbox"], {"run_id": run_id})
        ],
    )


def load_state(connection: sqlite3.Connection, handler_id: str, most: int) -> StoredState | None:
    """Read the state of a handler's current run in one transaction."""
    connection.execute("BEGIN")
    try:
        row = connection.execute(READS["state_of_handler"], {"handler_id": handler_id}).fetchone()
        if row is None:
            return None
        *columns, state_of, place = row
        size = 0
        if place is not None:
            # Its length without its contents, of which there may be a gigabyte.
            with connection.blobopen("state_records", "data", place, readonly=True) as blob:
                size = len(blob)
        return _with_state(connection, columns, state_of, size, most)
    finally:
        connection.execute("ROLLBACK")


def _with_state(
    connection: sqlite3.Connection, columns: Sequence[Any], run_id: str, size: int, most: int
) -> StoredState:
    name, own_id, status, ended_at, is_started = columns
    found = StoredState(name, own_id, status, ended_at, bool(is_started), size, None, [])
    if size > most:
        return found
    state = connection.execute(READS["state"], {"run_id": run_id}).fetchone()
    patches: list[str] = []
    with closing(
        connection.execute(READS["patches"], {"run_id": run_id, "after": state[1] if state else -1})
    ) as cursor:
        for _, _, patch, _ in cursor:
            patches.append(patch)
            size += len(patch)
            if size > most:
                return found._replace(size=size)
    return found._replace(size=size, record=state[2] if state else None, patches=patches)


def inbox_load(connection: sqlite3.Connection, run_id: str) -> InboxLoad:
    return InboxLoad(*connection.execute(READS["inbox_load"], {"run_id": run_id}).fetchone())


def untaken_events(connection: sqlite3.Connection, run_id: str) -> list[UntakenEvent]:
    return [UntakenEvent(*row) for row in connection.execute(READS["untaken_events"], {"run_id": run_id})]


def running_runs(connection: sqlite3.Connection) -> list[RunningRun]:
    runs = []
    for row in connection.execute(READS["running_runs"]):
        run = RunningRun(*row)
        runs.append(run._replace(released=bool(run.released), has_inbox=bool(run.has_inbox)))
    return runs


def read_events(
    connection: sqlite3.Connection, handler_id: str, after: int, limit: int, characters: int | None
) -> list[StoredEvent]:
    page: list[StoredEvent] = []
    size = 0
    cursor = connection.execute(READS["events"], {"handler_id": handler_id, "after": after, "limit": limit})
    for sequence, internal, data, time in cursor:
        # A damaged event is returned as far as it can be read, so that its readers get on to the next ones.
        page.append(StoredEvent(sequence, bool(internal), data.removeprefix(DAMAGED), time))
        size += len(data)
        if characters is not None and size >= characters:
            break
    cursor.close()
    return page


def event_range(connection: sqlite3.Connection, handler_id: str) -> EventRange | None:
    row = connection.execute(READS["event_range"], {"handler_id": handler_id}).fetchone()
    return None if row is None else EventRange(*row)


def read_standing(connection: sqlite3.Connection, handler_id: str, run_id: str) -> str | None:
    row = connection.execute(READS["standing"], {"handler_id": handler_id, "run_id": run_id}).fetchone()
    return None if row is None else row[0]


def is_being_deleted(connection: sqlite3.Connection, handler_id: str) -> bool:
    return connection.execute(READS["being_deleted"], {"handler_id": handler_id}).fetchone() is not None


def find_answer(connection: sqlite3.Connection, scope: str, key: str) -> StoredAnswer | None:
    row = connection.execute(READS["answer"], {"scope": scope, "key": key}).fetchone()
    return None if row is None else StoredAnswer(*row)


def count_ended(connection: sqlite3.Connection, status: Status, after: float) -> int:
    (number,) = connection.execute(READS["count_ended"], {"status": status, "after": after}).fetchone()
    return int(number)


def ended_handlers(
    connection: sqlite3.Connection, status: Status, after: EndedHandler, until: EndedHandler, limit: int
) -> list[EndedHandler]:
    bounds = {"after_at": after[0], "after_id": after[1], "until_at": until[0], "until_id": until[1]}
    rows = connection.execute(READS["ended_handlers"], {"status": status, "limit": limit, **bounds})
    return [EndedHandler(*row) for row in rows]


def ended_after(connection: sqlite3.Connection, others: int) -> EndedHandler | None:
    row = connection.execute(READS["ended_after"], {"others": others}).fetchone()
    return None if row is None else EndedHandler(*row)


def space(connection: sqlite3.Connection) -> tuple[int, int]:
    """Return the mode of giving free pages back, and their number."""
    mode, free = connection.execute(READS["space"]).fetchone()
    return mode, free


def purge_left(connection: sqlite3.Connection) -> bool:
    return connection.execute(READS["purge_left"]).fetchone() is not None


def next_purge(connection: sqlite3.Connection, size: int = PURGE_SIZE, most: int = PURGE_ROWS) -> PurgeSliced | None:
    """Return the next slice of the marked rows, of ``size`` bytes or ``most`` rows, and one row at least; None where
    all are gone.

    Deleted content is overwritten, by way of the log: a slice bounds the log's growth.
    """
    if not purge_left(connection):
        return None
    rows = dict.fromkeys(PurgeSliced._fields, 0)
    found = 0
    for kind in rows:
        cursor = connection.execute(READS[f"purge_{kind}"])
        for (length,) in cursor:
            rows[kind] += 1
            found += length
            if found >= size or sum(rows.values()) >= most:
                cursor.close()
                return PurgeSliced(**rows)
    return PurgeSliced(**rows)
