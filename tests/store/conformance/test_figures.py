"""Counts of unfinished runs, by version."""

from __future__ import annotations

import pytest

from tests.store.making import run_ended, run_started
from workflow_server.records import VersionCount
from workflow_server.store import AbstractWorkflowStore, HandlerQuery
from workflow_server.store.sqlite import figures


async def with_version(store: AbstractWorkflowStore, name: str, version: str | None, workflow: str = "flow") -> None:
    await store.append(run_started(name, workflow=workflow)._replace(code_version=version))


async def test_unfinished_runs_are_counted_by_version(store: AbstractWorkflowStore) -> None:
    assert await store.count_versions() == []
    for name, version in {"a": "v1", "b": "v2", "c": "v2", "d": None, "over": "v1", "gone": "v3"}.items():
        await with_version(store, name, version)
    await with_version(store, "e", "v1", workflow="other")
    await store.append(run_ended("over"))
    await store.delete(HandlerQuery(handler_id_in=["gone"]))
    assert await store.count_versions() == [
        VersionCount("flow", "v2", 2),
        VersionCount("flow", None, 1),
        VersionCount("flow", "v1", 1),
        VersionCount("other", "v1", 1),
    ]


async def test_so_many_runs_are_looked_at_and_no_more(
    store: AbstractWorkflowStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "MOST_RUNNING", 3)
    for number in range(5):
        await store.append(run_started(str(number)))
    assert await store.count_versions() == [VersionCount("flow", None, 3)]
