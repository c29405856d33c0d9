"""The event log of a handler as the database file holds it: what every reader is held against."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from tests.harness.api import time_as_told

# The line ends that JSON leaves as they are are escaped on the way out.
_ESCAPED = str.maketrans({"\x85": "\\u0085", "\u2028": "\\u2028", "\u2029": "\\u2029"})


class LoggedEvent(NamedTuple):
    """A row, with the NDJSON line that it is to be read as."""

    sequence: int
    internal: bool
    line: bytes

    @property
    def envelope(self) -> dict[str, Any]:
        """The line as JSON."""
        envelope: dict[str, Any] = json.loads(self.line)
        return envelope


def event_log(db: Path, handler_id: str) -> list[LoggedEvent]:
    """All events of a handler. The file is only read."""
    with closing(sqlite3.connect(f"{db.as_uri()}?mode=ro", uri=True)) as connection:
        rows = connection.execute(
            "SELECT sequence, internal, data, time FROM all_events WHERE handler_id = ? ORDER BY sequence",
            (handler_id,),
        ).fetchall()
    events = []
    for sequence, internal, data, time in rows:
        line = f'{data[:-1]},"time":{json.dumps(time_as_told(time))},"sequence":{sequence}}}'.translate(_ESCAPED)
        events.append(LoggedEvent(sequence, bool(internal), line.encode()))
    return events
