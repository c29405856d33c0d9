"""Bringing a stored run back: what loading it and checking it against other code have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from workflow_server.errors import ResumeFailed, StorageError
from workflow_server.execution.containment import is_cancelled
from workflow_server.execution.engine import StartEvent
from workflow_server.execution.interface import EventSink, RecordSink, Surroundings
from workflow_server.execution.resuming import awaited_types
from workflow_server.execution.session import RunSession
from workflow_server.execution.unreadable import resume_failure
from workflow_server.execution.workflow import ServedWorkflow
from workflow_server.records import StoredRun
from workflow_server.runs.run import Run


async def restore(
    run: Run,
    stored: StoredRun,
    surroundings: Surroundings,
    log: EventSink,
    *,
    crashed: bool = False,
    sink: RecordSink | None = None,
    made: Callable[[RunSession], None] | None = None,
) -> RunSession:
    """Return a session of the run as the store has it, without its inbox. ``made`` gets it before it is restored.

    Raises:
        ResumeFailed: what is stored does not fit the code, or is damaged.
    """
    start, problem = _start_of(stored, run.workflow)
    try:
        with told_as_unfit():
            session = RunSession(run, surroundings, log, start, sink)
            if made is not None:
                made(session)
            await session.resume(stored, crashed=crashed)
    except ResumeFailed:
        # Clients may answer it all the same.
        for kind in awaited_types(stored, run.workflow.codec):
            run.workflow.learn(kind)
        # Where the start event is missing, that is the cause.
        if problem is not None:
            raise problem from None
        raise
    if start is None and not stored.ticks and (stored.snapshot is None or stored.snapshot.seq < 0):
        raise problem or ResumeFailed(reason="it has no start event")
    return session


@contextmanager
def told_as_unfit() -> Iterator[None]:
    """Turn whatever is raised in the block, where a stored run is read, into the reason why it cannot go on.

    Raises:
        ResumeFailed: the reason, without any of what is stored.
    """
    try:
        yield
    except (ResumeFailed, StorageError):
        raise
    except BaseException as error:
        if is_cancelled(error):
            raise
        raise resume_failure(error) from None


def _start_of(stored: StoredRun, served: ServedWorkflow) -> tuple[StartEvent | None, ResumeFailed | None]:
    """Return the start event or, where it cannot be read, the reason: a run that has come far enough needs none."""
    what = "its start event"
    try:
        if stored.start_event is None:
            return None, None
        event = served.stored_event(stored.start_event)
        if isinstance(event, StartEvent):
            return event, None
        raise TypeError(what)  # noqa: TRY301
    except BaseException as error:
        if is_cancelled(error):
            raise
        return None, resume_failure(error, what)
