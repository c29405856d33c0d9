"""Conversion of ``PersistentHandler`` from and to rows."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from workflow_server.protocol.events import read_result
from workflow_server.records import STATUSES
from workflow_server.store.base import HandlerQuery, PersistentHandler, from_timestamp
from workflow_server.store.internal_records import Entries, HandlerReplaced, StateGiven
from workflow_server.store.sqlite.reads import READS

Row = tuple[Any, ...]


def find_handlers(connection: sqlite3.Connection, query: HandlerQuery) -> list[Row]:
    """Return the rows that match, oldest first."""
    statuses = STATUSES if query.status_in is None else query.status_in
    parameters = {
        "handler_ids": _json(query.handler_id_in),
        "statuses": _json(statuses),
        "workflow_names": _json(query.workflow_name_in),
    }
    if query.handler_id_in is not None:
        name = "handlers_by_id"
    elif query.workflow_name_in is not None:
        name = "handlers_by_workflow"
    else:
        name = "handlers_by_status"
    return connection.execute(READS[name], parameters).fetchall()


def handler_from_row(row: Row) -> PersistentHandler:
    handler_id, workflow_name, status, run_id, error, result, started_at, updated_at, completed_at, version, tags = row
    envelope, unreadable = read_result(result)
    return PersistentHandler(
        handler_id=handler_id,
        workflow_name=workflow_name,
        status=status,
        run_id=run_id,
        error=error if unreadable is None else unreadable,
        result=envelope,
        started_at=from_timestamp(started_at),
        updated_at=from_timestamp(updated_at),
        completed_at=from_timestamp(completed_at),
        code_version=version,
        tags=tags_of(tags),
    )


def tags_of(stored: str | None) -> list[str]:
    """Return the tags of a handler, as they are stored; none where that is damaged."""
    if stored is None:
        return []
    try:
        tags = json.loads(stored)
    except ValueError:
        return []
    return [tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else []


def entries_from_handler(handler: PersistentHandler) -> Entries:
    """Return the records that store a handler: its row and, from its ``ctx``, the state that a later run finds."""
    state = handler.ctx.get("state")
    # State belongs to a run; where a handler has none, to a run of the handler's own name.
    run_id = handler.run_id or (handler.handler_id if state else None)
    row = HandlerReplaced(
        handler_id=handler.handler_id,
        workflow_name=handler.workflow_name,
        run_id=run_id,
        status=handler.status,
        error=handler.error,
        result=None if handler.result is None else handler.result.model_dump_json(),
        started_at=_timestamp(handler.started_at),
        updated_at=_timestamp(handler.updated_at),
        completed_at=_timestamp(handler.completed_at),
    )
    if not state or run_id is None:
        return (row,)
    return (row, StateGiven(run_id, json.dumps(state)))


def _json(values: Sequence[str] | None) -> str | None:
    return None if values is None else json.dumps(values)


def _timestamp(time: datetime | None) -> float | None:
    """Return the Unix time; a time without a zone is UTC."""
    if time is None:
        return None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
