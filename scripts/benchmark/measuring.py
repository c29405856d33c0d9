"""The measurements: each workload on each subject in turn, several times over."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmark.client import Refused
from benchmark.processes import DidNotStart
from benchmark.subjects import Engine, Served, Subject, serving
from benchmark.workload import Missing, Sample, Workload

ENGINE = "bare engine"
THIS = "this server"
TROUBLE = (Refused, DidNotStart, Missing, OSError, TimeoutError)
PATIENCE = 1_200.0
"""Seconds after which a measurement is given up: the slowest one of a peer takes about a minute."""


class Failed(Exception):
    """A workload that this build did not do; without its figures the others have nothing to be compared with."""


@dataclass
class Measured:
    """The samples of a workload by subject, in the order of the repeats; or why a subject has none."""

    workload: Workload
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    same_work: bool = True
    """The bare engine did the work of the workload; else its CPU time is only a measure of the machine."""

    def add(self, other: Measured) -> None:
        """Take the samples of another measurement of the same workload as well."""
        for key, samples in other.samples.items():
            self.samples.setdefault(key, []).extend(samples)


@dataclass(frozen=True)
class Extent:
    """The amount of work that is measured."""

    repeats: int
    quick: bool = False
    scale: float = 1.0

    def count(self, workload: Workload, share: float = 1.0) -> int:
        """Return how much one measurement does; ``share`` is the part that the subject is given."""
        whole = (workload.quick or workload.count // 10) if self.quick else workload.count
        return max(1, round(whole * self.scale * share))

    def repeats_of(self, workload: Workload) -> int:
        """Return the number of measurements."""
        return min(self.repeats, workload.repeats)


class Contender:
    """A subject that is measured: its server, and how much it is given to do."""

    def __init__(self, workload: Workload, served: Served, count: int) -> None:
        self.key = served.subject.key
        self._workload, self._served, self._count = workload, served, count

    async def prepare(self) -> None:
        """Do what the measurements need."""
        await self._workload.prepare(self._served, self._count)

    async def measure(self) -> Sample:
        """Measure once."""
        return await self._workload.measure(self._served, self._count)


class EngineContender:
    """The bare engine, measured like a server."""

    key = ENGINE

    def __init__(self, workload: Workload, engine: Engine, count: int) -> None:
        self._workload, self._engine = workload, engine
        self._alone = workload.alone(count)
        self.same = self._alone is not None and self._alone.same

    async def prepare(self) -> None:
        """Run an eighth of the work, so that all code has run."""
        if self._alone is None:
            raise Missing("not measured")
        await self._engine.measure(replace(self._alone, total=max(1, self._alone.total // 8)))

    async def measure(self) -> Sample:
        """Measure once."""
        assert self._alone is not None
        return self._workload.of_engine(await self._engine.measure(self._alone), self._alone)


async def measure(workload: Workload, subjects: Sequence[Subject], extent: Extent, folder: Path) -> Measured:
    """Measure a workload on the bare engine and on all subjects, each repeat in another order.

    A subject that fails is left out, with the reason.

    Raises:
        Failed: this build failed.
    """
    measured = Measured(workload)
    async with AsyncExitStack() as stack:
        contenders = await _contenders(workload, subjects, extent, folder, stack, measured)
        for contender in list(contenders):
            async with _forgiving(contender, contenders, measured):
                await contender.prepare()
        for repeat in range(extent.repeats_of(workload)):
            turn = repeat % max(1, len(contenders))
            for contender in [*contenders[turn:], *contenders[:turn]]:
                async with _forgiving(contender, contenders, measured):
                    measured.samples.setdefault(contender.key, []).append(await contender.measure())
    return measured


async def _contenders(
    workload: Workload,
    subjects: Sequence[Subject],
    extent: Extent,
    folder: Path,
    stack: AsyncExitStack,
    measured: Measured,
) -> list[Contender | EngineContender]:
    engine = stack.enter_context(closing(Engine(workload.environment)))
    alone = EngineContender(workload, engine, extent.count(workload))
    measured.same_work = alone.same
    contenders: list[Contender | EngineContender] = [alone]
    for number, subject in enumerate(subjects):
        if subject.peer and not workload.peers:
            continue
        try:
            served = await stack.enter_async_context(
                serving(subject, folder / f"{workload.name}-{number}", workload.environment)
            )
        except TROUBLE as error:
            _note(subject.key, error, measured)
        else:
            contenders.append(Contender(workload, served, extent.count(workload, subject.share)))
    return contenders


@asynccontextmanager
async def _forgiving(
    contender: Contender | EngineContender, contenders: list[Contender | EngineContender], measured: Measured
) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(PATIENCE):
            yield
    except TROUBLE as error:
        _note(contender.key, error, measured)
        contenders.remove(contender)


def _note(key: str, error: Exception, measured: Measured) -> None:
    """Keep the reason why a subject has no figure; that of this build ends the measurements."""
    if key == THIS:
        raise Failed(f"{measured.workload.name}: {error or type(error).__name__}") from error
    measured.samples.pop(key, None)
    measured.missing[key] = str(error) or type(error).__name__
    if not isinstance(error, Missing):
        print(f"{measured.workload.name}: {key}: {measured.missing[key]}", file=sys.stderr, flush=True)
