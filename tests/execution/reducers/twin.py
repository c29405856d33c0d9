"""A loop's state twice, once for each reducer, and a run in the basic runtime that is driven by both."""

from __future__ import annotations

from collections.abc import Callable

from workflows import Workflow
from workflows.events import Event, StopEvent
from workflows.plugins.basic import BasicRuntime
from workflows.runtime.control_loop.reduce import _reduce_tick
from workflows.runtime.control_loop.runner import _ControlLoopRunner, _stamp_tick
from workflows.runtime.types.commands import CommandRunWorker, WorkflowCommand
from workflows.runtime.types.internal_state import BrokerState
from workflows.runtime.types.plugin import RegisteredWorkflow, consume_current_run
from workflows.runtime.types.results import StepWorkerState
from workflows.runtime.types.step_function import as_step_worker_functions, create_workflow_run_function
from workflows.runtime.types.ticks import TickSessionStart, TickTimeout, WorkflowTick

from tests.execution.reducers.comparing import differences, frozen
from workflow_server.execution.engine.live_state import live, plain
from workflow_server.execution.engine.reducing import reduce_live

Reduced = tuple[BrokerState, list[WorkflowCommand]]


class Twin:
    """The state of one run, as the engine reduces it and as ours is changed in place."""

    def __init__(self, state: BrokerState, run_id: str = "run") -> None:
        self.theirs = state
        self.ours: BrokerState = live(BrokerState.deepcopy(state))
        self.ticks: list[WorkflowTick] = []
        self._run_id = run_id
        self._given: list[tuple[StepWorkerState, StepWorkerState]] = []
        """The states that steps were given, each with a copy of what it was then."""

    def feed(self, tick: WorkflowTick, now: float = 0.0) -> list[WorkflowCommand]:
        """Reduce a tick twice, compare all that comes of it, and return our commands.

        Raises:
            Exception: what both reducers raise.
        """
        self.ticks.append(tick)
        is_rare = isinstance(tick, (TickSessionStart, TickTimeout))
        before, copied = self.ours, frozen(plain(self.ours)) if is_rare else None
        theirs, ours = self._reduced(tick, now)
        if isinstance(ours, Exception):
            assert not list(differences(ours, theirs))
            raise ours
        assert not isinstance(theirs, Exception), f"{tick!r} raises only in the engine: {theirs!r}"
        (self.theirs, expected), (self.ours, commands) = theirs, ours
        assert not list(differences(commands, expected, "commands")), tick
        assert not list(differences(plain(self.ours), self.theirs, "state")), tick
        assert self.ours.config is self.theirs.config
        # A new state leaves the one before as it was.
        assert self.ours is before or not list(differences(plain(before), copied, "state before")), tick
        self._given += [(given, frozen(given)) for command in commands for given in self._given_to(command)]
        self._compare_given(self._given[-5:])
        return commands

    def check(self) -> None:
        """Compare what steps were given with what it was when they were given it."""
        self._compare_given(self._given)

    def _reduced(self, tick: WorkflowTick, now: float) -> tuple[Reduced | Exception, Reduced | Exception]:
        reducers: list[Callable[[], Reduced]] = [
            lambda: _reduce_tick(tick, self.theirs, now, run_id=self._run_id),
            lambda: reduce_live(self.ours, tick, now, self._run_id),
        ]
        outcomes: list[Reduced | Exception] = []
        for reduce in reducers:
            try:
                outcomes.append(reduce())
            except Exception as error:
                outcomes.append(error)
        return outcomes[0], outcomes[1]

    def _given_to(self, command: WorkflowCommand) -> list[StepWorkerState]:
        if not isinstance(command, CommandRunWorker):
            return []
        broker = self.ours
        for name in command.invocation_namespace:
            broker = broker.children[name]
        running = broker.workers[command.step_id].in_progress
        return [each.shared_state for each in running if each.invocation_id == command.invocation_id]

    def _compare_given(self, pairs: list[tuple[StepWorkerState, StepWorkerState]]) -> None:
        assert not [wrong for given, was in pairs for wrong in differences(given, was, "given")]


class TwinRuntime(BasicRuntime):
    """The basic runtime, with runs that go on with our reducer's state and commands while both are compared."""

    def __init__(self) -> None:
        super().__init__()
        self.twins: list[Twin] = []
        self.failures: list[BaseException] = []

    def register(self, workflow: Workflow) -> RegisteredWorkflow:
        """Return the workflow with a loop that is driven by both reducers."""

        async def loop(start_event: Event | None, init_state: BrokerState | None, run_id: str) -> StopEvent:
            run = consume_current_run()
            twin = Twin(init_state or BrokerState.from_workflow(run.workflow), run_id)
            self.twins.append(twin)
            runner = _TwinLoop(run.workflow, run.run_adapter, run.context, run.steps, twin.ours)
            runner.twin, runner.failures = twin, self.failures
            return await runner.run(start_event=start_event)

        return RegisteredWorkflow(
            workflow=workflow,
            workflow_run_fn=create_workflow_run_function(workflow, loop),
            steps=as_step_worker_functions(workflow),
        )

    def check(self) -> int:
        """Raise what was found to differ; returns how many ticks were compared."""
        for failure in self.failures:
            raise failure
        for twin in self.twins:
            twin.check()
        return sum(len(twin.ticks) for twin in self.twins)


class _TwinLoop(_ControlLoopRunner):
    twin: Twin
    failures: list[BaseException]

    async def _process_tick(self, tick: WorkflowTick) -> StopEvent | None:
        now = await self.adapter.get_now()
        tick = _stamp_tick(tick, now)
        try:
            commands = self.twin.feed(tick, now)
        except BaseException as error:
            self.failures.append(error)
            raise
        self.state = self.twin.ours
        await self.adapter.on_tick(tick)
        for command in commands:
            result = await self.process_command(command)
            if result is not None:
                return result
        await self.adapter.after_tick(tick)
        return None
