"""Workloads of what is stored and of what is in memory: resuming, memory, single handlers, lists, and large files."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from benchmark.client import Connection, Count, Refused, connections
from benchmark.processes import cpu_seconds, own_memory, until
from benchmark.runs import by_clients, start_runs
from benchmark.subjects import Served
from benchmark.workload import Meter, Sample, Workload, milliseconds


async def until_begun(served: Served, count: int) -> None:
    """Return when so many steps have begun to wait, over all lives of the server."""
    await until(lambda: served.begun >= count)


def fill(db: Path, handlers: int, result_size: int = 0) -> None:
    """Put completed handlers into a database that no server has open, each with a result of so many bytes."""
    result = '{"value":{"result":"' + ("x" * result_size or "done") + '"},"type":"StopEvent","types":null}'

    def rows() -> Iterator[tuple[str, str, float, float, float]]:
        for number in range(handlers):
            began = 1_700_000_000.0 + number / 100
            yield f"f{number:09}", f"run{number:09}", began, began + 1, began + 1

    with closing(sqlite3.connect(db)) as connection, connection:
        connection.executemany(
            "INSERT INTO handlers (handler_id, workflow_name, run_id, status, started_at, updated_at, completed_at) "
            "VALUES (?, 'three_steps', ?, 'completed', ?, ?, ?)",
            rows(),
        )
        connection.execute(
            "INSERT INTO payloads (handler_id, start_event, result) "
            "SELECT handler_id, NULL, ? FROM handlers WHERE handler_id GLOB ?",
            # One in 64 of the server's own ids begins like these.
            [result, "f" + 9 * "[0-9]"],
        )


async def refill(served: Served, handlers: int, result_size: int = 0) -> None:
    """Stop the server, fill its database, and start it again."""
    await served.end()
    await asyncio.to_thread(fill, served.db, handlers, result_size)
    await served.start()


@dataclass(frozen=True, kw_only=True)
class Resumed(Workload):
    """Runs that are in a step when the server is killed: the time from its start until it is healthy."""

    async def prepare(self, served: Served, count: int) -> None:
        await start_runs(served, "stuck", count)
        await until_begun(served, count)

    async def measure(self, served: Served, count: int) -> Sample:
        before = served.begun
        await served.end(signal.SIGKILL)
        began = time.perf_counter()
        await served.start()
        seconds = time.perf_counter() - began
        await until_begun(served, before + count)
        return Sample(seconds, cpu_seconds(served.pid) * 1_000 / count, 0.0)


@dataclass(frozen=True, kw_only=True)
class Memory(Workload):
    """Runs that stay where they are: what the server's own memory grows by for each."""

    flow: str
    released: bool = False

    async def prepare(self, served: Served, count: int) -> None:
        await self._add(served, count)

    async def measure(self, served: Served, count: int) -> Sample:
        before = own_memory(served.pid)
        with Meter(served) as meter:
            await self._add(served, count)
        return meter.figure((own_memory(served.pid) - before) / 1_000 / count, count)

    async def _add(self, served: Served, count: int) -> None:
        before = served.begun
        await start_runs(served, self.flow, count)
        await until_begun(served, before + count)
        if self.released:
            await until(lambda: not _in_memory(served.db), 0.1)
        await asyncio.sleep(0.5)


def _in_memory(db: Path) -> int:
    with closing(sqlite3.connect(f"file:{db}?mode=ro", uri=True, timeout=30)) as connection:
        (count,) = connection.execute(
            "SELECT count(*) FROM handlers WHERE status = 'running' AND released = 0"
        ).fetchone()
    return int(count)


@dataclass(frozen=True, kw_only=True)
class Got(Workload):
    """Single handlers, read by eight clients, in a database of so many."""

    handlers: int

    async def prepare(self, served: Served, count: int) -> None:
        await refill(served, self.handlers)

    async def measure(self, served: Served, count: int) -> Sample:
        # Steps through the whole database, so that the pages are not those of the last request.
        stride = 7_919

        async def get(connection: Connection, number: int) -> None:
            status, _ = await connection.get(f"/handlers/f{number * stride % self.handlers:09}")
            if status != 200:
                raise Refused(f"GET of a handler: {status}")

        async with connections(served.url, 8) as opened:
            with Meter(served) as meter:
                await by_clients(opened, count, get)
        return meter.rate(count)


_BEFORE = 2
"""Number of handlers that are there before the others."""


async def _listed(served: Served, path: str) -> int | None:
    """Return the number of handlers in a list, or None where the server refuses it."""
    async with connections(served.url, 1) as [connection]:
        status, body = await connection.get(path)
    return body.count(b'"handler_id"') if status == 200 else None


@dataclass(frozen=True, kw_only=True)
class Listed(Workload):
    """The list of handlers, in a database of so many: its first page of 100 where the server has pages, else all."""

    handlers: int
    whole: bool = False
    """All handlers, whatever the server has."""

    async def prepare(self, served: Served, count: int) -> None:
        # Builds without pages refuse the parameter, or ignore it.
        await start_runs(served, "echo", _BEFORE)
        paged = await _listed(served, f"/handlers?limit={_BEFORE - 1}") == _BEFORE - 1
        served.page = "/handlers?limit=100" if paged and not self.whole else "/handlers"
        await refill(served, self.handlers)

    async def measure(self, served: Served, count: int) -> Sample:
        path = served.page or "/handlers"
        wanted = self.handlers + _BEFORE if path == "/handlers" else min(100, self.handlers)

        async def get(connection: Connection, _: int) -> None:
            seen = Count(b'"handler_id"')
            status = await connection.stream("GET", path, b"", seen)
            if (status, seen.count) != (200, wanted):
                raise Refused(f"GET {path}: {status}, {seen.count} handlers")

        async with connections(served.url, 1) as opened:
            with Meter(served) as meter:
                each = await by_clients(opened, count, get)
        return meter.figure(milliseconds(each), count)


@dataclass(frozen=True, kw_only=True)
class Started(Workload):
    """Starts of the server on a file of ``count`` megabytes that was closed well."""

    async def prepare(self, served: Served, count: int) -> None:
        await refill(served, max(1, count * 10), 100_000)

    async def measure(self, served: Served, count: int) -> Sample:
        await served.end()
        began = time.perf_counter()
        await served.start()
        return Sample(time.perf_counter() - began, cpu_seconds(served.pid) * 1_000, 0.0)
