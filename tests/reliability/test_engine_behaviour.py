"""What the engine documents, under the durable runtime as in the basic one, also when killed at any point."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

import pytest

from tests.reliability.engine_runs import run_basic
from tests.reliability.kill_points import KillPoint, check_alike, check_resumed, remove, run_durable
from tests.reliability.reporting import Extent, Survived
from tests.reliability.samples import SAMPLES
from tests.reliability.samples.sample import Sample
from workflow_server.runtime import recorder

AT_ONCE = 12
"""Servers that run side by side: each waits for the disk most of the time."""
SECOND_KILLS = 2
"""Points at which each run that was resumed is killed again."""


class Kills:
    """Runs samples and kills them, several at a time, and counts what it did and what went wrong."""

    def __init__(self, folder: Path, rng: random.Random, *, idle_timeout: float | None, twice: bool) -> None:
        self.points = 0
        self.pairs = 0
        self.under_way = 0
        """Kills after which a step began again."""
        self.wrong: list[str] = []
        self._folder = folder
        self._rng = rng
        self._idle_timeout = idle_timeout
        self._twice = twice
        self._gate = asyncio.Semaphore(AT_ONCE)

    async def run(self, names: Iterable[str]) -> None:
        await asyncio.gather(*(self._guarded(name, lambda name=name: self._sample(name)) for name in names))

    async def _guarded(self, what: str, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except Exception as error:
            self.wrong.append(f"{what}: {type(error).__name__}: {error}"[:2_000])

    async def _sample(self, name: str) -> None:
        sample = SAMPLES[name]
        async with self._gate:
            basic = await run_basic(sample)
            live = KillPoint(self._folder / f"{name}.sqlite3", [])
            whole = await run_durable(sample, live, idle_timeout=self._idle_timeout, copied=True)
        assert basic.outcome.status == sample.status
        check_alike(sample, basic, whole.record)
        if not sample.interruptible:
            return

        async def kill(point: KillPoint) -> None:
            async with self._gate:
                resumed = await run_durable(sample, point, idle_timeout=self._idle_timeout, copied=self._twice)
            self.points += 1
            self.under_way += len(resumed.record.begun) > len(whole.record.begun)
            check_resumed(sample, basic, whole, resumed, kills=1)
            chosen = self._rng.sample(resumed.points, min(SECOND_KILLS, len(resumed.points)))
            for second in chosen:
                async with self._gate:
                    again = await run_durable(sample, second, idle_timeout=self._idle_timeout)
                self.pairs += 1
                check_resumed(sample, basic, whole, again, kills=2)
            remove([*resumed.points, point])

        await asyncio.gather(
            *(self._guarded(f"{name} {point.path.stem}", lambda point=point: kill(point)) for point in whole.points)
        )


async def test_x(tmp_path: Path, extent: Extent) -> None:
    kills = Kills(tmp_path, random.Random(extent.seed), idle_timeout=None, twice=extent.long)
    await kills.run(SAMPLES)
    print(kills.points, kills.pairs, kills.under_way)
    Path("/tmp/wrong.txt").write_text("\n\n".join(kills.wrong))
    assert not kills.wrong, "\n\n".join(kills.wrong)
