"""Readers who do not read: they cost the server little, hold up nobody, are cut, and come back to where they were."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.harness.server_process import DurableServer
from tests.harness.waiting import until
from tests.reliability.reading.bulk_reading import HashingReader, StalledReader, Stream, body_of, connected
from tests.reliability.reading.event_log_file import event_log
from tests.reliability.reading.server_figures import MIB, Figures, connected_ports, resident_memory, sampled
from tests.reliability.reporting import Extent, Survived
from workflow_server.protocol.events import EventEnvelope
from workflow_server.settings import Settings
from workflow_server.store import PersistentHandler, SqliteWorkflowStore

TARGET = str(Path(__file__).parent.parent / "targets" / "publishing.py")
GROWTH = 64 * MIB
WAL = 64 * MIB
CUT_WITHIN = 30.0
PER_STEP = 500
"""Events that are published without waiting for the disk: what a step publishes gathers in memory until it is stored,
and that is not what is measured here."""
BUFFERED = 30_000
"""Bytes that wait for a reader who does not read, in its own buffer: the kernel takes more than these."""
QUERY = "sse=false&include_internal=true&after_sequence"
_LAST = re.compile(rb',"sequence":(\d+)\}\n\Z')


class Crowd:
    """Those who read a handler, those who do not, and what the server held meanwhile."""

    def __init__(self, server: DurableServer, gate: str, handler_id: str) -> None:
        self.path = f"/events/{handler_id}?{QUERY}"
        self.handler_id = handler_id
        self.stalled: list[StalledReader] = []
        self.readers: list[HashingReader] = []
        self._server = server
        self._gate = gate

    async def read(self, readers: int) -> None:
        """Let the run go on, and return when so many have read all of it."""
        self.readers = [HashingReader() for _ in range(readers)]
        self._server.ledger.open(self._gate)
        await asyncio.gather(*(reader.read(self._server.port, f"{self.path}=-1") for reader in self.readers))

    async def stall(self, readers: int, stack: ExitStack) -> None:
        """Let so many ask and not read."""
        for _ in range(readers):
            connection = stack.enter_context(await connected(self._server.port, f"{self.path}=-1"))
            self.stalled.append(StalledReader(connection))

    def look(self) -> None:
        """See who is stalled, and who was cut."""
        ports = connected_ports(self._server.port)
        for reader in self.stalled:
            reader.look(ports)

    def stands_still(self) -> bool:
        """Look, and return whether the buffers of all who do not read are full."""
        self.look()
        return all(reader.waiting > BUFFERED for reader in self.stalled)

    async def all_cut(self) -> None:
        """Return when the server has given up all who do not read."""
        while left := [reader for reader in self.stalled if reader.cut_at is None]:
            kept = time.monotonic() - min(reader.stalled_at for reader in left)
            assert kept <= CUT_WITHIN, f"{len(left)} who do not read have been kept for {kept:.0f} s"
            await asyncio.sleep(0.1)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_readers_that_never_read_cost_little_and_can_come_back(
    tmp_path: Path, extent: Extent, survived: Survived
) -> None:
    """In the long form with the settings that the server has by default; the short form does not wait for 20 s. Memory
    is held against what the same server has after a run that was read by as many, with nobody stalled; it is sampled
    from the first event until all stalled are cut."""
    options = () if extent.long else ("--write-timeout", "5")
    stalled, reading = extent.of(short=40, long=200), extent.of(short=10, long=50)
    events = extent.of(short=10_000, long=100_000)
    async with DurableServer(tmp_path, TARGET, *options) as server:
        warm_up = await _crowd(server, events // 5)
        async with sampled(server) as warm:
            await warm_up.read(reading)
        before = resident_memory(server.process.pid)
        crowd = await _crowd(server, events)
        with ExitStack() as stack:
            await crowd.stall(stalled, stack)
            async with sampled(server, crowd.look) as figures:
                await crowd.read(reading)
                await crowd.all_cut()
            log = [event.line + b"\n" for event in await asyncio.to_thread(event_log, server.db, crowd.handler_id)]
            _all_read_everything(crowd, log, events)
            await _come_back(server.port, crowd, log, everything=extent.of(short=stalled, long=20))
        assert await server.stop() == 0
    slowest = _held(figures, before, crowd)
    survived(
        f"readers that never read, beside {reading} that do",
        "P5 P10",
        times=stalled,
        unit="stalled readers",
        figures=f"{events:,} events; memory grew by {(figures.memory - before) / MIB:.1f} MiB over "
        f"{before / MIB:.0f} MiB (in the run before without stalled readers it was at most {warm.memory / MIB:.0f}), "
        f"WAL at most {figures.wal / MIB:.1f} MiB in {figures.samples} samples, cut after at most {slowest:.1f} s"
        f"{'' if extent.long else ' of 5 s that are set'}",
    )


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_readers_that_never_read_old_large_events_cost_little(
    tmp_path: Path, extent: Extent, survived: Survived
) -> None:
    """They come when the run is over, so that each is served from the file and none shares what another has."""
    stalled, events, size = extent.of(short=40, long=200), 200, 100_000
    async with DurableServer(tmp_path, TARGET, "--write-timeout", "2") as server:
        crowd = await _crowd(server, events, size)
        await crowd.read(1)
        before = resident_memory(server.process.pid)
        with ExitStack() as stack:
            async with sampled(server, crowd.look) as figures:
                await crowd.stall(stalled, stack)
                await crowd.all_cut()
            log = [event.line + b"\n" for event in await asyncio.to_thread(event_log, server.db, crowd.handler_id)]
            await _come_back(server.port, crowd, log, everything=3)
        assert await server.stop() == 0
    slowest = _held(figures, before, crowd)
    survived(
        f"readers that never read events of {size // 1000} kB from a run that is over",
        "P5 P10",
        times=stalled,
        unit="stalled readers",
        figures=f"{events} events; memory grew by {(figures.memory - before) / MIB:.1f} MiB over "
        f"{before / MIB:.0f} MiB, cut after at most {slowest:.1f} s where 2 s are set",
    )


@pytest.mark.timeout(300)
async def test_lists_of_large_results_read_slowly_cost_little_memory(
    tmp_path: Path, extent: Extent, survived: Survived
) -> None:
    """Each reader takes a little of the list and stops; when all have, one of them reads on and finds all of it."""
    slow, results, size = extent.of(short=12, long=48), 100, 900_000
    store = SqliteWorkflowStore(tmp_path / "runs.sqlite3")
    await store.open()
    for number in range(results):
        result = EventEnvelope(value={"result": "x" * size}, type="StopEvent")
        await store.update(
            PersistentHandler(handler_id=f"{number:03}", workflow_name="w", status="completed", result=result)
        )
    await store.close()
    async with DurableServer(tmp_path, TARGET) as server:
        assert (await body_of(server.port, "/handlers", 2 * MIB)).startswith(b'{"handlers":')
        before = resident_memory(server.process.pid)
        async with sampled(server) as figures:
            lists = [await Stream.open(server.port, "/handlers") for _ in range(slow)]
            for stream in lists:
                while stream.size < MIB:
                    assert await stream.read(65_536)
            enough = figures.samples + 2
            await until(lambda: figures.samples >= enough, "nobody samples the server")
            grown = figures.memory - before
            for stream in lists[1:]:
                stream.connection.close()
            with lists[0].connection:
                while not lists[0].complete and await lists[0].read():
                    pass
            whole = json.loads(lists[0].body)["handlers"]
        assert await server.stop() == 0
    assert [handler["handler_id"] for handler in whole] == [f"{number:03}" for number in range(results)]
    assert grown <= GROWTH * slow / 12, f"memory grew by {grown / MIB:.1f} MiB"
    survived(
        f"lists of {results} results of {size / MIB:.1f} MiB that are read slowly",
        "P10",
        times=slow,
        unit="slow readers",
        figures=f"memory grew by {grown / MIB:.1f} MiB over {before / MIB:.0f} MiB",
    )


@pytest.mark.timeout(300)
async def test_a_stop_does_not_wait_for_readers_that_do_not_read(
    tmp_path: Path, extent: Extent, survived: Survived
) -> None:
    """Neither for them nor for those who wait for what comes: all of them come back to the next server."""
    stalled, grace = extent.of(short=40, long=200), 1
    async with DurableServer(tmp_path, TARGET, "--grace-period", str(grace)) as server:
        crowd = await _crowd(server, 20_000)
        await crowd.read(1)
        handler_id = (await server.api.start("publishing", count=10, gate="never"))["handler_id"]
        await server.ledger.reached("never")
        with ExitStack() as stack:
            waiting = [await Stream.open(server.port, f"/events/{handler_id}?{QUERY}=-1") for _ in range(stalled)]
            for stream in waiting:
                stack.enter_context(stream.connection)
            await crowd.stall(stalled, stack)
            await until(crowd.stands_still, "somebody reads still")
            begin = time.monotonic()
            assert await server.stop() == 0
            seconds = time.monotonic() - begin
            await server.start()
            log = [event.line + b"\n" for event in await asyncio.to_thread(event_log, server.db, crowd.handler_id)]
            await _come_back(server.port, crowd, log, everything=3)
            for stream in waiting:
                await stream.rest()
                assert not stream.complete, "a stop was taken for the end of the stream"
                assert stream.body
        server.ledger.open("never")
        assert await server.stop() == 0
    assert seconds < Settings().write_timeout, "the stop waited until those who do not read were cut"
    survived(
        "SIGTERM while readers do not read",
        "P5 P10",
        times=2 * stalled,
        unit="readers",
        figures=f"{stalled} stalled and {stalled} waiting; out after {seconds:.1f} s, of which the grace period is "
        f"{grace} s",
    )


async def _crowd(server: DurableServer, events: int, size: int = 600) -> Crowd:
    """A run that stands at a gate before its first event, with nobody there yet."""
    gate = f"publish-{events}"
    fields = {"count": events, "size": size, "burst": 100, "per_step": PER_STEP, "gate": gate}
    crowd = Crowd(server, gate, (await server.api.start("publishing", **fields))["handler_id"])
    await server.ledger.reached(gate)
    return crowd


def _all_read_everything(crowd: Crowd, log: list[bytes], events: int) -> None:
    assert len(log) > events
    assert [event.lines for event in crowd.readers] == [len(log)] * len(crowd.readers)
    expected = hashlib.blake2b(b"".join(log)).digest()
    assert all(reader.complete and reader.digest == expected for reader in crowd.readers)


async def _come_back(port: int, crowd: Crowd, log: list[bytes], *, everything: int) -> None:
    """Each finds the beginning of the log, comes back with its cursor and finds the rest; after the first
    ``everything`` readers, the others leave in the middle of it."""
    whole = b"".join(log)
    for number, reader in enumerate(crowd.stalled):
        found, complete = await reader.late()
        assert not complete, "a stream was complete that nobody had read"
        assert found, "nothing was written to a reader before it was cut"
        assert whole.startswith(found)
        last = _LAST.search(found)
        assert last is not None
        limit = None if number < everything else MIB
        rest = await body_of(port, f"{crowd.path}={int(last[1])}", limit)
        assert rest
        assert whole.startswith(rest, len(found))
        assert limit is not None or len(found) + len(rest) == len(whole)


def _held(figures: Figures, before: int, crowd: Crowd) -> float:
    """Hold the figures against the bounds; the most seconds for which somebody who did not read was kept."""
    kept = [reader.cut_at - reader.stalled_at for reader in crowd.stalled if reader.cut_at is not None]
    assert len(kept) == len(crowd.stalled)
    assert min(kept) > 1, "a reader was cut as soon as it stalled"
    assert max(kept) <= CUT_WITHIN
    grown = figures.memory - before
    assert grown <= GROWTH, f"memory grew by {grown / MIB:.1f} MiB"
    assert 0 < figures.wal < WAL, f"the write-ahead log grew to {figures.wal / MIB:.1f} MiB"
    return max(kept)
