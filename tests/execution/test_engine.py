"""The parts of the engine beyond its documented surface that are relied on: these fail when a new version changes
them."""

from __future__ import annotations

import ast
import asyncio
import dataclasses
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import BaseModel
from workflows import Context, Workflow, step
from workflows.context.state_store import DictState, InMemoryStateStore
from workflows.events import Event, StartEvent, StopEvent
from workflows.runtime.control_loop import reduce, streams
from workflows.runtime.control_loop.runner import _ControlLoopRunner, _stamp_tick
from workflows.runtime.types import step_function
from workflows.runtime.types.commands import CommandQueueEvent, CommandRunWorker
from workflows.runtime.types.internal_state import BrokerState, InProgressState
from workflows.runtime.types.results import (
    AddWaiter,
    EmissionKey,
    RetryAttempt,
    StepWorkerContext,
    StepWorkerResult,
    StepWorkerState,
    StepWorkerWaiter,
)
from workflows.runtime.types.step_function import create_workflow_run_function
from workflows.runtime.types.step_id import StepId
from workflows.runtime.types.ticks import TickAddEvent, TickStepResult, TickWakeup

import workflow_server
from tests.execution.reducers.comparing import differences
from workflow_server.execution import engine
from workflow_server.execution.engine import dict_state, fill_memory_store, made, plain_steps, steps

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


def test_the_reducer_calls_the_engines_functions_as_they_are() -> None:
    parameters: dict[Any, list[str]] = {
        reduce._accrue_alive: ["broker", "stamp"],
        reduce._broker_busy: ["state"],
        reduce._check_idle_state: ["state"],
        reduce._claim_emission: ["root", "key"],
        reduce._next_invocation_id: ["broker", "path"],
        reduce._next_work_item_id: ["state"],
        reduce._reduce_tick: ["tick", "init", "now_seconds", "run_id"],
        reduce._reduce_tick_body: ["tick", "init", "now_seconds", "run_id"],
        reduce._settle_sends: ["broker", "tick", "execution"],
        reduce._unhandled_event_commands: ["tick", "state"],
        streams._adjust_open_work_items: ["state", "stream_id", "delta", "path", "now_seconds"],
    }
    for function, named in parameters.items():
        assert list(inspect.signature(function).parameters) == named
    # Beside the body, the reducer only counts.
    assert "state.journal_seq = init.journal_seq + 1" in inspect.getsource(reduce._reduce_tick)


def test_the_engine_takes_a_state_changed_in_place_for_its_own() -> None:
    """The reducer of a tick looks at the state before it once, to copy it; else ``reduce_live`` gives it a copy."""
    changing: set[Any] = {
        reduce._process_step_result_tick,
        reduce._process_add_event_tick,
        reduce._process_cancel_run_tick,
        reduce._process_wakeup_tick,
        reduce._process_waiter_timeout_tick,
    }
    for function in changing:
        assert uses_of("init", function) == ["init.deepcopy()"], function
    assert uses_of("init", reduce._process_publish_event_tick) == ["(init, [CommandPublishEvent(event=tick.event)])"]
    called = re.findall(r"= (_process_\w+)\(", inspect.getsource(reduce._reduce_tick_body))
    known = {*changing, reduce._process_publish_event_tick, reduce._process_timeout_tick}
    assert set(called) == {function.__name__ for function in known}


def test_a_step_is_given_just_two_parts_of_a_copied_worker() -> None:
    dispatch = reduce._add_or_enqueue_event
    assert "state_copy = state._deepcopy()" in inspect.getsource(dispatch)
    assert uses_of("state_copy", dispatch) == ["state_copy.collected_events", "state_copy.collected_waiters"]
    assert "._deepcopy()" not in inspect.getsource(streams)


def test_objects_made_without_a_constructor_are_their_fields() -> None:
    fields = {
        StepWorkerState: "step_name collected_events collected_waiters collection_release_payload scope_path "
        "work_item_id invocation_id",
        CommandRunWorker: "step_id event id invocation_id invocation_namespace bound_events",
        CommandQueueEvent: "event step_id origin_namespace recovery_counts scope_path emission",
        RetryAttempt: "retry_number first_attempt_at last_exception last_failed_at recovery_counts",
        StepWorkerContext: "event state returns retry sends",
    }
    for kind, names in fields.items():
        assert [field.name for field in dataclasses.fields(kind)] == names.split()
        assert not hasattr(kind, "__post_init__")
        assert "__slots__" not in vars(kind)


def test_models_made_without_validation_are_those_of_the_engine() -> None:
    step, event, key = StepId.root("a"), Event(n=1), EmissionKey("invocation_1", 0)
    run = CommandRunWorker(step, event, 2, "invocation_1", ("inner",))
    queue = CommandQueueEvent(event, step, ("inner",), {"b": 1}, ("s",), key)
    result = StepWorkerResult(result=event)
    wait: AddWaiter[Any] = AddWaiter(waiter_id="w", event_type=Event)
    of_engine = _ControlLoopRunner(Small(), cast(Any, None), cast(Any, None), {}, BrokerState.from_workflow(Small()))
    asyncio.run(of_engine.process_command(queue))
    ended = {"step_id": step, "worker_id": 2, "invocation_namespace": ("inner",), "event": event}
    by_id = {"invocation_id": "invocation_1", "sends": []}
    pairs = [
        (made.event_added(event), TickAddEvent(event=event)),
        (made.event_delivered(queue), of_engine.tick_buffer[-1]),
        (made.step_ended(run, [result], []), TickStepResult(**ended, result=[result], **by_id)),
        (made.step_ended(run, [wait], []), TickStepResult(**ended, result=[wait], **by_id)),
        (made.model(StepWorkerResult, {**plain_steps._RESULT, "result": event}), result),
        (dict_state({"a": 1}), DictState(a=1)),
    ]
    for ours, expected in pairs:
        assert ours == expected
        assert type(ours) is type(expected)
        assert list(vars(ours)) == list(vars(expected))
        assert list(differences(vars(ours), vars(expected))) == []
        assert ours.model_fields_set >= expected.model_fields_set


def uses_of(name: str, function: Callable[..., object]) -> list[str]:
    """The expressions around a variable where a function reads it."""
    tree = ast.parse(inspect.getsource(function))
    parents = {child: parent for parent in ast.walk(tree) for child in ast.iter_child_nodes(parent)}
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == name]
    used: list[str] = []
    for node in found:
        around = parents[node]
        if isinstance(around, ast.Attribute) and isinstance(parents[around], ast.Call):
            around = parents[around]
        if isinstance(node.ctx, ast.Load):
            used.append(ast.unparse(around))
    return used


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


def test_a_memory_store_is_filled_as_by_its_constructor() -> None:
    class Counted(BaseModel):
        count: int = 0

    for state in (DictState(a=1), Counted(count=2)):
        made = InMemoryStateStore(state)
        filled: InMemoryStateStore[Any] = object.__new__(InMemoryStateStore)
        fill_memory_store(filled, state)
        assert list(vars(filled)) == list(vars(made))
        assert filled.state_type is made.state_type
        assert filled._storage is filled._memory_storage
        assert filled._durable is made._durable is None
        assert filled._pending_seed is made._pending_seed is None
        assert vars(filled._serializer) == vars(made._serializer)
        assert vars(filled._memory_storage) == vars(made._memory_storage)
