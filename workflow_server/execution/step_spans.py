"""The spans of the steps of one run, from the barrier at which they begin to their results."""

from __future__ import annotations

import asyncio
from typing import Any

from workflow_server.execution.engine import AddWaiter, StepWorkerFailed, TickStepResult
from workflow_server.tracing import Outcome, RunSpans, StepSpan


class StepSpans:
    """One span for each execution of a step, in the task of the step: there it is the parent of what the step opens."""

    def __init__(self, run: RunSpans) -> None:
        self._run = run
        self._open: dict[asyncio.Task[Any] | None, StepSpan] = {}

    def begin(self, step: str) -> None:
        """Begin the span of the step that the caller's task executes."""
        self._open[asyncio.current_task()] = self._run.step(step)

    def end(self, result: TickStepResult) -> None:
        """End it with the step's result."""
        span = self._open.pop(asyncio.current_task(), None)
        if span is not None:
            span.end(*_outcome(result))

    def give_up(self, error: BaseException) -> None:
        """End it without a result: the run leaves memory, or the step could not be recorded."""
        span = self._open.pop(asyncio.current_task(), None)
        if span is not None:
            is_cancelled = isinstance(error, (asyncio.CancelledError, GeneratorExit))
            span.end("interrupted", None if is_cancelled else type(error).__name__)


def _outcome(result: TickStepResult) -> tuple[Outcome, str | None]:
    for item in result.result:
        if isinstance(item, StepWorkerFailed):
            is_retried = item.retry_decision is not None and item.retry_decision.delay is not None
            return "retried" if is_retried else "failed", type(item.exception).__name__
        if isinstance(item, AddWaiter):
            return "waiting", None
    return "completed", None
