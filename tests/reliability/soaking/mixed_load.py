"""A long mixed load: runs, answers, continuations, cancellations and purges, and readers that reconnect."""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
from collections import Counter
from contextlib import aclosing, closing
from pathlib import Path
from typing import NamedTuple

from tests.harness.api import StreamEvent
from tests.harness.server_process import DurableServer

CLIENTS = 24
KINDS = {"plain": 70, "asked": 12, "continued": 8, "cancelled": 5, "purged": 5}
"""The requests of a client, and how many of a hundred are of each kind."""
SETTLING = 20
"""Number of looks at the server, one every 0.1 s, until it holds no more than at first."""


class Sample(NamedTuple):
    """The resources that the server held at a moment when it had nothing to do."""

    runs: int
    memory: int
    """Bytes of resident memory, as the kernel has it."""
    connections: int
    """Sockets: those of clients that are kept alive, and a few of the server's own."""
    descriptors: int
    """Open files except sockets."""
    threads: int
    tasks: int
    """Tasks less the connections, each of which has one."""
    log: int
    """Bytes of the write-ahead log."""
    journal: int
    """Rows of ticks, snapshots and inbox, of runs that run or have completed."""

    @property
    def held(self) -> tuple[int, int, int]:
        """The part that must be the same whenever there is nothing to do."""
        return self.descriptors, self.threads, self.tasks


class Soak:
    """Clients that share out a number of runs; some of the runs are read by readers that reconnect."""

    def __init__(self, server: DurableServer, seed: int, *, runs: int, readers: int) -> None:
        self.done: Counter[str] = Counter()
        self.readers = 0
        self.reconnects = 0
        self.samples: list[Sample] = []
        self._server = server
        self._chance = random.Random(seed)
        self._read_every = runs // readers

    @property
    def runs(self) -> int:
        """The number of runs that have ended."""
        return self.done.total() + self.done["continued"]

    async def run(self, count: int) -> None:
        """As many turns of clients, each at least one run."""
        chances = [random.Random(self._chance.random()) for _ in range(CLIENTS)]
        await asyncio.gather(*(self._client(chance, count // CLIENTS) for chance in chances))

    async def _client(self, chance: random.Random, count: int) -> None:
        for number in range(count):
            kind = chance.choices(list(KINDS), list(KINDS.values()))[0]
            await getattr(self, f"_{kind}")(chance, number)
            self.done[kind] += 1

    async def _plain(self, chance: random.Random, number: int) -> None:
        api = self._server.api
        if chance.randrange(self._read_every * KINDS["plain"] // 100):
            body = {"start_event": {"number": number}}
            handler = await api.wants("POST", "/workflows/three_steps/run", body)
            return
        handler = await api.start("three_steps", number=number)
        await self._read(chance, handler["handler_id"])

    async def _read(self, chance: random.Random, handler_id: str) -> None:
        """Read the run to its end, leaving in the middle and coming back with the cursor."""
        events: list[StreamEvent] = []
        while not (events and events[-1].terminal):
            leave_after = chance.randint(1, 4)
            after = events[-1].sequence if events else -1
            async with aclosing(self._server.api.stream(handler_id, after, internal=True)) as stream:
                async for event in stream:
                    events.append(event)
                    leave_after -= 1
                    if leave_after == 0 and not event.terminal:
                        break
            self.reconnects += 1
        assert [event.sequence for event in events] == list(range(len(events)))
        self.readers += 1

    async def _asked(self, chance: random.Random, number: int) -> None:
        api = self._server.api
        handler = await api.start("asks")
        stream = api.stream(handler["handler_id"])
        async for event in stream:
            if event.type == "Question":
                await api.send(handler["handler_id"], "Answer", number=number)
        assert await api.result(handler["handler_id"]) == number

    async def _continued(self, chance: random.Random, number: int) -> None:
        api = self._server.api
        handler_id = None
        for _ in range(2):
            body = {"start_event": {"number": number}, **({"handler_id": handler_id} if handler_id else {})}
            handler = await api.wants("POST", "/workflows/sums/run", body)
            handler_id = handler["handler_id"]
        assert handler["result"]["value"]["result"] == 2 * number

    async def _cancelled(self, chance: random.Random, number: int) -> None:
        api = self._server.api
        handler = await api.start("asks")
        status, answer = await api.call("POST", f"/handlers/{handler['handler_id']}/cancel")
        assert (status, answer) == (200, {"status": "cancelled"})

    async def _purged(self, chance: random.Random, number: int) -> None:
        api = self._server.api
        handler = await api.start("three_steps", number=number)
        status, answer = await api.call("POST", f"/handlers/{handler['handler_id']}/cancel?purge=true")
        assert (status, answer) == (200, {"status": "deleted"})

    async def settle(self) -> Sample:
        """Return what the server holds once it has settled, at most two seconds after the last request of a client."""
        sample = await self._sample()
        for _ in range(SETTLING):
            if not self.samples or sample.held == self.samples[0].held:
                break
            await asyncio.sleep(0.1)
            sample = await self._sample()
        self.samples.append(sample)
        return sample

    async def _sample(self) -> Sample:
        api = self._server.api
        handler = await api.wants("POST", "/workflows/census/run", {})
        counted = handler["result"]["value"]["result"]
        process = self._server.process.pid
        opened = open_files(process)
        connections = sum(file.startswith("socket:") for file in opened)
        return Sample(
            runs=self.runs,
            memory=_resident(process),
            connections=connections,
            descriptors=len(opened) - connections,
            threads=counted["threads"],
            tasks=counted["tasks"] - connections,
            log=_log_size(self._server.db),
            journal=_journal_rows(self._server.db),
        )


def memory_slope(samples: list[Sample]) -> float:
    """Bytes a run by which memory grows: the line of least squares through the samples."""
    runs = [sample.runs for sample in samples]
    middle = sum(runs) / len(runs)
    spread = sum((run - middle) ** 2 for run in runs)
    return sum((sample.runs - middle) * sample.memory for sample in samples) / spread


def open_files(process: int) -> list[str]:
    """Return everything that the process has open: paths, and sockets as ``socket:[…]``."""
    return [os.readlink(link) for link in Path(f"/proc/{process}/fd").iterdir()]


def _resident(process: int) -> int:
    status = Path(f"/proc/{process}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


def _log_size(db: Path) -> int:
    return db.with_name(db.name + "-wal").stat().st_size


def _journal_rows(db: Path) -> int:
    with closing(sqlite3.connect(f"{db.as_uri()}?mode=ro", uri=True)) as connection:
        tables = ("ticks", "snapshots", "inbox")
        # A run that did not complete keeps its own for a retry.
        kept = "JOIN handlers AS h USING (run_id) WHERE h.status IN ('running', 'completed')"
        return sum(connection.execute(f"SELECT count(*) FROM {table} {kept}").fetchone()[0] for table in tables)
