"""Every operation of the manager, cancelled with others beside it, and what must be left of it: nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from tests.reliability.instrumented_loop import LIMIT, InstrumentedLoop, Outcome, Point, ended_tasks
from tests.reliability.later_operations import (
    Cancel,
    CancelQueued,
    CancelReleased,
    Look,
    Purge,
    PurgeReleased,
    Read,
    ReadQueue,
)
from tests.reliability.operations import (
    Continue,
    Operation,
    Run,
    RunAgain,
    Send,
    SendToReleased,
    SendWithoutKey,
    Start,
    StartTogether,
    StartWithoutKey,
)
from tests.reliability.store_operations import nothing_is_left
from tests.runtime.waiting import until
from workflow_server.runtime.manager import RuntimeManager
from workflow_server.store import SqliteWorkflowStore

OPERATIONS: tuple[type[Operation], ...] = (
    Start, StartTogether, StartWithoutKey, Continue, Run, RunAgain, Send, SendToReleased, SendWithoutKey, Cancel,
    CancelReleased, CancelQueued, Purge, PurgeReleased, Look, Read, ReadQueue,
)  # fmt: skip


async def nothing_is_held(manager: RuntimeManager) -> None:
    """With every run over: no session, slot, lock, place in a line or task is left of it."""
    roster = manager._roster
    await until(lambda: not roster.sessions and not roster.tasks._tasks and not roster.logs._advancing)
    held = {
        "loading": roster._loading,
        "suspended": roster.suspended,
        "retried": roster._retries,
        "posted": roster.posted,
        "outcomes": manager._starting._outcomes,
        "wakeups": roster.wakeups._times,
        **{f"slots of {name}": roster.registry.get(name).slots._holders for name in manager.workflow_names()},
        **{f"line of {name}": roster.registry.get(name).slots._waiting for name in manager.workflow_names()},
    }
    assert not any(held.values()), held
    locks = {"handler": roster.lock, "key": roster.key_lock, "log": roster.logs._lock}
    locked = [name for name, keyed in locks.items() if any(lock.locked() for lock in keyed._locks.values())]
    assert not locked, locked
    assert isinstance(manager._store, SqliteWorkflowStore)
    await nothing_is_left(manager._store)


async def cancel_operation(
    manager: RuntimeManager, kind: type[Operation], numbers: Iterator[int], point: Point
) -> Outcome:
    """Cancel one operation, with others beside it, and hold what is there against the promises."""
    before = asyncio.all_tasks()
    operation = kind(manager, f"t{next(numbers)}")
    await operation.prepare()
    with InstrumentedLoop() as loop:
        beside = [asyncio.create_task(work, name="beside") for work in operation.beside()]
        outcome = await loop.cancel(operation.work(), point)
        assert outcome.error is None, outcome
        await asyncio.wait_for(asyncio.gather(*beside), LIMIT)
    await operation.check(outcome)
    await nothing_is_held(manager)
    await ended_tasks(before)
    return outcome
