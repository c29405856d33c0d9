"""Recoveries: the handlers of steps that fail for good."""

from __future__ import annotations

import asyncio
import time

from workflows import Context, Workflow, catch_error, step
from workflows.events import StartEvent, StepFailedEvent, StopEvent
from workflows.retry_policy import (
    retry_policy,
    stop_after_attempt,
    wait_fixed,
)

from .sample import Begin, Done, Left, Part, Progress, Right, Sample, begin, crash_point


class Failing(Workflow):
    """Fails for good, without a policy."""

    @step
    async def broken(self, ev: StartEvent) -> StopEvent:
        begin("broken")
        raise ValueError("broken for good")


class Caught(Workflow):
    """A step that always fails, and a handler that tells what it was given."""

    @step(retry_policy=retry_policy(wait=wait_fixed(0), stop=stop_after_attempt(2)))
    async def broken(self, ctx: Context, ev: Begin) -> Done:
        begin("broken", ctx.retry_info().retry_number)
        raise ValueError("broken")

    @catch_error(for_steps=["broken"])
    async def recover(self, ctx: Context, ev: StepFailedEvent) -> Done:
        label = begin("recover")
        ctx.write_event_to_stream(Progress(by=label))
        await crash_point()
        assert isinstance(ev.input_event, Begin)
        assert ev.failed_at.tzinfo is not None
        assert 0 <= ev.elapsed_seconds < time.time()
        return Done(n=ev.attempts, told=[ev.step_name, ev.input_event.kind, str(ev.exception)])

    @step
    async def finish(self, ev: Done) -> StopEvent:
        begin("finish")
        return StopEvent(result=[ev.n, *ev.told])


class Owned(Workflow):
    """A handler for one step, and one for all others."""

    @step
    async def first(self, ev: StartEvent) -> Left:
        begin("first")
        raise ValueError("first")

    @step
    async def second(self, ev: Left) -> Right:
        begin("second")
        raise LookupError("second")

    @step
    async def third(self, ev: Right) -> StopEvent:
        begin("third")
        return StopEvent(result=ev.n)

    @catch_error(for_steps=["first"])
    async def of_first(self, ev: StepFailedEvent) -> Left:
        begin("of_first")
        return Left(n=1)

    @catch_error
    async def of_others(self, ev: StepFailedEvent) -> Right:
        begin("of_others")
        return Right(n=len(str(ev.exception)))


class Recurring(Workflow):
    """A handler is asked so often and not more; what it sends on keeps the count."""

    @step
    async def broken(self, ev: StartEvent | Part) -> StopEvent:
        begin("broken", getattr(ev, "n", 0))
        await asyncio.sleep(0.1)
        raise ValueError("again and again")

    @catch_error(for_steps=["broken"], max_recoveries=2)
    async def recover(self, ctx: Context, ev: StepFailedEvent) -> Part | None:
        turn = getattr(ev.input_event, "n", 0) + 1
        begin("recover", turn)
        if turn == 1:
            return Part(n=turn)
        ctx.send_event(Part(n=turn))
        return None


class Hopeless(Workflow):
    """A handler that fails itself fails the run."""

    @step
    async def broken(self, ev: StartEvent) -> StopEvent:
        begin("broken")
        raise ValueError("first")

    @catch_error
    async def recover(self, ev: StepFailedEvent) -> StopEvent:
        begin("recover")
        raise LookupError("the handler fails") from ev.exception


SAMPLES = {
    "failing": Sample(Failing, "broken for good", status="failed"),
    "caught": Sample(Caught, [2, "broken", "x", "broken"], runs=({"kind": "x"},)),
    "caught_by_two": Sample(Owned, 6),
    "caught_too_often": Sample(Recurring, "again and again", status="failed"),
    "handler_fails": Sample(Hopeless, "the handler fails", status="failed"),
}
