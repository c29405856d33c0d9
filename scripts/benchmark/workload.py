"""A workload: the work of one measurement, the same for every subject, and what one measurement yields."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Self

from benchmark.processes import cpu_seconds
from benchmark.subjects import Alone, Served


class Sample(NamedTuple):
    """One measurement: its figure in the workload's unit, and CPU milliseconds for each unit of its work."""

    value: float
    cpu: float
    """Of the server's process, or of the bare engine's."""
    client: float
    """Of the client's process."""


class Missing(Exception):
    """A workload that a subject cannot do; the message says why."""


class Meter:
    """Measures a block: its time, and the CPU time of the server and of this process, which is the client."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self.seconds = self.cpu = self.client = 0.0

    def __enter__(self) -> Self:
        self._client, self._cpu = time.process_time(), cpu_seconds(self._served.pid)
        self._began = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.lap()
        self.cpu = cpu_seconds(self._served.pid) - self._cpu
        self.client = time.process_time() - self._client

    def lap(self) -> None:
        """Stop the clock here, unless it is stopped; CPU time is measured to the end of the block."""
        self.seconds = self.seconds or time.perf_counter() - self._began

    def rate(self, done: int, units: int = 0) -> Sample:
        """Return what was done a second, and the CPU time for each of ``units``, which are ``done`` by default."""
        return self.figure(done / self.seconds, units or done)

    def figure(self, value: float, units: int) -> Sample:
        """Return another figure, and the CPU time for each of ``units``."""
        return Sample(value, self.cpu * 1_000 / units, self.client * 1_000 / units)


def milliseconds(each: Sequence[float]) -> float:
    """Return the median of times in seconds, in milliseconds."""
    return statistics.median(each) * 1_000


@dataclass(frozen=True, kw_only=True)
class Workload:
    """The base of all workloads.

    ``unit`` is that of the figure, ``per`` what the CPU time is divided by; ``count`` is how much one measurement does,
    and ``quick`` how much in the quick form, to which it belongs where that is not 0.
    """

    name: str
    told: str
    """The work and its measure, for docs/performance.md."""
    unit: str
    per: str
    count: int
    quick: int = 0
    peers: bool = True
    repeats: int = 99
    """Number of measurements at most, for work that takes long and varies little."""
    steady: bool = True
    """Its CPU time can be checked; it varies too much where threads wake each other all the time."""
    environment: Mapping[str, str] = field(default_factory=dict)

    async def prepare(self, served: Served, count: int) -> None:
        """Do once, before the measurements, what they need: here an eighth of the work, so that all code has run."""
        await self.measure(served, max(1, count // 8))

    async def measure(self, served: Served, count: int) -> Sample:
        """Do the work once.

        Raises:
            Missing: the subject cannot do it.
        """
        raise NotImplementedError

    def alone(self, count: int) -> Alone | None:
        """Return what the bare engine does beside: here three-step runs, as a measure of the machine's speed."""
        return Alone("three_steps", 150, clients=32, same=False)

    def of_engine(self, told: Mapping[str, float], alone: Alone) -> Sample:
        """Return the bare engine's answer as a sample."""
        done = alone.total * alone.units
        value = told["median"] * 1_000 if self.unit == "ms" else done / told["seconds"]
        return Sample(value, told["cpu"] * 1_000 / (alone.total if self.per == "run" else done), 0.0)
