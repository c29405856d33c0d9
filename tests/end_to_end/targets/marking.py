"""Marks that the steps of the tests leave outside the database: lines in a ledger, and gates at which they wait.

Both are files, so that they outlive the process whose death is being tested.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llama_index_instrumentation.dispatcher import active_instrument_tags

LEDGER = "MARKING_LEDGER"
"""The variable of the environment that names the ledger."""
GATES = "MARKING_GATES"
"""The variable of the environment that names the folder in which a file opens the gate of its name."""
POLL = 0.02
"""Seconds between two looks at a gate."""


def handler_id() -> str:
    """The handler whose step this is, as instrumentation sees it."""
    return str(active_instrument_tags.get()["handler_id"])


def mark(kind: str, step: str, item: object = "-") -> None:
    """Add one line; a line is written whole or not at all, whoever else writes."""
    line = f"{kind} {handler_id()} {step} {item}\n".encode()
    file = os.open(os.environ[LEDGER], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, line)
    finally:
        os.close(file)


@contextmanager
def side_effect(step: str, item: object = "-") -> Iterator[None]:
    """Mark that a step began and, unless it failed, that it ended."""
    mark("begin", step, item)
    yield
    mark("end", step, item)


async def gate(name: str) -> None:
    """Mark that the gate was reached, and wait until it is open."""
    mark("reached", name)
    opened = Path(os.environ[GATES]) / name
    while not opened.exists():  # noqa: ASYNC110 the one who opens it is another process
        await asyncio.sleep(POLL)
