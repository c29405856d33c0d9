"""The wall clock is set back and forward, in the server's process, while runs wait: in memory, released, and dead.

When what happens is compared with waits that begin after the clock was set, whose length is known: a wait that stopped
would end after them, and one that fired early before them.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest

from tests.harness.api import Json, Reader
from tests.harness.server_process import DurableServer
from tests.harness.waiting import until_stored

pytestmark = pytest.mark.slow(25)

HOUR = 3600.0
DELAY = 8.0
"""Of the retry, and what the timeouts leave."""
EARLY, LATE = "waits 0.5", "waits 14.0"
"""The waits that begin after the clock was set."""
NEAR = 60.0
"""Seconds by which a busy machine may be late."""


@dataclass(frozen=True)
class Lived:
    """Observations of one scenario."""

    order: list[str]
    """The names of the runs in the order in which they ended."""
    ended: dict[str, Json]


async def lived_through(folder: Path, by: float, idle: float, dead: bool) -> Lived:
    clock = folder / "clock"
    clock.write_text("0")
    server = DurableServer(folder, "wall_clock.py", "--idle-timeout", str(idle))
    server.environment["WALL_CLOCK"] = str(clock)
    ids, readers = dict[str, str](), dict[str, Reader]()

    async def start(name: str, workflow: str, **fields: object) -> None:
        ids[name] = (await server.api.start(workflow, **fields))["handler_id"]
        readers[name] = Reader(server.api, ids[name])

    async with server:
        await start("wait", "waits", seconds=DELAY)
        await start("timeout", "alive_for_eight_seconds", seconds=HOUR)
        await start("retry", "retries")
        for name in ("wait", "timeout"):
            await readers[name].until("Question")
        await readers["retry"].until("StepStateChanged", step_state="not_running")
        if idle:
            query = "SELECT min(released) FROM handlers WHERE handler_id IN (?, ?)"
            await until_stored(server.db, query, ids["wait"], ids["timeout"])
        if dead:
            await server.kill()
        clock.write_text(str(by))
        if dead:
            await server.start()
        for name in (EARLY, LATE):
            await start(name, "waits", seconds=float(name.split()[1]))
        order: list[str] = []

        async def follow(name: str) -> None:
            await readers[name].finished()
            order.append(name)

        _, stopped = await asyncio.wait([asyncio.create_task(follow(name), name=name) for name in ids], timeout=45)
        for task in stopped:
            task.cancel()
        await asyncio.gather(*(reader.stop() for reader in readers.values()))
        return Lived(order, {name: await server.api.handler(handler_id) for name, handler_id in ids.items()})


CASES = {
    "set back, in memory": (-HOUR, 0.0, False),
    "set forward, in memory": (HOUR, 0.0, False),
    "set back, released": (-HOUR, 0.2, False),
    "set forward, released": (HOUR, 0.2, False),
    "set back, dead": (-HOUR, 0.0, True),
}


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Lived]:
    async def all_of_them() -> dict[str, Lived]:
        lives = (lived_through(tmp_path_factory.mktemp("wall"), *case) for case in CASES.values())
        return dict(zip(CASES, await asyncio.gather(*lives), strict=True))

    return asyncio.run(all_of_them())


@pytest.mark.parametrize("case", CASES)
def test_waits_timeouts_and_retries_neither_stop_nor_fire_early(lived: dict[str, Lived], case: str) -> None:
    order, ended = lived[case].order, lived[case].ended
    assert sorted((order[0], order[-1])) == [EARLY, LATE], order
    assert ended["wait"]["result"]["value"]["result"] == "timed out"
    assert "timed out after 8.0 seconds" in ended["timeout"]["error"]
    assert ended["retry"]["status"] == "completed", ended["retry"]


@pytest.mark.parametrize("case", CASES)
def test_a_run_does_not_end_before_it_began(lived: dict[str, Lived], case: str) -> None:
    for handler in lived[case].ended.values():
        assert datetime.fromisoformat(handler["completed_at"]) >= datetime.fromisoformat(handler["started_at"])
        assert handler["updated_at"] == handler["completed_at"]


@pytest.mark.parametrize("case", CASES)
def test_steps_are_told_times_of_the_wall_clock_as_it_stands(lived: dict[str, Lived], case: str) -> None:
    elapsed, since_failure, all_elapsed, since_last = lived[case].ended["retry"]["result"]["value"]["result"]
    for seconds in (elapsed, since_failure, all_elapsed):
        assert DELAY - 0.1 <= seconds <= DELAY + NEAR
    assert -0.1 <= since_last <= NEAR
