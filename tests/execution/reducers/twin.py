"""A loop's state twice, once for each reducer, and a run in the basic runtime that is driven by both."""

from __future__ import annotations

import asyncio
from typing import Any

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
from workflows.runtime.types.ticks import WorkflowTick

from tests.execution.reducers.comparing import differences, frozen
from workflow_server.execution.engine.reducing import live, plain, reduce_live


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
        """Reduce a tick twice, compare all that comes of it, and return our commands."""
        self.ticks.append(tick)
        before, copied = self.theirs, frozen(plain(self.ours))
        self.theirs, expected = _reduce_tick(tick, before, now, run_id=self._run_id)
        untouched = self.ours
        self.ours, commands = reduce_live(self.ours, tick, now, self._run_id)
        told = f"after {tick!r} "
        assert not list(differences(commands, expected, f"{told}commands"))
        assert not list(differences(plain(self.ours), self.theirs, f"{told}state"))
        assert self.ours.config is self.theirs.config
        if self.ours is not untouched:
            # A new state leaves the one before as it was.
            assert not list(differences(plain(untouched), copied, f"{told}state before"))
        self._given += [(given, frozen(given)) for command in commands for given in self._given_to(command)]
        self.check_given()
        return commands

    def _given_to(self, command: WorkflowCommand) -> list[StepWorkerState]:
        if not isinstance(command, CommandRunWorker):
            return []
        running = self.ours.workers[command.step_id].in_progress
        return [each.shared_state for each in running if each.invocation_id == command.invocation_id]

    def check_given(self) -> None:
        """Compare what steps were given with what it was when they were given it."""
        assert not [wrong for given, was in self._given[-20:] for wrong in differences(given, was, "given")]

    def check(self) -> None:
        """The same for all steps that ever ran."""
        assert not [wrong for given, was in self._given for wrong in differences(given, was, "given")]


class TwinRuntime(BasicRuntime):
    """The basic runtime, with runs that go on with our reducer's state and commands while both are compared."""

    def __init__(self) -> None:
        super().__init__()
        self.twins: list[Twin] = []
        self.failures: list[BaseException] = []

    def register(self, workflow: Workflow) -> RegisteredWorkflow:
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
        if self.failures:
            raise self.failures[0]
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
            await self.cleanup_tasks()
            raise
        self.state = self.twin.ours
        await self.adapter.on_tick(tick)
        for command in commands:
            result: Any = await self._obey(command)
            if result is not None:
                assert isinstance(result, StopEvent)
                return result
        await self.adapter.after_tick(tick)
        return None

    async def _obey(self, command: WorkflowCommand) -> StopEvent | None:
        try:
            return await self.process_command(command)
        except (Exception, asyncio.CancelledError):
            await self.cleanup_tasks()
            raise
