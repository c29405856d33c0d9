"""The reducer that changes a state in place, against the engine's: states, commands and events, tick by tick."""

from __future__ import annotations

import pytest
from workflows import Workflow

from tests.execution.reducers.twin import TwinRuntime
from tests.reliability.engine.engine_runs import run_basic
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
