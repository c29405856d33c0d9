"""At which points of a session the power goes, how, and by whom the disks that this leaves are judged."""

from __future__ import annotations

import asyncio
import multiprocessing
import random
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tests.reliability.power.disk import Cut, Disk, Fate, Image
from tests.reliability.power.history import Lost, Session
from tests.reliability.power.recording import Kind
from tests.reliability.power.recovery import Judge, place
from tests.reliability.power.session import DATABASE

WORKERS = 2
RESUMED = 20
"""Of so many states one is also resumed: every run of it must end as it must."""


LEFT_BESIDE = {f"{DATABASE}-shm": random.Random(0).randbytes(32_768), f"{DATABASE}.lock": b"1\n"}
"""Writes that need not survive and were not recorded may be there, with anything in them: on every third disk they
are."""


class PowerCut(NamedTuple):
    """The power goes after so many operations; ``seed`` decides what of the rest is there."""

    point: int
    fate: Fate
    seed: int

    def made(self, disk: Disk) -> Cut:
        """The cut, on a disk that has followed the session up to the point."""
        return disk.cut(self.fate, random.Random(f"{self.seed} {self.point} {self.fate.name}"))


class Finding(NamedTuple):
    """A state that does not agree with what had been acknowledged."""

    cut: PowerCut
    lost: bool
    what: str


class Outcome(NamedTuple):
    """The result of the judging."""

    states: int
    resumed: int
    runs: int
    """Number of runs that went on in those that were resumed."""
    ahead: int
    """States in which a transaction was there that nobody had been told of yet."""
    findings: list[Finding]

    def __str__(self) -> str:
        found = "".join(
            f"\n  after {cut.point:,} operations, {cut.fate.value}: {what}" for cut, _, what in self.findings[:5]
        )
        return f"{len(self.findings):,} of {self.states:,} states are not as acknowledged{found}"

    @property
    def lost(self) -> int:
        return sum(finding.lost for finding in self.findings)

    @property
    def damaged(self) -> int:
        return len(self.findings) - self.lost


class Replay(NamedTuple):
    """A session as its judges need it; ``forgets`` as in ``Disk``."""

    session: Session
    image: Mapping[str, bytes] = {}
    forgets: Sequence[str] = ()

    def walk(self) -> Iterator[tuple[int, Disk]]:
        """The disk after each operation, with the count of operations."""
        disk = Disk(self.image, forgets=self.forgets)
        for point, operation in enumerate(self.session.operations, 1):
            disk.follow(operation)
            yield point, disk

    def images(self, cuts: Sequence[PowerCut]) -> Iterator[tuple[PowerCut, Image]]:
        """Yield each of these cuts with what it leaves on the disk, in the order of their points."""
        by_point: dict[int, list[PowerCut]] = {}
        for cut in cuts:
            by_point.setdefault(cut.point, []).append(cut)
        for point, disk in self.walk():
            for cut in by_point.get(point, ()):
                yield cut, disk.image(cut.made(disk))


# -- Choosing ----------------------------------------------------------------------------------


def choose(replay: Replay, states: int, seed: int) -> list[PowerCut]:
    """So many cuts that leave different disks, or all there are. A quarter leaves all or nothing of what was not
    synced. Of the others, a quarter falls right before a sync, one where more than writes to the log is not synced (at
    checkpoints and resets), one while the server starts or stops, and one anywhere."""
    chance = random.Random(seed)
    kinds = _points(replay)
    points = kinds[0]
    plain = chance.sample(points, min(len(points), states // 4))
    drawn: dict[int, list[PowerCut]] = {}
    for point in plain:
        drawn.setdefault(point, []).extend(PowerCut(point, fate, 0) for fate in (Fate.ALL, Fate.NONE))
    for number in range(2 * states):
        point = chance.choice(kinds[number % len(kinds)])
        fate = chance.choice((Fate.SOME, Fate.TORN, Fate.FRONT))
        drawn.setdefault(point, []).append(PowerCut(point, fate, seed + number))
    different = list(_different(replay, drawn))
    return sorted(chance.sample(different, min(states, len(different))), key=lambda cut: cut.point)


def _points(replay: Replay) -> list[list[int]]:
    """All, those right before a sync, those where more than writes to the log is not synced, and those at which the
    server starts or stops."""
    points, before, rare, outside = [], [], [], []
    for point, disk in replay.walk():
        points.append(point)
        following = replay.session.operations[point : point + 1]
        if following and following[0].kind in (Kind.SYNCED, Kind.FOLDER_SYNCED):
            before.append(point)
        naming, changes = disk.pending()
        if naming or any(
            not name.endswith("-wal") or any(change.data is None for change in several)
            for name, several in changes.items()
        ):
            rare.append(point)
        if not replay.session.is_serving(point):
            outside.append(point)
    return [kind for kind in (points, before, rare, outside) if kind]


def _different(replay: Replay, drawn: Mapping[int, list[PowerCut]]) -> Iterator[PowerCut]:
    seen: set[int] = set()
    for point, disk in replay.walk():
        for power_cut in drawn.get(point, ()):
            left = hash(power_cut.made(disk))
            if left not in seen:
                seen.add(left)
                yield power_cut


# -- Judging -----------------------------------------------------------------------------------


Job = tuple[Replay, Sequence[PowerCut]]


def shared(replay: Replay, cuts: Sequence[PowerCut]) -> list[Job]:
    """A job for each process. Of each point all cuts go to the same one."""
    return [(replay, [cut for cut in cuts if cut.point % WORKERS == worker]) for worker in range(WORKERS)]


def judge(jobs: Sequence[Job], folder: Path, kept: Path) -> Outcome:
    """Judge every state of these jobs, in several processes. Of each job, ``kept`` gets the files of the first state
    that does not agree."""
    with ProcessPoolExecutor(WORKERS, multiprocessing.get_context("spawn")) as pool:
        futures = [pool.submit(_judge_job, job, folder / f"job-{number}", kept) for number, job in enumerate(jobs)]
        outcomes = [future.result() for future in futures]
    return Outcome(
        states=sum(outcome.states for outcome in outcomes),
        resumed=sum(outcome.resumed for outcome in outcomes),
        runs=sum(outcome.runs for outcome in outcomes),
        ahead=sum(outcome.ahead for outcome in outcomes),
        findings=[finding for outcome in outcomes for finding in outcome.findings],
    )


def _judge_job(job: Job, folder: Path, kept: Path) -> Outcome:
    with asyncio.Runner() as runner:
        return runner.run(_judge_states(*job, folder, kept))


async def _judge_states(replay: Replay, cuts: Sequence[PowerCut], folder: Path, kept: Path) -> Outcome:
    judge = Judge(replay.session, folder)
    states = resumed = runs = ahead = 0
    stuck = False
    findings: list[Finding] = []
    for cut, image in replay.images(cuts):
        states += 1
        if states % 3 == 0:
            image |= LEFT_BESIDE
        try:
            ahead += await judge.recover(cut.point, image) > replay.session.committed(cut.point)
            # Where one run does not end, others may not: each would take its time.
            if states % RESUMED == 0 and not stuck:
                stuck = True
                runs += await judge.resume(cut.point, image)
                stuck = False
                resumed += 1
        except Exception as error:
            # Whatever recovery meets here it would have met at a user's.
            if not findings:
                place(kept / f"{folder.name}-{cut.point}-{cut.fate.name}-{cut.seed}", image)
            findings.append(Finding(cut, isinstance(error, Lost), f"{type(error).__name__}: {error}"))
    return Outcome(states, resumed, runs, ahead, findings)
