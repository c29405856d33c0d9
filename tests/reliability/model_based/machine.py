"""The state machine of all rules, run in numbers."""

from __future__ import annotations

import traceback
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.reliability.model_based.dying import Dying

BATCH = 9
"""Sessions at a time: of ten and more, hypothesis draws the first tenth short."""


class Extract(NamedTuple):
    """A worker's report: what it did, and how it failed if it did."""

    counts: Counter[str]
    failure: str | None


def run_sessions(first_seed: int, examples: int, steps: int, folder: Path) -> Extract:
    """Run so many sessions of so many steps. The same seed draws the same steps; the first session of each batch is
    the simplest that there is.

    There is no shrinking: each try would take seconds, and what a kill leaves is not the same twice.
    """
    counts: Counter[str] = Counter()

    class ModelMachine(Dying):
        """All rules."""

    ModelMachine.folder = folder
    ModelMachine.counts = counts
    chosen = settings(
        stateful_step_count=steps,
        deadline=None,
        database=None,
        print_blob=True,
        phases=(Phase.generate,),
        # A step may take as long as a start of the server, and a rule may find nothing that it applies to.
        suppress_health_check=list(HealthCheck),
    )
    try:
        for begun in range(0, examples, BATCH):
            batch = settings(chosen, max_examples=min(BATCH, examples - begun))
            run_state_machine_as_test(seed(f"{first_seed} {begun}")(ModelMachine), settings=batch)
    except BaseException as error:
        return Extract(counts, "".join(traceback.format_exception(error)))
    return Extract(counts, None)
