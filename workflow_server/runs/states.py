"""The states of a run, and the transitions between them.

::

              a slot is free                                     it ends
    QUEUED ──────────────────▶ LOADING ───────────▶ ACTIVE ───────────────────▶ ENDED
      ▲                         ▲ │ │                 │                           ▲
      │ no slot is free         │ │ │ the store       │ it only waits,            │ it is cancelled
      │                         │ │ ▼ fails           ▼ or the server stops       │
      ├──────────────────────── RELEASED ◀────────────┘                      every other state
      │                         │ │
      │                         │ │ it does not fit the code; at a start: it is on probation, or its workflow is
      │                         ▼ ▼ not registered
      └─────────────────────── SUSPENDED ──▶ LOADING
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

UNREGISTERED = "its workflow is not registered on this server"
PROBATION = "it is on probation: the process died each time while it was in a step"
QUEUE_REASON = "it waits for one of the slots of num_concurrent_runs"


class RunState(Enum):
    """The state of a run."""

    QUEUED = "queued"
    """It waits for one of the slots of ``num_concurrent_runs``."""
    LOADING = "loading"
    """It has its slot, and is being read from the store, or is about to begin."""
    ACTIVE = "active"
    """Its task executes it."""
    RELEASED = "released"
    """It is in the store only, until an event or its timer; its session may still be about to leave memory."""
    SUSPENDED = "suspended"
    """It is in the store only, and does not go on, for a reason that its handler shows."""
    ENDED = "ended"
    """Its end is stored, or on its way to the store."""

    # The states are looked up at each transition, and Python's own hash of a member is that of its name.
    __hash__ = object.__hash__


NEXT = {
    RunState.QUEUED: {RunState.LOADING, RunState.ENDED},
    RunState.LOADING: {RunState.ACTIVE, RunState.RELEASED, RunState.SUSPENDED, RunState.ENDED},
    RunState.ACTIVE: {RunState.RELEASED, RunState.ENDED},
    RunState.RELEASED: {RunState.QUEUED, RunState.LOADING, RunState.SUSPENDED, RunState.ENDED},
    RunState.SUSPENDED: {RunState.QUEUED, RunState.LOADING, RunState.ENDED},
    RunState.ENDED: set[RunState](),
}
"""The transitions that there are."""


class IllegalTransition(RuntimeError):
    """A run cannot go from one state into the other."""

    def __init__(self, handler_id: str, before: RunState, after: RunState) -> None:
        super().__init__(f"The run of handler {handler_id} is {before.value}: it cannot become {after.value}.")


class Retry(NamedTuple):
    """The last try to load a run that could not be read."""

    delay: float
    """Seconds until the next try."""
    crashed: bool
    """The process that ran it last died."""
