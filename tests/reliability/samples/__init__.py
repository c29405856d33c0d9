"""Small workflows, one or more for each thing that the engine documents, by subject."""

from __future__ import annotations

from tests.reliability.samples import (
    collection,
    declaring,
    joins,
    recoveries,
    resources,
    retries,
    sending,
    state,
    steps,
    timeouts,
    together,
    waits,
)
from tests.reliability.samples.sample import Sample

SUBJECTS = (
    steps,
    declaring,
    sending,
    collection,
    joins,
    retries,
    recoveries,
    waits,
    together,
    state,
    timeouts,
    resources,
)

SAMPLES: dict[str, Sample] = {name: sample for subject in SUBJECTS for name, sample in subject.SAMPLES.items()}
