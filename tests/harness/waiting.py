"""Waiting for what another process does, which has no event for a test."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

POLL = 0.02
PATIENCE = 45.0
"""Seconds after which what a test waits for will not come any more."""


async def until(condition: Callable[[], bool], what: str | Callable[[], str], *, patience: float = PATIENCE) -> None:
    """Return when the condition holds.

    Raises:
        AssertionError: it did not within ``patience`` seconds; ``what`` says what should have happened.
    """
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(what if isinstance(what, str) else what())
        await asyncio.sleep(POLL)
