"""Steps that begin, and the commands and events that tell of steps, in a state that is changed in place."""

from __future__ import annotations

from functools import lru_cache

from workflows.events import StepState, StepStateChanged
from workflows.runtime.control_loop.reduce import _next_invocation_id
from workflows.runtime.types.commands import CommandPublishEvent, CommandRunWorker, WorkflowCommand
from workflows.runtime.types.internal_state import EventAttempt, InProgressState
from workflows.runtime.types.results import StepWorkerState
from workflows.runtime.types.step_id import StepId

from workflow_server.execution.engine.live_state import LiveState, LiveWorker
from workflow_server.execution.engine.made import frozen


def begin(
    attempt: EventAttempt, step_id: StepId, state: LiveState, worker: LiveWorker, now: float
) -> tuple[WorkflowCommand, WorkflowCommand]:
    """Begin a step that has a worker to spare."""
    event, step_name = attempt.event, str(step_id)
    worker_id, used = 0, {execution.worker_id for execution in worker.in_progress}
    while worker_id in used:
        worker_id += 1
    invocation_id = _next_invocation_id(state, ())
    payload = attempt.collection_release_payload
    given = frozen(
        StepWorkerState,
        step_name=step_name,
        collected_events=worker.buffers(),
        collected_waiters=worker.waiters(),
        collection_release_payload=payload._copy() if payload is not None else None,
        scope_path=attempt.scope_path,
        work_item_id=attempt.work_item_id,
        invocation_id=invocation_id,
    )
    worker.in_progress.append(
        InProgressState(
            event=event,
            worker_id=worker_id,
            shared_state=given,
            attempts=attempt.attempts or 0,
            first_attempt_at=attempt.first_attempt_at or now,
            last_exception=attempt.last_exception,
            last_failed_at=attempt.last_failed_at,
            recovery_counts=dict(attempt.recovery_counts),
            bound_events=attempt.bound_events,
            scope_path=attempt.scope_path,
            work_item_id=attempt.work_item_id,
            invocation_id=invocation_id,
            collect_generations=dict(worker.collect_generations),
        )
    )
    command = frozen(
        CommandRunWorker,
        step_id=step_id,
        event=event,
        id=worker_id,
        invocation_id=invocation_id,
        invocation_namespace=(),
        bound_events=attempt.bound_events,
    )
    return command, _begun(step_name, type(event).__name__, worker_id)


def drain(step_id: StepId, state: LiveState, worker: LiveWorker, now: float) -> list[WorkflowCommand]:
    """Begin what waits for a worker, as far as there are any; retries that wait for their time stay."""
    commands: list[WorkflowCommand] = []
    while len(worker.in_progress) < worker.config.num_workers:
        place = next((place for place, attempt in enumerate(worker.queue) if attempt.not_before is None), None)
        if place is None:
            break
        commands += begin(worker.queue.pop(place), step_id, state, worker, now)
    return commands


# -- The events that tell of steps -----------------------------------------------------------------

# Made once for each transition of a step: the engine's model validates its fields for longer than all else takes.


@lru_cache(maxsize=1024)
def queued(step_name: str, event_name: str) -> CommandPublishEvent:
    return CommandPublishEvent(
        StepStateChanged(
            step_state=StepState.PREPARING, name=step_name, input_event_name=event_name, worker_id="<enqueued>"
        )
    )


@lru_cache(maxsize=1024)
def _begun(step_name: str, event_name: str, worker_id: int) -> CommandPublishEvent:
    return CommandPublishEvent(
        StepStateChanged(
            step_state=StepState.RUNNING, name=step_name, input_event_name=event_name, worker_id=str(worker_id)
        )
    )


@lru_cache(maxsize=1024)
def ended(step_name: str, event_name: str, returned_name: str, worker_id: int) -> CommandPublishEvent:
    return CommandPublishEvent(
        StepStateChanged(
            step_state=StepState.NOT_RUNNING,
            name=step_name,
            input_event_name=event_name,
            output_event_name=returned_name,
            worker_id=str(worker_id),
        )
    )
