"""A long life of one process: nothing grows, one server a file, and a stop that loses nothing."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import time
from pathlib import Path
from statistics import median

import pytest

from tests.harness.api import Reader
from tests.harness.server_process import DurableServer
from tests.harness.spawning import COMMAND, ROOT, end, listening, printed, serve_command, spawn
from tests.reliability.reporting import Extent, Survived
from tests.reliability.soaking.mixed_load import Soak, memory_slope, open_files

MIB = 2**20
SAMPLES = 20
WARM = 5
"""Samples after which caches are full: memory is expected to grow until then."""
SLOPE = 1.0
"""MiB that a thousand runs may add to the server's memory, as the project promises itself."""
LOG = 16 * MIB
"""The limit of the write-ahead log: 4 MiB are kept, and a checkpoint is due where it is longer."""


@pytest.mark.slow(30)
@pytest.mark.timeout(600)
async def test_many_runs_and_reconnecting_readers_leave_nothing_behind(
    tmp_path: Path, extent: Extent, survived: Survived
) -> None:
    runs, readers = extent.of(short=2_000, long=20_000), extent.of(short=200, long=2_000)
    async with DurableServer(tmp_path, "soak.py") as server:
        soak = Soak(server, extent.seed, runs=runs, readers=readers)
        while soak.runs < runs or soak.readers < readers:
            await soak.run(runs // SAMPLES)
            now = await soak.settle()
            assert now.held == soak.samples[0].held
            assert now.journal == 0, "the journals of runs that have ended are still there"
            assert now.log < LOG
        slope = memory_slope(soak.samples[WARM:]) * 1_000 / MIB
        assert slope < SLOPE, [sample.memory for sample in soak.samples]
        last = soak.samples[-1]
        survived(
            "one process that runs, answers, continues, cancels and purges without a pause",
            "P10",
            times=soak.runs,
            unit="runs",
            figures=f"{soak.readers:,} readers on {soak.reconnects:,} connections; {slope:.2f} MiB for each 1,000 "
            f"runs, {last.memory // MIB} MiB at the end; {last.descriptors} open files, {last.threads} threads and "
            f"{last.tasks} tasks from first to last; log at most {max(s.log for s in soak.samples) / MIB:.0f} MiB; "
            "no journal left",
        )


@pytest.mark.slow(30)
@pytest.mark.timeout(600)
async def test_of_servers_that_start_at_once_on_one_file_one_wins(
    tmp_path: Path, extent: Extent, survived: Survived
) -> None:
    races, chance = extent.of(short=8, long=100), random.Random(extent.seed)
    times: list[float] = []
    for _ in range(races):
        winner, losers = await race(tmp_path / "runs.sqlite3", chance.randint(2, 4), times)
        for said in losers:
            assert said.splitlines()[-1].startswith("workflow-server: Another server (process "), said
            assert f"process {winner.pid})" in said or "process unknown)" in said, said
        winner.send_signal(chance.choice((signal.SIGKILL, signal.SIGTERM)))
        await asyncio.to_thread(winner.wait, 30)
        end(winner)
    if extent.long:
        assert max(times) < 2.0
    survived(
        "servers started at once on one file, the winner then killed or stopped",
        "P8 P9",
        times=races,
        unit="races",
        figures=f"one winner each; {len(times)} others out after {median(times):.2f} s, {max(times):.2f} s at most",
    )


async def race(db: Path, servers: int, times: list[float]) -> tuple[subprocess.Popen[str], list[str]]:
    """Start servers at once; returns the one that listens, and what the others said when they ended."""
    command = [*COMMAND, *serve_command(ROOT / "examples" / "hello.py", db)]
    began = time.monotonic()
    logs = [db.with_name(f"log-{number}") for number in range(servers)]
    started = {spawn(command, log=log, cwd=db.parent, environment={}): log for log in logs}
    won: list[subprocess.Popen[str]] = []
    losers: list[str] = []

    def follow(process: subprocess.Popen[str]) -> None:
        if listening(process) is not None:
            assert any(line.startswith("Resumed") for line in printed(process))
            won.append(process)
            return
        assert process.wait(60) == 2
        times.append(time.monotonic() - began)
        losers.append(started[process].read_text())
        started[process].unlink()

    try:
        async with asyncio.timeout(60):
            await asyncio.gather(*(asyncio.to_thread(follow, process) for process in started))
        assert len(won) == 1
    except BaseException:
        for process in started:
            process.kill()
        raise
    finally:
        for process in started.keys() - won:
            end(process)
    return won[0], losers


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_stop_amid_streams_and_steps_ends_and_all_goes_on(
    tmp_path: Path, extent: Extent, survived: Survived
) -> None:
    steps, streams, grace = 50, 100, 2.0
    async with DurableServer(tmp_path, "soak.py", "--grace-period", str(grace)) as server:
        runs = [await server.api.start("gated", gate="shut") for _ in range(steps)]
        await server.ledger.reached("shut", steps)
        waiting = [await server.api.start("asks") for _ in range(streams - steps)]
        readers = {run["handler_id"]: Reader(server.api, run["handler_id"]) for run in [*runs, *waiting]}
        await asyncio.gather(*(readers[run["handler_id"]].until("First") for run in runs))
        await asyncio.gather(*(readers[run["handler_id"]].until("Question") for run in waiting))
        assert sum(file.startswith("socket:") for file in open_files(server.process.pid)) > streams
        began = time.monotonic()
        assert await server.stop() == 0
        took = time.monotonic() - began
        assert took < grace + 3.0 or not extent.long
        await server.start()
        assert server.resumed == len(readers)
        server.ledger.open("shut")
        for number, run in enumerate(waiting):
            await server.api.send(run["handler_id"], "Answer", number=number)
        for handler_id, reader in readers.items():
            events = await reader.finished()
            assert [event.sequence for event in events] == list(range(len(events)))
            assert (await server.api.handler(handler_id))["status"] == "completed"
        began_again = server.ledger.count("begin", "wait")
        assert began_again == 2 * steps, "each step was interrupted, and begins again"
    survived(
        f"SIGTERM with {streams} open streams and {steps} running steps",
        "P1 P5 P8",
        times=len(readers),
        unit="runs",
        figures=f"out after {took:.2f} s with {grace:.0f} s of grace; all went on at the next start",
    )
