"""Power cuts: whatever the disk has kept of what was not synced, what was acknowledged is there, whole and in order.

A session of the server and its clients is recorded by a preloaded library: its creation, three lives, a kill and two
stops. From the recording the disk is rebuilt as power cuts would leave it, and opened by the server's own recovery.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.harness.spawning import ROOT, clean_environment
from tests.reliability.power.cuts import Outcome, Replay, choose, judge, shared
from tests.reliability.power.disk import Fate
from tests.reliability.power.history import Session
from tests.reliability.power.recording import Kind, build_recorder, of_folder, read_log, recorder_environment
from tests.reliability.power.recovery import place
from tests.reliability.power.session import DATABASE, MARKS
from tests.reliability.reporting import Extent, Survived
from workflow_server.store.sqlite.transaction import STATEMENTS

MEMORY = Path("/dev/shm")
"""A file system in memory: what is judged here is what the server asks of a disk, not how fast the disk is."""
ROOM = 256 * 1024 * 1024

pytestmark = [pytest.mark.slow(80), pytest.mark.timeout(600)]


class Recorded(NamedTuple):
    """A session, and the files that it left in the end."""

    replay: Replay
    left: dict[str, bytes]


class Recording:
    """Records processes; each session has a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._library = build_recorder(folder)

    def session(self, name: str, *, rounds: int, synchronous: str | None = None) -> Recorded:
        """Three lives of a server: one that is stopped, one that is killed, one that recovers and is stopped."""
        folder, log = self._place(name)
        for life in (1, 2, 3):
            options = ["--life", str(life), "--rounds", str(rounds)]
            options += [] if synchronous is None else ["--synchronous", synchronous]
            if life == 2:
                self._run(folder, log, *options, "--killed", code=-signal.SIGKILL)
            else:
                self._run(folder, log, *options)
        left = {
            file.name: file.read_bytes() for file in folder.iterdir() if file.name not in (MARKS, f"{DATABASE}.lock")
        }
        return Recorded(Replay(Session(read_log(log), MARKS)), left)

    def recovery(self, name: str, images: list[dict[str, bytes]]) -> list[Replay]:
        """The server's starts on these disks, one after the other; each stores something more, and is stopped."""
        folder, log = self._place(name)
        for number, image in enumerate(images):
            place(folder / f"{number:04}", image)
        self._run(folder, log, "--recover")
        operations = read_log(log)
        return [
            Replay(Session(of_folder(operations, f"{number:04}"), MARKS), image) for number, image in enumerate(images)
        ]

    def _place(self, name: str) -> tuple[Path, Path]:
        folder = self.folder / name
        folder.mkdir()
        return folder, self.folder / f"{name}.log"

    def _run(self, folder: Path, log: Path, *options: str, code: int = 0) -> None:
        command = [sys.executable, "-m", "tests.reliability.power.session", str(folder), *options]
        environment = clean_environment() | recorder_environment(self._library, folder, log) | {"PYTHONPATH": str(ROOT)}
        with (self.folder / "output").open("w+") as output:
            process = subprocess.run(command, env=environment, stdout=output, stderr=output, timeout=300, check=False)
            output.seek(0)
            assert process.returncode == code, output.read()[-4_000:]


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recording]:
    in_memory = os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM
    with tempfile.TemporaryDirectory(dir=MEMORY if in_memory else tmp_path_factory.mktemp("power")) as folder:
        yield Recording(Path(folder))


@pytest.fixture(scope="module")
def recorded(recording: Recording, extent: Extent) -> Recorded:
    """A session with the server's own durability."""
    return recording.session("full", rounds=extent.of(short=2, long=4))


def test_the_recording_is_whole_and_meets_every_kind_of_write(recorded: Recorded) -> None:
    session = recorded.replay.session
    *_, (_, disk) = recorded.replay.walk()
    assert disk.image(disk.cut(Fate.ALL, random.Random())) == recorded.left
    kinds = {kind for mark in session.marks if mark["kind"] == "commit" for kind in mark["kinds"]}
    lacking = ", ".join(sorted({kind.__name__ for kind in STATEMENTS} - kinds))
    assert not lacking, f"never written: {lacking}. Let the clients (clients.py) do what brings it about"
    done = [operation.kind for operation in session.operations]
    assert all(kind in done for kind in Kind if kind is not Kind.RENAMED)


def test_no_power_cut_takes_what_was_acknowledged(
    recorded: Recorded, recording: Recording, extent: Extent, survived: Survived, tmp_path: Path
) -> None:
    states = extent.of(short=1_500, long=50_000)
    cuts = choose(recorded.replay, states, extent.seed)
    outcome = judge(shared(recorded.replay, cuts), recording.folder / "judged", tmp_path)
    assert not outcome.findings, str(outcome)
    assert outcome.states == states
    assert outcome.ahead > states // 200
    assert outcome.resumed > states // 25
    assert outcome.runs > outcome.resumed
    session = recorded.replay.session
    survived(
        "power cut at any write, sync, cut and unlink; of what was not synced all, none, some or torn sectors kept",
        "P1 P2 P3 P4 P6",
        times=outcome.states,
        unit="states of the disk",
        figures=f"0 damaged, 0 acknowledged lost; {len(session.operations):,} operations, {session.commits:,} commits; "
        f"{outcome.resumed:,} resumed, {outcome.runs:,} runs ended as they must",
    )


def test_no_power_cut_during_recovery_takes_it_either(
    recorded: Recorded, recording: Recording, extent: Extent, survived: Survived, tmp_path: Path
) -> None:
    first = choose(recorded.replay, extent.of(short=12, long=150), extent.seed + 1)
    left = list(recorded.replay.images(first))
    replays = recording.recovery("recovery", [image for _, image in left])
    for (cut, _), replay in zip(left, replays, strict=True):
        recorded.replay.session.place(cut.point, replay.session.first_digest)
    jobs = [(replay, choose(replay, extent.of(short=20, long=40), extent.seed)) for replay in replays]
    outcome = judge(jobs, recording.folder / "judged-again", tmp_path)
    assert not outcome.findings, str(outcome)
    assert outcome.states > len(first) * 10
    survived(
        "a second power cut while the server recovers from the first",
        "P1 P2 P4 P8",
        times=outcome.states,
        unit="states of the disk",
        figures=f"0 damaged, 0 acknowledged lost; {len(replays):,} recoveries",
    )


# -- That the test can fail --------------------------------------------------------------------


def test_synchronous_normal_loses_acknowledged_commits(
    recording: Recording, extent: Extent, survived: Survived
) -> None:
    session = recording.session("normal", rounds=1, synchronous="NORMAL")
    outcome = judged(session.replay, extent.of(short=200, long=2_000), recording.folder / "judged-normal", extent)
    assert outcome.lost > 0
    survived(
        "control: the same with synchronous=NORMAL, which must lose acknowledged commits",
        "—",
        times=outcome.states,
        unit="states of the disk",
        figures=f"{outcome.lost:,} of them without commits that were acknowledged, {outcome.damaged:,} damaged",
    )


@pytest.mark.parametrize("forgotten", [DATABASE, f"{DATABASE}-wal", ""], ids=["database", "log", "folder"])
def test_a_disk_that_forgets_syncs_is_found_out(
    recorded: Recorded, recording: Recording, extent: Extent, survived: Survived, forgotten: str
) -> None:
    replay = recorded.replay._replace(forgets=[forgotten])
    outcome = judged(replay, 120, recording.folder / "judged-forgotten", extent)
    assert outcome.findings
    survived(
        f"control: a disk that does nothing when the {forgotten or 'folder'} is synced",
        "—",
        times=outcome.states,
        unit="states of the disk",
        figures=f"{len(outcome.findings):,} of them found out",
    )


def judged(replay: Replay, states: int, folder: Path, extent: Extent) -> Outcome:
    """So many states of the disk, judged."""
    return judge(shared(replay, choose(replay, states, extent.seed)), folder, folder / "kept")
