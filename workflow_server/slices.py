"""Work on many items, in slices between which everybody else has a turn of the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

SLICE = 200
"""Items that are worked on in one go; a handler takes about 50 µs."""

Item = TypeVar("Item")
Made = TypeVar("Made")


async def in_slices(make: Callable[[Item], Made], items: Sequence[Item]) -> list[Made]:
    """Return what ``make`` makes of each item, in order."""
    made: list[Made] = []
    for start in range(0, len(items), SLICE):
        if start:
            await asyncio.sleep(0)
        made += map(make, items[start : start + SLICE])
    return made
