"""The event loop of the command, which survives what the code of workflows does to it."""

from __future__ import annotations

import asyncio
import gc
import importlib
import logging
import signal
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from workflow_server.errors import SettingsError
from workflow_server.execution.containment import ServedTask
from workflow_server.execution.failures import told
from workflow_server.settings import EventLoop
from workflow_server.shutdown import GIVEN_UP, busy_threads

logger = logging.getLogger(__name__)


COLLECTED_AFTER = 20_000
"""Objects that are made before the garbage collector looks at the young ones, instead of Python's 700: a run makes
some hundred, and few of them are in cycles."""

_stubborn: set[asyncio.Task[Any]] = set()
"""Tasks that ignored their cancellation."""


def new_event_loop(kind: EventLoop) -> asyncio.AbstractEventLoop:
    """Return an event loop of this kind.

    Raises:
        SettingsError: uvloop is asked for and not installed.
    """
    if kind != "asyncio":
        with suppress(ImportError):
            uvloop = importlib.import_module("uvloop")
            loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
            return loop
    if kind == "uvloop":
        raise SettingsError("The event loop 'uvloop' is not installed: pip install 'workflow_server[uvloop]'.")
    return asyncio.new_event_loop()


def run(main: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop) -> None:
    """Run ``main`` to its end on a new event loop, whatever other code does to that.

    Where ``asyncio.run`` would end the process (a callback exits, or other code stops the loop), the loop continues
    with its tasks intact. Tasks that ignore their cancellation are not waited for.
    """
    # Objects of modules live as long as the process: the collector need not scan them again and again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECTED_AFTER)
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
    """Return whether tasks or threads are left that can keep the process alive."""
    return bool(_stubborn or busy_threads())


def _run_on(loop: asyncio.AbstractEventLoop, task: asyncio.Task[None]) -> None:
    try:
        loop.run_until_complete(task)
    except (SystemExit, KeyboardInterrupt) as error:
        if task.done() or signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            # Before the server handles its signals, it is the user who interrupts.
            raise
        logger.error("A callback of the event loop tried to end the process: %s", told(error))  # noqa: TRY400
    except RuntimeError:
        if task.done() or loop.is_closed():
            raise
        logger.error("The event loop was stopped by a workflow; it continues")  # noqa: TRY400


def _give_up(loop: asyncio.AbstractEventLoop) -> None:
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        _, late = loop.run_until_complete(asyncio.wait(tasks, timeout=GIVEN_UP))
        _stubborn.update(late)
