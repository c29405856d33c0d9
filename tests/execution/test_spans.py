"""Traces: a run that is cancelled, released or stopped is no error, and its handler is found in the tags."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from typing import Any

import pytest
from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.base import BaseEvent
from llama_index_instrumentation.dispatcher import Dispatcher
from llama_index_instrumentation.event_handlers import BaseEventHandler
from llama_index_instrumentation.span import BaseSpan
from llama_index_instrumentation.span_handlers import BaseSpanHandler
from pydantic import Field
from workflows import Context, Workflow, step
from workflows.events import HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent

from tests.harness.managing import Managing
from tests.harness.runs import asked, cancel, ended, released
from workflow_server.protocol.handlers import RunRequest


class Spans(BaseSpanHandler[BaseSpan]):
    """Records how each span ended."""

    exited: list[str] = Field(default_factory=list)
    dropped: list[tuple[str, str]] = Field(default_factory=list)

    def new_span(self, id_: str, *args: Any, **options: Any) -> BaseSpan:
        return BaseSpan(id_=id_)

    def prepare_to_exit_span(
        self, id_: str, bound_args: inspect.BoundArguments, *args: Any, **options: Any
    ) -> BaseSpan | None:
        self.exited.append(id_)
        return self.open_spans.get(id_)

    def prepare_to_drop_span(
        self,
        id_: str,
        bound_args: inspect.BoundArguments,
        instance: Any = None,
        err: BaseException | None = None,
        **options: Any,
    ) -> BaseSpan | None:
        self.dropped.append((id_, f"{type(err).__name__}: {err}"))
        return self.open_spans.get(id_)


class Events(BaseEventHandler):
    """The instrumentation's events."""

    seen: list[BaseEvent] = Field(default_factory=list)

    def handle(self, event: BaseEvent, **options: Any) -> None:
        self.seen.append(event)


class Traces:
    """Spans and events that runs of the durable runtime traced."""

    def __init__(self) -> None:
        self.spans = Spans()
        self.events = Events()

    def cancelled(self) -> list[BaseEvent]:
        """The events of spans that were cancelled."""
        return [event for event in self.events.seen if event.class_name() == "SpanCancelledEvent"]


@pytest.fixture
def traces() -> Iterator[Traces]:
    """Everything that is traced meanwhile."""
    root = get_dispatcher()
    seen = Traces()
    root.span_handlers.append(seen.spans)
    root.event_handlers.append(seen.events)
    yield seen
    root.span_handlers.remove(seen.spans)
    root.event_handlers.remove(seen.events)


class Stands(Workflow):
    """A step that stands until it is cancelled."""

    begun = asyncio.Event()

    @step
    async def stand(self, ev: StartEvent) -> StopEvent:
        Stands.begun.set()
        await asyncio.get_running_loop().create_future()
        return StopEvent()


class Asks(Workflow):
    @step
    async def ask(self, ctx: Context, ev: StartEvent) -> StopEvent:
        await ctx.wait_for_event(HumanResponseEvent, waiter_event=InputRequiredEvent())
        return StopEvent()


class Fails(Workflow):
    @step
    async def fail(self, ev: StartEvent) -> StopEvent:
        raise ValueError("for a reason")


async def test_a_cancelled_run_and_its_step_close_their_spans_as_cancelled(managing: Managing, traces: Traces) -> None:
    Stands.begun = asyncio.Event()
    async with managing(w=Stands(timeout=None)) as manager:
        handler = await manager.start("w", RunRequest())
        await Stands.begun.wait()
        await cancel(manager, handler.handler_id)
    assert traces.spans.dropped == []
    assert [span.split("-")[0] for span in traces.spans.exited] == ["Stands.stand", "Stands.run"]
    cancelled = traces.cancelled()
    assert [event.reason for event in cancelled] == ["step cancelled", "workflow cancelled by user"]  # type: ignore[attr-defined]
    for event in cancelled:
        assert event.tags["llamaindex.handler_id"] == event.tags["handler_id"] == handler.handler_id
        assert event.tags["llamaindex.run_id"] == handler.run_id


async def test_a_stop_and_a_release_are_no_errors(managing: Managing, traces: Traces) -> None:
    Stands.begun = asyncio.Event()
    async with managing(w=Stands(timeout=None), a=Asks(timeout=None), idle_timeout=0.01, grace=0.0) as manager:
        await manager.start("w", RunRequest())
        await Stands.begun.wait()
        waiting = await manager.start("a", RunRequest())
        await asked(manager, waiting.handler_id)
        await released(manager, waiting.handler_id)
    assert traces.spans.dropped == []
    assert len(traces.spans.exited) == 4


async def test_a_failure_is_an_error_of_its_own_kind(managing: Managing, traces: Traces) -> None:
    async with managing(w=Fails(timeout=None)) as manager:
        handler = await manager.start("w", RunRequest())
        await ended(manager, handler.handler_id)
    assert {error for _, error in traces.spans.dropped} == {"ValueError: for a reason"}
    assert traces.cancelled() == []


LEAF = get_dispatcher("tests.of_a_library")


@LEAF.span
async def of_a_library() -> None:
    """Trace what a step's own code does."""


class Calls(Workflow):
    @step
    async def call(self, ev: StartEvent) -> StopEvent:
        await of_a_library()
        return StopEvent()


class Entered(Spans):
    """Records how each span began."""

    entered: list[tuple[str, str, set[str]]] = Field(default_factory=list)

    def span_enter(
        self,
        id_: str,
        bound_args: inspect.BoundArguments,
        instance: Any = None,
        parent_id: str | None = None,
        tags: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        self.entered.append((id_.split("-")[0], (parent_id or "").split("-")[0], set(tags or {})))


async def test_a_library_s_spans_have_the_step_s_as_their_parent(managing: Managing) -> None:
    """Also where only the library's own dispatcher has a handler, which does not see the step's span."""
    spans = Entered()
    LEAF.span_handlers.append(spans)
    try:
        async with managing(w=Calls(timeout=None)) as manager:
            handler = await manager.start("w", RunRequest())
            await ended(manager, handler.handler_id)
    finally:
        LEAF.span_handlers.remove(spans)
    ((span, parent, tags),) = spans.entered
    assert (span, parent) == ("of_a_library", "Calls.call")
    assert {"llamaindex.step.input_event", "llamaindex.step.input_summary"} <= tags


async def test_a_dispatcher_of_the_workflow_s_own_sees_its_steps(managing: Managing) -> None:
    """Also where no other dispatcher hears of it."""
    spans = Spans()
    workflow = Calls(timeout=None)
    workflow._dispatcher = Dispatcher(name="own", span_handlers=[spans], propagate=False)
    async with managing(w=workflow) as manager:
        handler = await manager.start("w", RunRequest())
        await ended(manager, handler.handler_id)
    assert [span.split("-")[0] for span in spans.exited] == ["Calls.call"]
