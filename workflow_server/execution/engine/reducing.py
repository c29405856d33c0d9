"""The reducer of a state that is changed in place: what the engine's own reducer returns, without its copies.

The engine copies the whole state at each tick. Here a run owns its state, and the two ticks of which most runs consist
are reduced directly: an event for plain steps, and a step that returned one event or none. The engine's functions take
all others, on the same state. A step is given a copy of its part of the state when it begins, as with the engine, and
that copy never changes. Code that needs the state before a tick has to read it before the tick is reduced.

A reduction that raises (an event's or a requirement's own ``__eq__`` may) leaves a state that must not be used any
more; the engine fails the run then, too.
"""

from __future__ import annotations

from collections.abc import Iterator

from workflows._event_matching import event_matches, step_accepts_event
from workflows.events import Event, InputRequiredEvent, StartEvent, StopEvent
from workflows.runtime.control_loop.reduce import (
    _accrue_alive,
    _broker_busy,
    _check_idle_state,
    _claim_emission,
    _next_work_item_id,
    _reduce_tick,
    _reduce_tick_body,
    _settle_sends,
    _unhandled_event_commands,
)
from workflows.runtime.control_loop.streams import _adjust_open_work_items
from workflows.runtime.types.commands import (
    CommandCompleteRun,
    CommandPublishEvent,
    CommandQueueEvent,
    CommandScheduleIdleCheck,
    WorkflowCommand,
)
from workflows.runtime.types.internal_state import (
    BrokerState,
    Delivery,
    EventAttempt,
    InProgressState,
    InternalStepConfig,
)
from workflows.runtime.types.results import EmissionKey, StepWorkerResult
from workflows.runtime.types.step_id import StepId
from workflows.runtime.types.ticks import (
    TickAddEvent,
    TickSessionStart,
    TickStepResult,
    TickTimeout,
    WorkflowTick,
)

from workflow_server.execution.engine.dispatching import begin, drain, ended, queued
from workflow_server.execution.engine.live_state import LiveState, LiveWorker, live, plain
from workflow_server.execution.engine.made import frozen


def reduce_live(
    state: BrokerState, tick: WorkflowTick, now: float, run_id: str
) -> tuple[BrokerState, list[WorkflowCommand]]:
    """Return the live state after a tick, and the commands that follow from it: equal to what the engine's reducer
    returns, and in the same order.

    The state is ``state`` itself, which has changed, except after a timeout, and after the start of a session that
    begins steps again: then it is a new one, and ``state`` is as it was. ``now`` is the time of a tick that has no
    stamp. Commands that tell of a step's state may be the same objects at each call.
    """
    assert isinstance(state, LiveState)
    commands: list[WorkflowCommand] | None = None
    if type(tick) is TickAddEvent:
        commands = _add_event(state, tick, now)
    elif type(tick) is TickStepResult:
        commands = _end_step(state, tick, now)
    elif isinstance(tick, TickSessionStart) and not state.children and not _broker_busy(state):
        state.last_alive_stamp = tick.stamped_at
        commands = []
    elif isinstance(tick, (TickSessionStart, TickTimeout)):
        after, commands = _reduce_tick(tick, plain(state), now, run_id)
        return live(after), commands
    if commands is None:
        _, commands = _reduce_tick_body(tick, state, now, run_id)
    state.journal_seq += 1
    return state, commands


def _idle_check(state: LiveState) -> list[WorkflowCommand]:
    return [CommandScheduleIdleCheck()] if _check_idle_state(state) else []


# -- An event for plain steps ----------------------------------------------------------------------


def _add_event(state: LiveState, tick: TickAddEvent, now: float) -> list[WorkflowCommand] | None:
    """Give the event to each step that accepts it. None: it is not for plain steps alone, and nothing has changed."""
    steps = _accepting(state, tick)
    if steps is None:
        return None
    if tick.stamped_at is not None:
        now = tick.stamped_at
        _accrue_alive(state, now)
    key = tick.emission
    if key is not None and state.deliveries.pop(key, None) is None and not _claim_emission(state, key):
        return _idle_check(state)
    work_item_id = tick.work_item_id if tick.work_item_id is not None else _next_work_item_id(state)
    if isinstance(tick.event, StartEvent):
        state.is_running = True
    if not steps:
        return [*_unhandled_event_commands(tick, state), *_idle_check(state)]
    commands: list[WorkflowCommand] = []
    for step_id, worker in steps:
        attempt = EventAttempt(
            event=tick.event,
            attempts=tick.attempts,
            first_attempt_at=tick.first_attempt_at,
            last_exception=tick.last_exception,
            last_failed_at=tick.last_failed_at,
            recovery_counts=dict(tick.recovery_counts),
            scope_path=tuple(tick.scope_path),
            work_item_id=work_item_id,
        )
        if len(worker.in_progress) < worker.config.num_workers:
            commands += begin(attempt, step_id, state, worker, now)
        else:
            worker.queue.append(attempt)
            commands.append(queued(str(step_id), type(tick.event).__name__))
    return commands


def _accepting(state: LiveState, tick: TickAddEvent) -> list[tuple[StepId, LiveWorker]] | None:
    """Return the steps that the event goes to; None where it may answer a wait, is collected, or is part of more."""
    if (
        tick.origin_namespace
        or tick.bound_events is not None
        or tick.attempts
        or tick.collection_release_payload is not None
    ):
        return None
    event, target = tick.event, tick.step_id
    steps: list[tuple[StepId, LiveWorker]] = []
    for step_id, config, worker in state.steps:
        for waiter in worker.collected_waiters:
            if event_matches(event, waiter.waiting_for_event, allow_subclasses=config.accept_event_subclasses):
                return None
        if _accepts(config, event) and (target is None or target == step_id):
            if worker.config.collection_param is not None or worker.config.collect_params:
                return None
            steps.append((step_id, worker))
    return steps


def _accepts(config: InternalStepConfig, event: Event) -> bool:
    if config.accept_event_subclasses:
        return step_accepts_event(event, config.accepted_events, allow_subclasses=True)
    kind = type(event)
    for accepted in config.accepted_events:  # noqa: SIM110 -- any() takes three times as long
        if kind is accepted:
            return True
    return False


# -- A step that returned one event, or none -------------------------------------------------------


def _end_step(state: LiveState, tick: TickStepResult, now: float) -> list[WorkflowCommand] | None:
    """End an execution, deliver what it returned, and begin what waits for its worker. None: that is not all that
    there is to it, and nothing has changed."""
    found = _execution(state, tick)
    if found is None:
        return None
    execution, worker, returned = found
    commands: list[WorkflowCommand] = [
        ended(str(tick.step_id), str(type(tick.event)), str(type(returned)), tick.worker_id)
    ]
    # Found by equality as in the engine, and before anything has changed: an event's own __eq__ may raise.
    place = None if isinstance(returned, StopEvent) else worker.in_progress.index(execution)
    if tick.stamped_at is not None:
        now = tick.stamped_at
        _accrue_alive(state, now)
    if tick.sends:
        _settle_sends(state, tick, execution)
    if isinstance(returned, StopEvent):
        _end_run(state)
        return [*commands, CommandPublishEvent(event=returned), CommandCompleteRun(result=returned)]
    if returned is not None:
        commands += _deliver(state, tick, execution, returned)
    if execution.scope_path:
        born = 0 if returned is None else sum(_accepts(config, returned) for _, config, _ in state.steps)
        commands += _adjust_open_work_items(state, execution.scope_path[-1], born - 1, (), now)
    if place is not None:
        del worker.in_progress[place]
    if worker.queue:
        commands += drain(tick.step_id, state, worker, now)
    return commands if returned is not None else [*commands, *_idle_check(state)]


def _execution(state: LiveState, tick: TickStepResult) -> tuple[InProgressState, LiveWorker, Event | None] | None:
    """Return the execution that the tick ends, its step and what it returned; None where it does not just end with an
    event or with none."""
    if state.children or tick.invocation_namespace or tick.invocation_id is None or len(tick.result) != 1:
        return None
    result = tick.result[0]
    if type(result) is not StepWorkerResult or result.fanned_out:
        return None
    if result.result is not None and not isinstance(result.result, Event):
        return None
    worker = state.workers.get(tick.step_id)
    if not isinstance(worker, LiveWorker):
        return None
    for execution in worker.in_progress:
        if execution.invocation_id == tick.invocation_id:
            return execution, worker, result.result
    return None


def _deliver(
    state: LiveState, tick: TickStepResult, execution: InProgressState, event: Event
) -> Iterator[WorkflowCommand]:
    """Note that the event is on its way to the steps, until its tick comes."""
    if isinstance(event, InputRequiredEvent):
        yield CommandPublishEvent(event=event)
    assert tick.invocation_id is not None
    key = EmissionKey(tick.invocation_id, len(tick.sends))
    state.deliveries[key] = Delivery(key, event, None, dict(execution.recovery_counts), execution.scope_path)
    yield frozen(
        CommandQueueEvent,
        event=event,
        step_id=None,
        origin_namespace=(),
        recovery_counts=dict(execution.recovery_counts),
        scope_path=execution.scope_path,
        emission=key,
    )


def _end_run(state: LiveState) -> None:
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
