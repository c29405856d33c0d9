"""Entries of a handler's history beside its event log: what happened, to be told a month later.

Whoever makes something happen to a run hands ``noted(…)`` to the store in the unit of records that does it. Steps that
begin and end, and events that are published, need no entry: the event log has them.
"""

from __future__ import annotations

import json
import time
from typing import Any, Literal, NamedTuple

from workflow_server.records import HistoryNoted

NotedKind = Literal[
    "started",
    "attempt_failed",
    "wait_began",
    "wait_answered",
    "wait_timed_out",
    "event_sent",
    "released",
    "resumed",
    "suspended",
    "retried",
    "cancel_requested",
]

LONGEST_TEXT = 2_000
"""Characters of an entry's error, and of its reason."""
LONGEST_TRACEBACK = 4_000
"""Characters of an entry's traceback; the middle of a longer one is left out."""


class Note(NamedTuple):
    """The content of an entry; see docs/api.md for what each kind has. Texts are cut to the limits above."""

    kind: NotedKind
    step: str | None = None
    event: str | None = None
    """The class of an event, without its module."""
    attempt: int | None = None
    """1 for the first."""
    duration: float | None = None
    """Seconds."""
    until: float | None = None
    """The time at which something is to happen, by the wall clock."""
    error: str | None = None
    traceback: str | None = None
    requirements: dict[str, Any] | None = None
    question: str | None = None
    reason: str | None = None
    since: float | None = None
    """Time of the last sign of life of the server that ran it before, by the wall clock."""

    def to_json(self) -> str:
        """Return what is stored beside the kind: all that is told, as ASCII."""
        told = {name: value for name, value in self._asdict().items() if value is not None and name != "kind"}
        for name in ("error", "reason"):
            if name in told:
                told[name] = _cut(told[name], LONGEST_TEXT)
        if self.traceback is not None:
            told["traceback"] = _without_middle(self.traceback)
        return json.dumps(told, separators=(",", ":"))


def noted(
    handler_id: str,
    run_id: str,
    note: Note,
    *,
    by: str | None = None,
    after_sequence: int | None = None,
    at: float | None = None,
) -> HistoryNoted:
    """Return the record of an entry of this run.

    ``by``: the name of the token that asked for it. ``after_sequence``: the last event of the handler's log, where it
    is known; otherwise the entry stands behind all events that are handed to the store before it. ``at``: the time,
    by default now.
    """
    time_of = time.time() if at is None else at
    return HistoryNoted(handler_id, run_id, after_sequence, time_of, note.kind, by, note.to_json())


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _without_middle(text: str) -> str:
    if len(text) <= LONGEST_TRACEBACK:
        return text
    half = LONGEST_TRACEBACK // 2 - 10
    return f"{text[:half]}\n  […]\n{text[-half:]}"
