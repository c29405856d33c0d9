"""A handler as clients see it who ask for it alone: with where its run stands."""

from __future__ import annotations

from workflow_server.execution.clock import ServerClock
from workflow_server.execution.standing import Standing
from workflow_server.protocol.handlers import HandlerDetails
from workflow_server.runs.now import retry_data, running_step_data, wait_data
from workflow_server.runs.run import Run
from workflow_server.runs.table import RunTable
from workflow_server.runs.views import shown
from workflow_server.store.base import AbstractWorkflowStore, PersistentHandler


async def detailed(
    store: AbstractWorkflowStore, table: RunTable, clock: ServerClock, handler: PersistentHandler
) -> HandlerDetails:
    """Return the handler, with where its run stands."""
    run = table.get(handler.handler_id)
    standing: Standing | None = Standing()
    if handler.status == "running":
        standing = await _standing(store, run) if run is not None and run.run_id == handler.run_id else None
    data = dict(shown(table, handler))
    if standing is None:
        return HandlerDetails(**data, running_steps=None, waiting_for=None, retrying_steps=None, stalled=False)
    behind = clock.behind()
    return HandlerDetails(
        **data,
        running_steps=[running_step_data(one) for one in standing.running],
        waiting_for=[wait_data(one, behind) for one in standing.waits],
        retrying_steps=[retry_data(one, behind) for one in standing.retries],
        stalled=standing.stalled,
    )


async def _standing(store: AbstractWorkflowStore, run: Run) -> Standing | None:
    """Return where a run stands; None where it is not known."""
    if run.standing is None:
        stored = await store.read_standing(run.handler_id, run.run_id)
        # It may have come into memory meanwhile.
        if run.standing is None:
            return None if stored is None else Standing.from_json(stored)
    return run.standing
