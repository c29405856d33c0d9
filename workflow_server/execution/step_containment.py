"""Containment of one step: whatever it raises becomes an ordinary exception inside the step's own task.

``containment`` says what asyncio and the engine would do with the original.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from workflow_server.execution.containment import Execution, ServedTask, contained, executing, interrupted, running_task
from workflow_server.execution.failures import message_of

T = TypeVar("T")


async def contain(call: Callable[[], Awaitable[T]], execution: Execution, is_over: Callable[[], bool]) -> T:
    """Run a step. ``is_over`` returns whether the server is ending the step's run: only then may the step be cancelled.

    Raises:
        StepInterrupted: the step raised something that is not an ``Exception``, or an exception that cannot be read.
    """
    task = asyncio.current_task()
    assert task is not None
    asked = task.cancelling()
    executing.set(execution)
    if isinstance(task, ServedTask):
        task.execution = execution
        task.owner = contained.get()
    try:
        result = await call()
        if task.cancelling() > asked and not is_over():
            # The step cancelled its own task: the cancellation arrives at the next suspension.
            await asyncio.sleep(0)
    except Exception as error:
        if message_of(error) is None:
            raise interrupted(error) from error
        raise
    except BaseException as error:
        if (isinstance(error, asyncio.CancelledError) and is_over()) or running_task() is not task:
            # The server ends the step, or Python closes an abandoned coroutine.
            raise
        _take_back(task, asked)
        raise interrupted(error) from error
    if not is_over():
        _take_back(task, asked)
    return result


def contain_sync(call: Callable[[], T]) -> T:
    """Run a synchronous step, in its thread.

    Raises:
        StepInterrupted: it raised something that is not an ``Exception``, or that cannot pass through a future.
    """
    try:
        return call()
    except Exception as error:
        # A future refuses a StopIteration and would never be done; the other becomes a cancellation of the waiter.
        if isinstance(error, (StopIteration, concurrent.futures.CancelledError)) or message_of(error) is None:
            raise interrupted(error) from error
        raise
    except BaseException as error:
        raise interrupted(error) from error


def _take_back(task: asyncio.Task[Any], asked: int) -> None:
    """Withdraw cancellation requests beyond ``asked``, so that later waits of the task behave normally."""
    while task.cancelling() > asked:
        task.uncancel()
