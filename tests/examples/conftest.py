"""The examples import each other as modules of their folder, as they do when they are served."""

from __future__ import annotations

import sys

import pytest

from tests.harness.spawning import ROOT

sys.path.insert(0, str(ROOT / "examples"))


@pytest.fixture(autouse=True)
def _nothing_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY", "OPENAI_MODEL", "NIGHTLY_BATCH_LEDGER"):
        monkeypatch.delenv(name, raising=False)
