"""Every sample workflow, killed after each of its commits in turn, and resumed from what was on the disk."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from workflows import Workflow

from workflow_server.protocol.handlers import HandlerData, IdempotencyKey, RunRequest
from workflow_server.records import StoredEvent
from workflow_server.runtime.manager import RuntimeManager
from workflow_server.store.sqlite import SqliteWorkflowStore

from .sample_workflows import SAMPLES, begun

Log = list[StoredEvent]


class DiskCopies:
    """Copies the database files right after each commit, as a crash at that moment would leave them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.paths: list[Path] = []
        self.begun: list[list[str]] = []

    def __call__(self, moment: str, units: object) -> None:
        if moment != "after commit":
            return
        copy = self.folder / f"{len(self.paths):03}.sqlite3"
        for suffix in ("", "-wal"):
            source = self.folder / f"live.sqlite3{suffix}"
            if source.exists():
                shutil.copyfile(source, f"{copy}{suffix}")
        self.paths.append(copy)
        self.begun.append(list(begun))


async def serve(path: Path, workflow: Workflow, copies: DiskCopies | None = None) -> tuple[RuntimeManager, Any]:
    store = SqliteWorkflowStore(path)
    manager = RuntimeManager(store, idle_timeout=None)
    manager.add_workflow("sample", workflow)
    manager.listen()
    await store.open()
    if copies is not None:
        store.fault = copies
    await manager.resume()
    return manager, store


async def follow(manager: RuntimeManager, handler_id: str) -> tuple[HandlerData, Log]:
    """Read the run's stream to its end, answering its questions, each once."""
    reader = await manager.open_cursor(handler_id, -1)
    log: Log = []
    while reader is not None and (page := await reader.next_page(30)):
        log += page
        for event in page:
            envelope = json.loads(event.data)
            if envelope["type"] == "Question":
                await answer(manager, handler_id, envelope["value"]["about"])
    return await manager.get_handler(handler_id), log


async def answer(manager: RuntimeManager, handler_id: str, about: str) -> None:
    value = {"about": about, "text": about.replace("q", "a")}
    # A question that is read again after a restart was perhaps answered before: the key makes that harmless.
    key = IdempotencyKey(about, about)
    await manager.send(handler_id, {"type": "Reply", "value": value}, None, key)


async def stop(manager: RuntimeManager, store: SqliteWorkflowStore) -> None:
    await manager.stop(1.0)
    await store.close()


def check(name: str, handler: HandlerData, log: Log) -> None:
    _, status, expected = SAMPLES[name]
    assert handler.status == status
    if handler.result is not None:
        value = handler.result.value
        assert value.get("result", value.get("lines")) == expected
    else:
        assert str(expected) in str(handler.error)
    assert [event.sequence for event in log] == list(range(len(log)))
    last = json.loads(log[-1].data)
    assert last["type"] in {"StopEvent", "Report", "WorkflowFailedEvent", "WorkflowTimedOutEvent"}


@pytest.mark.parametrize("name", SAMPLES)
async def test_a_run_that_is_killed_after_any_commit_ends_as_if_it_had_not_been(name: str, tmp_path: Path) -> None:
    kind = SAMPLES[name][0]
    begun.clear()
    copies = DiskCopies(tmp_path)
    manager, store = await serve(tmp_path / "live.sqlite3", kind(), copies)
    handler = await manager.start("sample", RunRequest())
    ended, whole = await follow(manager, handler.handler_id)
    check(name, ended, whole)
    await stop(manager, store)
    assert len(copies.paths) >= 2

    once = Counter(begun)
    for path, before in zip(copies.paths, copies.begun, strict=True):
        begun[:] = before
        manager, store = await serve(path, kind())
        try:
            # Read before anything of the new process can have been committed behind it.
            sent = await store.read_events(handler.handler_id, -1, 10_000)
            if not await manager.list_handlers(None, None):
                continue
            resumed, log = await asyncio.wait_for(follow(manager, handler.handler_id), 30)
            check(name, resumed, log)
            assert (resumed.run_id, resumed.started_at) == (handler.run_id, handler.started_at)
            assert log[: len(sent)] == sent, "what a reader was sent is never taken back"
            again = Counter(begun) - once
            assert max(again.values(), default=0) <= 1, f"only what was under way begins again: {again}"
            assert again.keys() <= once.keys(), f"nothing begins that did not before: {again}"
        finally:
            await stop(manager, store)
