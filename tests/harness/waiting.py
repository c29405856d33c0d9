"""Waiting for what another process does, or what only a look tells, which has no event for a test."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

POLL = 0.02
PATIENCE = 45.0
"""Seconds after which what a test waits for will not come any more."""


async def until(condition: Callable[[], bool], what: str | Callable[[], str], *, patience: float = PATIENCE) -> None:
    """Return when the condition holds.

    Raises:
        AssertionError: it did not within ``patience`` seconds; ``what`` says what should have happened.
    """

    async def look() -> bool:
        return condition()

    await until_seen(look, what, patience=patience)


async def until_seen(
    look: Callable[[], Awaitable[bool]], what: str | Callable[[], str], *, patience: float = PATIENCE
) -> None:
    """Return when a look that has to be awaited finds that it is so.

    Raises:
        AssertionError: it did not within ``patience`` seconds; ``what`` says what should have happened.
    """
    deadline = time.monotonic() + patience
    while not await look():
        if time.monotonic() > deadline:
            raise AssertionError(what if isinstance(what, str) else what())
        await asyncio.sleep(POLL)


async def until_stored(database: Path, query: str, *parameters: object) -> None:
    """Return when the first value that a server's database answers with is true.

    Raises:
        AssertionError: it was not within ``PATIENCE`` seconds.
    """
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        await until(lambda: bool(connection.execute(query, parameters).fetchone()[0]), f"never true: {query}")
