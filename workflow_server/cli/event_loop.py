"""An event loop for a server that runs other people's code, for the command."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
from collections.abc import Coroutine
from typing import Any

from workflow_server.execution.containment import ServedTask
from workflow_server.execution.failures import told
from workflow_server.shutdown import GIVEN_UP, busy_threads

logger = logging.getLogger(__name__)


_stubborn: set[asyncio.Task[Any]] = set()
"""Tasks that do not heed their cancellation."""


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run ``main`` to its end on a new event loop, whatever is done to that.

    Where ``asyncio.run`` would end the process — a callback exits, or somebody stops the loop — the loop goes on: its
    tasks survive that unharmed. And what does not heed its cancellation is not waited for.
    """
    # What the modules have made stays as long as the process: the collector need not look through it again and again.
    gc.collect()
    gc.freeze()
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    task = ServedTask(main, loop=loop, name="main")
    try:
        while not task.done():
            _run_on(loop, task)
        task.result()
    finally:
        _give_up(loop)
        if not _stubborn:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()
        asyncio.set_event_loop(None)


def left_behind() -> bool:
    """Return whether tasks or threads are left that can keep the process from ending."""
    return bool(_stubborn or busy_threads())


def _run_on(loop: asyncio.AbstractEventLoop, task: asyncio.Task[None]) -> None:
    try:
        loop.run_until_complete(task)
    except (SystemExit, KeyboardInterrupt) as error:
        if task.done() or signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            # Before the server looks after its signals, it is the user who interrupts.
            raise
        logger.error("A callback of the event loop tried to end the process: %s", told(error))  # noqa: TRY400
    except RuntimeError:
        if task.done() or loop.is_closed():
            raise
        logger.error("Something has stopped the event loop; it goes on")  # noqa: TRY400


def _give_up(loop: asyncio.AbstractEventLoop) -> None:
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        _, late = loop.run_until_complete(asyncio.wait(tasks, timeout=GIVEN_UP))
        _stubborn.update(late)
