"""The server's clock, beside a wall clock that is set."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.harness.managing import Managing
from workflow_server.execution import clock as module
from workflow_server.execution.clock import CautiousClock, ServerClock
from workflow_server.records import Record, ServerAlive
from workflow_server.runs.lifecycle import ALIVE_INTERVAL
from workflow_server.store import SqliteWorkflowStore

HOUR = 3600.0
NEAR = pytest.approx


class Wall:
    """The wall clock, which can be set."""

    def __init__(self) -> None:
        self.by = 0.0
        self._time = time.time

    def __call__(self) -> float:
        return self._time() + self.by


class Passing:
    """Time that passes at once, for all clocks."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, wall: Wall) -> None:
        self._wall = wall
        self._by = 0.0
        uptime = time.clock_gettime
        monkeypatch.setattr(time, "clock_gettime", lambda clock: uptime(clock) + self._by)

    def __call__(self, seconds: float) -> None:
        self._by += seconds
        self._wall.by += seconds


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Wall:
    wall = Wall()
    monkeypatch.setattr(time, "time", wall)
    return wall


@pytest.fixture
def passing(monkeypatch: pytest.MonkeyPatch, wall: Wall) -> Passing:
    return Passing(monkeypatch, wall)


def ago(note: ServerAlive, seconds: float) -> ServerAlive:
    """The note as it was taken so many seconds earlier."""
    assert note.uptime is not None
    return note._replace(at=note.at - seconds, uptime=note.uptime - seconds)


def test_it_agrees_with_the_wall_clock_of_a_new_database() -> None:
    clock = ServerClock()
    assert clock.resume(None) == 0.0
    assert clock.now() == NEAR(time.time(), abs=0.5)


@pytest.mark.parametrize("by", [-HOUR, HOUR])
def test_setting_the_wall_clock_does_not_move_it(wall: Wall, by: float) -> None:
    clock = ServerClock()
    before = clock.now()
    wall.by = by
    assert 0 <= clock.now() - before < 1
    assert clock.read().ahead == NEAR(-by, abs=0.5)
    assert clock.now() + clock.behind() == NEAR(time.time(), abs=0.5)


def test_its_distance_to_the_wall_clock_does_not_tremble(wall: Wall) -> None:
    clock = ServerClock()
    clock.resume(ago(clock.read(), 10.0))
    behind = clock.behind()
    for by in (0.0, 0.001, -0.002, 0.004):
        wall.by = by
        assert clock.behind() == behind
    wall.by = 1.0
    assert clock.behind() == NEAR(behind + 1.0, abs=0.5)


@pytest.mark.parametrize("by", [-HOUR, HOUR])
def test_the_next_server_goes_on_though_the_wall_clock_was_set(wall: Wall, by: float) -> None:
    first = ServerClock()
    wall.by = by
    second = ServerClock()
    assert second.resume(ago(first.read(), 10.0)) == NEAR(10.0, abs=0.5)
    assert second.now() == NEAR(first.now(), abs=0.5)


def test_a_wall_clock_set_back_during_a_downtime_moves_nothing(wall: Wall) -> None:
    first = ServerClock()
    note = ago(first.read(), 10.0)
    wall.by = -HOUR
    second = ServerClock()
    assert second.resume(note) == NEAR(10.0, abs=0.5)
    assert second.now() == NEAR(first.now(), abs=0.5)


@pytest.mark.parametrize("boot", [None, "another"])
def test_a_wall_clock_set_back_over_a_reboot_counts_as_no_time(wall: Wall, boot: str | None) -> None:
    first = ServerClock()
    note = ago(first.read(), 10.0)._replace(boot=boot)
    wall.by = -HOUR
    second = ServerClock()
    assert second.resume(note) == 0.0
    assert second.now() == NEAR(first.now() - 10.0, abs=0.5)


def test_a_wall_clock_set_forward_during_a_downtime_counts(wall: Wall) -> None:
    first = ServerClock()
    note = ago(first.read(), 10.0)
    wall.by = HOUR
    second = ServerClock()
    assert second.resume(note) == NEAR(HOUR + 10.0, abs=0.5)
    assert second.now() == NEAR(first.now() + HOUR, abs=0.5)


def test_a_note_of_a_server_that_had_only_the_wall_clock_is_taken_up() -> None:
    clock = ServerClock()
    assert clock.resume(ServerAlive(time.time() - 10.0)) == NEAR(10.0, abs=0.5)
    assert clock.now() == NEAR(time.time(), abs=0.5)


def test_a_system_that_does_not_name_its_starts_has_the_wall_clock(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "BOOT_ID", tmp_path / "none")
    clock = ServerClock()
    assert clock.read().boot is None
    assert clock.resume(ago(clock.read(), 10.0)) == NEAR(10.0, abs=0.5)


async def test_that_the_wall_clock_was_set_is_noted_before_long(wall: Wall, managing: Managing, database: Path) -> None:
    """A crash right after it would make a downtime of it."""
    store = SqliteWorkflowStore(database)
    noted = asyncio.Event()
    async with managing(store=store):

        def committed(records: Sequence[Record]) -> None:
            if any(isinstance(record, ServerAlive) and record.ahead < -HOUR / 2 for record in records):
                noted.set()

        store.subscribe(committed)
        # The first note is taken.
        await asyncio.sleep(0)
        await store.flush()
        wall.by = HOUR
        await asyncio.wait_for(noted.wait(), ALIVE_INTERVAL / 2)


# -- What cannot be taken back ---------------------------------------------------------------------


def test_a_leap_forward_counts_a_day_later_only(wall: Wall, passing: Passing) -> None:
    clock = CautiousClock(ServerClock(), time.time())
    right = time.time()
    wall.by = 400 * 24 * HOUR
    assert clock.now() == NEAR(right, abs=0.5)
    passing(23 * HOUR)
    assert clock.now() == NEAR(right + 23 * HOUR, abs=0.5)
    passing(2 * HOUR)
    assert clock.now() == NEAR(time.time(), abs=0.5)


def test_a_leap_that_is_taken_back_leaves_nothing(wall: Wall, passing: Passing) -> None:
    """The next one has its own day."""
    clock = CautiousClock(ServerClock(), time.time())
    for _ in range(2):
        wall.by += 400 * 24 * HOUR
        assert clock.now() == NEAR(time.time() - 400 * 24 * HOUR, abs=0.5)
        passing(20 * HOUR)
        assert clock.now() == NEAR(time.time() - 400 * 24 * HOUR, abs=0.5)
        wall.by -= 400 * 24 * HOUR
        assert clock.now() == NEAR(time.time(), abs=0.5)


def test_corrections_and_clocks_set_back_count_at_once(wall: Wall, passing: Passing) -> None:
    clock = CautiousClock(ServerClock(), time.time())
    for by in (0.5 * HOUR, -0.5 * HOUR, -90 * HOUR):
        wall.by += by
        assert clock.now() == NEAR(time.time(), abs=0.5)
        passing(HOUR)
        assert clock.now() == NEAR(time.time(), abs=0.5)


def test_time_that_no_server_saw_is_a_leap(wall: Wall, passing: Passing) -> None:
    """Not so a restart, and not so the time of a database that no server had."""
    last = ServerClock().read()
    for downtime, passed in ((10.0, 10.0), (30 * 24 * HOUR, 0.0)):
        wall.by = downtime
        server = ServerClock()
        server.resume(last)
        assert CautiousClock(server, last.at).now() == NEAR(last.at + passed, abs=1.0)
        assert CautiousClock(server, None).now() == NEAR(time.time(), abs=0.5)
