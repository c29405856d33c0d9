"""Workloads of events: streamed to readers, posted by clients, and on their way from a step to a reader."""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass

from benchmark.client import Count, Refused, connections
from benchmark.runs import by_clients, ended, start_runs
from benchmark.subjects import Alone, Served
from benchmark.workload import Meter, Missing, Sample, Workload, milliseconds


def stream_path(served: Served, handler_id: str, *, sse: bool) -> str:
    """Return the path of a stream from the first event."""
    peer = served.subject.peer
    cursor = "acquire_timeout=30" if peer and peer.shared_queue else "after_sequence=-1"
    return f"/events/{handler_id}?sse={'true' if sse else 'false'}&{cursor}"


@dataclass(frozen=True, kw_only=True)
class Streamed(Workload):
    """A run that publishes ``count`` events, and so many readers that read them while it does."""

    readers: int
    sse: bool = False

    async def measure(self, served: Served, count: int) -> Sample:
        if self.readers > 1 and served.subject.peer and served.subject.peer.shared_queue:
            raise Missing("one reader at a time")
        marker = b"data:" if self.sse else b"\n"
        async with connections(served.url, self.readers) as opened:
            counts = [Count(marker) for _ in opened]
            with Meter(served) as meter:
                [handler_id] = await start_runs(served, "chatter", 1, {"count": count})
                path = stream_path(served, handler_id, sse=self.sse)
                await asyncio.gather(
                    *(c.stream("GET", path, b"", sink) for c, sink in zip(opened, counts, strict=True))
                )
        for seen in counts:
            # With the terminal event, and whatever begins the stream.
            if not count <= seen.count <= count + 2:
                raise Refused(f"{seen.count} of {count} events came")
        return meter.rate(count * self.readers)

    def alone(self, count: int) -> Alone | None:
        # A single such run of the engine is too short to be measured well.
        return Alone("chatter", 4, start={"count": count}, units=count)


@dataclass(frozen=True, kw_only=True)
class Posted(Workload):
    """Events that four clients a run post to eight runs, which end with the last of them."""

    async def measure(self, served: Served, count: int) -> Sample:
        each = max(1, count // 8)
        ids = await start_runs(served, "tally", 8, {"count": each})
        event = {"event": {"type": "Posted", "value": {"n": 1}}}
        async with connections(served.url, 32) as opened:
            with Meter(served) as meter:
                await by_clients(opened, each * 8, lambda c, number: c.post(f"/events/{ids[number % 8]}", event))
                meter.lap()
                await ended(served, ids)
        return meter.rate(each * 8)


@dataclass(frozen=True, kw_only=True)
class Published(Workload):
    """The time from a step's call that publishes an event to its line at an NDJSON reader, one event in 5 ms."""

    async def measure(self, served: Served, count: int) -> Sample:
        each: list[float] = []
        stamp = re.compile(rb'"at": ?([\d.]+)')

        def sink(piece: bytes) -> None:
            now = time.monotonic()
            each.extend(now - float(at) for at in stamp.findall(piece))

        async with connections(served.url, 1) as [connection]:
            with Meter(served) as meter:
                [handler_id] = await start_runs(served, "stamped", 1, {"count": count})
                await connection.stream("GET", stream_path(served, handler_id, sse=False), b"", sink)
        if len(each) != count:
            raise Refused(f"{len(each)} of {count} events came")
        return meter.figure(milliseconds(each), count)
