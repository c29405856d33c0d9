"""What clients ask of the manager, with what must hold after the asking was cancelled somewhere.

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

from tests.reliability.instrumented_loop import LIMIT, InstrumentedLoop, Outcome, Point, ended_tasks
from tests.reliability.store_operations import nothing_is_left, rows_of
from tests.runtime.waiting import released, until
from workflow_server.errors import HandlerNotFound, HandlerNotRunning, RunAlreadyEnded
from workflow_server.protocol.handlers import HandlerData, IdempotencyKey, RunRequest
from workflow_server.protocol.strict_json import canonical_json
from workflow_server.records import InboxPosted, RunEnded, RunStarted
from workflow_server.runtime.manager import RuntimeManager
from workflow_server.store import SqliteWorkflowStore
from workflow_server.store.maintenance import Entry, PurgeMarked

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


class Operation:
    """One thing to ask of the manager. ``covers`` names the coroutines that it attacks."""

    covers: tuple[str, ...] = ()

    def __init__(self, manager: RuntimeManager, tag: str) -> None:
        self.manager = manager
        self.tag = tag
        self.handler_id = ""

    async def prepare(self) -> None:
        """Make what the operation needs."""

    async def work(self) -> Any:
        """What is cancelled."""
        raise NotImplementedError

    def http(self) -> Http | None:
        """What asks for it over HTTP, where that changes anything."""
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


# -- Starting --------------------------------------------------------------------------------------


class Start(Operation):
    """With a key: whatever became of the first request, the next gives its answer, and the run runs once."""

    covers = ("RuntimeManager.start",)

    async def work(self) -> HandlerData:
        return await self.manager.start("once", request(self.tag))

    def beside(self) -> list[Any]:
        return [
            self.manager.start("once", request(f"{self.tag} beside", key=False)),
            self.manager.list_handlers(["running"], None),
        ]

    def http(self) -> Http | None:
        return Http("/workflows/once/run-nowait", RunStarted, {"start_event": {"tag": self.tag}}, self.tag)

    async def check(self, outcome: Outcome) -> None:
        again = await self.manager.start("once", request(self.tag))
        assert outcome.cancelled or outcome.answer == again
        over = await self.manager.run("once", request(self.tag))
        assert (over.handler_id, over.status) == (again.handler_id, "completed")
        assert steps[self.tag] == 1


class StartTogether(Start):
    """The same key at the same time: the other one gets the answer that both would have got."""

    def beside(self) -> list[Any]:
        return [self.manager.start("once", request(self.tag)), self.manager.run("once", request(self.tag))]


class StartWithoutKey(Operation):
    """A cancelled start is wholly there and goes on to its end, or wholly absent."""

    covers = ("RuntimeManager.start", "RuntimeManager.list_handlers")

    async def prepare(self) -> None:
        self.known = {handler.handler_id for handler in await self.manager.list_handlers(None, ["once"])}

    async def work(self) -> HandlerData:
        return await self.manager.start("once", request(self.tag, key=False))

    def http(self) -> Http:
        return Http("/workflows/once/run-nowait", RunStarted, {"start_event": {"tag": self.tag}})

    async def check(self, outcome: Outcome) -> None:
        await work_done(self.manager)
        new = [one for one in await self.manager.list_handlers(None, ["once"]) if one.handler_id not in self.known]
        assert len(new) == (1 if outcome.began else 0)
        for handler in new:
            assert '"result":1' in await last_event(self.manager, handler.handler_id)
        assert steps[self.tag] == len(new)


class Continue(Operation):
    """A cancelled continuation leaves the handler completed, once or twice, and never in between."""

    covers = ("RuntimeManager.start",)

    async def prepare(self) -> None:
        self.first = await self.manager.run("once", request(self.tag, key=False))
        self.handler_id = self.first.handler_id

    async def work(self) -> HandlerData:
        return await self.manager.start("once", request(self.tag, key=False, handler_id=self.handler_id))

    def http(self) -> Http:
        body = {"start_event": {"tag": self.tag}, "handler_id": self.handler_id}
        return Http("/workflows/once/run-nowait", RunStarted, body)

    async def check(self, outcome: Outcome) -> None:
        await work_done(self.manager)
        runs = 2 if outcome.began else 1
        assert f'"result":{runs}' in await last_event(self.manager, self.handler_id)
        over = await self.manager.run("once", request(self.tag, key=False, handler_id=self.handler_id))
        assert over.result is not None
        assert over.result.value["result"] == runs + 1 == steps[self.tag]


class Run(Start):
    """Who waits for a run and goes away takes nothing from the run, nor from who waits beside."""

    covers = ("RuntimeManager.run",)

    async def work(self) -> HandlerData:
        return await self.manager.run("once", request(self.tag))

    def beside(self) -> list[Any]:
        return [self.manager.run("once", request(self.tag)), self.manager.start("once", request(self.tag))]

    def http(self) -> Http | None:
        return Http("/workflows/once/run", RunStarted, {"start_event": {"tag": self.tag}}, self.tag)

    async def check(self, outcome: Outcome) -> None:
        over = await self.manager.run("once", request(self.tag))
        assert over.status == "completed"
        assert outcome.cancelled or outcome.answer == over
        assert steps[self.tag] == 1


class RunAgain(Run):
    """The same of a run that has ended already: there is nothing to commit."""

    def http(self) -> Http | None:
        return None

    async def prepare(self) -> None:
        await self.manager.run("once", request(self.tag))


# -- Sending ---------------------------------------------------------------------------------------


class Send(Operation):
    """A cancelled event arrives wholly or not; with its key, sent again, it has arrived exactly once."""

    covers = ("RuntimeManager.send",)
    out_of_memory = False

    async def prepare(self) -> None:
        self.handler_id = await self.listen(out_of_memory=self.out_of_memory)

    async def work(self) -> None:
        await self.manager.send(self.handler_id, told("once"), None, key_of(self.tag, {"event": told("once")}))

    def beside(self) -> list[Any]:
        return [
            self.manager.send(self.handler_id, told("beside"), "told", None),
            self.manager.get_handler(self.handler_id),
        ]

    def http(self) -> Http:
        return Http(f"/events/{self.handler_id}", InboxPosted, {"event": told("once")}, self.tag)

    async def check(self, outcome: Outcome) -> None:
        await self.work()
        await self.manager.send(self.handler_id, told("last"), None, None)
        last = await last_event(self.manager, self.handler_id)
        heard = ('["once","beside","last"]', '["beside","once","last"]')
        assert any(f'"result":{one}' in last for one in heard), last


class SendToReleased(Send):
    """The same to a run that has left memory, and is taken up for it."""

    out_of_memory = True


class SendWithoutKey(Send):
    """Without a key: it has arrived, since it was handed over, and once."""

    async def work(self) -> None:
        await self.manager.send(self.handler_id, told("once"), None, None)

    def http(self) -> Http:
        return super().http()._replace(key=None)

    async def check(self, outcome: Outcome) -> None:
        await work_done(self.manager)
        await self.manager.send(self.handler_id, told("last"), None, None)
        last = await last_event(self.manager, self.handler_id)
        assert last.count('"once"') == (1 if outcome.began else 0), last
        assert last.count('"beside"') == last.count('"last"') == 1, last


# -- Ending ----------------------------------------------------------------------------------------


class Cancel(Operation):
    """A cancelled cancel has ended the run, with its terminal event, or not touched it."""

    covers = ("RuntimeManager.cancel",)
    out_of_memory = False

    async def prepare(self) -> None:
        self.handler_id = await self.listen(out_of_memory=self.out_of_memory)

    async def work(self) -> None:
        await self.manager.cancel(self.handler_id)

    def beside(self) -> list[Any]:
        return [self.manager.get_handler(self.handler_id)]

    def http(self) -> Http:
        return Http(f"/handlers/{self.handler_id}/cancel", RunEnded)

    async def check(self, outcome: Outcome) -> None:
        if outcome.cancelled:
            try:
                await self.manager.cancel(self.handler_id)
            except HandlerNotRunning:
                assert outcome.began
        assert "WorkflowCancelledEvent" in await last_event(self.manager, self.handler_id)
        assert (await self.manager.get_handler(self.handler_id)).status == "cancelled"
        try:
            await self.manager.send(self.handler_id, told("late"), None, None)
        except RunAlreadyEnded:
            return
        raise AssertionError("a run that was cancelled took an event")


class CancelReleased(Cancel):
    """The same of a run that has left memory."""

    out_of_memory = True


class CancelQueued(Cancel):
    """The same of a run that waits for a slot: the next in the line gets it."""

    async def prepare(self) -> None:
        self.holder = await self.listen(workflow="one-by-one")
        self.handler_id = await self.listen(workflow="one-by-one")
        self.next = await self.listen(workflow="one-by-one")

    async def check(self, outcome: Outcome) -> None:
        await super().check(outcome)
        for handler_id in (self.holder, self.next):
            await self.manager.send(handler_id, told("last"), None, None)
            assert '"result":["last"]' in await last_event(self.manager, handler_id)


class Purge(Operation):
    """A cancelled purge has removed all of the handler, or not touched it; its readers end."""

    covers = ("RuntimeManager.purge", "RuntimeManager.get_handler")
    out_of_memory = False

    async def prepare(self) -> None:
        self.handler_id = await self.listen(out_of_memory=self.out_of_memory)
        self.reader = await self.manager.open_cursor(self.handler_id, "now")

    async def work(self) -> None:
        await self.manager.purge(self.handler_id)

    def http(self) -> Http:
        return Http(f"/handlers/{self.handler_id}/cancel?purge=true", PurgeMarked)

    async def check(self, outcome: Outcome) -> None:
        await work_done(self.manager)
        assert await self.is_there(self.handler_id) == (not outcome.began)
        if not outcome.began:
            await self.manager.purge(self.handler_id)
        assert self.reader is not None
        while await self.reader.next_page(LIMIT):
            """What it still gets."""
        assert isinstance(self.manager._store, SqliteWorkflowStore)
        assert await rows_of(self.manager._store, self.handler_id) == 0


class PurgeReleased(Purge):
    """The same of a run that has left memory."""

    out_of_memory = True


# -- Looking and reading ---------------------------------------------------------------------------


class Look(Operation):
    """A cancelled look leaves what is looked at to the next."""

    covers = ("RuntimeManager.get_handler", "RuntimeManager.list_handlers")

    async def prepare(self) -> None:
        self.handler_id = (await self.manager.run("once", request(self.tag))).handler_id

    async def work(self) -> Any:
        one = await self.manager.get_handler(self.handler_id)
        return one in await self.manager.list_handlers(["completed"], ["once"])

    async def check(self, outcome: Outcome) -> None:
        assert outcome.cancelled or outcome.answer is True
        assert await self.work()


class Read(Operation):
    """A cancelled read with a cursor moves nothing: the same reader goes on with the next event, and so does any."""

    covers = ("RuntimeManager.open_cursor", "EventReader.next_page", "EventReader.written", "EventReader.close")

    async def prepare(self) -> None:
        self.handler_id = await self.listen()
        self.seen: list[int] = []
        self.reader: Any = None

    async def work(self) -> None:
        self.reader = await self.manager.open_cursor(self.handler_id, -1)
        await self.read_on()

    async def read_on(self) -> None:
        assert self.reader is not None
        while page := await self.reader.next_page(LIMIT):
            self.seen += [event.sequence for event in page]
            await self.reader.written(page[-1].sequence)
        await self.reader.close()

    def beside(self) -> list[Any]:
        return [self.manager.send(self.handler_id, told("last"), None, None), last_event(self.manager, self.handler_id)]

    async def check(self, outcome: Outcome) -> None:
        if self.reader is None:
            await self.work()
        elif outcome.cancelled:
            await self.read_on()
        log = await self.manager._store.read_events(self.handler_id, -1, 1_000)
        assert self.seen == [event.sequence for event in log]


class ReadQueue(Operation):
    """Who leaves the shared queue, or the line for it, leaves it to the next, who loses nothing."""

    covers = ("RuntimeManager.open_queue", "QueueReader.next_page", "QueueReader.written", "QueueReader.close")

    async def prepare(self) -> None:
        self.handler_id = await self.listen()
        self.seen: list[int] = []

    async def work(self) -> None:
        await self._take_turn(leave_after=None)

    async def _take_turn(self, leave_after: int | None) -> None:
        reader = await self.manager.open_queue(self.handler_id, LIMIT)
        if reader is None:
            return
        turns = 0
        try:
            while turns != leave_after and (page := await reader.next_page(LIMIT)):
                for event in page:
                    self.seen.append(event.sequence)
                    await reader.written(event.sequence)
                turns += 1
        finally:
            await reader.close()

    def beside(self) -> list[Any]:
        return [
            self._take_turn(leave_after=1),
            self.manager.send(self.handler_id, told("last"), None, None),
            self._take_turn(leave_after=1),
        ]

    async def check(self, outcome: Outcome) -> None:
        await self._take_turn(leave_after=None)
        log = await self.manager._store.read_events(self.handler_id, -1, 1_000)
        assert self.seen == [event.sequence for event in log]


OPERATIONS: tuple[type[Operation], ...] = (
    Start, StartTogether, StartWithoutKey, Continue, Run, RunAgain, Send, SendToReleased, SendWithoutKey, Cancel,
    CancelReleased, CancelQueued, Purge, PurgeReleased, Look, Read, ReadQueue,
)  # fmt: skip


# -- What must be left -----------------------------------------------------------------------------


async def nothing_is_held(manager: RuntimeManager) -> None:
    """With every run over: no session, slot, lock, place in a line or task is left of it."""
    roster = manager._roster
    await until(lambda: not roster.sessions and not roster.tasks._tasks)
    held = {
        "loading": roster._loading,
        "suspended": roster.suspended,
        "retried": roster._retries,
        "posted": roster.posted,
        "outcomes": manager._starting._outcomes,
        "wakeups": roster.wakeups._times,
        **{f"slots of {name}": roster.registry.get(name).slots._holders for name in manager.workflow_names()},
        **{f"line of {name}": roster.registry.get(name).slots._waiting for name in manager.workflow_names()},
    }
    assert not any(held.values()), held
    locks = {"handler": roster.lock, "key": roster.key_lock, "log": roster.logs._lock}
    locked = [name for name, keyed in locks.items() if any(lock.locked() for lock in keyed._locks.values())]
    assert not locked, locked
    assert isinstance(manager._store, SqliteWorkflowStore)
    await nothing_is_left(manager._store)


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
