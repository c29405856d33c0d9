"""The errors of workflow_server: the bases of one tree, and the errors that several layers raise.

What one layer alone raises stands beside it, in ``web/exceptions.py``, ``runs/exceptions.py``,
``execution/exceptions.py``, ``store/sqlite/exceptions.py`` and ``cli/target.py``. Status codes are assigned in
``web/error_mapping.py``, exit codes in ``cli/exit_codes.py``, both by the bases here.

The names of this module are stored with the runs that caught such an error: they stay.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class WorkflowServerError(Exception):
    """Base of all errors; ``str`` of one is its message."""


# -- Refused requests ------------------------------------------------------------------------------


class RequestRefused(WorkflowServerError):
    """Base of the errors for which the client is responsible."""


class InvalidRequest(RequestRefused):
    """Base of the errors in what a request says."""


class FieldProblem(NamedTuple):
    """A field that is not valid: the keys and places that lead to it, and its rule."""

    path: tuple[str | int, ...]
    message: str


class InvalidFields(InvalidRequest):
    """Base of the errors that may tell which fields are not valid; ``str`` of one tells all of it in a line."""

    def __init__(self, message: str, problems: tuple[FieldProblem, ...] = ()) -> None:
        super().__init__(message)
        self.problems = problems


class InvalidBody(InvalidFields):
    """Raised with a message for the client: the body of a request is not valid."""


class NotFound(RequestRefused):
    """Base of the errors about something that does not exist."""


@dataclass(eq=False)
class HandlerNotFound(NotFound):
    """Raised for a handler id that is unknown."""

    handler_id: str

    def __str__(self) -> str:
        return f"Handler '{self.handler_id}' not found."


class TooManyEvents(RequestRefused):
    """Base of the errors about limits of posted events."""


@dataclass(eq=False)
class TooManyRuns(RequestRefused):
    """Raised for a start while ``limit`` runs have not ended."""

    limit: int

    def __str__(self) -> str:
        return f"{self.limit} runs have not ended, and no more are accepted: nothing was started. Try again later."


class Conflict(RequestRefused):
    """Base of the errors about the state of a handler."""


class KeyReused(RequestRefused):
    """Raised for an ``Idempotency-Key`` that was used before with another body."""

    def __str__(self) -> str:
        return "This Idempotency-Key was used before with another body. Use a new key for a new request."


class ShuttingDown(WorkflowServerError):
    """Raised for requests that arrive while the server stops."""

    def __str__(self) -> str:
        return "The server is shutting down. Accepted runs continue at its next start."


# -- The store -------------------------------------------------------------------------------------


class StorageError(WorkflowServerError):
    """Base of the errors of a store that is open."""


class StorageFull(StorageError):
    """Raised for a request that found the disk full."""

    def __str__(self) -> str:
        return "The disk is full: nothing was stored. Try again when there is room."


@dataclass(eq=False)
class StoreUnavailable(StorageError):
    """Raised for a commit that failed, also when it was tried again."""

    reason: str

    def __str__(self) -> str:
        return f"The store cannot commit: {self.reason}. Nothing was stored."


@dataclass(eq=False)
class CommitUnknown(StorageError):
    """Raised for a commit of unknown outcome; the store takes no further ones."""

    reason: str

    def __str__(self) -> str:
        return (
            f"The store failed in the middle of a commit ({self.reason}): whether it holds is known only after a "
            "restart."
        )


@dataclass(eq=False)
class ListenerFailed(StorageError):
    """Raised when a listener failed at a commit: the commit is stored, and nothing more is committed after it."""

    reason: str

    def __str__(self) -> str:
        return (
            f"A listener failed at a commit, which is stored ({self.reason}): the server's memory may differ from the "
            "store, so nothing more is committed."
        )


@dataclass(eq=False)
class StoreGone(StorageError):
    """Raised when the database's files are no longer in their place; ``what`` says "deleted", "moved" or the like."""

    path: str
    what: str

    def __str__(self) -> str:
        return (
            f"'{self.path}' was {self.what} while the server ran: anything stored from now on would be lost. Put the "
            "file back with its log, or restore a backup, and start the server again."
        )


class StoreClosed(StorageError):
    """Raised for operations on a store that is closed."""

    def __str__(self) -> str:
        return "The store is closed."


@dataclass(eq=False)
class UnitRefused(StorageError):
    """Raised for a unit of records that the database refuses, too large or against the schema."""

    reason: str

    def __str__(self) -> str:
        return f"The store cannot hold this: {self.reason}."


# -- The end of a run ------------------------------------------------------------------------------


class RunError(WorkflowServerError):
    """Base of the errors that end a run; workflows can meet them, too."""


@dataclass(eq=False)
class Unstorable(RunError):
    """Raised for a value that cannot be stored; ``what`` names its place."""

    what: str
    reason: str
    step: str | None = None
    """Step that the value comes from, where that is known."""

    def __str__(self) -> str:
        return f"{self.what} cannot be stored: {self.reason}"


@dataclass(eq=False)
class ResumeFailed(RunError):
    """Raised for a run that cannot go on from what is stored of it.

    ``remedy`` says what would help, and ``stored_name`` is the qualified name of what the code no longer has.
    """

    reason: str
    remedy: str | None = None
    stored_name: str | None = None

    def __str__(self) -> str:
        return f"The run could not be resumed: {self.reason}"


@dataclass(eq=False)
class StepNotRecorded(RunError):
    """Raised for a step whose result or writes could not be stored."""

    reason: str

    def __str__(self) -> str:
        return f"The work of a step could not be recorded: {self.reason}"


@dataclass(eq=False)
class EventNotTaken(RunError):
    """Raised for a posted event that the run's code cannot handle."""

    reason: str

    def __str__(self) -> str:
        return f"The run could not take an event that was sent to it: {self.reason}"


class StepInterrupted(RunError):
    """Stands for a ``BaseException`` that a step raised and that is no ``Exception``: ``SystemExit``, a
    ``CancelledError`` that the server did not ask for, a group of these.

    That exception is its ``__cause__``. Retry policies, ``@catch_error`` and the failure of the run see this one.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(eq=False)
class RunQuarantined(RunError):
    """Raised for a run in whose steps the process keeps crashing, also when it runs alone."""

    attempts: int

    def __str__(self) -> str:
        return (
            f"The process crashed {self.attempts} times during steps of this run: it was quarantined, and is not "
            "resumed again."
        )


# -- Refused starts --------------------------------------------------------------------------------


class StartupError(WorkflowServerError):
    """Base of the errors that keep a server from starting."""


class SettingsError(StartupError):
    """Raised with a message: a setting is not valid."""


class ServerStopped(StartupError):
    """Raised for a start of a server that was stopped."""

    def __str__(self) -> str:
        return "This WorkflowServer was stopped. Create a new one to serve again: it resumes the runs of this one."


class DatabaseError(StartupError):
    """Base of the errors about a database that cannot be opened."""


# -- Commands on a database ------------------------------------------------------------------------


class MaintenanceError(WorkflowServerError):
    """Base of the errors of commands on a database that began their work and did not finish it."""
