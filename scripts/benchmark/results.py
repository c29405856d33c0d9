"""The outcome of the measurements: medians, ratios, and the ratios that are recorded in the repository."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from sqlite3 import sqlite_version
from typing import Any

from benchmark.environments import commit
from benchmark.measuring import ENGINE, THIS, Extent, Measured

BASELINE = Path(__file__).parent / "baseline.json"
ALLOWED = 1.15
"""A ratio that is recorded may grow to this multiple of itself; see docs/performance.md for its own noise."""


@dataclass(frozen=True)
class Figure:
    """The medians of a subject: its figure, and CPU milliseconds of the server and of the client for each unit."""

    value: float
    cpu: float
    client: float


@dataclass(frozen=True)
class Ratio:
    """This build over another subject: medians of the ratios of measurements that followed each other."""

    value: float
    cpu: float


@dataclass(frozen=True)
class Checked:
    """Two estimates of this build's CPU time over the bare engine's: the median of the ratios of measurements that
    followed each other, and the ratio of the least times. Neither is steady on a busy machine; a loss shows in both."""

    median: float
    least: float

    def lost(self, before: Checked) -> bool:
        """Return whether both have grown by more than is allowed."""
        return self.median > before.median * ALLOWED and self.least > before.least * ALLOWED


@dataclass(frozen=True)
class Result:
    """The outcome of one workload, as it is kept beside docs/performance.md."""

    workload: str
    unit: str
    per: str
    date: str
    commit: str
    machine: str
    versions: str
    repeats: int
    scale: float = 1.0
    """Part of the work that each measurement did."""
    figures: dict[str, Figure] = field(default_factory=dict)
    ratios: dict[str, Ratio] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    spread: float = 0.0
    """Of the CPU ratio to the bare engine: half the distance of its quartiles, over its median."""
    least: float = 0.0
    """The least CPU time of this build over the least of the bare engine."""
    load: float = 0.0
    """Programs that ran or waited to run on the machine, a minute's mean; the benchmark itself is one or two."""
    cpu_samples: dict[str, list[float]] = field(default_factory=dict)
    """The CPU time of each measurement."""

    @property
    def checked(self) -> Checked:
        """The estimates that are recorded and checked."""
        return Checked(self.ratios[ENGINE].cpu if ENGINE in self.ratios else 0.0, self.least)

    def line(self) -> str:
        """Return the result as one line of JSON."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def read(cls, line: str) -> Result:
        """Return the result of such a line."""
        told: dict[str, Any] = json.loads(line)
        told["figures"] = {key: Figure(**figure) for key, figure in told["figures"].items()}
        told["ratios"] = {key: Ratio(**ratio) for key, ratio in told["ratios"].items()}
        return cls(**told)


def result(measured: Measured, extent: Extent) -> Result:
    """Return the outcome of a workload's measurements."""
    figures = {
        key: Figure(*(_rounded(statistics.median(column)) for column in zip(*samples, strict=True)))
        for key, samples in measured.samples.items()
    }
    cpu_ratios = _each_ratio(measured, ENGINE, 1)
    if not measured.same_work:
        figures.pop(ENGINE, None)
    workload = measured.workload
    return Result(
        workload=workload.name,
        unit=workload.unit,
        per=workload.per,
        date=datetime.now(UTC).date().isoformat(),
        commit=commit(),
        machine=machine(),
        versions=versions(),
        repeats=len(measured.samples[THIS]),
        scale=extent.scale * (0.1 if extent.quick else 1.0),
        figures=figures,
        ratios={key: _ratio(measured, key) for key in measured.samples if key != THIS},
        missing=measured.missing,
        spread=_rounded(_spread(cpu_ratios)),
        load=_rounded(os.getloadavg()[0]),
        least=_rounded(_least(measured)),
        cpu_samples={key: [_rounded(sample.cpu) for sample in samples] for key, samples in measured.samples.items()},
    )


def _each_ratio(measured: Measured, key: str, column: int) -> list[float]:
    this, other = measured.samples[THIS], measured.samples.get(key, [])
    return [mine[column] / theirs[column] for mine, theirs in zip(this, other, strict=False) if theirs[column]]


def _ratio(measured: Measured, key: str) -> Ratio:
    value, cpu = (statistics.median(_each_ratio(measured, key, column) or [0.0]) for column in (0, 1))
    return Ratio(0.0 if key == ENGINE and not measured.same_work else _rounded(value), _rounded(cpu))


def _least(measured: Measured) -> float:
    """Return the ratio of the least CPU times.

    Whatever else the machine does can only add to a CPU time, by caches that it empties and by wake-ups: on a busy
    machine the least of several varies less than their median.
    """
    if ENGINE not in measured.samples:
        return 0.0
    this, engine = (min(sample.cpu for sample in measured.samples[key]) for key in (THIS, ENGINE))
    return this / engine


def _spread(ratios: list[float]) -> float:
    if len(ratios) < 2:
        return 0.0
    first, middle, third = statistics.quantiles(ratios, n=4, method="inclusive")
    return (third - first) / 2 / middle


def _rounded(number: float) -> float:
    """Return the number with four digits, so that the files say what is known and no more."""
    return float(f"{number:.4g}")


def machine() -> str:
    """Return what this machine is: processor, cores and system."""
    model = platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    return f"{model}, {os.cpu_count()} cores, {platform.system()} {platform.release()}"


def versions() -> str:
    """Return the versions of what was measured."""
    packages = ("llama-index-workflows", "aiohttp", "pydantic")
    named = [f"{package} {version(package)}" for package in packages]
    return ", ".join([f"Python {platform.python_version()}", f"SQLite {sqlite_version}", *named])


# -- The recorded ratios -----------------------------------------------------------------------


@dataclass
class Baseline:
    """The ratios that are recorded, by workload, and where they come from."""

    ratios: dict[str, Checked] = field(default_factory=dict)
    commit: str = "unknown"
    date: str = ""
    machine: str = ""
    versions: str = ""

    @classmethod
    def read(cls, path: Path) -> Baseline:
        """Return what a file holds; nothing where it is missing."""
        if not path.exists():
            return cls()
        told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        told["ratios"] = {name: Checked(**ratio) for name, ratio in told["ratios"].items()}
        return cls(**told)

    def record(self, results: Sequence[Result], path: Path) -> None:
        """Write the ratios of these results into a file, beside those of other workloads."""
        self.ratios.update({each.workload: each.checked for each in results})
        self.commit, self.date = commit(), datetime.now(UTC).date().isoformat()
        self.machine, self.versions = machine(), versions()
        path.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")

    def lost(self, results: Sequence[Result]) -> list[Result]:
        """Return the results that have lost against what is recorded."""
        return [
            each for each in results if each.workload in self.ratios and each.checked.lost(self.ratios[each.workload])
        ]
