"""A manager that is asked for runs, the workflows that it serves, and what is asked of it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from workflows import Context, Workflow, step
from workflows.events import HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent

from tests.reliability.instrumented_loop import LIMIT
from tests.runtime.waiting import until
from workflow_server.protocol.handlers import IdempotencyKey, RunRequest
from workflow_server.protocol.strict_json import canonical_json
from workflow_server.runtime.manager import RuntimeManager
from workflow_server.store import SqliteWorkflowStore
from workflow_server.store.maintenance import Entry

steps: Counter[str] = Counter()
"""How often the step of ``Once`` ran, by tag."""

IDLE = 0.05
"""Seconds after which the runs of the attack leave memory."""


class Told(HumanResponseEvent):
    text: str


class Once(Workflow):
    """Counts that it ran. Its slots are few: one that is not given back is missed soon."""

    @step
    async def only(self, ctx: Context, ev: StartEvent) -> StopEvent:
        steps[ev.get("tag")] += 1
        runs = await ctx.store.get("runs", 0) + 1
        await ctx.store.set("runs", runs)
        return StopEvent(result=runs)


class Listen(Workflow):
    """Asks, collects what it is told, and ends with all of it when it is told the last."""

    @step
    async def ask(self, ev: StartEvent) -> InputRequiredEvent:
        return InputRequiredEvent()

    @step(num_workers=1)
    async def told(self, ctx: Context, ev: Told) -> StopEvent | None:
        heard = [*await ctx.store.get("heard", []), ev.text]
        await ctx.store.set("heard", heard)
        return StopEvent(result=heard) if ev.text == "last" else None


def workflows() -> dict[str, Workflow]:
    """What the manager serves."""
    return {
        "once": Once(num_concurrent_runs=2),
        "listen": Listen(timeout=None),
        "one-by-one": Listen(timeout=None, num_concurrent_runs=1),
    }


@asynccontextmanager
async def managed(path: Path) -> AsyncIterator[RuntimeManager]:
    """A manager of the workflows on the file at ``path``."""
    store = SqliteWorkflowStore(path)
    manager = RuntimeManager(store, idle_timeout=IDLE)
    for name, workflow in workflows().items():
        manager.add_workflow(name, workflow)
    manager.listen()
    await store.open()
    await manager.resume()
    try:
        yield manager
    finally:
        await manager.stop(1.0)
        await store.close()


def request(tag: str, *, key: bool = True, handler_id: str | None = None) -> RunRequest:
    """What ``POST …/run`` with this tag, also as its key, asks of the manager."""
    start_event = {"tag": tag}
    return RunRequest(
        start_event=start_event, handler_id=handler_id, key=key_of(tag, {"start_event": start_event}) if key else None
    )


def key_of(tag: str, body: dict[str, Any]) -> IdempotencyKey:
    """The tag as the key of a request with this body."""
    return IdempotencyKey(tag, hashlib.sha256(canonical_json(body)).hexdigest())


def told(text: str) -> dict[str, Any]:
    return {"type": "Told", "value": {"text": text}}


async def last_event(manager: RuntimeManager, handler_id: str) -> str:
    """Follow the run to its end; its last event."""
    reader, last = await manager.open_cursor(handler_id, -1), ""
    assert reader is not None
    sequence: int | None = None
    while page := await reader.next_page(LIMIT):
        assert sequence is None or page[0].sequence == sequence + 1
        sequence, last = page[-1].sequence, page[-1].data
    return last


async def work_done(manager: RuntimeManager) -> None:
    """Return when nothing that was begun for a client is under way."""
    await until(lambda: not manager._roster.tasks._tasks)


class Http(NamedTuple):
    """The same over HTTP; ``held`` is a record that its commits can be told by."""

    path: str
    held: type[Entry]
    body: dict[str, Any] | None = None
    key: str | None = None
