"""The parts of the engine beyond its documented surface that are relied on: these fail when a new version changes
them."""

from __future__ import annotations

import ast
import dataclasses
import inspect
from pathlib import Path

import pytest
from pydantic import BaseModel
from workflows import Context, Workflow, step
from workflows.events import StartEvent, StopEvent
from workflows.runtime.control_loop.runner import _ControlLoopRunner, _stamp_tick
from workflows.runtime.types import step_function
from workflows.runtime.types.internal_state import BrokerState, InProgressState
from workflows.runtime.types.results import StepWorkerWaiter
from workflows.runtime.types.step_function import create_workflow_run_function
from workflows.runtime.types.ticks import TickAddEvent, TickWakeup

import workflow_server
from workflow_server.execution import engine
from workflow_server.execution.engine import steps

PRIVATE = {"_timeout", "_runtime", "_validate", "_get_steps", "_step_configs", "_num_concurrent_runs"}
SOURCES = Path(workflow_server.__file__).parent


class Small(Workflow):
    @step
    async def only(self, ctx: Context, ev: StartEvent) -> StopEvent:
        return StopEvent()


def test_the_loop_is_driven_through_the_overridden_methods() -> None:
    assert list(inspect.signature(_ControlLoopRunner.__init__).parameters)[1:] == [
        "workflow",
        "adapter",
        "context",
        "step_workers",
        "init_state",
    ]
    assert list(inspect.signature(_ControlLoopRunner._process_tick).parameters) == ["self", "tick"]
    assert list(inspect.signature(_ControlLoopRunner.schedule_tick).parameters) == ["self", "tick", "at_time"]
    assert list(inspect.signature(create_workflow_run_function).parameters) == ["workflow", "control_loop_fn"]
    source = inspect.getsource(_ControlLoopRunner)
    assert "await self._process_tick(" in source
    assert "_stamp_tick(tick, start)" in source


def test_steps_are_contained_where_the_engine_calls_them() -> None:
    assert list(inspect.signature(_ControlLoopRunner.cleanup_tasks).parameters) == ["self"]
    stamping = inspect.signature(_ControlLoopRunner._stamp_retry_decisions)
    assert list(stamping.parameters) == ["self", "step_id", "invocation_namespace", "worker", "results"]
    worker = inspect.getsource(step_function.as_step_worker_function)
    assert "call_func = getattr(workflow, step_name)" in worker
    assert "config = workflow._get_steps()[step_name]._step_config" in worker
    # A step of a nested run is known by the code that runs it, and what it needs is found in its closure.
    assert set(steps._NESTED_STEP.co_freevars) == {"self", "command"}
    run_function = inspect.getsource(create_workflow_run_function)
    assert "except WorkflowCancelledByUser:" in run_function


def test_a_stamped_tick_is_not_stamped_again_and_keeps_its_event() -> None:
    event = StartEvent()
    stamped = _stamp_tick(TickAddEvent(event=event), 1.0)
    assert isinstance(stamped, TickAddEvent)
    assert stamped.stamped_at == 1.0
    assert stamped.event is event
    assert _stamp_tick(stamped, 2.0) is stamped


def test_a_wakeup_that_is_due_for_nothing_only_counts_the_time() -> None:
    state = BrokerState.from_workflow(Small())
    state.last_alive_stamp = 100.0
    after = engine.reduce(state, TickWakeup(due=0.0, stamped_at=107.5), "run")
    assert after.elapsed_alive == 7.5
    assert after.workers == state.workers


def test_a_snapshot_leaves_out_of_a_wait_just_what_is_kept_beside_it() -> None:
    fields = set(StepWorkerWaiter.__dataclass_fields__)
    assert fields == {
        "waiter_id",
        "event",
        "waiting_for_event",
        "requirements",
        "has_requirements",
        "resolved_event",
        "bound_events",
        "timed_out",
        "scope_path",
        "collection_release_payload",
        "work_item_id",
    }
    assert {"invocation_id", "event", "worker_id"} <= set(InProgressState.__dataclass_fields__)


def test_private_parts_of_the_engine_are_reached_from_one_package() -> None:
    offenders: list[str] = []
    for path in SOURCES.rglob("*.py"):
        if path.parent == Path(engine.__file__).parent:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(
                ("workflows.runtime", "workflows.plugins", "workflows.context.")
            ):
                offenders.append(f"{path.name}: {node.module}")
            if isinstance(node, ast.Attribute) and node.attr in PRIVATE and ast.unparse(node.value) != "self":
                offenders.append(f"{path.name}: {node.attr}")
    assert offenders == []


def test_every_field_of_the_engines_that_is_kept_is_known() -> None:
    layouts = {layout.tag: layout for layout in engine.compact_layouts()}
    for tag, layout in layouts.items():
        fields = layout.kind.model_fields if issubclass(layout.kind, BaseModel) else dataclasses.fields(layout.kind)
        names = {field if isinstance(field, str) else field.name for field in fields}
        left_out = {"step_result": {"event"}, "worker": {"config"}, "broker": {"config"}}.get(tag, set())
        assert layout.fields == names - left_out, tag


def test_an_idempotency_key_outside_a_step_is_refused() -> None:
    with pytest.raises(RuntimeError, match="within a step"):
        engine.idempotency_key()
