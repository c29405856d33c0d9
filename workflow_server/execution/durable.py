"""The engine's ``Runtime`` whose runs are sessions; runs that a step starts by itself stay in that step's process."""

from __future__ import annotations

from workflow_server.execution.clock import ServerClock
from workflow_server.execution.engine import (
    BaseRuntimeDecorator,
    BasicRuntime,
    InternalRunAdapter,
    LoopObserver,
    RegisteredWorkflow,
    StepWorkerFunction,
    Workflow,
    get_current_run_id,
    register,
)
from workflow_server.execution.session import RunSession
from workflow_server.execution.step_times import told_by_wall_clock


class DurableRuntime(BaseRuntimeDecorator):
    """Runs that the manager starts are durable. A nested ``workflow.run()`` inside a step is part of that step: it runs
    in the basic runtime, and runs again when the step does. ``engine_loop``: always use the engine's own control loop.
    """

    def __init__(self, clock: ServerClock, *, engine_loop: bool = False) -> None:
        super().__init__(BasicRuntime())
        self._engine_loop = engine_loop
        self._clock = clock
        self._registered: dict[int, RegisteredWorkflow] = {}
        self._sessions: dict[str, RunSession] = {}

    @property
    def sessions(self) -> int:
        """Return how many sessions there are."""
        return len(self._sessions)

    def enter(self, session: RunSession) -> None:
        """Let what runs under the session's run id find this session from now on."""
        self._sessions[session.run_id] = session

    def leave(self, run_id: str) -> None:
        """Forget the run's session, which is over."""
        self._sessions.pop(run_id, None)

    def register(self, workflow: Workflow) -> RegisteredWorkflow:
        """Return the workflow with its steps wrapped; done once for each."""
        registered = self._registered.get(id(workflow))
        if registered is None:
            registered = self._registered[id(workflow)] = register(
                workflow, self._observer, self._told, lean=not self._engine_loop
            )
        return registered

    def get_registered(self, workflow: Workflow) -> RegisteredWorkflow | None:
        """Return the workflow as it was registered, if it was."""
        return self._registered.get(id(workflow))

    def get_internal_adapter(self, workflow: Workflow) -> InternalRunAdapter:
        """Return the adapter of the run that the caller is part of."""
        run_id = get_current_run_id()
        session = self._sessions.get(run_id) if run_id is not None else None
        return session if session is not None else super().get_internal_adapter(workflow)

    def _told(self, step: StepWorkerFunction) -> StepWorkerFunction:
        return told_by_wall_clock(step, self._clock)

    def _observer(self, run_id: str) -> LoopObserver:
        return self._sessions[run_id]
