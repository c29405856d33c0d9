"""Storage that fails under a real server, call by call.

The promise is P9: the server never lies about storage. Whatever call fails, what was acknowledged is there after the
next clean start, what was refused is nowhere, and the server either goes on rightly or says why it ends.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.reliability.faulty_disk.fault_trials import Tally, Trials, new_folder, sample
from tests.reliability.faulty_disk.faulting import DATABASE, LISTEN, LOG, Call, Fault, FaultedServer, build
from tests.reliability.reporting import Extent, Survived

pytestmark = [pytest.mark.slow(40), pytest.mark.timeout(600)]

SYNC, WRITE, TRUNCATE = 2, 1, 3
LANES = 2
"""Servers side by side: much of a trial is waiting for a server that starts."""
BOTH = (errno.EIO, errno.ENOSPC)


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that makes calls fail."""
    return build(tmp_path_factory.mktemp("native"))


def faults_of(
    counts: dict[str, int],
    once: dict[str, int],
    lasting: dict[str, int],
    seed: int,
    errors: tuple[Sequence[int], Sequence[int]] = (BOTH, BOTH),
) -> list[Fault]:
    """For each kind of call and each error, so many of the calls fail alone, and so many with all after them.
    ``errors`` are those of the ones that fail alone and of the others."""
    return [
        Fault(kind, nth, error, lasts=lasts)
        for lasts, wanted in ((False, once), (True, lasting))
        for kind, calls in counts.items()
        for error in errors[lasts]
        for nth in sample(calls, wanted[kind], f"{seed} {kind} {error} {lasts}")
    ]


async def in_lanes(folder: Path, library: Path, tally: Tally, faults: Sequence[Fault], *, starts: bool) -> None:
    """The trials of all faults, in several servers side by side, each on a database of its own."""

    async def lane(number: int) -> None:
        async with FaultedServer(new_folder(folder, f"lane-{number}"), library) as server:
            assert await server.stop() == 0
            trials = Trials(server, tally)
            await (trials.starts if starts else trials.all)(faults[number::LANES])

    async with asyncio.TaskGroup() as lanes:
        for number in range(LANES):
            lanes.create_task(lane(number), name=f"lane {number}")


async def test_each_call_of_a_session_fails(tmp_path: Path, library: Path, extent: Extent, survived: Survived) -> None:
    """Start, stream, send, state, continue, cancel, key, purge, end, checkpoint and stop, with one call that fails."""
    async with FaultedServer(new_folder(tmp_path, "count"), library) as server:
        assert await server.stop() == 0
        counts = await Trials(server, Tally()).counts()
    assert min(counts[kind] for kind in ("write", "fsync", "ftruncate")) > 0, counts
    every = 1 << 30
    once = {
        "open": every,
        "write": extent.of(short=4, long=every),
        "fsync": extent.of(short=2, long=every),
        "ftruncate": extent.of(short=1, long=every),
    }
    lasting = {
        "open": every,
        "write": extent.of(short=2, long=counts["write"] // 5),
        "fsync": extent.of(short=1, long=every),
        "ftruncate": extent.of(short=1, long=every),
    }
    faults = faults_of(counts, once, lasting, extent.seed)
    faults += [Fault("write", nth, errno.EROFS, lasts=True) for nth in sample(counts["write"], 2, f"{extent.seed} ro")]
    # For the first write of a session there is a client that waits. Of the others, which ones are waited for depends on
    # how many commits a busy machine makes of them: it may be none of those that were picked.
    faults += [Fault("write", 1, error, lasts=True) for error in BOTH]
    tally = Tally()
    await in_lanes(tmp_path, library, tally, faults, starts=False)
    assert tally.trials >= 0.9 * len(faults), "the faults have not happened"
    assert tally.outcomes["exited 1"], tally.outcomes
    assert tally.outcomes["went on"], tally.outcomes
    assert tally.answers[507], tally.answers
    assert tally.unhealthy, "nobody was told that the server could not commit"
    figures = f"of {counts['write']} writes, {counts['fsync']} fsyncs, {counts['ftruncate']} ftruncates; "
    survived(
        "a write, fsync or ftruncate of a session fails with EIO or ENOSPC, alone or with all after it",
        "P1 P2 P4 P6 P9",
        times=tally.trials,
        unit="faults",
        figures=figures + tally.figures(),
    )


async def test_each_call_of_a_start_fails(tmp_path: Path, library: Path, extent: Extent, survived: Survived) -> None:
    """The start after a kill, with one call that fails: it serves, or ends with a named error; the next one serves."""
    async with FaultedServer(new_folder(tmp_path, "count"), library) as server:
        assert await server.stop() == 0
        counts = await Trials(server, Tally()).start_counts()
    every = 1 << 30
    once = dict.fromkeys(counts, extent.of(short=1, long=every))
    lasting = dict.fromkeys(counts, extent.of(short=1, long=every))
    errors = (BOTH, BOTH) if extent.long else (BOTH[:1], BOTH[1:])
    faults = faults_of(counts, once, lasting, extent.seed, errors)
    tally = Tally()
    await in_lanes(tmp_path, library, tally, faults, starts=True)
    assert tally.trials >= 0.9 * len(faults), "the faults have not happened"
    assert tally.outcomes["exited 2 at the start"], tally.outcomes
    figures = ", ".join(f"{times} {kind}s" for kind, times in counts.items())
    survived(
        "an open, write, fsync or ftruncate of a start after a kill fails with EIO or ENOSPC",
        "P1 P8 P9",
        times=tally.trials,
        unit="faults",
        figures=f"of {figures}; {tally.figures()}",
    )


async def test_each_call_of_the_first_start_fails(
    tmp_path: Path, library: Path, extent: Extent, survived: Survived
) -> None:
    """While the database is being made: what is left of it does not stand in the way of the next start."""
    tally = Tally()
    async with FaultedServer(new_folder(tmp_path, "count"), library) as server:
        counts = server.control.counts()
        assert await server.stop() == 0
        wanted = dict.fromkeys(counts, extent.of(short=1, long=1 << 30))
    errors = (BOTH if extent.long else BOTH[:1], BOTH)
    faults = faults_of(counts, wanted, dict.fromkeys(counts, 0), extent.seed, errors)

    async def lane(number: int) -> None:
        async with FaultedServer(new_folder(tmp_path, f"lane-{number}"), library) as server:
            assert await server.stop() == 0
            trials = Trials(server, tally)
            for place, fault in enumerate(faults[number::LANES]):
                server.db = new_folder(server.folder, f"first-{place}") / "runs.sqlite3"
                await trials.start(fault)
                await trials.judge()
                assert await server.stop() == 0

    async with asyncio.TaskGroup() as lanes:
        for number in range(LANES):
            lanes.create_task(lane(number), name=f"lane {number}")
    assert tally.trials >= 0.9 * len(faults), "the faults have not happened"
    survived(
        "a call of the first start, which makes the database, fails with EIO or ENOSPC",
        "P9",
        times=tally.trials,
        unit="faults",
        figures=tally.figures(),
    )


async def test_a_start_after_a_failed_fsync_syncs_all_before_it_serves(
    tmp_path: Path, library: Path, survived: Survived
) -> None:
    """The page cache may show parts of the log that are not on the disk after an fsync that failed: it is written
    anew."""
    async with FaultedServer(new_folder(tmp_path, "server"), library) as server:
        trials = Trials(server, Tally())
        await trials.session(Fault("fsync", 7, errno.EIO, lasts=True))
        assert trials.tally.outcomes["exited 1"] == 1
        log = server.db.with_name(server.db.name + "-wal")
        assert log.stat().st_size > 0, "there is nothing left to be written"
        server.control.reset()
        await trials.judge()
        trace = server.control.trace()
        before = trace[: trace.index(Call(LISTEN, 0))]
        emptied = before.index(Call(TRUNCATE, LOG))
        folded = before[:emptied]
        assert Call(WRITE, DATABASE) in folded, "the log was not written into the database"
        last_write = len(folded) - 1 - folded[::-1].index(Call(WRITE, DATABASE))
        assert Call(SYNC, DATABASE) in folded[last_write:], "what was written was not synced before the log was emptied"
        assert Call(WRITE, LOG) not in folded, "something was added to a log that may not be on the disk"
        assert await server.stop() == 0
    figures = f"{emptied} calls before the log is empty"
    survived("the start after an fsync that failed", "P9", times=1, unit="start", figures=figures)
