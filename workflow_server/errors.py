"""The errors of workflow_server: one tree, each class with typed fields and its docstring as message.

``web/error_mapping.py`` maps the tree to HTTP, ``cli/serve.py`` to exit codes; nothing else does.
"""

from __future__ import annotations

import inspect
import sys
from dataclasses import dataclass


class WorkflowServerError(Exception):
    """workflow_server failed."""

    def __str__(self) -> str:
        if sys.flags.optimize > 1:
            # Such an interpreter drops docstrings, and is refused; that much still has to be said.
            return ", ".join(map(str, vars(self).values())) or type(self).__name__
        return " ".join(inspect.cleandoc(type(self).__doc__ or "").split()).format(**vars(self))


# -- What a client asked for -------------------------------------------------------------------


class RequestRefused(WorkflowServerError):
    """The request was refused."""


class InvalidRequest(RequestRefused):
    """The request is not valid."""


@dataclass(eq=False)
class InvalidBody(InvalidRequest):
    """{reason}"""

    reason: str


@dataclass(eq=False)
class InvalidParameter(InvalidRequest):
    """Invalid {name}: {expected}."""

    name: str
    expected: str


@dataclass(eq=False)
class UnknownParameter(InvalidRequest):
    """Unknown query parameter. The parameters of this route are: {known}."""

    known: str


@dataclass(eq=False)
class InvalidEvent(InvalidRequest):
    """{reason}"""

    reason: str


@dataclass(eq=False)
class UnknownStep(InvalidRequest):
    """Workflow '{workflow_name}' has no step '{step}'. Its steps are: {steps}."""

    workflow_name: str
    step: str
    steps: str


@dataclass(eq=False)
class StepRefusesEvent(InvalidRequest):
    """Step '{step}' does not accept events of type '{event_type}'. It accepts: {accepted}."""

    step: str
    event_type: str
    accepted: str


class ContextRefused(InvalidRequest):
    """This server does not accept a 'context' from clients. Leave it out, continue a completed handler with
    'handler_id', or start the server with accept_context=True."""


class ContextBesideHandler(InvalidRequest):
    """There are both a 'context' and a 'handler_id' to continue, which brings a state of its own: give one of them."""


class InvalidHandlerId(InvalidRequest):
    """This is not a valid 'handler_id' for a new handler: use letters, digits, '.', '_', '~' and '-', 1 to 128 of them,
    so that it fits into a URL."""


class NotFound(RequestRefused):
    """Not found."""


@dataclass(eq=False)
class WorkflowNotFound(NotFound):
    """Workflow '{name}' not found. GET /workflows lists the workflows of this server."""

    name: str


@dataclass(eq=False)
class NoRepresentation(NotFound):
    """Workflow '{name}' cannot be shown as a graph: something that it is made of cannot be described."""

    name: str


@dataclass(eq=False)
class HandlerNotFound(NotFound):
    """Handler '{handler_id}' not found."""

    handler_id: str


@dataclass(eq=False)
class CompletedHandlerNotFound(NotFound):
    """Workflow '{workflow_name}' has no completed handler '{handler_id}' to continue."""

    workflow_name: str
    handler_id: str


@dataclass(eq=False)
class HandlerNotRunning(NotFound):
    """Handler '{handler_id}' is not running ({status}). With purge=true it is deleted."""

    handler_id: str
    status: str


class TooManyEvents(RequestRefused):
    """More is posted to a run than it takes."""


@dataclass(eq=False)
class TooManyWaiting(TooManyEvents):
    """{limit} wait for the run of handler '{handler_id}', and no more are accepted. Try again when it has taken
    some."""

    handler_id: str
    limit: str


@dataclass(eq=False)
class TooManyHeld(TooManyEvents):
    """{limit:,} events for which no step waits are kept for the run of handler '{handler_id}', and no more are
    accepted. Post an answer when its question was asked."""

    handler_id: str
    limit: int


class Conflict(RequestRefused):
    """The request conflicts with the state of the handler."""


@dataclass(eq=False)
class HandlerRunning(Conflict):
    """Handler '{handler_id}' is still running: continue it when it has completed."""

    handler_id: str


@dataclass(eq=False)
class HandlerBeingDeleted(Conflict):
    """Handler '{handler_id}' is being deleted: its id is free when that is done. Try again in a moment."""

    handler_id: str


@dataclass(eq=False)
class StateUnreadable(Conflict):
    """Handler '{handler_id}' cannot be continued: the workflow does not read its state any more ({reason})."""

    handler_id: str
    reason: str


@dataclass(eq=False)
class RunAlreadyEnded(Conflict):
    """The run of handler '{handler_id}' has already ended ({status}): it takes no more events."""

    handler_id: str
    status: str


@dataclass(eq=False)
class RunSuperseded(Conflict):
    """The run that this key started has ended, and handler '{handler_id}' was continued since: its result is gone."""

    handler_id: str


@dataclass(eq=False)
class RunSuspended(Conflict):
    """Handler '{handler_id}' does not go on here: {reason}."""

    handler_id: str
    reason: str


@dataclass(eq=False)
class QueueTaken(Conflict):
    """Another reader holds the shared queue of handler '{handler_id}', also after {timeout} s. Read without
    acquire_timeout, or with after_sequence, for a stream of your own."""

    handler_id: str
    timeout: float


class KeyReused(RequestRefused):
    """This Idempotency-Key was used before with another body. Use a new key for a new request."""


class ShuttingDown(WorkflowServerError):
    """The server is shutting down. What was accepted goes on at its next start."""


# -- The store ---------------------------------------------------------------------------------


class StorageError(WorkflowServerError):
    """The store failed."""


class StorageFull(StorageError):
    """The disk is full: nothing was stored. Try again when there is room."""


@dataclass(eq=False)
class StoreUnavailable(StorageError):
    """The store cannot commit: {reason}. Nothing was stored."""

    reason: str


@dataclass(eq=False)
class CommitUnknown(StorageError):
    """The store failed in the middle of a commit ({reason}): whether it holds is known only after a restart."""

    reason: str


@dataclass(eq=False)
class ListenerFailed(StorageError):
    """A listener failed at a commit, which is stored ({reason}): what is in memory may differ from what is stored, so
    nothing more is committed."""

    reason: str


@dataclass(eq=False)
class StoreGone(StorageError):
    """'{path}' was {what} while the server ran: what it stores from now on would be lost. Put the file back
    with its log, or restore a backup, and start the server again."""

    path: str
    what: str


class StoreClosed(StorageError):
    """The store is closed."""


@dataclass(eq=False)
class UnitRefused(StorageError):
    """The store cannot hold this: {reason}."""

    reason: str


# -- What ends a run ---------------------------------------------------------------------------


class RunError(WorkflowServerError):
    """The run cannot go on."""


@dataclass(eq=False)
class Unstorable(RunError):
    """{what} cannot be stored: {reason}"""

    what: str
    reason: str
    step: str | None = None
    """Step that the value comes from, where that is known."""


@dataclass(eq=False)
class ResumeFailed(RunError):
    """The run could not be resumed: {reason}"""

    reason: str


@dataclass(eq=False)
class StepNotRecorded(RunError):
    """The work of a step could not be recorded: {reason}"""

    reason: str


@dataclass(eq=False)
class EventNotTaken(RunError):
    """The run could not take what it was sent: {reason}"""

    reason: str


class StepInterrupted(RunError):
    """A step raised what is no ``Exception``: ``SystemExit``, a ``CancelledError`` that the server did not ask for …

    It stands for that exception, which is its cause, in retry policies, in ``@catch_error`` and as the run's failure.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


@dataclass(eq=False)
class RunSetAside(RunError):
    """The process died {attempts} times while this run was in a step: it was set aside and is not resumed again."""

    attempts: int


# -- What keeps the server from starting (exit code 2) -------------------------------------------


class StartupError(WorkflowServerError):
    """The server cannot start."""


@dataclass(eq=False)
class TargetError(StartupError):
    """{reason}"""

    reason: str


@dataclass(eq=False)
class InvalidWorkflowName(StartupError):
    """'{name}' is not a valid workflow name: use letters, digits, '.', '_', '~' and '-', 1 to 128 of them, so that it
    fits into a URL."""

    name: str


@dataclass(eq=False)
class DuplicateWorkflow(StartupError):
    """Two workflows are named '{name}'. Give each a name of its own."""

    name: str


@dataclass(eq=False)
class InvalidWorkflow(StartupError):
    """Workflow '{name}' is not valid: {reason}"""

    name: str
    reason: str


@dataclass(eq=False)
class SettingsError(StartupError):
    """{reason}"""

    reason: str


class ServerStopped(StartupError):
    """This WorkflowServer was stopped. Make a new one to serve again: it takes up the runs of this one."""


class DatabaseError(StartupError):
    """The database cannot be used."""


@dataclass(eq=False)
class DatabaseLocked(DatabaseError):
    """Another server ({holder}) holds '{path}'. Stop it, or use another --db."""

    path: str
    holder: str


@dataclass(eq=False)
class DatabaseForeign(DatabaseError):
    """'{path}' is not a workflow_server database ({found}). It was left as it is: use another --db."""

    path: str
    found: str


@dataclass(eq=False)
class DatabaseMissing(DatabaseError):
    """'{path}' is missing or empty, but its write-ahead log '{log}' is there, with what was committed last. Put the
    database back beside it; or move the log away to begin anew."""

    path: str
    log: str


@dataclass(eq=False)
class LogSetAside(DatabaseError):
    """'{path}' has no write-ahead log, but '{left}' is there: the log of a database that was moved away while it was
    served. If it is this one, rename that to '{log}'; if this is a backup, move that away."""

    path: str
    left: str
    log: str


@dataclass(eq=False)
class DatabaseNewer(DatabaseError):
    """'{path}' was written by a newer workflow_server (schema {found}, this one knows up to {known}). It was left
    as it is: update workflow_server."""

    path: str
    found: int
    known: int


@dataclass(eq=False)
class DatabaseReadOnly(DatabaseError):
    """'{path}' cannot be written: {reason}. Change its permissions, or use another --db."""

    path: str
    reason: str


@dataclass(eq=False)
class DatabaseFull(DatabaseError):
    """The disk of '{path}' is full. Make room, and start again."""

    path: str


@dataclass(eq=False)
class DiskFailed(DatabaseError):
    """The disk of '{path}' cannot be read or written: {reason}. See what the system's log says of it, and start
    again; what was acknowledged is kept as far as the disk kept it."""

    path: str
    reason: str


@dataclass(eq=False)
class DatabaseLinked(DatabaseError):
    """'{path}' is one of {names} hard links to the same file, and a server that is given another one would damage it.
    Remove the others, or give this server a copy."""

    path: str
    names: int


@dataclass(eq=False)
class FileBesideLinked(DatabaseError):
    """'{file}' is {found}. The server writes to that file, and would change another one: remove it, and start again."""

    file: str
    found: str


@dataclass(eq=False)
class DatabaseAltered(DatabaseError):
    """'{path}' has what this server did not make: {what}. Its statements would run with, or decide about, all that is
    stored. It was left as it is: drop it with the sqlite3 tool if you know it, or use another --db."""

    path: str
    what: str


@dataclass(eq=False)
class FolderMissing(DatabaseError):
    """The folder '{folder}' of the database does not exist. Make it, or use another --db."""

    folder: str


@dataclass(eq=False)
class DatabaseDamaged(DatabaseError):
    """'{path}' is damaged: {problem}. Restore a backup, or recover what is left with the sqlite3 tool's .recover."""

    path: str
    problem: str


@dataclass(eq=False)
class LogDamaged(DatabaseError):
    """The write-ahead log of '{path}' is damaged: {commits} or more commits behind the damage cannot be read.
    Restore a backup; or give them up: 'PRAGMA wal_checkpoint(TRUNCATE)' in the sqlite3 tool drops them."""

    path: str
    commits: int


@dataclass(eq=False)
class NetworkFilesystem(DatabaseError):
    """'{path}' lies on a network file system ({kind}), where SQLite's locks do not hold. Use a local disk, or
    start with --allow-network-filesystem at your own risk."""

    path: str
    kind: str


@dataclass(eq=False)
class MigrationEdited(DatabaseError):
    """Migration {name} is not the one that '{path}' was migrated with. Install the workflow_server that made it."""

    path: str
    name: str


@dataclass(eq=False)
class MigrationMissing(DatabaseError):
    """Migration {number} is missing from '{path}' or from this installation. Reinstall workflow_server."""

    path: str
    number: int
