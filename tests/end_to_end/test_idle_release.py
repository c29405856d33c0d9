"""Runs that only wait leave memory, and come back when their event or their deadline comes."""

from __future__ import annotations

import asyncio
import os
import random
import sys
from pathlib import Path

import pytest

from tests.harness.server_process import DurableServer
from tests.harness.waiting import until_stored

WAITING = 2_000
WARM_UP = 200
AT_ONCE = 64
BYTES_A_RUN = 10_000 if sys.version_info < (3, 13) else 14_000
"""Bytes that a waiting run may take; Python 3.13 keeps more of what was freed: 8,700 to 11,300 bytes."""
SEED = 815


def resident(server: DurableServer) -> int:
    """The bytes of memory that the server has."""
    pages = int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def released(server: DurableServer, count: int) -> None:
    """Return when so many running runs have left memory."""
    query = "SELECT count(*) >= ? FROM handlers WHERE status = 'running' AND released = 1"
    await until_stored(server.db, query, count)


async def start_waiting(server: DurableServer, count: int) -> list[str]:
    """Start so many runs that ask and wait."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def start() -> str:
        async with gate:
            return str((await server.api.start("asks"))["handler_id"])

    return await asyncio.gather(*(start() for _ in range(count)))


async def answer_all(server: DurableServer, handlers: list[str]) -> list[object]:
    """Answer each run with its place in the list, and return the results."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def answer(number: int, handler_id: str) -> object:
        async with gate:
            await server.api.send(handler_id, "Answer", number=number)
            result: object = await server.api.result(handler_id)
            return result

    return await asyncio.gather(*(answer(number, handler_id) for number, handler_id in enumerate(handlers)))


@pytest.mark.slow(25)
async def test_two_thousand_waiting_runs_cost_little_and_each_answers(
    tmp_path: Path,
) -> None:
    async with DurableServer(tmp_path, "flows.py", "--idle-timeout", "0.3") as server:
        # What the first runs cost once — caches, pools, the allocator's own — is no run's share.
        first = await start_waiting(server, WARM_UP)
        await released(server, WARM_UP)
        before = resident(server)
        handlers = await start_waiting(server, WAITING)
        await released(server, WARM_UP + WAITING)
        each = (resident(server) - before) / WAITING
        print(f"{WAITING} waiting runs: {each:.0f} bytes each (before: {before} bytes)")
        assert each < BYTES_A_RUN

        everybody = [*first, *handlers]
        assert await answer_all(server, everybody) == list(range(len(everybody)))


async def test_released_runs_stay_released_at_a_restart_and_answer(tmp_path: Path) -> None:
    async with DurableServer(tmp_path, "flows.py", "--idle-timeout", "0.1") as server:
        handlers = await start_waiting(server, 50)
        await released(server, 50)
        await server.restart()
        assert server.resumed == 50
        await released(server, 50)
        assert await answer_all(server, handlers) == list(range(50))


async def test_timeouts_fire_after_a_release_and_after_a_restart(tmp_path: Path) -> None:
    async with DurableServer(tmp_path, "durations.py", "--idle-timeout", "0.2") as server:

        async def start_both() -> tuple[str, str]:
            wait = await server.api.start("waits", number=1, seconds=3.0)
            workflow = await server.api.start("alive_for_three_seconds", number=1)
            return wait["handler_id"], workflow["handler_id"]

        async def fired(wait: str, workflow: str) -> None:
            assert await server.api.result(wait) == "timed out"
            handler = await server.api.finished(workflow)
            assert handler["status"] == "failed"
            assert "timed out after 3.0 seconds" in handler["error"]

        at_peace = await start_both()
        await released(server, 2)
        await fired(*at_peace)
        through_a_kill = await start_both()
        await released(server, 2)
        await server.restart()
        await fired(*through_a_kill)


async def test_events_posted_at_the_moment_of_release_are_not_lost(tmp_path: Path) -> None:
    chance, idle = random.Random(SEED), 0.02
    async with DurableServer(tmp_path, "flows.py", "--idle-timeout", str(idle)) as server:

        async def one_inbox(numbers: range) -> tuple[list[int], list[int]]:
            handler_id = (await server.api.start("inbox"))["handler_id"]
            for number in numbers:
                await server.api.send(handler_id, "Answer", number=number)
                # Around the time at which the run is released after this one.
                await asyncio.sleep(chance.uniform(0.5, 1.5) * idle)
            await server.api.send(handler_id, "Close")
            return await server.api.result(handler_id), list(numbers)

        inboxes = await asyncio.gather(*(one_inbox(range(30)) for _ in range(20)))
        assert [taken for taken, _ in inboxes] == [sent for _, sent in inboxes]
        assert server.ledger.count("begin", "take") == 20 * 30
