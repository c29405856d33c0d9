"""A run's loop as the store has it: the snapshot, and the journal after it."""

from __future__ import annotations

import asyncio

from workflow_server.execution.codec import Undecodable
from workflow_server.execution.containment import is_cancelled
from workflow_server.execution.engine import BrokerState, TickWakeup
from workflow_server.execution.takers import check_deliveries
from workflow_server.execution.unreadable import resume_failure
from workflow_server.execution.writer import RunWriter
from workflow_server.records import StoredRun


async def replay(writer: RunWriter, stored: StoredRun) -> tuple[BrokerState, int]:
    """Return the state of the run's loop, and what that weighs at most; writing goes on from there.

    Raises:
        ResumeFailed: the journal or the state cannot be read any more.
    """
    try:
        return await _replay(writer, stored), weight_of(stored)
    except BaseException as error:
        if is_cancelled(error):
            raise
        # Not what the exception says: that may quote what is stored.
        raise resume_failure(error) from None


async def _replay(writer: RunWriter, stored: StoredRun) -> BrokerState:
    snapshot = stored.snapshot
    broker = writer.journal.restore(snapshot.data if snapshot is not None else None)
    next_tick = snapshot.seq + 1 if snapshot is not None else 0
    for tick in stored.ticks:
        if tick.seq != next_tick:
            raise Undecodable(f"the journal has no tick {next_tick}")
        broker = writer.journal.replay(broker, tick.data)
        next_tick += 1
        if next_tick % 64 == 0:
            await asyncio.sleep(0)
    check_deliveries(broker)
    writer.go_on(stored, next_tick)
    return broker


def weight_of(stored: StoredRun) -> int:
    """Return what the state of a stored run weighs at most."""
    snapshot = len(stored.snapshot.data) if stored.snapshot is not None else 0
    return snapshot + sum(len(tick.data) for tick in stored.ticks)


def missed_time(broker: BrokerState, alive: float) -> TickWakeup | None:
    """Return a tick that counts the time for which the run was alive since its last one: it was released, or its step
    was interrupted. ``alive``: seconds for which it has been alive in all.

    A wakeup that is due for nothing carries the stamp into the journal.
    """
    if broker.last_alive_stamp is None:
        return None
    missing = alive - broker.elapsed_alive
    return TickWakeup(due=0.0, stamped_at=broker.last_alive_stamp + missing) if missing > 0 else None
