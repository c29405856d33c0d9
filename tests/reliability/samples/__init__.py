"""Small workflows, one or more for each thing that the engine documents, by subject."""

from __future__ import annotations

from tests.reliability.samples import collection, resources, retries, sending, state, steps, timeouts, waits
from tests.reliability.samples.sample import Sample

SUBJECTS = (steps, sending, collection, retries, waits, state, timeouts, resources)

SAMPLES: dict[str, Sample] = {name: sample for subject in SUBJECTS for name, sample in subject.SAMPLES.items()}
