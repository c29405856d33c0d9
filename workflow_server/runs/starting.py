"""Starting runs: the records of a start and those of the run's first transition are stored together or not at all.

The first step begins after this one commit. A start that is refused leaves nothing behind: no step has begun, and what
the run wrote was never handed to the store.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Generator, Sequence
from enum import Enum

from workflow_server.errors import ResumeFailed, ShuttingDown, StorageError, StoreClosed
from workflow_server.execution.codec import text_of
from workflow_server.execution.containment import harmless, kept_within
from workflow_server.execution.engine import StartEvent
from workflow_server.execution.interface import RecordSink, Surroundings
from workflow_server.execution.session import RunSession
from workflow_server.execution.unreadable import resume_failure
from workflow_server.execution.workflow import ServedWorkflow
from workflow_server.protocol.handlers import HandlerData, RunRequest
from workflow_server.records import HandlerTagged, Record, RunStarted
from workflow_server.runs.activation import Activation
from workflow_server.runs.continuing import Continuing
from workflow_server.runs.events import EventLog, EventLogs
from workflow_server.runs.idempotency import answered
from workflow_server.runs.run import Run
from workflow_server.runs.table import RunTable
from workflow_server.runs.views import find_handler, from_start
from workflow_server.store.base import AbstractWorkflowStore, Commit
from workflow_server.store.ids import new_handler_id
from workflow_server.tracing import RunTrace

logger = logging.getLogger(__name__)

TURNS = 6
"""Turns of the event loop that the run gets to bring its first step to the barrier: it takes three."""
ANSWER_TURNS = 3
"""Turns of the event loop after which the first step begins where the start is answered first: writing that takes two.
A step may block the loop, or end the process."""


class Starter:
    """Starts the runs of new handlers, and those that continue a completed one."""

    def __init__(
        self,
        surroundings: Surroundings,
        table: RunTable,
        logs: EventLogs,
        activation: Activation,
        continuing: Continuing,
        closing: asyncio.Event,
    ) -> None:
        self._surroundings = surroundings
        self._store = surroundings.store
        self._table = table
        self._logs = logs
        self._activation = activation
        self._continuing = continuing
        self._closing = closing

    @harmless
    async def start(
        self, served: ServedWorkflow, event: StartEvent, request: RunRequest, run_id: str, *, answers_first: bool
    ) -> HandlerData:
        """Start a run; it is durable when this returns, with the answer to the request's key. ``answers_first``: the
        first step begins when a caller has had the time to send an answer.

        Raises:
            WorkflowServerError: why nothing was started; see ``RuntimeManager.start``.
        """
        try:
            return await self._start(served, event, request, run_id, answers_first=answers_first)
        except (SystemExit, KeyboardInterrupt) as error:
            # Values in the start event may raise anything when they are written.
            raise kept_within(error) from None

    async def _start(
        self, served: ServedWorkflow, event: StartEvent, request: RunRequest, run_id: str, *, answers_first: bool
    ) -> HandlerData:
        handler_id = request.handler_id or new_handler_id()
        async with self._table.lock(handler_id):
            if self._closing.is_set():
                raise ShuttingDown
            is_new = request.handler_id is None or await self._continuing.is_new(handler_id)
            if not is_new:
                given = await self._continuing.kept(served, handler_id, run_id, request)
                log = await self._logs.get(handler_id)
            else:
                log = self._logs.new(handler_id)
                given = [] if request.context is None else self._continuing.given(served, run_id, request.context)
            place, data = log.next_sequence, served.encode(event)
            now = self._surroundings.clock.now()
            tracing = self._surroundings.tracing
            context = None if tracing is None else tracing.context()
            started = RunStarted(
                handler_id,
                served.name,
                run_id,
                time.time(),
                place,
                data,
                now,
                request.by,
                served.code_version,
                context,
            )
            tags, tagged = await self._tags(handler_id, request, is_new=is_new)
            answer = from_start(started, tags)
            scope, key = f"run:{served.name}", request.key
            keys = [] if key is None else [answered(scope, key, started, answer.model_dump_json())]
            trace = RunTrace.of(context, started.started_at)
            run = Run(self._activation, handler_id, run_id, served, trace=trace)
            if is_new and not given:
                opening = Opening(self._store, started, *tagged, *keys, answers_first=answers_first)
                await self._begin(run, log, event, opening)
            else:
                await self._store.commit(started, *tagged, *given, *keys)
                self.launch(run, log, None if given else event)
        return answer

    async def _tags(
        self, handler_id: str, request: RunRequest, *, is_new: bool
    ) -> tuple[Sequence[str], list[HandlerTagged]]:
        """Return the tags of the handler with this run, and the record that changes them, if they change."""
        if request.tags is None:
            return () if is_new else (await find_handler(self._store, handler_id)).tags, []
        return request.tags, [HandlerTagged(handler_id, text_of(list(request.tags)))]

    async def _begin(self, run: Run, log: EventLog, event: StartEvent, opening: Opening) -> None:
        """Store the start of a new handler's run, and begin it where it has a slot.

        Raises:
            StorageError: the start was refused, and nothing is left of it.
        """
        self._table.add(run)
        failure = self._make_session(run, log, event, opening) if self._activation.admission.admit(run) else None
        try:
            await opening.commit()
        except BaseException:
            self._logs.forget(run.handler_id)
            run.withdraw()
            if run.task is None:
                self._activation.leave(run)
            else:
                await asyncio.wait([run.task])
            raise
        if failure is not None:
            self._activation.fail_soon(run, failure)

    def launch(self, run: Run, log: EventLog, event: StartEvent | None) -> None:
        """Let a run begin that is stored, when it has a slot. ``event``: its start event, where the store has nothing
        else of it; otherwise it is loaded."""
        log.begin()
        self._table.add(run)
        if not self._activation.admission.admit(run) or self._closing.is_set():
            return
        if event is None:
            self._activation.load_soon(run)
            return
        failure = self._make_session(run, log, event, self._store)
        if failure is not None:
            self._activation.fail_soon(run, failure)

    def _make_session(self, run: Run, log: EventLog, event: StartEvent, sink: RecordSink) -> ResumeFailed | None:
        """Begin the run; returns why its session cannot be made."""
        try:
            session = RunSession(run, self._surroundings, log, event, sink)
        except Exception as error:
            logger.exception("Handler %s could not begin", run.handler_id)
            run.release()
            return resume_failure(error)
        if isinstance(sink, Opening):
            sink.stored = session.writer.write_to
        self._activation.enter(run, session)
        return None


class _Phase(Enum):
    GATHERING = "gathering"
    HANDED_OVER = "handed over"
    STORED = "stored"
    REFUSED = "refused"


class Opening:
    """The store as the session of a run that starts sees it, and the commit of all that is written meanwhile.

    ``records`` are those of the start. Once that is stored, this is the store itself.
    """

    def __init__(self, store: AbstractWorkflowStore, *records: Record, answers_first: bool = False) -> None:
        self._store = store
        self._turns = ANSWER_TURNS if answers_first else 0
        self._phase = _Phase.GATHERING
        self._records = list(records)
        self._late: list[_Late] = []
        self._waiting: list[asyncio.Future[None]] = []
        self.stored: Callable[[RecordSink], None] | None = None
        """Told of the store, when the start is stored: what follows need not come by way of this."""

    @property
    def backlog(self) -> int:
        """Return the number of records that wait for their commit."""
        return self._store.backlog

    def append(self, *records: Record) -> Commit:
        """Hand over records of the run, to be stored with its start or behind it."""
        if self._phase is _Phase.STORED:
            return self._store.append(*records)
        if self._phase is _Phase.HANDED_OVER:
            late = _Late(self, records)
            self._late.append(late)
            return late
        if self._phase is _Phase.GATHERING:
            self._records += records
        return self

    async def commit(self) -> None:
        """Store the start with the first transition of the run, which was just begun. The step at the barrier waits for
        this, too.

        Raises:
            StorageError: it was refused, and later records of the run are dropped.
        """
        try:
            for _ in range(TURNS):
                if self._waiting:
                    break
                await asyncio.sleep(0)
            self._phase = _Phase.HANDED_OVER
            await self._store.commit(*self._records)
        except BaseException as error:
            self._refuse(error if isinstance(error, StorageError) else StoreClosed())
            raise
        finally:
            self._records.clear()
        self._phase = _Phase.STORED
        for late in self._late:
            late.commit = self._store.append(*late.records)
        self._late.clear()
        if self.stored is not None:
            self.stored(self._store)
            self.stored = None
        self._wake_later(self._turns)

    def _refuse(self, error: StorageError) -> None:
        self._phase = _Phase.REFUSED
        self._late.clear()
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_exception(error)
                waiter.exception()
        self._waiting.clear()

    def _wake_later(self, turns: int) -> None:
        if turns:
            asyncio.get_running_loop().call_soon(self._wake_later, turns - 1)
            return
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)
        self._waiting.clear()

    def __await__(self) -> Generator[object, None, None]:
        """Return when the start is stored; raises StorageError to those who wait when it is refused."""
        if self._phase is _Phase.GATHERING or self._phase is _Phase.HANDED_OVER:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            yield from waiter


class _Late:
    """Records that came when the start was on its way to the store."""

    def __init__(self, opening: Opening, records: tuple[Record, ...]) -> None:
        self.records = records
        self.commit: Commit | None = None
        self._opening = opening

    def __await__(self) -> Generator[object, None, None]:
        yield from self._opening.__await__()
        if self.commit is not None:
            yield from self.commit.__await__()
