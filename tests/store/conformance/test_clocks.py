"""The clocks of running runs, and the sign of life that a downtime is measured by."""

from __future__ import annotations

from tests.store.making import run_ended, run_started
from workflow_server.records import (
    RunBegan,
    ServerAlive,
)
from workflow_server.store import AbstractWorkflowStore


async def test_the_clocks_of_running_runs_are_shifted(store: AbstractWorkflowStore) -> None:
    await store.append(ServerAlive(100.0), run_started("a"), RunBegan("a", "a-1", 50.0, 50.0))
    await store.append(run_started("b"), RunBegan("b", "b-1", 50.0, 50.0), run_ended("b"))
    await store.shift_clocks(30.0)
    a, b = await store.load_run("a"), await store.load_run("b")
    assert a is not None
    assert b is not None
    assert (a.alive_since, b.alive_since) == (80.0, 50.0)
