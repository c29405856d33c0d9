"""Work that a cancelled caller waits for all the same, because what it holds must be given back first."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

logger = logging.getLogger(__name__)

T = TypeVar("T")


async def uninterrupted(work: Coroutine[Any, Any, T], name: str) -> T:
    """Do the work and return what it returns. A caller that is cancelled meanwhile, however often, is told so when
    the work has ended: what runs on a connection's thread goes on anyway, and nothing may be done behind its back."""
    task = asyncio.create_task(work, name=name)
    cancellation: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancellation = error
    if cancellation is None:
        return task.result()
    if not task.cancelled() and task.exception() is not None:
        logger.info("%s failed, and nobody waits for it any more", name, exc_info=task.exception())
    raise cancellation
