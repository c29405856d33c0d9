"""The errors about workflows and their events."""

from __future__ import annotations

from dataclasses import dataclass

from workflow_server.errors import Conflict, InvalidFields, InvalidRequest, NotFound, StartupError, TooManyEvents


class InvalidEvent(InvalidFields):
    """Raised with a message for the client: an event is not valid."""


@dataclass(eq=False)
class UnknownStep(InvalidRequest):
    """Raised for an event to a step that the workflow does not have."""

    workflow_name: str
    step: str
    steps: str

    def __str__(self) -> str:
        return f"Workflow '{self.workflow_name}' has no step '{self.step}'. Its steps are: {self.steps}."


@dataclass(eq=False)
class StepRefusesEvent(InvalidRequest):
    """Raised for an event to a step that does not accept its type."""

    step: str
    event_type: str
    accepted: str

    def __str__(self) -> str:
        return f"Step '{self.step}' does not accept events of type '{self.event_type}'. It accepts: {self.accepted}."


@dataclass(eq=False)
class WorkflowNotFound(NotFound):
    """Raised for a workflow name that is not registered."""

    name: str

    def __str__(self) -> str:
        return f"Workflow '{self.name}' not found. GET /workflows lists the workflows of this server."


@dataclass(eq=False)
class NoRepresentation(NotFound):
    """Raised for a workflow of which the engine cannot make a graph."""

    name: str

    def __str__(self) -> str:
        return f"Workflow '{self.name}' cannot be shown as a graph: some part of it cannot be described."


@dataclass(eq=False)
class TooManyWaiting(TooManyEvents):
    """Raised for an event to a run with a full inbox; ``limit`` is what may wait: "10,000 events"."""

    handler_id: str
    limit: str

    def __str__(self) -> str:
        return (
            f"The inbox of handler '{self.handler_id}' is full: at most {self.limit} may wait for its run. Try again "
            "when it has taken some."
        )


@dataclass(eq=False)
class TooManyHeld(TooManyEvents):
    """Raised for an event that no step waits for, to a run that holds as many of these as it may."""

    handler_id: str
    limit: int

    def __str__(self) -> str:
        return (
            f"{self.limit:,} events that no step waits for are held for the run of handler '{self.handler_id}', and no "
            "more are accepted. Post an answer after its question was asked."
        )


@dataclass(eq=False)
class QueueTaken(Conflict):
    """Raised for a reader of a shared queue that another reader did not leave within ``timeout`` seconds."""

    handler_id: str
    timeout: float

    def __str__(self) -> str:
        return (
            f"Another reader has had the shared queue of handler '{self.handler_id}' for all of {self.timeout} s. Read "
            "without acquire_timeout, or with after_sequence, for a stream of your own."
        )


@dataclass(eq=False)
class StepNotReached(Conflict):
    """Raised for a retry from a step that did not begin in the part of the journal that is kept."""

    step: str
    steps: str

    def __str__(self) -> str:
        known = f"it can be retried from {self.steps}" if self.steps else "no other step did"
        return f"Step '{self.step}' did not begin in the part of the run's journal that is kept: {known}."


class NothingToRetry(Conflict):
    """Raised for a retry of a run that failed when no step was in progress."""

    def __str__(self) -> str:
        return "No step was in progress when the run failed, so none can begin again. Retry it from an earlier step."


@dataclass(eq=False)
class JournalUnreadable(Conflict):
    """Raised for a retry of a run whose journal or state does not fit the workflow any more."""

    reason: str

    def __str__(self) -> str:
        return f"The run cannot be retried: {self.reason.rstrip('.')}."


@dataclass(eq=False)
class InvalidWorkflowName(StartupError):
    """Raised for a workflow name that does not fit into a URL."""

    name: str

    def __str__(self) -> str:
        return f"Invalid workflow name '{self.name}': expected 1 to 128 letters, digits, '.', '_', '~' and '-'."


@dataclass(eq=False)
class DuplicateWorkflow(StartupError):
    """Raised for a second workflow of one name."""

    name: str

    def __str__(self) -> str:
        return f"Two workflows are named '{self.name}'. Give each its own name."


@dataclass(eq=False)
class InvalidWorkflow(StartupError):
    """Raised for a workflow that cannot be served."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"Workflow '{self.name}' is not valid: {self.reason}"
