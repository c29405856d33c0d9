"""The reducer of a state that is changed in place: what the engine's own reducer returns, without its copies.

The engine copies the whole state at each tick. Here a run owns its state, and the two ticks of which most runs consist
are reduced directly: an event for plain steps, and a step that returned one event or none. The engine's functions take
all others, on the same state. A state that belongs to somebody else is never changed.

A reduction that raises (an event's or a requirement's own ``__eq__`` may) leaves a state that must not be used any
more; the engine fails the run then, too.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from typing import Any

from workflows._event_matching import event_matches, step_accepts_event
from workflows.events import Event, InputRequiredEvent, StartEvent, StepState, StepStateChanged, StopEvent
from workflows.runtime.control_loop.reduce import (
    _accrue_alive,
    _check_idle_state,
    _claim_emission,
    _next_invocation_id,
    _next_work_item_id,
    _reduce_tick,
    _reduce_tick_body,
    _settle_sends,
    _unhandled_event_commands,
)
from workflows.runtime.types.commands import (
    CommandCompleteRun,
    CommandPublishEvent,
    CommandRunWorker,
    CommandScheduleIdleCheck,
    WorkflowCommand,
)
from workflows.runtime.types.internal_state import (
    BrokerState,
    Delivery,
    EventAttempt,
    InProgressState,
    InternalStepConfig,
    InternalStepWorkerState,
)
from workflows.runtime.types.results import EmissionKey, StepWorkerResult, StepWorkerState, StepWorkerWaiter
from workflows.runtime.types.step_id import StepId
from workflows.runtime.types.ticks import (
    TickAddEvent,
    TickSessionStart,
    TickStepResult,
    TickTimeout,
    WorkflowTick,
)


class LiveState(BrokerState):
    """The state of a run's loop that its reducer changes in place; made by ``live``."""

    def deepcopy(self) -> BrokerState:
        """Return the state itself: the engine's functions change what they take for their copy."""
        return self


@dataclass
class LiveWorker(InternalStepWorkerState):
    """The state of a step in a live state."""

    shared: dict[str, tuple[list[Event], int, list[Event]]] = field(default_factory=dict, compare=False, repr=False)
    """By buffer: its list and generation when a step was last given it, and the copy that the step was given."""

    def _deepcopy(self) -> InternalStepWorkerState:
        """Return what a step that begins is given of this: the engine takes nothing else from the copy."""
        return InternalStepWorkerState(
            queue=[],
            config=self.config,
            in_progress=[],
            collected_events=self.buffers(),
            collected_waiters=self.waiters(),
        )

    def buffers(self) -> dict[str, list[Event]]:
        """Return the collected events as they are now. One copy serves all steps that begin until a buffer changes."""
        if not self.collected_events:
            return {}
        shared: dict[str, tuple[list[Event], int, list[Event]]] = {}
        for name, events in self.collected_events.items():
            generation, known = self.collect_generations.get(name, 0), self.shared.get(name)
            is_current = known is not None and known[0] is events and known[1] == generation
            shared[name] = known if known is not None and is_current else (events, generation, list(events))
        self.shared = shared
        return {name: copied for name, (_, _, copied) in shared.items()}

    def waiters(self) -> list[StepWorkerWaiter[Any]]:
        """Return the waits as they are now."""
        return [replace(waiter) for waiter in self.collected_waiters]


def live(state: BrokerState) -> LiveState:
    """Return the state in a form that is changed in place; it takes over all that ``state`` consists of."""
    taken = LiveState(**vars(state))
    taken.workers = {
        step_id: LiveWorker(**{name: getattr(worker, name) for name in _WORKER_FIELDS})
        for step_id, worker in state.workers.items()
    }
    return taken


def plain(state: BrokerState) -> BrokerState:
    """Return a live state in the engine's own classes, to be read or copied before the next tick: it shares its
    parts."""
    workers = {
        step_id: InternalStepWorkerState(**{name: getattr(worker, name) for name in _WORKER_FIELDS})
        for step_id, worker in state.workers.items()
    }
    return BrokerState(**{**vars(state), "workers": workers})


_WORKER_FIELDS = tuple(field.name for field in fields(InternalStepWorkerState))


def reduce_live(
    state: BrokerState, tick: WorkflowTick, now: float, run_id: str
) -> tuple[BrokerState, list[WorkflowCommand]]:
    """Return the live state after a tick, and the commands that follow from it: equal to what the engine's reducer
    returns, and in the same order.

    The state is ``state`` itself, which has changed, except after a timeout and the start of a session: then it is a
    new one, and ``state`` is as it was. ``now`` is the time of a tick that has no stamp. Commands that tell of a step's
    state may be the same objects at each call.
    """
    if type(tick) is TickAddEvent and _is_direct_event(state, tick):
        commands = _add_event(state, tick, now)
    elif type(tick) is TickStepResult and (execution := _direct_execution(state, tick)) is not None:
        commands = _end_step(state, tick, execution, now)
    elif isinstance(tick, (TickSessionStart, TickTimeout)):
        after, commands = _reduce_tick(tick, plain(state), now, run_id)
        return live(after), commands
    else:
        state, commands = _reduce_tick_body(tick, state, now, run_id)
        state.journal_seq += 1
        return state, commands
    state.journal_seq += 1
    if _check_idle_state(state):
        commands.append(CommandScheduleIdleCheck())
    return state, commands


# -- An event for plain steps ----------------------------------------------------------------------


def _is_direct_event(state: BrokerState, tick: TickAddEvent) -> bool:
    """Return whether the event goes to plain steps, or to none: it answers no wait and is not collected."""
    if (
        state.children
        or tick.origin_namespace
        or tick.bound_events is not None
        or tick.attempts
        or tick.collection_release_payload is not None
    ):
        return False
    event = tick.event
    for step_id, config in state.config.steps.items():
        worker = state.workers[step_id]
        for waiter in worker.collected_waiters:
            if event_matches(event, waiter.waiting_for_event, allow_subclasses=config.accept_event_subclasses):
                return False
        is_collecting = worker.config.collection_param is not None or worker.config.collect_params
        if is_collecting and _accepts(config, event):
            return False
    return True


def _accepts(config: InternalStepConfig, event: Event) -> bool:
    if config.accept_event_subclasses:
        return step_accepts_event(event, config.accepted_events, allow_subclasses=True)
    kind = type(event)
    return any(kind is accepted for accepted in config.accepted_events)


def _add_event(state: BrokerState, tick: TickAddEvent, now: float) -> list[WorkflowCommand]:
    """Give the event to each step that accepts it."""
    if tick.stamped_at is not None:
        now = tick.stamped_at
        _accrue_alive(state, now)
    key = tick.emission
    if key is not None and state.deliveries.pop(key, None) is None and not _claim_emission(state, key):
        return []
    work_item_id = tick.work_item_id if tick.work_item_id is not None else _next_work_item_id(state)
    event, target = tick.event, tick.step_id
    if isinstance(event, StartEvent):
        state.is_running = True
    commands: list[WorkflowCommand] = []
    for step_id, config in state.config.steps.items():
        if (target is None or target == step_id) and _accepts(config, event):
            attempt = EventAttempt(
                event=event,
                attempts=tick.attempts,
                first_attempt_at=tick.first_attempt_at,
                last_exception=tick.last_exception,
                last_failed_at=tick.last_failed_at,
                recovery_counts=dict(tick.recovery_counts),
                scope_path=tuple(tick.scope_path),
                work_item_id=work_item_id,
            )
            worker = state.workers[step_id]
            if len(worker.in_progress) < worker.config.num_workers:
                commands += _begin(attempt, step_id, state, worker, now)
            else:
                commands.append(_queued(str(step_id), type(event).__name__))
                worker.queue.append(attempt)
    return commands or _unhandled_event_commands(tick, state)


def _begin(
    attempt: EventAttempt, step_id: StepId, state: BrokerState, worker: InternalStepWorkerState, now: float
) -> tuple[WorkflowCommand, WorkflowCommand]:
    """Begin a step that has a worker to spare."""
    assert isinstance(worker, LiveWorker)
    event, step_name = attempt.event, str(step_id)
    used = {execution.worker_id for execution in worker.in_progress}
    worker_id = next(number for number in range(worker.config.num_workers) if number not in used)
    invocation_id = _next_invocation_id(state, ())
    payload = attempt.collection_release_payload
    worker.in_progress.append(
        InProgressState(
            event=event,
            worker_id=worker_id,
            shared_state=StepWorkerState(
                step_name=step_name,
                collected_events=worker.buffers(),
                collected_waiters=worker.waiters(),
                collection_release_payload=payload._copy() if payload is not None else None,
                scope_path=attempt.scope_path,
                work_item_id=attempt.work_item_id,
                invocation_id=invocation_id,
            ),
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
    begin = CommandRunWorker(
        step_id=step_id, event=event, id=worker_id, invocation_id=invocation_id, bound_events=attempt.bound_events
    )
    return begin, _begun(step_name, type(event).__name__, worker_id)


# -- A step that returned one event, or none -------------------------------------------------------


def _direct_execution(state: BrokerState, tick: TickStepResult) -> InProgressState | None:
    """Return the execution that the tick ends; None where it does not just end with an event or with none, outside
    any stream."""
    if state.children or tick.invocation_namespace or tick.invocation_id is None or len(tick.result) != 1:
        return None
    result = tick.result[0]
    if type(result) is not StepWorkerResult or result.fanned_out:
        return None
    if result.result is not None and not isinstance(result.result, Event):
        return None
    worker = state.workers.get(tick.step_id)
    for execution in worker.in_progress if worker is not None else ():
        if execution.invocation_id == tick.invocation_id:
            return None if execution.scope_path else execution
    return None


def _end_step(
    state: BrokerState, tick: TickStepResult, execution: InProgressState, now: float
) -> list[WorkflowCommand]:
    """End an execution, deliver what it returned, and begin what waits for its worker."""
    result = tick.result[0]
    assert isinstance(result, StepWorkerResult)
    returned, worker = result.result, state.workers[tick.step_id]
    if not isinstance(returned, StopEvent):
        # Found by equality as in the engine, and before anything has changed: an event's own __eq__ may raise.
        place = worker.in_progress.index(execution)
    if tick.stamped_at is not None:
        now = tick.stamped_at
        _accrue_alive(state, now)
    if tick.sends:
        _settle_sends(state, tick, execution)
    ended = _ended(str(tick.step_id), str(type(tick.event)), str(type(returned)), tick.worker_id)
    if isinstance(returned, StopEvent):
        _end_run(state)
        return [ended, CommandPublishEvent(event=returned), CommandCompleteRun(result=returned)]
    commands: list[WorkflowCommand] = [ended]
    if returned is not None:
        if isinstance(returned, InputRequiredEvent):
            commands.append(CommandPublishEvent(event=returned))
        assert tick.invocation_id is not None
        key = EmissionKey(tick.invocation_id, len(tick.sends))
        delivery = Delivery(key, returned, None, dict(execution.recovery_counts), ())
        state.deliveries[key] = delivery
        commands.append(delivery.to_command(()))
    del worker.in_progress[place]
    if worker.queue:
        commands += _drain(tick.step_id, state, worker, now)
    return commands


def _drain(step_id: StepId, state: BrokerState, worker: InternalStepWorkerState, now: float) -> list[WorkflowCommand]:
    """Begin what waits for a worker, as far as there are any; retries that wait for their time stay."""
    commands: list[WorkflowCommand] = []
    while len(worker.in_progress) < worker.config.num_workers:
        place = next((place for place, attempt in enumerate(worker.queue) if attempt.not_before is None), None)
        if place is None:
            break
        commands += _begin(worker.queue.pop(place), step_id, state, worker, now)
    return commands


def _end_run(state: BrokerState) -> None:
    """Leave nothing to do."""
    state.is_running = False
    state.deliveries.clear()
    for worker in state.workers.values():
        worker.queue.clear()
        worker.in_progress.clear()
        for name in worker.collected_events:
            worker.bump_collect_generation(name)
        worker.collected_events.clear()
        worker.static_collect_events.clear()
        worker.collected_waiters.clear()
    state.streams.clear()
    state.collection_release_states.clear()


# -- The events that tell of steps -----------------------------------------------------------------

# Made once for each transition of a step: the engine's model validates its fields for longer than all else takes.


@lru_cache(maxsize=1024)
def _queued(step_name: str, event_name: str) -> CommandPublishEvent:
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
def _ended(step_name: str, event_name: str, returned_name: str, worker_id: int) -> CommandPublishEvent:
    return CommandPublishEvent(
        StepStateChanged(
            step_state=StepState.NOT_RUNNING,
            name=step_name,
            input_event_name=event_name,
            output_event_name=returned_name,
            worker_id=str(worker_id),
        )
    )
