"""The records that a run begins with: the state that its handler keeps of the run before, or a client's context."""

from __future__ import annotations

import json
import re
from typing import Any

from workflow_server.execution.unreadable import unreadable
from workflow_server.execution.workflow import ServedWorkflow
from workflow_server.protocol.handlers import RunRequest
from workflow_server.records import SnapshotTaken, StateReplaced
from workflow_server.runs.exceptions import (
    CompletedHandlerNotFound,
    ContextBesideHandler,
    ContextRefused,
    HandlerBeingDeleted,
    HandlerRunning,
    InvalidHandlerId,
    StateUnreadable,
)
from workflow_server.store.base import AbstractWorkflowStore

_HANDLER_ID = re.compile(r"[A-Za-z0-9._~-]{1,128}", re.ASCII)
_RESERVED = {".", "..", "stats", "stream"}
"""Ids whose paths under ``/handlers/`` are no handler's."""

FirstRecords = list[SnapshotTaken | StateReplaced]


class Continuing:
    """Finds out what runs begin with, as far as the settings allow it."""

    def __init__(self, store: AbstractWorkflowStore, *, accept_context: bool, accept_handler_ids: bool) -> None:
        self._store = store
        self._accept_context = accept_context
        self.accepts_ids = accept_handler_ids
        """Clients may choose the ids of new handlers."""

    async def is_new(self, handler_id: str) -> bool:
        """Return whether a client has chosen this id for a new handler. The caller holds the handler's lock.

        Raises:
            InvalidHandlerId, HandlerBeingDeleted: it cannot be that of a handler, or not yet.
        """
        if not self.accepts_ids or await self._store.event_range(handler_id) is not None:
            return False
        if not _HANDLER_ID.fullmatch(handler_id) or handler_id in _RESERVED:
            raise InvalidHandlerId
        if await self._store.is_being_deleted(handler_id):
            raise HandlerBeingDeleted(handler_id)
        return True

    def given(self, served: ServedWorkflow, run_id: str, context: dict[str, Any]) -> FirstRecords:
        """Return the records of a client's context for a run in a new handler.

        Raises:
            ContextRefused, InvalidEvent: it is not accepted, or is none.
        """
        if not self._accept_context:
            raise ContextRefused
        snapshot, state = served.context_snapshot(context)
        records: FirstRecords = [SnapshotTaken(run_id, -1, snapshot)]
        if state is not None:
            records.append(StateReplaced(run_id, -1, state))
        return records

    async def kept(self, served: ServedWorkflow, handler_id: str, run_id: str, request: RunRequest) -> FirstRecords:
        """Return the record of the state that a completed handler keeps for the run that continues it.

        Raises:
            ContextBesideHandler, CompletedHandlerNotFound, HandlerRunning, StateUnreadable: why it cannot be continued.
        """
        if request.context is not None:
            raise ContextBesideHandler
        stored = await self._store.load_run(handler_id)
        if stored is None or stored.workflow_name != served.name:
            raise CompletedHandlerNotFound(served.name, handler_id)
        if stored.status == "running":
            raise HandlerRunning(handler_id)
        if stored.status != "completed":
            raise CompletedHandlerNotFound(served.name, handler_id)
        if stored.state is None and not stored.patches:
            return []
        record = stored.state.data if stored.state is not None else None
        try:
            tree, _ = served.state_tree(record, [json.loads(patch.patch) for patch in stored.patches])
            served.state_store(tree, unattended=_nowhere)
        except BaseException as error:
            raise StateUnreadable(handler_id, unreadable(error)) from None
        return [StateReplaced(run_id, -1, served.state_record(tree))]


def _nowhere(patch: object) -> None:
    raise AssertionError(f"nothing is written to a state that is only read: {patch}")
