"""The seam between a durable run and the lean loop that drives it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine
from typing import Any, Protocol

from workflows.events import Event
from workflows.runtime.types.internal_state import BrokerState
from workflows.runtime.types.ticks import TickStepResult, WorkflowTick

from workflow_server.execution.engine.loop import LoopObserver
from workflow_server.store.base import Commit


class StepGate(Protocol):
    """The barrier at which steps wait until all before them is durable."""

    def next_batch(self) -> int:
        """Begin another batch of steps, and return its number."""

    def start(self, step: str, name: str, work: Coroutine[Any, Any, None], commit: Commit | None) -> asyncio.Task[Any]:
        """Return the task of a step, which calls ``enter`` first; or one that does nothing, where the server stops."""

    async def enter(self, step: str, commit: Commit | None, batch: int) -> int:
        """Return a number for the step when it may begin; an exception has failed the run."""
        ...

    def leave(self, number: int, result: TickStepResult, batch: int) -> TickStepResult:
        """Note that the step of this number has ended with this result, and return it."""

    def give_up(self, number: int, error: BaseException) -> None:
        """Fail the run: the step of this number has ended without a result."""


class LoopHost(LoopObserver, Protocol):
    """The durable run that a lean loop belongs to."""

    @property
    def run_id(self) -> str:
        """Return the run's id."""
        ...

    @property
    def gate(self) -> StepGate:
        """Return the barrier at which its steps wait."""
        ...

    def listen(self, listener: Callable[[], None] | None) -> None:
        """Call this from now on when there may be a tick to take that was sent to the run; None: nobody."""

    def take(self) -> WorkflowTick | None:
        """Return the next tick that was sent to the run; None where there is none, or where it waits for steps."""

    @property
    def has_sent(self) -> bool:
        """Return whether there is a tick that was sent to the run, whether it takes it now or not."""
        ...

    async def receive(self) -> WorkflowTick | None:
        """Return the next tick that was sent to the run, when it is to take it; None where that has failed the run."""

    def record(self, tick: WorkflowTick) -> None:
        """Journal a tick that was reduced."""

    def publish(self, event: Event) -> None:
        """Write an event that the loop itself publishes."""

    def compact(self, state: BrokerState) -> Commit | None:
        """Let a snapshot replace a long journal, and return the commit of all that was written."""

    def rest(self, steps: Collection[asyncio.Task[Any]], timeout: float | None) -> float | None:
        """Return for how many seconds the loop may wait for these steps and what is sent, None for any time.

        Raises:
            BaseException: the run leaves memory now, since the server stops.
        """

    def rested(self) -> None:
        """Leave memory, where the loop has waited for as long as an idle run stays there.

        Raises:
            BaseException: it leaves.
        """
