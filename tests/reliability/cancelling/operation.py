"""One thing that clients ask of the manager, cancelled somewhere, and what must hold afterwards.

Each operation has a tag of its own: its runs count their steps under it, so that nothing is done twice unseen.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from workflows import Context, Workflow, step
from workflows.events import HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent

from tests.harness.runs import released, until
from tests.reliability.cancelling.instrumented_loop import LIMIT, InstrumentedLoop, Outcome, Point, ended_tasks
from tests.reliability.cancelling.store_operations import nothing_is_left
from workflow_server.errors import HandlerNotFound
from workflow_server.protocol.handlers import IdempotencyKey, RunRequest
from workflow_server.protocol.strict_json import canonical_json
from workflow_server.runs.manager import RuntimeManager
from workflow_server.store import SqliteWorkflowStore
from workflow_server.store.internal_records import Entry

steps: Counter[str] = Counter()
"""Number of times that the step of ``Once`` ran, by tag."""

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
    """The workflows that the manager serves."""
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
    """The request that ``POST …/run`` with this tag, also as its key, makes of the manager."""
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
    await until(lambda: not manager.footprint()["tasks"])


class Http(NamedTuple):
    """The same over HTTP; ``held`` is a record that its commits can be told by."""

    path: str
    held: type[Entry]
    body: dict[str, Any] | None = None
    key: str | None = None


class Operation:
    """One thing to ask of the manager. ``covers`` names the coroutines that it attacks."""

    covers: tuple[str, ...] = ()

    def __init__(self, manager: RuntimeManager, tag: str) -> None:
        self.manager = manager
        self.tag = tag
        self.path = Path(manager.store.location)
        self.handler_id = ""

    async def prepare(self) -> None:
        """Make what the operation needs."""

    async def work(self) -> Any:
        """The coroutine that is cancelled."""
        raise NotImplementedError

    def http(self) -> Http | None:
        """The HTTP request that asks for it, where that changes anything."""
        return None

    def beside(self) -> list[Any]:
        """Coroutines of those who want the same at the same time; none of them may be forgotten."""
        return []

    async def check(self, outcome: Outcome) -> None:
        """Hold what is there against the promises, and end what was begun."""

    async def listen(self, *, out_of_memory: bool = False, workflow: str = "listen") -> str:
        """A run that waits to be told."""
        handler = await self.manager.start(workflow, request(self.tag, key=False))
        if out_of_memory:
            await released(self.manager, handler.handler_id)
        return handler.handler_id

    async def is_there(self, handler_id: str) -> bool:
        try:
            await self.manager.get_handler(handler_id)
        except HandlerNotFound:
            return False
        return True


# -- What must be left -----------------------------------------------------------------------------


async def nothing_is_held(manager: RuntimeManager) -> None:
    """With every run over: no session, slot, lock, place in a line or task is left of it."""
    await until(lambda: not manager.footprint()["runs"] and not manager.footprint()["tasks"])
    await until(lambda: not manager.footprint()["queues on their way to the store"])
    assert not any(manager.footprint().values()), manager.footprint()
    assert isinstance(manager.store, SqliteWorkflowStore)
    await nothing_is_left(manager.store)


async def cancel_operation(
    manager: RuntimeManager, kind: type[Operation], numbers: Iterator[int], point: Point
) -> Outcome:
    """Cancel one operation, with others beside it, and hold what is there against the promises."""
    before = asyncio.all_tasks()
    operation = kind(manager, f"t{next(numbers)}")
    await operation.prepare()
    with InstrumentedLoop() as loop:
        beside = [asyncio.create_task(work, name="beside") for work in operation.beside()]
        outcome = await loop.cancel(operation.work(), point)
        assert outcome.error is None, outcome
        await asyncio.wait_for(asyncio.gather(*beside), LIMIT)
    await operation.check(outcome)
    await nothing_is_held(manager)
    await ended_tasks(before)
    return outcome
