"""Readers whose connections break anywhere, who never read, who read by the byte: what they get is the log, exactly."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import count
from pathlib import Path
from random import Random

import pytest

from tests.harness.server_process import DurableServer
from tests.reliability.reading.cutting_proxy import CuttingProxy, How, Passage, Where
from tests.reliability.reading.event_log_file import LoggedEvent, event_log
from tests.reliability.reading.received import Answer
from tests.reliability.reading.returning_reader import Cursor, ReturningReader, read_once, whole_answer
from tests.reliability.reporting import Extent, Survived
from tests.reliability.targets.publishing import texts
from workflow_server.web.streaming.bounded_writer import WRITE_SIZE

TARGET = str(Path(__file__).parent.parent / "targets" / "publishing.py")
RUNS = 3
EVENTS = 60
READERS = 8


@pytest.mark.timeout(600)
async def test_readers_whose_connections_break_get_the_log_exactly(
    tmp_path: Path, extent: Extent, survived: Survived
) -> None:
    """Readers of both forms, with and without internal events, come back until they have three runs of a handler."""
    wanted = extent.of(short=300, long=5_000)
    readers: list[ReturningReader] = []
    events = 0
    async with DurableServer(tmp_path, TARGET) as server, CuttingProxy(server.port, extent.seed) as proxy:
        for number in count():
            log, those = await _read_through(server, proxy, Random(extent.seed + number))
            events += len(log)
            readers += those
            if sum(reader.reconnects for reader in readers) >= wanted:
                break
        assert await server.stop() == 0
    reconnects = sum(reader.reconnects for reader in readers)
    returned = Counter[Cursor]()
    for reader in readers:
        returned.update(reader.returned_with)
    rests, torn = (sum(getattr(reader, name) for reader in readers) for name in ("rests", "torn"))
    assert proxy.cut == reconnects
    assert all(proxy.cuts[where] > 0 for where in Where), proxy.cuts
    assert all(proxy.ends[how] > 0 for how in (How.FIN, How.RST)), proxy.ends
    assert all(returned[cursor] > 0 for cursor in Cursor), returned
    assert rests > 0
    assert torn > 0
    survived(
        "connections cut at random bytes (in the HTTP head, a chunk's frame, a character, the last chunk; FIN and RST)",
        "P4 P5",
        times=reconnects,
        unit="reconnects",
        figures=f"{len(readers)} readers of {events:,} events, {proxy.cut:,} cuts: "
        + ", ".join(f"{proxy.cuts[where]} {where.value}" for where in Where)
        + f"; {torn} events torn, {rests} runs ended while a reader was away; 0 missed, 0 repeated, 0 bytes changed",
    )


async def _read_through(
    server: DurableServer, proxy: CuttingProxy, random: Random
) -> tuple[list[LoggedEvent], list[ReturningReader]]:
    """One handler of several runs, read while they publish; its log, and those who were held against it."""
    seeds = [random.randrange(1 << 30) for _ in range(RUNS)]
    handler_id = await _publish(server, seeds[0])
    readers = [
        ReturningReader(
            proxy.port, handler_id, Random(random.random()), sse=bool(number & 1), internal=bool(number & 2)
        )
        for number in range(READERS)
    ]
    tasks = [asyncio.create_task(reader.read(RUNS), name="returning reader") for reader in readers]
    try:
        for run, seed in enumerate(seeds):
            if run:
                await _publish(server, seed, handler_id=handler_id)
            ended = asyncio.Event()
            for reader in readers:
                reader.may_rest_until = ended
            await server.api.finished(handler_id)
            ended.set()
            # Who has no cursor yet would begin with the next run.
            while any(not reader.events for reader in readers):
                await _nobody_failed(tasks)
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return await _held_against_the_log(server, handler_id, seeds, readers), readers


async def _nobody_failed(tasks: list[asyncio.Task[None]]) -> None:
    done, _ = await asyncio.wait(tasks, timeout=0.05, return_when=asyncio.FIRST_EXCEPTION)
    for task in done:
        await task


async def _publish(server: DurableServer, seed: int, handler_id: str | None = None) -> str:
    """Start a run, in this handler where one is given; the handler's id."""
    fields = {"seed": seed, "count": EVENTS, "burst": 7, "pause": 0.03}
    body = {"start_event": fields, **({"handler_id": handler_id} if handler_id else {})}
    handler = await server.api.wants("POST", "/workflows/publishing/run-nowait", body)
    return str(handler["handler_id"])


async def _held_against_the_log(
    server: DurableServer, handler_id: str, seeds: list[int], readers: list[ReturningReader]
) -> list[LoggedEvent]:
    """The log: what the file holds, what GET shows of it, and what the workflow published are the same."""
    log = await asyncio.to_thread(event_log, server.db, handler_id)
    assert [event.sequence for event in log] == list(range(len(log)))
    shown = await whole_answer(server.port, f"/events/{handler_id}?sse=false&include_internal=true&after_sequence=0")
    assert [event.line for event in shown] == [event.line for event in log[1:]]
    published = [event.envelope["value"] for event in log if event.envelope["type"] == "Published"]
    expected = [{"number": number, "text": text} for seed in seeds for number, text in enumerate(texts(seed, EVENTS))]
    assert published == expected
    for reader in readers:
        visible = [event.line for event in log if reader.internal or not event.internal]
        assert [event.line for event in reader.events] == visible
    return log


@pytest.mark.timeout(300)
async def test_the_shared_queue_loses_nothing_that_had_not_left_the_server(
    tmp_path: Path, extent: Extent, survived: Survived
) -> None:
    """Readers without a cursor come one after the other; each is cut, and the server is told so by a FIN.

    This can be proved from outside: the bytes that left the server (the proxy takes all of them) are the log from the
    first event to the last without a gap, whichever reader they went to. The next reader begins with the first event
    that did not leave whole, or before it, with at most one write's worth of events that did. Bytes on their way when a
    reader's connection broke are lost with it: a reader that needs those, too, has a cursor.
    """
    wanted = extent.of(short=60, long=600)
    total = Counter[str]()
    async with (
        DurableServer(tmp_path, TARGET) as server,
        CuttingProxy(server.port, extent.seed, hows=(How.DRAIN,)) as proxy,
    ):
        for number in count():
            handler_id = await _publish(server, extent.seed + number)
            first = len(proxy.passages)
            await _take_turns(proxy.port, handler_id)
            await proxy.drained()
            log = [event.line for event in event_log(server.db, handler_id) if not event.internal]
            total.update(_left_in_order(proxy.passages[first:], log))
            if proxy.cut >= wanted:
                break
        assert await server.stop() == 0
    assert total["cut"] == proxy.cut
    assert total["torn"] > 0
    survived(
        "readers of the shared queue cut one after the other",
        "P5",
        times=proxy.cut,
        unit="cuts",
        figures=f"{total['events']:,} events; {total['torn']} torn events came again whole, {total['repeated']} that "
        "had left whole came again, 0 never left",
    )


async def _take_turns(port: int, handler_id: str) -> None:
    """Read the queue, one connection after the other, until nothing is left in it."""
    status = 0
    while status != 204:
        status = await read_once(port, f"/events/{handler_id}?sse=false&acquire_timeout=30")


def _left_in_order(passages: list[Passage], log: list[bytes]) -> Counter[str]:
    """Hold what left the server on these connections, one after the other, against the log; what happened how often."""
    seen = Counter[str]()
    following = 0
    for passage in passages:
        answer = Answer(sse=False)
        lines = [event.line for event in answer.feed(bytes(passage.received))]
        seen["cut"] += passage.cut_at is not None
        seen["torn"] += bool(answer.torn)
        if not lines:
            continue
        begin = log.index(lines[0])
        assert begin <= following, f"events {following} to {begin - 1} never left the server"
        assert lines == log[begin : begin + len(lines)]
        repeated = log[begin:following]
        assert not repeated or sum(map(len, repeated[:-1])) <= WRITE_SIZE * 4, "more than one write came again"
        seen["repeated"] += len(repeated)
        following = begin + len(lines)
    assert following == len(log), f"the events from {following} on never left the server"
    seen["events"] += len(log)
    return seen
