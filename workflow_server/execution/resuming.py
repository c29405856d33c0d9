"""A run's loop as the store has it: the snapshot, and the journal after it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress

from workflow_server.execution.codec import TAG, Codec, Undecodable, tree_of
from workflow_server.execution.containment import is_cancelled
from workflow_server.execution.engine import BrokerState, Event, TickWakeup
from workflow_server.execution.patches import Json
from workflow_server.execution.takers import check_state
from workflow_server.execution.unreadable import resume_failure
from workflow_server.execution.writer import RunWriter
from workflow_server.records import StoredRun

_AWAITED = {"add_waiter": "event_type", "add_event_waiter": "event_type", "waiter": "waiting_for_event"}
"""The fields that name a type, by the tags of waits."""


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
    check_state(broker)
    writer.go_on(stored, next_tick)
    return broker


def awaited_types(stored: StoredRun, codec: Codec) -> Iterator[type[Event]]:
    """Yield the types for which a run has waited that cannot be restored, as far as each can be read by itself."""
    texts = [stored.snapshot.data] if stored.snapshot is not None else []
    for text in [*texts, *(tick.data for tick in stored.ticks)]:
        if '"add_waiter"' in text or '"add_event_waiter"' in text or '"waiter"' in text:
            with suppress(ValueError, RecursionError):
                yield from _types_in(tree_of(text), codec)


def _types_in(tree: Json, codec: Codec) -> Iterator[type[Event]]:
    if isinstance(tree, dict):
        named = _AWAITED.get(tree.get(TAG, ""))
        if named is not None:
            with suppress(Undecodable):
                kind = codec.decode(tree.get(named))
                if isinstance(kind, type) and issubclass(kind, Event):
                    yield kind
    for part in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        if isinstance(part, (dict, list)):
            yield from _types_in(part, codec)


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
