"""The answers that the clients of a server got, by runs: what each asked for, what it has to become, and what it
became."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.harness.api import Api, Json, StreamEvent
from tests.harness.ledger import Ledger
from tests.reliability.killing.acknowledgements import Repeater, Requests
from tests.reliability.killing.cursor_readers import CursorReader

PACE = 0.02
"""Seconds between two rounds of a client."""
LONGEST_PAUSE = 0.03
"""Seconds that a step takes at most."""


@dataclass
class Run:
    """A run that was acknowledged."""

    workflow: str
    started: Json
    """The handler as the acknowledgement showed it."""
    expected: object
    """The expected value of its plain StopEvent, or the type of its terminal event where that is another one."""
    reader: CursorReader
    terminal: StreamEvent | None = None
    ended: Json | None = None
    """The handler as it was when its reader had been sent the end."""

    @property
    def handler_id(self) -> str:
        """Its handler."""
        return str(self.started["handler_id"])

    @property
    def run_id(self) -> str:
        """Its own id."""
        return str(self.started["run_id"])


@dataclass
class TimedWait:
    """A run that waits with a timeout, and the answer that it was sent."""

    run: Run
    seconds: float
    answered_at: float | None = None
    """Time at which the answer had been acknowledged; None where it was refused, or none was sent."""


@dataclass
class QueueReading:
    """The events that came out of a handler's shared queue, read by several readers one after the other."""

    run: Run
    sequences: list[int]
    over: bool = False
    """The terminal event has come, or the server says that nothing is left."""


class Load:
    """Clients that go on whatever happens to the server, and remember what they were told."""

    def __init__(self, api: Api, ledger: Ledger, up: asyncio.Event) -> None:
        self.api = api
        self.up = up
        self.requests = Requests(api, up)
        self.repeater = Repeater(self.requests)
        self.runs: list[Run] = []
        self.cancelled: list[Run] = []
        self.answers = 0
        """Events of people that were acknowledged."""
        self.answered: Counter[str] = Counter()
        """The same, by their runs."""
        self.waits: list[TimedWait] = []
        self.queues: list[QueueReading] = []
        self.imported: list[str] = []
        self.gone: set[str] = set()
        """Handlers of which somebody has asked that they be deleted."""
        self.deleted: list[str] = []
        """Those of which it was acknowledged."""
        self._ledger = ledger
        self._number = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False

    # -- Clients -------------------------------------------------------------------------------

    def begin(self, clients: Mapping[Client, int], chance: random.Random) -> None:
        """Let so many of each begin."""
        for client, count in clients.items():
            for index in range(count):
                work = self._repeat(client, random.Random(chance.random()))
                self._tasks.append(asyncio.create_task(work, name=f"{client.__name__} {index}"))

    async def finish(self) -> None:
        """Let the clients finish what they are doing, all that they asked for included."""
        self._stopping = True
        await asyncio.gather(*self._tasks)

    async def abandon(self) -> None:
        """End the clients and readers where they are, after a failure."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for run in self.runs:
            await run.reader.stop()

    async def _repeat(self, client: Client, chance: random.Random) -> None:
        while not self._stopping:
            self._number += 1
            await client(self, self._number, chance)
            await asyncio.sleep(PACE)

    # -- What they do --------------------------------------------------------------------------

    async def start(
        self, workflow: str, number: int, chance: random.Random, expected: object = None, **fields: Any
    ) -> Run:
        """Start a run, and follow it."""
        content: Json = {"start_event": {"number": number, "pause": chance.uniform(0, LONGEST_PAUSE), **fields}}
        if number % 4 == 0:
            content["tags"] = [f"number {number}", workflow]
        return await self._started(workflow, content, f"start-{number}", expected, self._reader(chance))

    async def go_on(self, run: Run, number: int, addend: int, expected: object) -> Run:
        """Continue the handler of a run that has completed."""
        content = {"handler_id": run.handler_id, "start_event": {"number": addend}}
        key = f"continue-{number}-{run.run_id}"
        return await self._started(run.workflow, content, key, expected, lambda handler_id: run.reader)

    async def _started(
        self, workflow: str, content: Json, key: str, expected: object, reader: Callable[[str], CursorReader]
    ) -> Run:
        started = await self.requests.acknowledge(f"/workflows/{workflow}/run-nowait", content, key)
        run = Run(workflow, started, expected, reader(started["handler_id"]))
        self.runs.append(run)
        run.reader.follow(run.run_id)
        return run

    def adopt(self, handler: Json, workflow: str, expected: object, chance: random.Random) -> Run:
        """A handler that was not started here, as a run."""
        run = Run(workflow, handler, expected, self._reader(chance)(handler["handler_id"]))
        self.runs.append(run)
        return run

    def _reader(self, chance: random.Random) -> Callable[[str], CursorReader]:
        seed = chance.random()
        return lambda handler_id: CursorReader(self.api, self._ledger, handler_id, self.up, random.Random(seed))

    async def end(self, run: Run) -> Json:
        """The handler, when its reader has been sent the end of the run."""
        run.terminal = await run.reader.finished()
        _, run.ended = await self.requests.look(f"/handlers/{run.handler_id}")
        assert run.ended is not None
        return run.ended

    async def answer(self, run: Run, number: int, key: str) -> None:
        """Send a person's answer, which has to be accepted."""
        content = {"event": {"type": "Answer", "value": {"number": number}}}
        await self.requests.acknowledge(f"/events/{run.handler_id}", content, key, run.handler_id)
        self.answers += 1
        self.answered[run.run_id] += 1

    def note(self, kind: str, run: Run) -> None:
        """Mark in the ledger what was acknowledged: what the run still does stands behind it."""
        self._ledger.note(kind, run.handler_id, run.run_id)


Client = Callable[[Load, int, random.Random], Awaitable[None]]
"""One task of a client, under a number of its own."""
