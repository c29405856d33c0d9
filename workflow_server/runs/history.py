"""The history of a handler as clients read it, made of the events of its log and of what stands beside them."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any, get_args

from pydantic import ValidationError

from workflow_server.concurrency import map_cooperatively
from workflow_server.errors import HandlerNotFound
from workflow_server.execution.envelopes import stored_envelope
from workflow_server.execution.workflow import ServedWorkflow
from workflow_server.protocol.client_json import with_finite_numbers
from workflow_server.protocol.events import time_as_json
from workflow_server.protocol.history import EntryKind, HistoryEntry
from workflow_server.records import START, HistoryPlace, StoredEntry
from workflow_server.store.base import AbstractWorkflowStore

Json = dict[str, Any]

KINDS: tuple[str, ...] = get_args(EntryKind)
ENDS: dict[str, EntryKind] = {
    "WorkflowFailedEvent": "failed",
    "WorkflowTimedOutEvent": "timed_out",
    "WorkflowCancelledEvent": "cancelled",
    "StopEvent": "completed",
}
"""The kinds of terminal events, by their classes or a base of these; the first that fits."""
STATES: dict[str, EntryKind] = {
    "preparing": "step_queued",
    "running": "step_began",
    "not_running": "step_ended",
}
"""The kinds of the engine's events about steps, by the states in them."""
ENGINE = "workflows.events."


async def history_page(
    store: AbstractWorkflowStore,
    find_workflow: Callable[[str], ServedWorkflow | None],
    handler_id: str,
    after: HistoryPlace | None,
    limit: int,
    *,
    newest_first: bool,
    with_values: bool,
) -> tuple[list[str], HistoryPlace | None]:
    """Return the next page of a history, each entry as JSON, and the place behind which the one after it begins.

    Raises:
        HandlerNotFound: there is no such handler.
    """
    page = await store.read_history(handler_id, after, limit, newest_first=newest_first, with_values=with_values)
    if page is None:
        raise HandlerNotFound(handler_id)
    listed = partial(_listed, find_workflow(page.workflow_name), with_value=with_values)
    return await map_cooperatively(listed, page.entries), page.following


def _listed(served: ServedWorkflow | None, stored: StoredEntry, *, with_value: bool) -> str:
    fields: Json = {
        "cursor": stored.place.to_text(),
        "time": json.loads(time_as_json(stored.time)),
        "run_id": stored.run_id,
    }
    if stored.place.place == START:
        return _entry({**fields, "by": stored.by}, {"kind": "started"}).to_json(_start_event(served, stored.data))
    if stored.kind is not None:
        return _entry({**fields, "by": stored.by}, _noted(stored.kind, stored.data)).to_json(None)
    value, about = _parts(stored)
    fields |= {"sequence": stored.place.sequence, "duration": None if stored.took is None else round(stored.took, 6)}
    entry = _entry(fields, _of_event(value, about, internal=stored.internal))
    return entry.to_json(with_finite_numbers(value) if with_value and value is not None else None)


def _start_event(served: ServedWorkflow | None, data: str | None) -> str | None:
    """Return a start event as clients read it, as JSON; None where it is not known, or is not to be told."""
    return None if served is None or data is None else stored_envelope(data, served.stored_event, served.codec)


def _entry(fields: Json, told: Json) -> HistoryEntry:
    try:
        return HistoryEntry(**fields, **told)
    except ValidationError:
        # A damaged row: that it is there is told all the same.
        return HistoryEntry(**fields, kind="other")


def _noted(kind: str, data: str | None) -> Json:
    """Return what an entry says that stands beside the log."""
    if kind not in KINDS:
        return {"kind": "other", "reason": kind}
    told: Json = {} if data is None else _object(data)
    for name in ("until", "since"):
        if name in told:
            told[name] = _time(told[name])
    if isinstance(told.get("duration"), float):
        told["duration"] = round(told["duration"], 6)
    return {"kind": kind, **{name: value for name, value in told.items() if name in HistoryEntry.model_fields}}


def _of_event(value: str | None, about: Json, *, internal: bool) -> Json:
    """Return what an event of the log says; ``value`` as JSON, and ``about`` its type."""
    event = about.get("type")
    is_engines = str(about.get("qualified_name", "")).startswith(ENGINE)
    if internal and is_engines and event == "StepStateChanged":
        return _of_step(_object(value or "{}"))
    if internal and is_engines and event == "WorkflowIdleEvent":
        return {"kind": "idle"}
    if is_engines and event == "UnhandledEvent":
        told = _object(value or "{}")
        return {"kind": "event_unhandled", "event": told.get("event_type"), "step": told.get("step_name")}
    kinds = [event, *(about.get("types") or ())]
    for name, kind in ENDS.items():
        if name in kinds:
            return {"kind": kind, "event": event, **(_failure(value) if kind == "failed" else {})}
    return {"kind": "event_published", "event": event}


def _of_step(told: Json) -> Json:
    state = str(told.get("step_state"))
    worker = told.get("worker_id")
    is_queued = state == "preparing"
    return {
        "kind": STATES.get(state, "other"),
        "step": told.get("name"),
        "event": _class_name(told.get("input_event_name")),
        "returned": _class_name(told.get("output_event_name")),
        "worker": None if is_queued else worker,
    }


def _class_name(told: object) -> str | None:
    """Return the name of a class, which the engine gives as its name or as ``<class 'module.Name'>``."""
    if not isinstance(told, str):
        return None
    name = told.removeprefix("<class '").removesuffix("'>").rpartition(".")[2]
    return "None" if name == "NoneType" else name


def _failure(value: str | None) -> Json:
    told = _object(value or "{}")
    exception = told.get("exception")
    if not isinstance(exception, dict):
        return {"step": told.get("step_name"), "attempt": told.get("attempts")}
    kind = str(exception.get("exception_type", "")).rpartition(".")[2]
    error = f"{kind}: {exception.get('exception_message', '')}"
    return {"step": told.get("step_name"), "attempt": told.get("attempts"), "error": error[:2_000]}


def _parts(stored: StoredEntry) -> tuple[str | None, Json]:
    """Return the value of an envelope as JSON, None where it is not whole; and its other keys, which come behind it."""
    data = stored.data or ""
    begin = data.rfind(TYPE)
    if begin < 0:
        return None, {}
    about = _object("{" + data[begin + 1 :])
    if not stored.is_whole or not data.startswith(VALUE):
        return None, about
    return data[len(VALUE) : begin], about


VALUE, TYPE = '{"value":', ',"type":"'


def _object(text: str) -> Json:
    """Return a JSON object; an empty one where the text is something else: a damaged row hides no other."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _time(at: object) -> str | None:
    if not isinstance(at, (int, float)):
        return None
    try:
        return datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds")
    except (OverflowError, ValueError, OSError):
        return None
