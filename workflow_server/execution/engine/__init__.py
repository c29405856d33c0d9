"""The engine's inner parts that a durable runtime needs: the only package that reaches beyond its documented surface.

llama-index-workflows is pinned to a minor version for the sake of this package; ``tests/execution/test_engine.py``
fails when a new version changes what is relied on here. Nothing of the engine is patched: its loop is subclassed, and
handed over through the parameter that the engine has for it. Other modules import the engine's types from here.
"""

from workflows import Workflow
from workflows._event_matching import event_matches, step_accepts_event
from workflows.context.context_types import SerializedContext
from workflows.context.state_store import (
    MODEL_T,
    DictState,
    InMemoryStateStore,
    StateStore,
    decode_state,
    encode_state_tree,
    infer_state_type,
)
from workflows.events import (
    Event,
    InternalDispatchEvent,
    StartEvent,
    StepFailedEvent,
    StopEvent,
    UnhandledEvent,
    WorkflowCancelledEvent,
    WorkflowFailedEvent,
    WorkflowTimedOutEvent,
)
from workflows.plugins.basic import BasicRuntime, get_current_run_id
from workflows.runtime.runtime_decorators import BaseRuntimeDecorator
from workflows.runtime.types.internal_state import BrokerState, EventAttempt, InProgressState, InternalStepWorkerState
from workflows.runtime.types.named_task import NamedTask, PendingStart, PendingWorker, WorkerTask, pick_highest_priority
from workflows.runtime.types.plugin import (
    ExternalRunAdapter,
    InternalRunAdapter,
    RegisteredWorkflow,
    WaitForNextTaskResult,
    WaitResult,
    WaitResultTick,
    WorkflowRunFunction,
)
from workflows.runtime.types.results import (
    AddWaiter,
    DeleteCollectedEvent,
    DeleteWaiter,
    EmissionKey,
    RetryAttempt,
    StepWorkerFailed,
    StepWorkerOutput,
    StepWorkerResult,
    StepWorkerState,
    StepWorkerWaiter,
)
from workflows.runtime.types.step_function import StepWorkerFunction
from workflows.runtime.types.step_id import StepId
from workflows.runtime.types.ticks import (
    TickAddEvent,
    TickIdleCheck,
    TickPublishEvent,
    TickSessionStart,
    TickStepResult,
    TickTimeout,
    TickWaiterTimeout,
    TickWakeup,
    WorkflowTick,
)

from workflow_server.execution.engine.live_state import plain
from workflow_server.execution.engine.loop import LoopObserver, ObservedLoop, end_tasks
from workflow_server.execution.engine.loop_host import LoopHost
from workflow_server.execution.engine.memory_store import fill_memory_store
from workflow_server.execution.engine.steps import (
    idempotency_key,
    in_step,
    register,
    rescue_of,
    running_step,
    writing_invocation,
)
from workflow_server.execution.engine.ticks import (
    broker_from_json,
    compact_layouts,
    context_model,
    events_of,
    has_failed_attempts,
    is_stuck,
    new_state,
    reduce,
    tick_from_json,
    with_config,
    with_event,
)
from workflow_server.execution.engine.workflow import (
    accepted_events,
    adopt,
    concurrent_runs,
    enter_run,
    step_functions,
    stop_event_class,
    validate,
    workflow_timeout,
)

__all__ = [
    "MODEL_T",
    "AddWaiter",
    "BaseRuntimeDecorator",
    "BasicRuntime",
    "BrokerState",
    "DeleteCollectedEvent",
    "DeleteWaiter",
    "DictState",
    "EmissionKey",
    "Event",
    "EventAttempt",
    "ExternalRunAdapter",
    "InMemoryStateStore",
    "InProgressState",
    "InternalDispatchEvent",
    "InternalRunAdapter",
    "InternalStepWorkerState",
    "LoopHost",
    "LoopObserver",
    "NamedTask",
    "ObservedLoop",
    "PendingStart",
    "PendingWorker",
    "RegisteredWorkflow",
    "RetryAttempt",
    "SerializedContext",
    "StartEvent",
    "StateStore",
    "StepFailedEvent",
    "StepId",
    "StepWorkerFailed",
    "StepWorkerFunction",
    "StepWorkerOutput",
    "StepWorkerResult",
    "StepWorkerState",
    "StepWorkerWaiter",
    "StopEvent",
    "TickAddEvent",
    "TickIdleCheck",
    "TickPublishEvent",
    "TickSessionStart",
    "TickStepResult",
    "TickTimeout",
    "TickWaiterTimeout",
    "TickWakeup",
    "UnhandledEvent",
    "WaitForNextTaskResult",
    "WaitResult",
    "WaitResultTick",
    "WorkerTask",
    "Workflow",
    "WorkflowCancelledEvent",
    "WorkflowFailedEvent",
    "WorkflowRunFunction",
    "WorkflowTick",
    "WorkflowTimedOutEvent",
    "accepted_events",
    "adopt",
    "broker_from_json",
    "compact_layouts",
    "concurrent_runs",
    "context_model",
    "decode_state",
    "encode_state_tree",
    "end_tasks",
    "enter_run",
    "event_matches",
    "events_of",
    "fill_memory_store",
    "get_current_run_id",
    "has_failed_attempts",
    "idempotency_key",
    "in_step",
    "infer_state_type",
    "is_stuck",
    "new_state",
    "pick_highest_priority",
    "plain",
    "reduce",
    "register",
    "rescue_of",
    "running_step",
    "step_accepts_event",
    "step_functions",
    "stop_event_class",
    "tick_from_json",
    "validate",
    "with_config",
    "with_event",
    "workflow_timeout",
    "writing_invocation",
]
