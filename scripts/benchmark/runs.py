"""Workloads that start runs: each client starts one, waits for its answer, and starts the next."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmark.client import Connection, Refused, connections
from benchmark.subjects import Alone, Served
from benchmark.workload import Meter, Sample, Workload, milliseconds

Request = Callable[[Connection, int], Awaitable[Any]]


async def by_clients(opened: list[Connection], count: int, request: Request) -> list[float]:
    """Make ``count`` requests, numbered from 0, on so many connections at a time; return the seconds of each."""
    each: list[float] = []
    numbers = iter(range(count))

    async def client(connection: Connection) -> None:
        for number in numbers:
            began = time.perf_counter()
            await request(connection, number)
            each.append(time.perf_counter() - began)

    await asyncio.gather(*(client(connection) for connection in opened))
    return each


async def start_runs(served: Served, flow: str, count: int, start: Mapping[str, int] | None = None) -> list[str]:
    """Start so many runs, and return the ids of their handlers when all are accepted."""
    ids: list[str] = []

    async def request(connection: Connection, _: int) -> None:
        answer = await connection.post(f"/workflows/{flow}/run-nowait", {"start_event": dict(start or {})})
        ids.append(answer["handler_id"])

    async with connections(served.url, 32) as opened:
        await by_clients(opened, count, request)
    return ids


async def ended(served: Served, ids: list[str]) -> None:
    """Return when these runs have completed.

    Raises:
        Refused: one of them failed.
    """
    async with connections(served.url, 1) as [connection]:
        for handler_id in reversed(ids):
            status, body = 202, b""
            while status == 202:
                status, body = await connection.get(f"/handlers/{handler_id}")
                await asyncio.sleep(0.02 if status == 202 else 0)
            if status != 200:
                raise Refused(f"a run did not complete: {body[:300].decode(errors='replace')}")


@dataclass(frozen=True, kw_only=True)
class Runs(Workload):
    """Runs of a workflow by so many clients, each with the same start event; ``per`` and ``count`` are of runs."""

    flow: str
    clients: int
    start: Mapping[str, int] = field(default_factory=dict)
    units: int = 1
    """Number of what ``unit`` counts in each run."""

    async def measure(self, served: Served, count: int) -> Sample:
        path, body = f"/workflows/{self.flow}/run", {"start_event": dict(self.start)}
        async with connections(served.url, self.clients) as opened:
            with Meter(served) as meter:
                each = await by_clients(opened, count, lambda connection, _: connection.post(path, body))
        if self.unit == "ms":
            return meter.figure(milliseconds(each), count)
        return meter.rate(count * self.units, count)

    def alone(self, count: int) -> Alone | None:
        return Alone(self.flow, count, self.clients, self.start, self.units)


@dataclass(frozen=True, kw_only=True)
class Accepted(Workload):
    """Three-step runs that are accepted; their CPU time is that until all have ended."""

    async def measure(self, served: Served, count: int) -> Sample:
        with Meter(served) as meter:
            ids = await start_runs(served, "three_steps", count)
            meter.lap()
            await ended(served, ids)
        return meter.rate(count)
