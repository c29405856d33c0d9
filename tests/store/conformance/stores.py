"""The stores that the contract is tested on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from workflow_server.store import AbstractWorkflowStore, MemoryWorkflowStore, SqliteWorkflowStore


class Kind(NamedTuple):
    """One kind of store: ``make`` returns one that is not open, over the same data for the same empty folder."""

    make: Callable[[Path], AbstractWorkflowStore]
    durable: bool
    """It finds what it held when it is opened again."""


STORES = {
    "sqlite file": Kind(lambda folder: SqliteWorkflowStore(folder / "server.db"), durable=True),
    "memory": Kind(lambda _: MemoryWorkflowStore(), durable=False),
}
