"""The state of the whole server, as whoever runs it wants to see it at a glance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from workflow_server.execution.registry import Registry
from workflow_server.records import NowState, VersionCount
from workflow_server.runs.now import count_now
from workflow_server.runs.states import RunState
from workflow_server.runs.table import RunTable
from workflow_server.store.base import AbstractWorkflowStore, HandlerQuery

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

    runs: Mapping[NowState, int]
    """Runs that have not ended, by what they do."""
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
    return ServerState(
        await count_now(table),
        _versions(registry, await store.count_versions()),
        await _suspended(store, table),
        store.free_space(),
    )


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
