"""The state of a run, as a client may see it: read from the store, whatever the run does now."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from workflow_server.errors import HandlerNotFound
from workflow_server.execution.registry import Registry
from workflow_server.execution.shown_state import LARGEST_READ, MOST_PARTS, ShownState, shown_state
from workflow_server.execution.unreadable import unreadable
from workflow_server.protocol.state import StateData
from workflow_server.records import StoredState
from workflow_server.runs.exceptions import StateNotKept, StateNotReadable, StateTooLarge
from workflow_server.runs.views import iso_time
from workflow_server.store.base import AbstractWorkflowStore


class StateView:
    """Shows the states of runs, one at a time: each takes memory, and a thread that keeps the others waiting."""

    def __init__(self, store: AbstractWorkflowStore, registry: Registry) -> None:
        self._store = store
        self._registry = registry
        self._one = asyncio.Lock()

    async def show(self, handler_id: str) -> str:
        """Return the state of a handler's current run as of its last commit, as JSON; see ``StateData``.

        Raises:
            HandlerNotFound: there is no such handler.
            StateNotKept, StateTooLarge, StateNotReadable: why it cannot be shown.
        """
        async with self._one:
            now = time.time()
            stored = await self._store.load_state(handler_id, LARGEST_READ)
            if stored is None:
                raise HandlerNotFound(handler_id)
            shown = await self._shown(handler_id, stored)
        as_of = iso_time(now if stored.status == "running" else stored.ended_at)
        data = StateData(
            handler_id=handler_id,
            run_id=stored.run_id or handler_id,
            kind=shown.kind,
            as_of=as_of or "",
            truncated=shown.truncated,
        )
        return data.to_json(shown.text)

    async def _shown(self, handler_id: str, stored: StoredState) -> ShownState:
        served = self._registry.find(stored.workflow_name)
        parts = sum(text.count(",") for text in (stored.record or "", *stored.patches))
        if stored.size > LARGEST_READ or parts > MOST_PARTS:
            raise StateTooLarge(handler_id, stored.size)
        if not stored.size and (served is None or not stored.is_started):
            raise StateNotKept(handler_id)
        work = partial(shown_state, served, stored.record, stored.patches)
        # A thread of its own: steps may keep all others.
        thread = ThreadPoolExecutor(1, thread_name_prefix="state")
        try:
            return await asyncio.get_running_loop().run_in_executor(thread, work)
        except (ValueError, RecursionError, LookupError, TypeError, AttributeError) as error:
            # Not what the exception says: that may quote what is stored.
            raise StateNotReadable(handler_id, unreadable(error)) from None
        finally:
            thread.shutdown(wait=False)
