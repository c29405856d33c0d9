"""Readers of odd manners: whatever they do to their connections, they get a part of the log, and can go on."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections import Counter
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest

from tests.harness.api import TERMINAL
from tests.harness.server_process import DurableServer
from tests.harness.waiting import until_seen
from tests.reliability.reading.bulk_reading import Stream, body_of, connected
from tests.reliability.reading.event_log_file import event_log
from tests.reliability.reading.odd_manners import MANNERS, SLOW, WHOLE
from tests.reliability.reading.received import parsed
from tests.reliability.reading.server_figures import descriptors
from tests.reliability.reporting import Extent, Survived

TARGET = str(Path(__file__).parent.parent / "targets" / "publishing.py")
_SEQUENCE = re.compile(rb',"sequence":(\d+)\}\n')
QUERY = "sse=false&include_internal=true&after_sequence"


async def _log(server: DurableServer, handler_id: str) -> bytes:
    events = await asyncio.to_thread(event_log, server.db, handler_id)
    return b"".join(event.line + b"\n" for event in events)


def _cursor(body: bytes) -> int:
    """The sequence of the last whole line: with internal events, lines are numbered from 0."""
    return body.count(b"\n") - 1


async def _has_ended(server: DurableServer, handler_id: str) -> bool:
    return bool((await server.api.handler(handler_id))["status"] != "running")


async def _rest(server: DurableServer, path: str, body: bytes) -> bytes:
    """Return what came of the whole lines, and what follows them."""
    whole = body[: body.rfind(b"\n") + 1]
    return whole + await body_of(server.port, f"{path}={_cursor(whole)}")


# -- Manners ---------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_readers_of_odd_manners_get_the_beginning_and_can_go_on(
    tmp_path: Path, extent: Extent, survived: Survived
) -> None:
    """Each manner while the run publishes and, but for the slow one, when it is over."""
    each = extent.of(short=4, long=40)
    got = Counter[str]()
    async with DurableServer(tmp_path, TARGET, "--write-timeout", "1") as server:
        fields = {"count": 8_000, "size": 400, "burst": 50, "pause": 0.002}
        handler_id = (await server.api.start("publishing", **fields))["handler_id"]
        path = f"/events/{handler_id}?{QUERY}"
        for manners in (list(MANNERS), [name for name in MANNERS if name != SLOW]):
            names = [name for name in manners for _ in range(each)]
            bodies = await asyncio.gather(*(MANNERS[name](server.port, f"{path}=-1") for name in names))
            # Not by reading its events: this process has little time, and slow readers are cut off.
            await until_seen(lambda: _has_ended(server, handler_id), "the run did not end")
            log = await _log(server, handler_id)
            for name, body in zip(names, bodies, strict=True):
                assert log.startswith(body), f"{name}: what came is no part of the log"
                assert name not in WHOLE or body == log, f"{name}: the stream was not whole"
                assert await _rest(server, path, body) == log, f"{name}: the log did not go on"
                got[name] += 1
        assert await server.stop() == 0
    survived(
        f"readers of odd manners ({', '.join(MANNERS)})",
        "P5 P10",
        times=got.total(),
        unit="readers",
        figures=", ".join(f"{times} {name}" for name, times in got.items()) + f"; a log of {len(log):,} bytes",
    )


# -- Cursors ---------------------------------------------------------------------------------------

PAST = ("now", "1000000", "9" * 18)
REFUSED = ("-2", "-" + "9" * 30, "9" * 19, "9" * 5_000, "1e3", "%20", "0x10", "later", "")


async def test_an_unknown_cursor_brings_what_follows_or_is_refused(tmp_path: Path, survived: Survived) -> None:
    """While the run stands at a gate, and when it is over."""
    tried = 0
    async with DurableServer(tmp_path, TARGET) as server:
        handler_id, standing = await _standing(server)
        path = f"/events/{handler_id}?{QUERY}"
        streams = [await Stream.open(server.port, f"{path}={cursor}") for cursor in PAST]
        for cursor in REFUSED:
            assert (await _status(server, f"{path}={cursor}")) == 400, cursor
            tried += 1
        server.ledger.open("half")
        for stream in streams:
            await stream.rest()
        log = await _log(server, handler_id)
        for stream in streams:
            assert stream.complete
            assert standing + stream.body == log
            tried += 1
        for cursor in PAST:
            assert (await _status(server, f"{path}={cursor}")) == 204, cursor
            tried += 1
        assert await server.stop() == 0
    survived("cursors past the end, now, negative, huge, or none at all", "P5", times=tried, unit="cursors")


async def _standing(server: DurableServer) -> tuple[str, bytes]:
    """A run that stands at the gate ``half``, with what it has published by then."""
    fields = {"count": 40, "burst": 10, "size": 100, "gate": "half", "gate_at": 20}
    handler_id: str = (await server.api.start("publishing", **fields))["handler_id"]
    await server.ledger.reached("half", handler_id=handler_id)
    stream = await Stream.open(server.port, f"/events/{handler_id}?{QUERY}=-1")
    with stream.connection:
        while b'"number":19,' not in stream.body or not stream.body.endswith(b"\n"):
            await stream.read()
    return handler_id, stream.body


async def _status(server: DurableServer, path: str) -> int:
    stream = await Stream.open(server.port, path)
    stream.connection.close()
    return stream.status


# -- Deletion --------------------------------------------------------------------------------------


async def test_readers_of_a_deleted_handler_get_its_end_or_are_cut(
    tmp_path: Path, extent: Extent, survived: Survived
) -> None:
    """A reader that has read all of a run gets the terminal event that the deletion brings. One that is behind is
    broken off, with a part of the log from the beginning and nothing else, and is told at its return that there is no
    such handler."""
    times = extent.of(short=10, long=100)
    at_tail = behind = 0
    async with DurableServer(tmp_path, TARGET) as server:
        fields = {"count": 4_000, "size": 400, "burst": 100}
        for _ in range(times):
            handler_id, standing = await _standing(server)
            tail = await Stream.open(server.port, f"/events/{handler_id}?{QUERY}=-1")
            while tail.body != standing:
                await tail.read()
            await _purge(server, handler_id)
            assert (await tail.rest()).startswith(standing)
            assert tail.complete
            assert tail.body.count(b"\n") == standing.count(b"\n") + 1
            assert b'"type":"WorkflowCancelledEvent"' in tail.body[len(standing) :]
            assert await _status(server, f"/events/{handler_id}?{QUERY}=-1") == 404
            at_tail += 1
        for number in range(times):
            handler_id = (await server.api.start("publishing", **fields))["handler_id"]
            if number % 2:
                await server.api.finished(handler_id)
            path = f"/events/{handler_id}?{QUERY}=-1"
            late = Stream(await connected(server.port, path, receive_buffer=65_536))
            while late.size < 50_000 * (1 + number % 5):
                await late.read(65_536)
            await _purge(server, handler_id)
            await late.rest()
            numbers = [int(found) for found in _SEQUENCE.findall(late.body)]
            assert numbers == list(range(len(numbers)))
            # Some of those whose run was under way are quick enough to get all of it.
            terminal = late.body.endswith(b"\n") and parsed(late.body.splitlines()[-1]).type in TERMINAL
            assert late.complete == terminal, "a stream that had not come to its terminal event was complete"
            assert await _status(server, path) == 404
            behind += not late.complete
        assert behind >= times // 2
        assert await server.stop() == 0
    survived(
        "handlers that are deleted while they are read",
        "P5",
        times=at_tail + behind,
        unit="deletions",
        figures=f"{at_tail} with a reader at the end, who got the terminal event, and {behind} with one who was "
        "behind, and was broken off",
    )


async def _purge(server: DurableServer, handler_id: str) -> None:
    status, answer = await server.api.call("POST", f"/handlers/{handler_id}/cancel?purge=true")
    assert (status, answer["status"]) == (200, "deleted")


# -- Storms ----------------------------------------------------------------------------------------

AT_ONCE = 30
MOST = 200
"""Streams that may be open at a time: a reader that has left keeps its place until it is noticed, in 0.25 s."""


@pytest.mark.timeout(600)
async def test_a_storm_of_readers_leaves_no_descriptor_and_no_place_behind(
    tmp_path: Path, extent: Extent, survived: Survived
) -> None:
    """Each goes away at another moment: before the answer, after the head, in the middle, with a FIN or a reset."""
    readers = extent.of(short=300, long=10_000)
    random = Random(extent.seed)
    async with DurableServer(tmp_path, TARGET, "--max-streams", str(MOST)) as server:
        handler_id, _ = await _standing(server)
        done = (await server.api.start("publishing", count=2_000, size=200))["handler_id"]
        await server.api.finished(done)
        queue = f"/events/{handler_id}?sse=false&acquire_timeout=1"
        paths = [queue, *(f"/events/{known}?{QUERY}=-1" for known in (handler_id, done))]
        places, seen = asyncio.Semaphore(AT_ONCE), Counter[int]()

        async def storm(number: int) -> int:
            await asyncio.gather(
                *(_in_and_out(server, random.choice(paths), random, places, seen) for _ in range(number))
            )
            return await _settled(server, paths)

        # What the process opens once and keeps is open after the first.
        before = await storm(2 * AT_ONCE)
        seen.clear()
        after = await storm(readers)
        assert after <= before, f"{after - before} descriptors were left behind"
        assert seen[200] > readers // 10
        server.ledger.open("half")
        assert await server.stop() == 0
    survived(
        "a storm of readers that come and go",
        "P10",
        times=readers,
        unit="readers",
        figures=f"{AT_ONCE} at a time; {before} descriptors before, {after} after; "
        + ", ".join(f"{times} {status or 'left before the answer'}" for status, times in sorted(seen.items())),
    )


async def _in_and_out(
    server: DurableServer, path: str, random: Random, places: asyncio.Semaphore, seen: Counter[int]
) -> None:
    async with places:
        stream = Stream(await connected(server.port, path))
        with stream.connection:
            # Half of those who read stay for the answer, however busy the machine is.
            patience = random.choice((0.05, 10))
            for _ in range(random.randrange(4)):
                with suppress(TimeoutError):
                    await asyncio.wait_for(stream.read(random.choice((1, 100, 65_536))), patience)
                patience = 0.05
            if random.random() < 0.5:
                stream.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        seen[stream.status] += 1


async def _settled(server: DurableServer, paths: list[str]) -> int:
    """The descriptors that are open when nobody reads any more. All places, the shared queue's among them, were free
    for those who came after the storm."""
    queue = await _when_free(server, paths[0])
    others = [await Stream.open(server.port, paths[1]) for _ in range(MOST - 1)]
    assert [stream.status for stream in others] == [200] * (MOST - 1)
    for stream in (queue, *others):
        stream.connection.close()
    # Its place is given back when the server has noticed that a reader has left, which is after its descriptor.
    count, same = 0, 0
    while same < 6:
        await asyncio.sleep(0.1)
        before, count = count, descriptors(server.process.pid)
        same = same + 1 if count == before else 0
    return count


async def _when_free(server: DurableServer, path: str) -> Stream:
    """The shared queue, once the last of those who left has been noticed."""
    while True:
        stream = await Stream.open(server.port, path)
        if stream.status == 200:
            return stream
        assert stream.status in (409, 429)
        stream.connection.close()
