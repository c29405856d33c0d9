"""The errors with which a request to a run is refused."""

from __future__ import annotations

from dataclasses import dataclass

from workflow_server.errors import Conflict, InvalidRequest, NotFound


class ContextRefused(InvalidRequest):
    """Raised for a ``context`` where the settings do not allow one."""

    def __str__(self) -> str:
        return (
            "This server does not accept a 'context' from clients. Leave it out, continue a completed handler with "
            "'handler_id', or start the server with accept_context=True."
        )


class ContextBesideHandler(InvalidRequest):
    """Raised for a ``context`` beside a handler to continue."""

    def __str__(self) -> str:
        return (
            "The body has both a 'context' and the 'handler_id' of a handler to continue, which brings its own state: "
            "send one of them."
        )


class InvalidHandlerId(InvalidRequest):
    """Raised for an id of a new handler that does not fit into a URL."""

    def __str__(self) -> str:
        return "Invalid 'handler_id': a new handler takes 1 to 128 letters, digits, '.', '_', '~' and '-'."


@dataclass(eq=False)
class CompletedHandlerNotFound(NotFound):
    """Raised for a handler to continue that has not completed, or is another workflow's."""

    workflow_name: str
    handler_id: str

    def __str__(self) -> str:
        return f"Workflow '{self.workflow_name}' has no completed handler '{self.handler_id}' to continue."


@dataclass(eq=False)
class HandlerNotRunning(NotFound):
    """Raised for the cancellation of a run that has ended."""

    handler_id: str
    status: str

    def __str__(self) -> str:
        return f"Handler '{self.handler_id}' is not running ({self.status}). Add purge=true to delete it."


@dataclass(eq=False)
class HandlerRunning(Conflict):
    """Raised for a handler to continue whose run has not ended."""

    handler_id: str

    def __str__(self) -> str:
        return f"Handler '{self.handler_id}' is still running: continue it when it has completed."


@dataclass(eq=False)
class HandlerBeingDeleted(Conflict):
    """Raised for a new handler under an id that is being purged."""

    handler_id: str

    def __str__(self) -> str:
        return f"Handler '{self.handler_id}' is being deleted, and its id is free after that. Try again in a moment."


@dataclass(eq=False)
class StateUnreadable(Conflict):
    """Raised for a handler to continue whose state does not fit the workflow any more."""

    handler_id: str
    reason: str

    def __str__(self) -> str:
        return f"Handler '{self.handler_id}' cannot be continued: the workflow cannot read its state ({self.reason})."


@dataclass(eq=False)
class StateNotKept(Conflict):
    """Raised for the state of a run of which nothing is stored."""

    handler_id: str

    def __str__(self) -> str:
        return (
            f"Nothing is known of the state of handler '{self.handler_id}': it was stored without one, or its steps "
            "have written nothing and its workflow is not registered."
        )


@dataclass(eq=False)
class StateTooLarge(Conflict):
    """Raised for a state that is too large to be shown."""

    handler_id: str
    size: int

    def __str__(self) -> str:
        return f"The state of handler '{self.handler_id}' takes {self.size:,} bytes, more than can be shown."


@dataclass(eq=False)
class StateNotReadable(Conflict):
    """Raised for a state that does not fit the code any more, or is damaged."""

    handler_id: str
    reason: str

    def __str__(self) -> str:
        return f"The state of handler '{self.handler_id}' cannot be shown: {self.reason}."


@dataclass(eq=False)
class RunAlreadyEnded(Conflict):
    """Raised for an event to a run that has ended."""

    handler_id: str
    status: str

    def __str__(self) -> str:
        return f"The run of handler '{self.handler_id}' has already ended ({self.status}): it accepts no more events."


@dataclass(eq=False)
class RunSuperseded(Conflict):
    """Raised for a request about a run whose handler has another one since."""

    handler_id: str

    def __str__(self) -> str:
        return (
            f"The run that this key started has ended, and handler '{self.handler_id}' has been continued or retried "
            "since: its result is gone."
        )


@dataclass(eq=False)
class RunSuspended(Conflict):
    """Raised for an operation that needs a run which does not proceed on this server."""

    handler_id: str
    reason: str

    def __str__(self) -> str:
        return f"The run of handler '{self.handler_id}' is suspended: {self.reason}."


class HandlerIdBesideNoFork(InvalidRequest):
    """Raised for the id of a new handler in a retry that makes none."""

    def __str__(self) -> str:
        return "The body has a 'handler_id', but not 'fork': true. Only a fork makes a new handler."


class HandlerIdRefused(InvalidRequest):
    """Raised for the id of a new handler where the settings do not allow clients to choose it."""

    def __str__(self) -> str:
        return (
            "This server does not accept a 'handler_id' for new handlers. Leave it out, or start the server with "
            "accept_handler_ids=True."
        )


@dataclass(eq=False)
class HandlerExists(Conflict):
    """Raised for a fork under the id of a handler that is there."""

    handler_id: str

    def __str__(self) -> str:
        return f"Handler '{self.handler_id}' exists already: a fork takes an unused id."


@dataclass(eq=False)
class RunNotOver(Conflict):
    """Raised for the retry of a run that has not ended."""

    handler_id: str

    def __str__(self) -> str:
        return f"Handler '{self.handler_id}' is still running: a run can be retried when it failed or was cancelled."


@dataclass(eq=False)
class RunSucceeded(Conflict):
    """Raised for the retry of a completed run."""

    handler_id: str

    def __str__(self) -> str:
        return (
            f"Handler '{self.handler_id}' has completed: only a run that failed or was cancelled can be retried. Start "
            "another run, or continue the handler with its 'handler_id'."
        )


@dataclass(eq=False)
class JournalNotKept(Conflict):
    """Raised for the retry of a run that ended under a version which did not keep the journal."""

    handler_id: str

    def __str__(self) -> str:
        return (
            f"The run of handler '{self.handler_id}' cannot be retried: it ended under an older version of the server, "
            "which did not keep its journal. Start another run."
        )
