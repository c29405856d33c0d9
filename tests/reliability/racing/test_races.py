"""Requests that race with their run's end, its release and its resumption: each answer is so, and stays so."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from pathlib import Path

import pytest

from tests.reliability.racing.aftermath import check
from tests.reliability.racing.arena import RIVALS, SIDE_BY_SIDE, arena
from tests.reliability.racing.races import NUMBERS, RACES, Fate, Race
from tests.reliability.reporting import Extent, Survived


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", RACES, ids=lambda kind: kind.__name__.lower())
async def test_what_is_answered_is_so_whatever_the_run_does_meanwhile(
    kind: type[Race], tmp_path: Path, extent: Extent, survived: Survived
) -> None:
    chance = random.Random(f"{extent.seed} {kind.name}")
    times = extent.of(short=48, long=2_000)
    path = tmp_path / "races.sqlite3"
    fates: list[Fate] = []
    outcomes: Counter[str] = Counter()
    async with arena(path) as held:
        for first in range(0, times, SIDE_BY_SIDE):
            races = [
                kind(held, chance, RIVALS[number % len(RIVALS)], number * NUMBERS)
                for number in range(first, first + SIDE_BY_SIDE)
            ]
            fates.extend(await asyncio.gather(*(race.run() for race in races)))
            outcomes.update(f"{race.won} ({race.rival})" for race in races if race.won is not None)
            held.commits.forget()
    check(path, fates)
    survived(
        f"{kind.name}, twice at once, racing the run's end, its release and its resumption",
        "P1 P2 P5",
        times=2 * times,
        unit="requests",
        figures=", ".join(f"{count:,} {outcome}" for outcome, count in outcomes.most_common(8)),
    )
