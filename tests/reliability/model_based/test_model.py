"""Random sessions of requests, restarts and kills, held after each step against a small model of what must hold."""

from __future__ import annotations

import multiprocessing
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from tests.reliability.model_based.machine import run_sessions
from tests.reliability.reporting import Extent, Survived

WORKERS = 2
PROMISES = "P1 P2 P3 P4 P5 P6 P8"

MUST_HAPPEN = ("kills", "clean restarts", "events sent", "reads of the queue")
"""Without these an attack would not be one, however short and whatever its seed."""
MUST_HAPPEN_IN_TIME = (
    "requests without an answer", "repeated keys", "purged", "steps that a kill interrupted", "unanswered and done",
    "unanswered and not done", "released", "continued", "answers", "reads from a cursor",
    "clients that waited for the end",
)  # fmt: skip


@pytest.mark.slow(40)
@pytest.mark.timeout(600)
def test_the_server_holds_what_the_model_holds_through_deaths(
    extent: Extent, survived: Survived, tmp_path: Path
) -> None:
    examples, steps = extent.of(short=12, long=200), extent.of(short=25, long=50)
    did = _attack(extent.seed, examples, steps, tmp_path)
    assert did["examples"] >= examples
    assert did["steps"] >= examples * steps
    assert [name for name in MUST_HAPPEN if not did[name]] == []
    assert not extent.long or [name for name in MUST_HAPPEN_IN_TIME if not did[name]] == []
    survived(
        "random sessions over HTTP (start, send, answer, cancel, continue, purge, read, restart, kill -9), held "
        "against a model after each step",
        PROMISES,
        times=did["examples"],
        unit="sessions",
        figures=f"{did['steps']:,} steps: {did['events sent']:,} events, {did['repeated keys']:,} repeated keys, "
        f"{did['continued']:,} continued, {did['purged']:,} purged, {did['released']:,} released from memory",
    )
    survived(
        "kill -9 between requests and while one is unanswered, and clean restarts, in those sessions",
        PROMISES,
        times=did["kills"] + did["clean restarts"],
        unit="deaths of the server",
        figures=f"{did['kills']:,} kills, {did['kills within a request']:,} of them within a request, "
        f"{did['requests without an answer']:,} without an answer; {did['steps that a kill interrupted']:,} steps "
        "interrupted",
    )


def _attack(seed: int, examples: int, steps: int, folder: Path) -> Counter[str]:
    """Run so many sessions, in several processes at a time, and return what was done in them."""
    did: Counter[str] = Counter()
    with ProcessPoolExecutor(WORKERS, mp_context=multiprocessing.get_context("spawn")) as pool:
        parts = [
            pool.submit(run_sessions, WORKERS * seed + worker, examples // WORKERS, steps, folder)
            for worker in range(WORKERS)
        ]
        for part in parts:
            counts, failure = part.result()
            assert failure is None, failure
            did += counts
    print(", ".join(f"{count:,} {name}" for name, count in sorted(did.items())))
    return did
