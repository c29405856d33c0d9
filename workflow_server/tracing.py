"""Traces as the parts of the server know them: requests, runs and steps. OpenTelemetry, an extra, stays behind this.

Nothing here raises: whatever becomes of a span, the request, run or step that it tells of goes on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

if TYPE_CHECKING:
    from multidict import MultiMapping

Outcome = Literal["completed", "failed", "retried", "waiting", "interrupted"]
"""The end of one execution of a step: it returned, failed for good, failed and is tried again, waits for an event and
begins again with it, or ended without a result, as when the server stops."""


class RunTrace(NamedTuple):
    """The part of a run's trace that is kept: enough for another process to go on in it."""

    context: str
    """The context of the request that started the run: its traceparent and, behind a space, its tracestate, if any."""
    started_at: float
    """When the run was started, in Unix seconds."""

    @classmethod
    def of(cls, context: str | None, started_at: float) -> RunTrace | None:
        """Return the trace of a run that was started then; None where there is no context."""
        return None if context is None else cls(context, started_at)


class TracedRun(NamedTuple):
    """A run that belongs to a trace."""

    trace: RunTrace
    handler_id: str
    run_id: str
    workflow: str | None
    """The name of its workflow; None where that is not registered."""


class RequestHead(NamedTuple):
    """The part of a request that its span tells from the beginning."""

    method: str
    route: str | None
    """The path of its route, as in ``/handlers/{handler_id}``; None where there is no such route."""
    path: str | None
    """Its own path, where there is a route: any other may contain anything."""
    scheme: str
    protocol: str
    """The version of HTTP, as in ``1.1``."""
    headers: MultiMapping[str]


class RequestSpan(Protocol):
    """The span of a request, the current one until it ends."""

    def end(self, status: int | None, *, workflow: str | None, handler_id: str | None) -> None:
        """End it in the task in which it began. ``status``: None where the client left before its answer."""


class StepSpan(Protocol):
    """The span of one execution of a step."""

    def end(self, outcome: Outcome, error: str | None = None) -> None:
        """End it. ``error``: the name of the class of the exception with which the step failed."""


class RunSpans(Protocol):
    """The spans within one run."""

    def enter(self) -> None:
        """Let spans that the caller's task opens from now on belong to the run."""

    def step(self, name: str) -> StepSpan:
        """Begin the span of a step, the current one from now on in the caller's task, which is the step's own."""


class Tracing(Protocol):
    """The traces of one server."""

    def start(self) -> None:
        """Make what spans are sent by. Called once, before anything else.

        Raises:
            SettingsError: it cannot be made.
        """

    async def stop(self) -> None:
        """Send what waits to be sent, as far as that takes no longer than a moment."""

    def request(self, head: RequestHead) -> RequestSpan | None:
        """Begin the span of a request, in the trace that its headers name, or in a new one."""

    def context(self) -> str | None:
        """Return the context of the request that the caller answers, as in ``RunTrace``; None without any."""

    def link(self, run: TracedRun) -> None:
        """Link the request that the caller answers to the run."""

    def run(self, run: TracedRun) -> RunSpans | None:
        """Return the spans within a run; None where its trace cannot be read."""

    def resumed(self, run: TracedRun, began: float, *, crashed: bool) -> None:
        """Tell that the run was loaded, from ``began`` in Unix seconds until now. ``crashed``: since the process that
        ran it last died."""

    def ended(self, run: TracedRun, status: str, at: float) -> None:
        """Tell that the run has ended, at this time in Unix seconds: its span, with all that it took."""
