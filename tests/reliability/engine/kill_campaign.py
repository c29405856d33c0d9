"""Many samples, killed at many points, several servers at a time; and the count of it."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import Awaitable, Iterable
from pathlib import Path

from tests.reliability.engine.engine_runs import Record, run_basic
from tests.reliability.engine.every_commit import Durable, KillPoint, check_alike, check_resumed, remove, run_durable
from tests.reliability.samples import SAMPLES
from tests.reliability.samples.sample import Sample

AT_ONCE = 12
"""Servers that run side by side: each waits for the disk most of the time."""


class Campaign:
    """Runs samples on both runtimes, kills the durable one, and counts what it did and what went wrong.

    Of the points at which a sample can be killed it takes ``points`` (None: all of them), and ``second`` of those at
    which the run that was resumed there can be killed again.
    """

    def __init__(self, folder: Path, seed: int, *, idle_timeout: float | None, points: int | None, second: int) -> None:
        self.samples = 0
        self.kills = 0
        self.pairs = 0
        self.interrupted = 0
        """Kills of a step that was under way: it began again."""
        self.wrong: list[str] = []
        self._folder = folder
        self._seed = seed
        self._idle_timeout = idle_timeout
        self._points = points
        self._second = second
        self._gate = asyncio.Semaphore(AT_ONCE)

    async def run(self, names: Iterable[str]) -> None:
        """Run these samples; what went wrong with one is noted, and the others go on."""
        await asyncio.gather(*(self._noting(name, self._run(name)) for name in names))

    async def _noting(self, what: str, work: Awaitable[None]) -> None:
        try:
            await work
        except Exception as error:
            self.wrong.append(f"{what}: {type(error).__name__}: {error}"[:2_000])

    async def _run(self, name: str) -> None:
        sample = SAMPLES[name]
        async with self._gate:
            basic = await run_basic(sample)
            assert basic.outcome.status == sample.status, f"the basic runtime itself: {basic.outcome}"
            found = basic.outcome.result
            expected = found == sample.expected if sample.status == "completed" else str(sample.expected) in str(found)
            assert expected, f"the basic runtime itself: {basic.outcome}"
            folder = self._folder / name
            folder.mkdir()
            live = KillPoint(folder / "live.sqlite3", [])
            whole = await run_durable(sample, live, idle_timeout=self._idle_timeout, copied=True)
        check_alike(sample, basic, whole.record)
        self.samples += 1
        if sample.interruptible:
            points = whole.points if self._points is None else self._some(whole.points, self._points, name)
            await asyncio.gather(
                *(
                    self._noting(f"{name} at {point.path.stem}", self._kill(sample, basic, whole, point))
                    for point in points
                )
            )
        shutil.rmtree(folder)

    async def _kill(self, sample: Sample, basic: Record, whole: Durable, point: KillPoint) -> None:
        async with self._gate:
            resumed = await run_durable(sample, point, idle_timeout=self._idle_timeout, copied=self._second > 0)
        self.kills += 1
        self.interrupted += len(resumed.record.begun) > len(whole.record.begun)
        check_resumed(sample, basic, whole, resumed, kills=1)
        for second in self._some(resumed.points, self._second, str(point.path.relative_to(self._folder))):
            async with self._gate:
                again = await run_durable(sample, second, idle_timeout=self._idle_timeout)
            self.pairs += 1
            check_resumed(sample, basic, whole, again, kills=2)
        remove([*resumed.points, point])

    def _some(self, points: list[KillPoint], number: int, name: str) -> list[KillPoint]:
        # By name: in which order the samples get here depends on the disk.
        return random.Random(f"{self._seed} {name}").sample(points, min(number, len(points)))
