"""The loop's state and its ticks: how one follows from the other, and their stored forms."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from workflows import Workflow
from workflows.context.context_types import SerializedContext, SerializedContextV0
from workflows.events import Event
from workflows.runtime.control_loop import rebuild_state_from_ticks
from workflows.runtime.control_loop.reduce import _check_idle_state, _detect_stuck_streams_tree
from workflows.runtime.types.internal_state import (
    BrokerState,
    CollectionReleaseState,
    CollectionStreamInstance,
    Delivery,
    EventAttempt,
    InProgressState,
    InternalStepWorkerState,
)
from workflows.runtime.types.results import (
    AddCollectedEvent,
    AddWaiter,
    CollectionReleasePayload,
    DeleteCollectedEvent,
    DeleteWaiter,
    EmissionKey,
    RetryDecision,
    SentEvent,
    StepWorkerFailed,
    StepWorkerResult,
    StepWorkerState,
    StepWorkerWaiter,
)
from workflows.runtime.types.step_id import StepId
from workflows.runtime.types.ticks import (
    TickAddEvent,
    TickCancelRun,
    TickIdleRelease,
    TickSessionStart,
    TickStepResult,
    TickTimeout,
    TickWaiterTimeout,
    TickWakeup,
    WorkflowTick,
    WorkflowTickAdapter,
)

from workflow_server.execution.codec import NAMED, CompactLayout, Undecodable
from workflow_server.execution.renaming import NOTHING_RENAMED, Renaming
from workflow_server.execution.serializer import RunSerializer


def new_state(workflow: Workflow) -> BrokerState:
    """Return the state of a run in which nothing has happened yet."""
    return BrokerState.from_workflow(workflow)


def reduce(state: BrokerState, tick: WorkflowTick, run_id: str) -> BrokerState:
    """Return the state after the tick, computed by the engine's own reducer."""
    return rebuild_state_from_ticks(state, [tick], run_id=run_id)


def has_failed_attempts(state: BrokerState) -> bool:
    """Return whether a step that has failed begins again, or is to."""
    return any(
        any(attempt.attempts for attempt in worker.in_progress) or any(attempt.attempts for attempt in worker.queue)
        for worker in state.workers.values()
    )


def just_ended(tick: TickStepResult) -> bool:
    """Return whether a step did nothing but end, with an event or without one."""
    result = tick.result
    return len(result) == 1 and type(result[0]) is StepWorkerResult


def is_retried(tick: TickStepResult) -> bool:
    """Return whether a step failed that its retry policy lets begin again."""
    decisions = (result.retry_decision for result in tick.result if isinstance(result, StepWorkerFailed))
    return any(decision is not None and decision.delay is not None for decision in decisions)


def is_stuck(state: BrokerState) -> bool:
    """Return whether the engine fails a run that comes to rest in this state: what a collection waits for can never
    come."""
    return _check_idle_state(state) and _detect_stuck_streams_tree(state) is not None


def tick_from_json(data: dict[str, Any], serializer: RunSerializer) -> WorkflowTick:
    """Return the tick of this JSON; events in it may already be objects."""
    with serializer.validation_context():
        return WorkflowTickAdapter.validate_python(data)


def broker_from_json(data: str | dict[str, Any], workflow: Workflow, serializer: RunSerializer) -> BrokerState:
    """Return the loop's state of its JSON, or of a ``Context.to_dict()``.

    Raises:
        ValueError: this is not a state, or a newer engine wrote it.
    """
    parsed = json.loads(data) if isinstance(data, str) else data
    return BrokerState.from_serialized(SerializedContext.from_dict_auto(parsed, serializer), workflow, serializer)


def context_model(
    context: dict[str, Any],
) -> tuple[type[SerializedContext | SerializedContextV0], dict[str, Any]]:
    """Return the model that the engine validates a ``Context.to_dict()`` with, and the context in that model's form."""
    version = context.get("version")
    if version is None or (isinstance(version, int) and version < 1):
        return SerializedContextV0, context
    if version != 1:
        return SerializedContext, context
    workers = {name: {**worker, "in_progress": []} for name, worker in (context.get("workers") or {}).items()}
    for name, worker in workers.items():
        # In version 1 an attempt may be a text: the engine reads that as its event.
        attempts = context["workers"][name].get("in_progress", [])
        worker["in_progress"] = [{"event": item} if isinstance(item, str) else item for item in attempts]
    return SerializedContext, {**context, "version": 2, "workers": workers}


def events_of(state: BrokerState) -> Iterator[object]:
    """Yield everything in the loop's state that the engine treats as an event."""
    for worker in state.workers.values():
        held: list[EventAttempt | InProgressState | StepWorkerWaiter[Event]]
        held = [*worker.queue, *worker.in_progress, *worker.collected_waiters]
        for attempt in held:
            yield attempt.event
            yield from (attempt.bound_events or {}).values()
        yield from (waiter.resolved_event for waiter in worker.collected_waiters if waiter.resolved_event is not None)
        yield from (event for events in worker.collected_events.values() for event in events)
        yield from worker.static_collect_events
    yield from (delivery.event for delivery in state.deliveries.values())
    yield from (event for release in state.collection_release_states.values() for event in release.buffer)


def compact_layouts(renaming: Renaming = NOTHING_RENAMED) -> list[CompactLayout]:
    """Return the layouts in which the engine's own objects are stored: with short tags, and without default values.

    Names in them that have changed since are read as the engine would write them now.
    """
    failed = frozenset({"exception", "last_exception"})
    return [
        CompactLayout(kind, tag, exceptions=failed, left_out=_LEFT_OUT.get(kind, {}), adapted=_adapted(kind, renaming))
        for tag, kind in _TAGS.items()
    ]


def _adapted(kind: type[Any], renaming: Renaming) -> dict[str, Callable[[Any], Any]]:
    """Return the fields of a class that hold names, each with the function that brings them up to date."""
    if not renaming:
        return {}
    if kind is StepId:
        return {"name": renaming.step}

    def of_optional(text: str | None) -> str | None:
        return None if text is None else renaming.identifier(text)

    def of_several(texts: Iterable[str]) -> tuple[str, ...]:
        return tuple(map(renaming.identifier, texts))

    def by_id(values: dict[str, Any]) -> dict[str, Any]:
        return {renaming.identifier(name): value for name, value in values.items()}

    def by_step(counts: dict[str, int]) -> dict[str, int]:
        return {renaming.step(name): count for name, count in counts.items()}

    known: dict[str, Callable[[Any], Any]] = {
        "step_name": renaming.step,
        "waiter_id": renaming.waiter,
        "binding_id": renaming.identifier,
        "work_item_id": of_optional,
        "accepting_binding_ids": of_several,
        "collection_release_states": by_id,
        "recovery_counts": by_step,
    }
    return {name: adapt for name, adapt in known.items() if name in CompactLayout(kind, "").fields}


_TAGS: dict[str, type[Any]] = {
    "step_result": TickStepResult,
    "add_event": TickAddEvent,
    "cancel_run": TickCancelRun,
    "idle_release": TickIdleRelease,
    "timeout": TickTimeout,
    "waiter_timeout": TickWaiterTimeout,
    "session_start": TickSessionStart,
    "wakeup": TickWakeup,
    "result": StepWorkerResult,
    "failed": StepWorkerFailed,
    "retry": RetryDecision,
    "add_collected": AddCollectedEvent,
    "delete_collected": DeleteCollectedEvent,
    "add_waiter": AddWaiter,
    "add_event_waiter": AddWaiter[Event],
    "delete_waiter": DeleteWaiter,
    "sent": SentEvent,
    "emission": EmissionKey,
    "step": StepId,
    "release_payload": CollectionReleasePayload,
    "attempt": EventAttempt,
    "in_progress": InProgressState,
    "shared": StepWorkerState,
    "waiter": StepWorkerWaiter,
    "delivery": Delivery,
    "stream": CollectionStreamInstance,
    "release": CollectionReleaseState,
    "worker": InternalStepWorkerState,
    "broker": BrokerState,
}


_LEFT_OUT: dict[type[Any], dict[str, Any]] = {
    # The state before a result holds its event already; a config comes from the workflow's code.
    TickStepResult: {"event": None},
    InternalStepWorkerState: {"config": None},
    BrokerState: {"config": None},
}


def with_event(tick: TickStepResult, event: Event) -> TickStepResult:
    """Give a stored result back the event that its step ran for, and return it."""
    tick.__dict__["event"] = event
    return tick


def with_config(state: BrokerState, workflow: Workflow) -> BrokerState:
    """Give a stored state back the configuration that the workflow's code holds, and return it.

    Raises:
        Undecodable: the code no longer has a step for which there is work.
    """
    fresh = new_state(workflow)
    for step_id, worker in list(state.workers.items()):
        if step_id in fresh.workers:
            worker.config = fresh.workers[step_id].config
        elif worker.queue or worker.in_progress or worker.collected_waiters:
            raise Undecodable(f"there is work for step '{step_id}', which is no longer in the code", remedy=NAMED)
        else:
            del state.workers[step_id]
    # In the order of the code, new steps included.
    state.workers = {step_id: state.workers.get(step_id, worker) for step_id, worker in fresh.workers.items()}
    state.config = fresh.config
    return state
