"""The reducer that changes a state in place, against the engine's: states, commands and events, tick by tick."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from workflows import Workflow

from tests.execution.reducers.random_runs import WORKFLOWS, RandomRun, Shape
from tests.execution.reducers.twin import TwinRuntime
from tests.reliability.engine.engine_runs import run_basic
from tests.reliability.reporting import Extent
from tests.reliability.samples import SAMPLES
from tests.reliability.samples.sample import Sample


@pytest.mark.parametrize("name", SAMPLES)
async def test_a_sample_is_reduced_as_by_the_engine(name: str) -> None:
    sample, runtime = SAMPLES[name], TwinRuntime()

    def workflow() -> Workflow:
        with runtime.registering():
            return sample.workflow()

    await run_basic(Sample(workflow, sample.expected, sample.status, sample.runs, sample.reactions))
    assert runtime.check() > 2


@pytest.mark.slow(30)
def test_a_random_run_is_reduced_as_by_the_engine(extent: Extent) -> None:
    reduced = Counter[str]()

    @seed(extent.seed)
    @settings(
        max_examples=extent.of(short=150, long=10_000),
        suppress_health_check=list(HealthCheck),
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
    )
    @given(WORKFLOWS, st.booleans(), st.data())
    def attack(shapes: Sequence[Shape], child: bool, data: st.DataObject) -> None:
        def choose(options: Sequence[Any]) -> Any:
            return options[data.draw(st.integers(0, len(options) - 1))]

        run = RandomRun(shapes, choose, child=child)
        run.begin()
        run.start()
        for _ in range(60):
            if run.ended:
                run.begin()
                run.start()
            try:
                run.go_on()
            except (ValueError, KeyError, AttributeError) as error:
                reduced[f"raised {error!r}"] += 1
                break
        run.twin.check()
        reduced.update(type(tick).__name__ for tick in run.twin.ticks)

    attack()
    print(reduced.most_common())
