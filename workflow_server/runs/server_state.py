"""The state of the whole server, as whoever runs it wants to see it at a glance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from workflow_server.concurrency import map_cooperatively
from workflow_server.execution.registry import Registry
from workflow_server.records import RunningCounts, VersionCount
from workflow_server.runs.figures import RELEASED, RUNNING, WAITING, standings
from workflow_server.runs.run import Run
from workflow_server.runs.states import RunState
from workflow_server.runs.table import RunTable
from workflow_server.store.base import AbstractWorkflowStore, HandlerQuery

STALLED = "stalled"
"""Nothing happens in the run any more; see ``Standing``."""
MOST_SUSPENDED = 100


class CodeVersions(NamedTuple):
    """The versions of a workflow's code: that of this server, and those with which its unfinished runs began."""

    workflow_name: str
    registered: str | None
    """None of a workflow that is not registered."""
    runs: Mapping[str, int]
    """Unfinished runs by version; empty for those that began before versions were noted."""


class SuspendedRun(NamedTuple):
    """A run that makes no progress."""

    handler_id: str
    workflow_name: str
    reason: str


class ServerState(NamedTuple):
    """The runs of a server, and the room that is left for them, at one moment."""

    runs: Mapping[str, int]
    """Runs that have not ended, each in one state: running, waiting for an answer, released, queued, suspended or
    stalled."""
    code_versions: Sequence[CodeVersions]
    suspended: Sequence[SuspendedRun]
    """The first ``MOST_SUSPENDED``."""
    free_space: int | None
    """Bytes that are free where the database is; None where that is not known."""


async def server_state(store: AbstractWorkflowStore, table: RunTable, registry: Registry) -> ServerState:
    """Return the state of the server's runs.

    Raises:
        StoreUnavailable, StoreClosed: the store cannot be read.
    """
    stored = await store.count_running()
    return ServerState(
        await runs_now(list(table), stored),
        _versions(registry, stored.versions),
        await _suspended(store, table),
        store.free_space(),
    )


async def runs_now(runs: Sequence[Run], stored: RunningCounts) -> dict[str, int]:
    """Return how many of these runs are in which state; ``stored`` tells of those that are not in memory."""
    numbers = {**standings(runs), STALLED: 0}
    idle = [run for run in runs if run.is_active and run.session is not None and run.session.is_idle]
    found = Counter(await map_cooperatively(_idle_state, idle))
    # Runs come and go between the two looks.
    gone_on = max(0, numbers[RELEASED] - stored.released_waiting - stored.released_stalled)
    return {
        **numbers,
        RUNNING: numbers[RUNNING] + found[RUNNING],
        WAITING: found[WAITING] + stored.released_waiting,
        RELEASED: gone_on,
        STALLED: found[STALLED] + stored.released_stalled,
    }


def _idle_state(run: Run) -> str:
    standing = run.standing
    if standing is None or not (standing.waits or standing.stalled):
        # It has a retry before it, or an event on its way.
        return RUNNING
    return WAITING if standing.waits else STALLED


def _versions(registry: Registry, counts: Sequence[VersionCount]) -> list[CodeVersions]:
    registered = {name: registry.get(name).code_version for name in registry.names()}
    runs: dict[str, dict[str, int]] = {name: {} for name in registered}
    for count in counts:
        runs.setdefault(count.workflow_name, {})[count.code_version or ""] = count.number
    return [CodeVersions(name, registered.get(name), by_version) for name, by_version in runs.items()]


async def _suspended(store: AbstractWorkflowStore, table: RunTable) -> list[SuspendedRun]:
    found = [run for run in table if run.state is RunState.SUSPENDED][:MOST_SUSPENDED]
    # A run of a workflow that is not registered does not know its name.
    unnamed = [run.handler_id for run in found if run.served is None]
    handlers = await store.query(HandlerQuery(handler_id_in=unnamed)) if unnamed else []
    names = {handler.handler_id: handler.workflow_name for handler in handlers}
    return [
        SuspendedRun(
            run.handler_id,
            names.get(run.handler_id, "") if run.served is None else run.served.name,
            run.suspended or "",
        )
        for run in found
    ]
