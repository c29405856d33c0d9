"""The engine's ``Runtime`` whose runs are sessions; runs that a step starts by itself stay in that step's process."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from workflow_server.errors import EventNotTaken
from workflow_server.execution.clock import ServerClock
from workflow_server.execution.containment import DONE, harmless, is_cancelled
from workflow_server.execution.engine import (
    BaseRuntimeDecorator,
    BasicRuntime,
    Event,
    InternalRunAdapter,
    LoopObserver,
    NamedTask,
    PendingStart,
    RegisteredWorkflow,
    StateStore,
    StepWorkerFunction,
    WaitForNextTaskResult,
    WaitResult,
    WaitResultTick,
    Workflow,
    WorkflowTick,
    get_current_run_id,
    register,
)
from workflow_server.execution.failures import told
from workflow_server.execution.session import RunSession
from workflow_server.execution.step_times import told_by_wall_clock
from workflow_server.store.base import Commit


class DurableRuntime(BaseRuntimeDecorator):
    """Runs that the manager starts are durable. A nested ``workflow.run()`` inside a step is part of that step: it runs
    in the basic runtime, and runs again when the step does."""

    def __init__(self, clock: ServerClock) -> None:
        super().__init__(BasicRuntime())
        self._clock = clock
        self._registered: dict[int, RegisteredWorkflow] = {}
        self._adapters: dict[str, SessionAdapter] = {}

    def enter(self, session: RunSession) -> None:
        """From now on, what runs under the session's run id finds this session."""
        self._adapters[session.run_id] = SessionAdapter(session)

    def leave(self, session: RunSession) -> None:
        """The session is over."""
        adapter = self._adapters.get(session.run_id)
        if adapter is not None and adapter.session is session:
            del self._adapters[session.run_id]

    def register(self, workflow: Workflow) -> RegisteredWorkflow:
        """The workflow with its steps wrapped; done once for each."""
        registered = self._registered.get(id(workflow))
        if registered is None:
            registered = self._registered[id(workflow)] = register(workflow, self._observer, self._told)
        return registered

    def get_registered(self, workflow: Workflow) -> RegisteredWorkflow | None:
        """The workflow as it was registered, if it was."""
        return self._registered.get(id(workflow))

    def get_internal_adapter(self, workflow: Workflow) -> InternalRunAdapter:
        """The adapter of the run that the caller is part of."""
        run_id = get_current_run_id()
        adapter = self._adapters.get(run_id) if run_id is not None else None
        return adapter if adapter is not None else super().get_internal_adapter(workflow)

    def _told(self, step: StepWorkerFunction) -> StepWorkerFunction:
        return told_by_wall_clock(step, self._clock)

    def _observer(self, run_id: str) -> LoopObserver:
        return self._adapters[run_id].session


@harmless
async def _written(commit: Commit | None) -> None:
    if commit is not None:
        await commit


class SessionAdapter(InternalRunAdapter):
    """The part of a session that the engine's loop and steps see."""

    def __init__(self, session: RunSession) -> None:
        self.session = session

    @property
    def run_id(self) -> str:
        """The run's id: the same before and after a crash."""
        return self.session.run_id

    def write_to_event_stream(self, event: Event) -> Coroutine[Any, Any, None]:
        """Publish an event to the handler's log: at once, and not when the engine's task for it has its turn."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            # In a thread, where the engine finds no loop for it either.
            return _written(None)
        commit = self.session.publish(event)
        return DONE if commit is None else _written(commit)

    async def get_now(self) -> float:
        """Server time: what is compared across restarts must not depend on the process, nor on the wall clock."""
        return self.session.now()

    @harmless
    async def send_event(self, tick: WorkflowTick) -> None:
        """Hand the run what one of its own steps sends."""
        self.session.send(tick)

    async def wait_receive(self, timeout_seconds: float | None = None) -> WaitResult:  # noqa: ARG002
        """The next tick of the mailbox; the loop always waits without a timeout."""
        try:
            return WaitResultTick(tick=await self.session.mailbox.get())
        except BaseException as error:
            if not is_cancelled(error):
                # The engine would log it, and ask again at once, for ever.
                self.session.abort(EventNotTaken(reason=told(error)))
            raise

    async def on_tick(self, tick: WorkflowTick) -> None:
        """Journal the tick; never suspends."""
        self.session.record_tick(tick)

    async def wait_for_next_task(
        self, running: list[NamedTask], pending: list[PendingStart], timeout: float | None = None
    ) -> WaitForNextTaskResult:
        """Start steps when all before them is durable, and wait."""
        return await self.session.next_task(running, pending, timeout)

    def get_state_store(self, namespace: tuple[str, ...] = ()) -> StateStore[Any] | None:
        """The run's ``ctx.store``."""
        return None if namespace else self.session.state
