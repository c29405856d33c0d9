"""All that can be asked of the runs of a server: to start, send, cancel, delete, look and subscribe.

Everything that a client is told is durable before it is told. The work of a request that changes something is owned by
the manager: a client that goes away in the middle leaves nothing half done.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Literal

from workflow_server.concurrency import map_cooperatively
from workflow_server.errors import HandlerNotFound, ShuttingDown
from workflow_server.execution.clock import ServerClock
from workflow_server.execution.durable import DurableRuntime
from workflow_server.execution.engine import Event, Workflow
from workflow_server.execution.inbox_limits import InboxLimits
from workflow_server.execution.interface import Surroundings
from workflow_server.execution.registry import Registry
from workflow_server.execution.renaming import Renamed
from workflow_server.execution.workflow import ServedWorkflow
from workflow_server.protocol.handlers import (
    HandlerData,
    HandlerDetails,
    IdempotencyKey,
    ListedHandler,
    RetryRequest,
    RunRequest,
)
from workflow_server.records import (
    HandlerCount,
    HistoryPlace,
    ListCursor,
    ListFilter,
    NowState,
    Period,
    RunEnded,
    Status,
    StoredRun,
)
from workflow_server.runs.activation import Activation
from workflow_server.runs.bulk import BulkActions, Page, RetriedPage
from workflow_server.runs.change_feed import ChangeFeed, ChangeReader
from workflow_server.runs.checking import Misfit, misfits
from workflow_server.runs.continuing import Continuing
from workflow_server.runs.details import detailed
from workflow_server.runs.events import EventLogs, EventReader
from workflow_server.runs.exceptions import HandlerNotRunning, RunSuperseded
from workflow_server.runs.figures import Figures, standings
from workflow_server.runs.history import history_page
from workflow_server.runs.idempotency import IdempotencyKeys
from workflow_server.runs.lifecycle import Lifecycle
from workflow_server.runs.now import count_now, handlers_now, now_listed
from workflow_server.runs.posting import Message, Postbox
from workflow_server.runs.quota import RunQuota
from workflow_server.runs.readiness import why_not_ready
from workflow_server.runs.retention import Retention, RetentionRules
from workflow_server.runs.retrying import Retrier
from workflow_server.runs.server_state import ServerState, server_state
from workflow_server.runs.starting import Starter
from workflow_server.runs.state_view import StateView
from workflow_server.runs.statistics import WorkflowStatistics, workflow_statistics
from workflow_server.runs.table import RunTable
from workflow_server.runs.views import find_handler, from_end, listed_page, listed_pages, shown
from workflow_server.runs.waiters import EndWaiters
from workflow_server.store.base import AbstractWorkflowStore, HandlerQuery
from workflow_server.store.ids import new_run_id
from workflow_server.tracing import Tracing


class RuntimeManager:
    """All runs of a server. The store is opened before ``resume`` and closed after ``stop``, by its owner."""

    def __init__(
        self,
        store: AbstractWorkflowStore,
        *,
        idle_timeout: float | None = 60.0,
        max_attempts: int = 3,
        accept_context: bool = False,
        accept_handler_ids: bool = False,
        engine_loop: bool = False,
        limits: InboxLimits | None = None,
        max_running_runs: int | None = None,
        retention: RetentionRules | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        around = Surroundings(store, ServerClock(), limits or InboxLimits(), idle_timeout, tracing)
        self._around = around
        self.store = store
        """The store in which the runs are kept."""
        self._clock = around.clock
        self._closing = asyncio.Event()
        self._keys = IdempotencyKeys(store)
        self._waiters = EndWaiters()
        self._logs = EventLogs(store, self._closing)
        self.runs = RunTable(self._logs, self._waiters)
        """The runs that go on, to look at."""
        self._registry = Registry(DurableRuntime(around.clock, engine_loop=engine_loop))
        self._state_view = StateView(store, self._registry)
        self._activation = Activation(around, self._registry, self.runs, self._logs, self._closing)
        self._postbox = Postbox(around, self.runs, self._logs, self._activation)
        continuing = Continuing(store, accept_context=accept_context, accept_handler_ids=accept_handler_ids)
        self._starter = Starter(around, self.runs, self._logs, self._activation, continuing, self._closing)
        self._quota = RunQuota(self.runs, max_running_runs)
        self._retrier = Retrier(
            around, self.runs, self._logs, self._activation, self._starter, continuing, self._quota, self._closing
        )
        self._bulk = BulkActions(store, self.runs, self._activation, self._logs, self._retrier)
        rules = retention or RetentionRules({})
        self._retention = Retention(store, self.runs, self._logs, around.clock, rules)
        self._lifecycle = Lifecycle(around, self.runs, self._activation, max_attempts=max_attempts)
        self._changes = ChangeFeed(store, self.runs, self._logs, around.clock, self._closing)

    # -- Life ----------------------------------------------------------------------------------

    def add_workflow(
        self,
        name: str,
        workflow: Workflow,
        additional_events: Sequence[type[Event]] = (),
        *,
        renamed: Renamed | None = None,
        version: str | None = None,
    ) -> None:
        """Serve a workflow; see ``Registry.add``."""
        self._registry.add(name, workflow, additional_events, renamed=renamed, version=version)

    async def misfits(self, runs: Iterable[StoredRun]) -> list[Misfit]:
        """Return those of the runs, which are read from any database, that a start with this code would suspend."""
        return await misfits(runs, self._registry, self._around)

    def listen(self) -> None:
        """Follow the store, which is not open yet; see ``Lifecycle.listen``."""
        self._lifecycle.listen()

    async def resume(self) -> int:
        """Resume every running run; returns how many go on."""
        resumed = await self._lifecycle.resume()
        self._retention.start()
        return resumed

    def close(self) -> None:
        """Accept nothing new, and end the streams: their readers come back with their cursors."""
        self._closing.set()
        self._logs.wake()
        self._changes.wake()
        self._waiters.close()

    async def stop(self, grace: float) -> None:
        """Let running steps be recorded, for at most ``grace`` seconds; see ``Lifecycle.stop``."""
        self.close()
        await self._retention.stop()
        await self._changes.stop()
        await self._lifecycle.stop(grace)

    def release(self) -> None:
        """Give the event loop back, where ``stop`` is not called after ``listen``."""
        self._lifecycle.release()

    def _check_open(self) -> None:
        if self._closing.is_set():
            raise ShuttingDown

    def footprint(self) -> dict[str, int]:
        """Return how much memory holds for runs, requests and readers, for tests: nothing, once they are over."""
        return {
            "runs": len(self.runs),
            "waits for ends": len(self._waiters),
            "idempotency keys": self._keys.locked(),
            **self.runs.footprint(),
            **self._logs.footprint(),
            **self._changes.footprint(),
            **self._activation.footprint(),
        }

    # -- Looking -------------------------------------------------------------------------------

    @property
    def problem(self) -> str | None:
        """Return why the store cannot commit at present, or None where it can."""
        return self.store.problem

    @property
    def unready(self) -> str | None:
        """Return why no work is taken at present, in words for anybody; None where it is."""
        has_resumed = self._lifecycle.resume_seconds is not None
        return why_not_ready(self.store.problem, has_resumed=has_resumed, is_closing=self._closing.is_set())

    @property
    def location(self) -> str:
        """Return what to call the store to a user."""
        return self.store.location

    def figures(self) -> Figures:
        """Return what the server has done since its start, and where it stands now."""
        return Figures(
            is_ready=self.unready is None,
            resume_seconds=self._lifecycle.resume_seconds,
            runs=standings(list(self.runs)),
            sums=self._lifecycle.sums,
            steps={name: self.workflow(name).step_sums for name in self.workflow_names()},
            committed=self.store.committed,
            backlog=self.store.backlog,
            sizes=self.store.sizes(),
            lag=self._lifecycle.lag,
            swept=self._retention.swept,
            started_at=self._lifecycle.started_at,
            resumed=self._lifecycle.resumed,
            suspended_at_start=self._lifecycle.suspended,
        )

    async def workflow_statistics(self, workflow_name: str, period: Period) -> WorkflowStatistics:
        """Return what a workflow's runs did in a period, and its steps since the start.

        Raises:
            WorkflowNotFound: it is not registered, and has no handlers either.
        """
        return await workflow_statistics(self.store, self._registry, workflow_name, period)

    async def server_state(self) -> ServerState:
        """Return the runs that have not ended by what they do, the versions of their code, and those that make no
        progress."""
        return await server_state(self.store, self.runs, self._registry)

    def workflow_names(self) -> list[str]:
        """Return the names of the workflows, in the order in which they were added."""
        return self._registry.names()

    def workflow(self, name: str) -> ServedWorkflow:
        """Return the workflow of this name.

        Raises:
            WorkflowNotFound: there is none.
        """
        return self._registry.get(name)

    async def get_handler(self, handler_id: str) -> HandlerData:
        """Return the handler.

        Raises:
            HandlerNotFound: there is none.
        """
        return shown(self.runs, await find_handler(self.store, handler_id))

    async def describe_handler(self, handler_id: str) -> HandlerDetails:
        """Return the handler with where its run stands: what runs, and what it waits for.

        Raises:
            HandlerNotFound: there is none.
        """
        return await detailed(self.store, self.runs, self._clock, await find_handler(self.store, handler_id))

    async def history(
        self,
        handler_id: str,
        after: HistoryPlace | None,
        limit: int,
        *,
        newest_first: bool = False,
        with_values: bool = False,
    ) -> tuple[list[str], HistoryPlace | None]:
        """Return a page of the handler's history, its entries as JSON, and where the next begins; see
        ``AbstractWorkflowStore.read_history``.

        Raises:
            HandlerNotFound: there is no such handler.
        """
        how = {"newest_first": newest_first, "with_values": with_values}
        return await history_page(self.store, self._registry.find, handler_id, after, limit, **how)

    async def state(self, handler_id: str) -> str:
        """Return the state of the handler's current run as JSON; see ``StateView.show``.

        Raises:
            HandlerNotFound, StateNotKept, StateTooLarge, StateNotReadable: why it cannot be shown.
        """
        return await self._state_view.show(handler_id)

    async def list_handlers(self, statuses: list[Status] | None, workflow_names: list[str] | None) -> list[HandlerData]:
        """Return the handlers of these statuses and workflows, oldest first; None stands for all."""
        query = HandlerQuery(status_in=statuses, workflow_name_in=workflow_names)
        return await map_cooperatively(partial(shown, self.runs), await self.store.query(query))

    async def doing(self, wanted: ListFilter, states: Sequence[NowState]) -> ListFilter:
        """Return the list of those handlers of a list whose runs do one of these at present; all of them without any.

        It is a list of the handlers that are found now, also where its pages are read later.
        """
        return wanted._replace(handler_ids=await handlers_now(self.runs, states)) if states else wanted

    def handler_pages(self, wanted: ListFilter) -> AsyncGenerator[list[ListedHandler], None]:
        """Yield a list page by page: one page at a time is in memory, and no result is parsed."""
        return listed_pages(self.store, self.runs, wanted)

    async def handler_page(
        self, wanted: ListFilter, cursor: ListCursor | None, limit: int, *, with_results: bool, with_now: bool = False
    ) -> tuple[list[ListedHandler], ListCursor | None]:
        """Return one page of a list, and where the next begins; see ``AbstractWorkflowStore.list_page``."""
        now = partial(now_listed, self.runs, behind=self._clock.behind()) if with_now else None
        return await listed_page(self.store, self.runs, wanted, cursor, limit, with_results=with_results, now=now)

    async def count_handlers(self) -> list[HandlerCount]:
        """Return how many handlers there are of each workflow and status."""
        return await self.store.count_handlers()

    async def count_now(self) -> dict[NowState, int]:
        """Return how many of the runs that go on do what."""
        return await count_now(self.runs)

    async def count_failed(self, seconds: float) -> int:
        """Return how many handlers have failed or timed out in the last seconds."""
        return await self.store.count_ended("failed", time.time() - seconds)

    # -- Starting ------------------------------------------------------------------------------

    async def start(self, workflow_name: str, request: RunRequest) -> HandlerData:
        """Start a run, or continue a completed handler with the next; it is durable when this returns.

        Raises:
            WorkflowNotFound, CompletedHandlerNotFound, HandlerRunning, HandlerBeingDeleted, InvalidHandlerId,
            StateUnreadable, InvalidEvent, ContextRefused, ContextBesideHandler, KeyReused, TooManyRuns, ShuttingDown,
            StorageFull, StoreUnavailable: why nothing was started.
        """
        work = self._starting(workflow_name, request, new_run_id(), answers_first=True)
        return await self._activation.tasks.run(work, f"start {workflow_name}")

    async def run(self, workflow_name: str, request: RunRequest) -> HandlerData:
        """Start a run and return when it has ended; as ``start`` otherwise.

        Raises:
            ShuttingDown: the server stops first; the run goes on at its next start.
        """
        run_id = new_run_id()
        answers: list[HandlerData] = []
        with self._waiters.end_of(run_id) as end:

            def begun(caller: asyncio.Future[RunEnded | None], answer: HandlerData) -> None:
                # The caller is not woken before the end: it stands below all layers of a request.
                answers.append(answer)
                if answer.run_id == run_id:
                    end.tell(caller)
                else:
                    caller.set_result(None)

            work = self._starting(workflow_name, request, run_id, answers_first=False)
            over = await self._activation.tasks.result_of(work, f"start {workflow_name}", begun)
        answer = answers[0]
        if over is not None:
            return from_end(answer, over)
        assert answer.run_id is not None
        return await self._end_of(answer, answer.run_id)

    async def _end_of(self, begun: HandlerData, run_id: str) -> HandlerData:
        """Return the handler as a run ends that an earlier request started, or that has ended already."""
        with self._waiters.end_of(run_id) as end:
            handler = await find_handler(self.store, begun.handler_id)
            if handler.run_id != run_id:
                raise RunSuperseded(begun.handler_id)
            if handler.status != "running":
                return shown(self.runs, handler)
            self._check_open()
            return from_end(begun, await end.future)

    def _starting(
        self, workflow_name: str, request: RunRequest, run_id: str, *, answers_first: bool
    ) -> Coroutine[Any, Any, HandlerData]:
        """Return the start of a run, which is not begun yet."""
        self._check_open()
        served = self.workflow(workflow_name)
        event = served.start_event(request.start_event)
        begin = partial(self._starter.start, served, event, request, run_id, answers_first=answers_first)
        start = partial(self._within_quota, run_id, begin) if self._quota.is_limited else begin
        return start() if request.key is None else self._once(f"run:{served.name}", request.key, start)

    async def _within_quota(self, run_id: str, start: Callable[[], Coroutine[Any, Any, HandlerData]]) -> HandlerData:
        with self._quota.place(run_id):
            return await start()

    async def _once(
        self, scope: str, key: IdempotencyKey, start: Callable[[], Coroutine[Any, Any, HandlerData]]
    ) -> HandlerData:
        async with self._keys.earlier_answer(scope, key) as answer:
            if answer is not None:
                return HandlerData.model_validate_json(answer.response)
            return await start()

    async def retry(self, handler_id: str, request: RetryRequest) -> HandlerData:
        """Take up a run again that failed or was cancelled, as another run of the same handler, or of a new one; it is
        durable when this returns.

        Raises:
            HandlerNotFound, RunNotOver, RunSucceeded, RunSuspended, JournalNotKept, JournalUnreadable, NothingToRetry,
            StepNotReached, UnknownStep, HandlerIdBesideNoFork, HandlerIdRefused, HandlerExists, InvalidHandlerId,
            HandlerBeingDeleted, KeyReused, ShuttingDown, StorageFull, StoreUnavailable: why nothing was started.
        """
        self._check_open()
        retry = partial(self._retrier.retry, handler_id, request)
        work = retry() if request.key is None else self._once(f"retry:{handler_id}", request.key, retry)
        return await self._activation.tasks.run(work, f"retry {handler_id}")

    # -- Sending, cancelling and deleting ------------------------------------------------------

    async def send(
        self,
        handler_id: str,
        event: object,
        step: str | None,
        key: IdempotencyKey | None,
        *,
        hold: bool = False,
        by: str | None = None,
    ) -> None:
        """Send an event to a running run; it is durable when this returns, and reaches the run exactly once. With
        ``hold``, what nobody takes now is kept until the next wait for its type begins. ``by``: the name of the
        client's token, for the history.

        Raises:
            HandlerNotFound, RunAlreadyEnded, RunSuspended, InvalidEvent, UnknownStep, StepRefusesEvent, TooManyWaiting,
            TooManyHeld, KeyReused, ShuttingDown, StorageFull, StoreUnavailable: why nothing was sent.
        """
        self._check_open()
        message = Message(event, step, hold, key, by)
        await self._activation.tasks.run(self._send(handler_id, message), f"send to {handler_id}")

    async def _send(self, handler_id: str, message: Message) -> None:
        if message.key is None:
            await self._postbox.post(handler_id, message)
            return
        async with self._keys.earlier_answer(f"event:{handler_id}", message.key) as answer:
            if answer is None:
                await self._postbox.post(handler_id, message)

    async def cancel(self, handler_id: str, *, by: str | None = None) -> None:
        """End a running run as cancelled; returns when that is durable, whatever its steps do. ``by``: the name of the
        client's token, for the history.

        Raises:
            HandlerNotFound, HandlerNotRunning: there is nothing to cancel.
        """
        await self._activation.tasks.run(self._cancel(handler_id, by), f"cancel {handler_id}")

    async def _cancel(self, handler_id: str, by: str | None) -> None:
        async with self.runs.lock(handler_id):
            status = await self._activation.cancel(handler_id, by=by)
            if status is not None:
                raise HandlerNotRunning(handler_id, status)

    async def purge(self, handler_id: str) -> None:
        """Delete a handler with all that belongs to it; one that runs is cancelled first.

        Raises:
            HandlerNotFound: there is none.
        """
        await self._activation.tasks.run(self._purge(handler_id), f"purge {handler_id}")

    async def _purge(self, handler_id: str) -> None:
        async with self.runs.lock(handler_id):
            run = self.runs.get(handler_id)
            # An end that waits for room on the disk is stored with the deletion.
            if run is None or not run.has_ended:
                await self._activation.cancel(handler_id)
            if not await self.store.delete(HandlerQuery(handler_id_in=[handler_id])):
                raise HandlerNotFound(handler_id)
            self._logs.forget(handler_id)

    async def handlers_matching(
        self, wanted: ListFilter, cursor: ListCursor | None, limit: int, *, states: Sequence[NowState] = ()
    ) -> Page:
        """Return the handlers of a page of a list, on which nothing is done; ``states``: see ``doing``."""
        return await self._bulk.find(wanted, cursor, limit, states=states)

    async def cancel_matching(
        self,
        wanted: ListFilter,
        cursor: ListCursor | None,
        limit: int,
        *,
        states: Sequence[NowState] = (),
        by: str | None = None,
    ) -> Page:
        """Cancel the running ones of a page of a list; returns those that were, when that is durable. ``by``: the name
        of the client's token, for the history.

        Raises:
            ShuttingDown, StorageError: not all of them were cancelled.
        """
        self._check_open()
        cancelling = self._bulk.cancel(wanted, cursor, limit, states=states, by=by)
        return await self._activation.tasks.run(cancelling, "cancel handlers")

    async def retry_matching(
        self,
        wanted: ListFilter,
        cursor: ListCursor | None,
        limit: int,
        request: RetryRequest,
        *,
        states: Sequence[NowState] = (),
    ) -> RetriedPage:
        """Retry the runs of a page of a list that failed or were cancelled; returns those that were, when that is
        durable, and why others were not.

        Raises:
            ShuttingDown, StorageError: not all of them were retried.
        """
        self._check_open()
        retrying = self._bulk.retry(wanted, cursor, limit, request, states=states)
        return await self._activation.tasks.run(retrying, "retry handlers")

    async def purge_matching(
        self, wanted: ListFilter, cursor: ListCursor | None, limit: int, *, states: Sequence[NowState] = ()
    ) -> Page:
        """Delete those of a page of a list; returns those that were. One that runs is deleted only where the list is of
        running ones, too; it is cancelled first.

        Raises:
            ShuttingDown, StorageError: not all of them were deleted.
        """
        self._check_open()
        return await self._activation.tasks.run(
            self._bulk.purge(wanted, cursor, limit, states=states), "delete handlers"
        )

    # -- Subscribing ---------------------------------------------------------------------------

    async def open_cursor(self, handler_id: str, after: int | Literal["now"]) -> EventReader | None:
        """Return a reader of every event past the cursor (-1: of the current run); None when none will come.

        Raises:
            HandlerNotFound: there is no such handler.
        """
        return await self._logs.open_cursor(handler_id, after)

    async def open_queue(self, handler_id: str, timeout: float) -> EventReader | None:
        """Return the reader of the handler's shared queue; None when no event is left and none will come.

        Raises:
            HandlerNotFound: there is no such handler.
            QueueTaken: another reader held the queue for ``timeout`` seconds.
        """
        return await self._logs.open_queue(handler_id, timeout)

    def follow(self, wanted: ListFilter, cursor: str | None) -> AbstractContextManager[ChangeReader]:
        """Return a reader of the changes of the handlers of a list, from a cursor or, for None, from now on.

        Raises:
            ShuttingDown: the server stops.
        """
        return self._changes.reading(wanted, cursor)
